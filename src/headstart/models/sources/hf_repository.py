"""Repositories of the Hugging Face hub, or folders laid out as one: configuration and weights."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headstart.errors import HeadstartError, ModelError, WeightsMissingError
from headstart.files import storage_errors, utf8_name
from headstart.hub import REPOSITORY, address, cached, check_reachable, download, reason
from headstart.models.weight_formats import INDEX, digest_of, is_index, shards
from headstart.spec import Weights, digest

__all__ = [
    "CONFIG",
    "WEIGHT_FILES",
    "cached_weights",
    "fetch_weights",
    "folder_of",
    "has_weights",
    "kind_of",
    "names",
    "read_config",
    "read_json",
    "tensor_names",
    "weights_of",
]

# What a repository calls its weights, the safest first.
WEIGHT_FILES = (
    "model.safetensors",
    f"model{INDEX}",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
)
CONFIG = "config.json"
# Larger numbers in a configuration are mistakes: some are used before any memory is asked for.
MOST, MOST_LAYERS, MOST_BYTES = 10_000_000, 1_000, 20_000_000
# Files of training programs, which hold no weights.
STATE = ("training_args", "optimizer", "scheduler", "rng_state", "random_states", "scaler")
# What else repositories hold, by a part of a file's name, and what to do about it.
OTHERS = (
    (
        "adapter_model",
        "a PEFT adapter, not a whole network: merge it into its base model and save that",
    ),
    (
        "adapter_config.json",
        "a PEFT adapter, not a whole network: merge it into its base model and save that",
    ),
    (".gguf", "GGUF weights for llama.cpp, which are not supported: expected safetensors"),
    (".onnx", "an ONNX graph, which is not supported: expected safetensors"),
    (".h5", "TensorFlow weights, which are not supported: expected safetensors"),
    (".msgpack", "Flax weights, which are not supported: expected safetensors"),
    (".tflite", "a TensorFlow Lite graph, which is not supported: expected safetensors"),
    ("openvino_model", "an OpenVINO graph, which is not supported: expected safetensors"),
    (
        "pytorch_model.bin.index.json",
        "pickled weights in shards, which are not supported: convert them to "
        "safetensors (save_pretrained of transformers)",
    ),
    ("model_index.json", "a diffusion pipeline, not an image network"),
    (
        "open_clip_config.json",
        "a repository of OpenCLIP without a configuration of timm or transformers: see "
        "headstart models --search clip for timm's",
    ),
    (".safetensors", "weights of another name: give them with ?weights=FILE"),
    (".bin", "weights of another name: give them with ?weights=FILE"),
    (".pth", "weights of another name: give them with ?weights=FILE"),
    (".pt", "weights of another name: give them with ?weights=FILE"),
)


def read_config(name: str) -> tuple[dict[str, Any], str]:
    """Read a repository's configuration, and its digest."""
    config = read_json(name, CONFIG)
    if config is None:
        raise ModelError(
            f"hf:{name} has no {CONFIG}: "
            f"{kind_of(names(name)) or 'it is no network of timm or transformers'}",
            code="model.config_missing",
        )  # fmt: skip
    _check_config(name, config)
    return config, digest(config)


def read_json(name: str, file: str) -> dict[str, Any] | None:
    """Read one of a repository's JSON files; None if it has no such file."""
    place = _file(name, file)
    if place is None:
        return None
    with storage_errors(place, reading=True):
        size = place.stat().st_size
        text = place.read_bytes() if size <= MOST_BYTES else b""
    try:
        if size > MOST_BYTES:
            raise ValueError(f"{size:,} bytes")
        value = json.loads(text)
        # Text that cannot be encoded, NaN and infinity have no digest.
        digest(value)
    except (ValueError, RecursionError) as error:
        what = f"is not JSON: {str(error).splitlines()[0][:120]}"
        if text.startswith(b"version https://git-lfs"):
            what = "is a Git LFS pointer, not the file that it stands for: run git lfs pull"
        elif text.lstrip().lower().startswith((b"<!doctype", b"<html")):
            what = "is an HTML page, not the file itself: download it again"
        raise ModelError(f"{place} {what}", code="model.config_not_json") from error
    if not isinstance(value, dict):
        raise ModelError(
            f"{place}: expected a JSON object, found {type(value).__name__}",
            code="model.config_not_json",
        )
    return value


def _check_config(name: str, config: dict[str, Any]) -> None:
    """Raise ModelError for what no library is asked to build."""

    def wrong(field: str, value: object, expected: str) -> ModelError:
        return ModelError(
            f"hf:{name}: {field} in {CONFIG} is {str(value)[:60]!r}, expected {expected}",
            code="model.config_invalid", field=field, found=value,
        )  # fmt: skip

    for field in ("architecture", "model_type"):
        if config.get(field) is not None and not isinstance(config[field], str):
            raise wrong(field, config[field], "text")
    kinds = config.get("architectures")
    if kinds is not None and not (
        isinstance(kinds, list) and all(isinstance(k, str) for k in kinds)
    ):
        raise wrong("architectures", kinds, "a list of names")
    for field in ("pretrained_cfg", "model_args"):
        if config.get(field) is not None and not isinstance(config[field], dict):
            raise wrong(field, config[field], "an object")
    if config.get("quantization_config"):
        raise ModelError(
            f"hf:{name} is quantised (quantization_config): take the repository of full weights",
            code="model.quantised",
        )  # fmt: skip
    for field, value in _numbers(config):
        last = field.rpartition(".")[2]
        deep = any(word in last for word in ("layers", "depth", "blocks", "stages", "repeats"))
        most = MOST_LAYERS if deep else MOST
        counts = deep or any(word in last for word in ("size", "dim", "heads", "channels"))
        if not (0 if counts else -most) <= value <= most:
            raise wrong(field, value, f"{'0' if counts else f'-{most:,}'} to {most:,}")


