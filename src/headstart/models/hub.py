"""Weights and configurations in repositories of the Hugging Face hub."""

from pathlib import Path

from headstart.errors import ModelError, WeightsMissingError
from headstart.hub import address, cached, check_reachable, download, reason
from headstart.models.shards import INDEX, is_index, shards

__all__ = ["WEIGHT_FILES", "cached_weights", "fetch_weights", "file"]

# What a repository calls its weights, the safest first.
WEIGHT_FILES = (
    "model.safetensors",
    f"model{INDEX}",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
)


def cached_weights(repository: str) -> Path | None:
    """Find a repository's weights among what has been downloaded: a file, or an index of shards."""
    found = (cached(repository, name) for name in WEIGHT_FILES)
    return next((file for file in found if file and _whole(file)), None)


def file(repository: str, name: str) -> Path | None:
    """Give a file of a repository, fetched if it is not here; None if the repository lacks it.

    Raises
    ------
    ModelError
        The hub cannot be reached, or has no such repository for this user.
    """
    if found := cached(repository, name):
        return found
    try:
        return download(repository, name) if name in _names(repository) else None
    except OSError as error:
        raise ModelError(
            f"{name} of {repository} is not on this machine and cannot be had from {address()} "
            f"({reason(error)}): put the repository's files into a folder and say "
            "hf:/path/of/the/folder"
        ) from error


def fetch_weights(repository: str) -> Path:
    """Give a repository's weights; OSError where the hub cannot be reached.

    Raises
    ------
    WeightsMissingError
        The repository has none that can be read.
    """
    names = _names(repository)
    for name in WEIGHT_FILES:
        if name in names:
            place = download(repository, name)
            for shard in shards(place) if is_index(place) else ():
                # Of the index's commit, in whose folder it lies: the branch may have moved on.
                download(repository, shard, commit=place.parent.name)
            return place
    raise WeightsMissingError(
        f"{repository} on {address()} has none of {', '.join(WEIGHT_FILES)}: give a file of "
        "weights with ?weights=FILE"
    )


def _whole(file: Path) -> bool:
    """Whether what an index names is beside it."""
    return not is_index(file) or all((file.parent / name).exists() for name in shards(file))


def _names(repository: str) -> set[str]:
    from huggingface_hub import list_repo_files

    check_reachable(repository)
    return set(list_repo_files(repository))
