"""Weights in several files: an index that says which tensor is in which file beside it.

Hubs divide large networks so: ``model.safetensors.index.json`` holds ``{"weight_map": {"TENSOR":
"model-00001-of-00002.safetensors", ...}}``; ``pytorch_model.bin.index.json`` names pickles.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.errors import WeightsError, WeightsMissingError
from headstart.files import sha256_file, storage_errors

if TYPE_CHECKING:
    import torch

__all__ = [
    "INDEX",
    "INDEX_END",
    "combined",
    "digest_of",
    "digests",
    "is_index",
    "n_bytes",
    "read_safetensors",
    "read_shards",
    "shard_of",
    "shards",
]

SHARDS = (".safetensors", ".bin", ".pth", ".pt")
INDEX_END = ".index.json"
INDEX = f".safetensors{INDEX_END}"
NUMBERED = re.compile(r"(.+)-\d{5}-of-(\d{5})(\.\w+)$")
SHOWN = 4


def is_index(file: Path) -> bool:
    """Whether a file of weights is, by its name, the index of several."""
    return file.name.endswith(INDEX_END)


def shard_of(file: Path) -> str | None:
    """Return the name of the index that a file is a shard of by its own name, None if of none."""
    found = NUMBERED.fullmatch(file.name)
    return f"{found[1]}{found[3]}{INDEX_END}" if found else None


def shards(index: Path) -> tuple[str, ...]:
    """Return the names of the files that an index is of, sorted; WeightsError if it is no index."""
    return tuple(sorted(set(_weight_map(index).values())))


def digests(file: Path) -> dict[str, str]:
    """Return the SHA-256 of a file of weights by its name; of an index, and of each of its shards.

    Raises
    ------
    WeightsMissingError
        A shard is not beside its index.
    """
    names = shards(file) if is_index(file) else ()
    return {place.name: sha256_file(place) for place in (file, *_beside(file, names))}


def digest_of(file: Path) -> str:
    """Return one SHA-256 of the weights: of shards that of sha256sum's list of them."""
    return combined(digests(file))


def combined(found: Mapping[str, str]) -> str:
    """Make one SHA-256 of those that `digests` gave."""
    if len(found) == 1:
        return next(iter(found.values()))
    listed = "".join(f"{digest}  {name}\n" for name, digest in sorted(found.items()))
    return hashlib.sha256(listed.encode()).hexdigest()


def n_bytes(file: Path) -> int:
    """Size of a file of weights, or of all shards of an index."""
    names = shards(file) if is_index(file) else ()
    return sum(place.stat().st_size for place in _beside(file, names) or [file])


def read_shards(index: Path, read: Callable[[Path], Any]) -> "dict[str, torch.Tensor]":
    """Read all tensors that an index names, each from its shard.

    Parameters
    ----------
    read
        File -> a mapping of names to tensors.

    Raises
    ------
    WeightsError
        A shard does not hold exactly what the index says.
    WeightsMissingError
        A shard is not there.
    """
    weight_map = _weight_map(index)
    state: dict[str, torch.Tensor] = {}
    for shard in _beside(index, shards(index)):
        held = read(shard)
        if not isinstance(held, Mapping):
            raise WeightsError(
                f"{shard} holds a {type(held).__name__}: expected tensors by name",
                code="weights.damaged",
                file=str(shard),
            )
        wrong = held.keys() ^ {name for name, of in weight_map.items() if of == shard.name}
        if wrong:
            shown = ", ".join(sorted(wrong)[:SHOWN])
            raise WeightsError(
                f"{shard} does not hold the tensors that {index.name} says it does: {len(wrong)} "
                f"are in one of them alone ({shown}): fetch both anew",
                code="weights.damaged",
                file=str(shard),
            )
        state |= held
    return state


def read_safetensors(file: Path) -> "dict[str, torch.Tensor]":
    """Read one file of tensors; WeightsError if it is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except SafetensorError as error:
        raise WeightsError(
            f"{file} is a truncated or damaged safetensors file ({file.stat().st_size:,} bytes): "
            "download or copy it again",
            code="weights.damaged",
            file=str(file),
        ) from error


def _weight_map(index: Path) -> dict[str, str]:
    with storage_errors(index, reading=True):
        content = index.read_bytes()
    try:
        said = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise WeightsError(
            f"{index} is not JSON ({error}): expected an index of weights in several files",
            code="weights.index",
            file=str(index),
        ) from error
    found = said.get("weight_map") if isinstance(said, Mapping) else None
    if not isinstance(found, Mapping) or not found:
        raise WeightsError(
            f"{index} is no index of shards: expected 'weight_map', names of tensors and the file "
            "that holds each",
            code="weights.index",
            file=str(index),
        )
    for shard in found.values():
        # Nothing outside its folder.
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(SHARDS):
            raise WeightsError(
                f"{index} names a shard {shard!r}: expected a file in the same folder that ends "
                f"with {' or '.join(SHARDS)}",
                code="weights.index",
                file=str(index),
                shard=str(shard),
            )
    return dict(found)


def _beside(index: Path, names: tuple[str, ...]) -> list[Path]:
    places = [index.parent / name for name in names]
    missing = [place.name for place in places if not place.is_file()]
    if missing:
        raise WeightsMissingError(
            f"{len(missing)} of {len(names)} shards of {index} are not beside it "
            f"({', '.join(missing[:SHOWN])}): fetch them into that folder"
        )
    return places