def _numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """List all numbers of a configuration, with their path of names."""
    if isinstance(value, dict):
        for name, inner in value.items():
            # Numbers of tokens and labels are not sizes.
            if name not in ("id2label", "label2id", "task_specific_params"):
                yield from _numbers(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers(inner, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value


def _file(name: str, file_name: str) -> Path | None:
    if folder := folder_of(name):
        return folder / file_name if (folder / file_name).is_file() else None
    if not REPOSITORY.fullmatch(name):
        raise ModelError(
            f"hf:{name}: there is no such folder, nor is it a name as user/name",
            code="model.repository_missing",
        )
    return file(name, file_name)


def folder_of(name: str) -> Path | None:
    """Return the folder that a name is the path of; None for a name on the hub."""
    folder = Path(name).expanduser()
    return folder.resolve() if folder.is_dir() else None


def names(name: str) -> set[str]:
    """List a repository's files; those of a hub that was reached just before."""
    folder = folder_of(name)
    if folder is None:
        return _names_on_hub(name)
    with storage_errors(folder, reading=True):
        return {file.name for file in folder.iterdir()}


def weights_of(name: str) -> Weights:
    """Return the location of a repository's weights, and their digest if they are in a folder."""
    folder = folder_of(name)
    if folder is None:
        return Weights(locator=f"hf:{name}")
    file = _in_folder(folder)
    if file is None:
        return Weights(locator=f"file:{folder / WEIGHT_FILES[0]}")
    with storage_errors(file, reading=True):
        return Weights(locator=f"file:{file}", sha256=digest_of(file))


def _in_folder(folder: Path) -> Path | None:
    return next((folder / f for f in WEIGHT_FILES if (folder / f).is_file()), None)


def has_weights(name: str) -> bool:
    """Whether a repository's weights are on this machine."""
    folder = folder_of(name)
    return (_in_folder(folder) if folder else cached_weights(name)) is not None


def kind_of(files: set[str]) -> str:
    """Describe what a repository holds in place of weights that can be read; "" if unknown."""
    for part, what in OTHERS:
        if found := next((f for f in sorted(files) if part in f and not f.startswith(STATE)), None):
            return f"{found} is {what}"
    return ""


def tensor_names(name: str) -> set[str] | None:
    """Return the names of the tensors in a repository's weights; None if these cannot be looked at.

    Weights on the hub are asked for their header; where they have none (pickles) they are fetched.
    """
    folder = folder_of(name)
    place = _in_folder(folder) if folder else cached_weights(name)
    if place is None and folder is None:
        from huggingface_hub import get_safetensors_metadata

        try:
            check_reachable(name)
            return set(get_safetensors_metadata(name).weight_map)
        # Which types the hub's library raises depends on its release.
        except Exception:
            try:
                place = fetch_weights(name)
            except (OSError, ModelError):
                return None
    return _tensor_names(place) if place else None


def _tensor_names(place: Path) -> set[str] | None:
    from safetensors import SafetensorError, safe_open

    from headstart.models.checkpoint_search import list_tensors
    from headstart.models.weight_files import read_weights

    try:
        if is_index(place):
            return set(json.loads(place.read_bytes())["weight_map"])
        if place.suffix == ".safetensors":
            with utf8_name(place) as name, safe_open(name, "pt") as file:
                return set(file.keys())
        return set(list_tensors(read_weights(place)).tensors)
    # Loading them says what is wrong.
    except (HeadstartError, SafetensorError, OSError, ValueError, TypeError, KeyError):
        return None


def cached_weights(repository: str) -> Path | None:
    """Find a repository's weights among what has been downloaded: a file, or an index of shards."""
    for place in filter(None, (cached(repository, name) for name in WEIGHT_FILES)):
        names = shards(place) if is_index(place) else ()
        if all((place.parent / name).exists() for name in names):
            return place
    return None


def file(repository: str, name: str) -> Path | None:
    """Return a file of a repository, fetched if it is not here; None if the repository lacks it.

    Raises
    ------
    ModelError
        The hub cannot be reached, or has no such repository for this user.
    """
    if found := cached(repository, name):
        return found
    try:
        return download(repository, name) if name in _names_on_hub(repository) else None
    except OSError as error:
        raise ModelError(
            f"{name} of {repository} is not on this machine and cannot be had from {address()} "
            f"({reason(error)}): put the repository's files into a folder and say "
            "hf:/path/of/the/folder",
            code="model.repository_unreachable",
            repository=repository,
        ) from error


def fetch_weights(repository: str) -> Path:
    """Return a repository's weights; OSError where the hub cannot be reached.

    Raises
    ------
    WeightsMissingError
        The repository has none that can be read.
    """
    names = _names_on_hub(repository)
    for name in WEIGHT_FILES:
        if name in names:
            place = download(repository, name)
            for shard in shards(place) if is_index(place) else ():
                # At the index's commit, the name of its folder: the branch may have moved on.
                download(repository, shard, commit=place.parent.name)
            return place
    if kind := kind_of(names):
        raise WeightsMissingError(
            f"{repository} on {address()} has no weights that can be read: {kind}",
            code="weights.kind_unsupported", found=kind,
        )  # fmt: skip
    raise WeightsMissingError(
        f"{repository} on {address()} has none of {', '.join(WEIGHT_FILES)}: give a file of "
        "weights with ?weights=FILE"
    )


def _names_on_hub(repository: str) -> set[str]:
    from huggingface_hub import list_repo_files

    check_reachable(repository)
    return set(list_repo_files(repository))
