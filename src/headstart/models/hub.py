"""Files of repositories on the Hugging Face hub: from its cache, else fetched within seconds.

Every fetch is tried once, with a timeout: a hub that cannot be reached is told at once.
"""

import os
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from headstart.errors import ModelError, WeightsMissingError

__all__ = [
    "SECONDS",
    "WEIGHT_FILES",
    "address",
    "cached",
    "cached_weights",
    "fetch_weights",
    "file",
]

SECONDS = 10
# What a repository calls its weights, the safest first.
WEIGHT_FILES = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin")
HUB = "https://huggingface.co"


def address() -> str:
    """Give the address of the hub: the user's mirror ($HF_ENDPOINT) where there is one."""
    return os.environ.get("HF_ENDPOINT") or HUB


def cached(repository: str, name: str) -> Path | None:
    """Find a file of a repository among what the hub's own library has downloaded."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, name)
    return Path(found) if isinstance(found, str) else None


def cached_weights(repository: str) -> Path | None:
    """Find a repository's weights among what has been downloaded."""
    found = (cached(repository, name) for name in WEIGHT_FILES)
    return next((file for file in found if file), None)


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
        return _download(repository, name) if name in _names(repository) else None
    except OSError as error:
        reason = _reason(error)
        raise ModelError(
            f"{name} of {repository} is not on this machine and cannot be had from {address()} "
            f"({reason}): put the repository's files into a folder and say hf:/path/of/the/folder"
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
            return _download(repository, name)
    raise WeightsMissingError(
        f"{repository} on {address()} has none of {', '.join(WEIGHT_FILES)}: give a file of "
        "weights with ?weights=FILE"
    )


def _names(repository: str) -> set[str]:
    from huggingface_hub import list_repo_files

    # The library tries again and again where there is no network: one look comes first.
    request = urllib.request.Request(f"{address()}/{repository}", method="HEAD")  # noqa: S310
    # If it answers, its library says better what it thinks of this repository.
    with suppress(urllib.error.HTTPError):
        urllib.request.urlopen(request, timeout=SECONDS).close()  # noqa: S310
    return set(list_repo_files(repository))


def _download(repository: str, name: str) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(repository, name, etag_timeout=SECONDS))


def _reason(error: OSError) -> str:
    return str(getattr(error, "reason", error)).splitlines()[0]
