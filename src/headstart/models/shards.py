"""Weights in several files: an index that says which tensor is in which safetensors file beside it.

Hubs divide large networks so: ``model.safetensors.index.json`` holds ``{"weight_map": {"TENSOR":
"model-00001-of-00002.safetensors", ...}}``.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.errors import WeightsError, WeightsMissingError
from headstart.files import sha256_file, storage_errors

if TYPE_CHECKING:
    import torch

__all__ = [
    "INDEX",
    "combined",
    "digest_of",
    "digests",
    "is_index",
    "n_bytes",
    "read_safetensors",
    "read_shards",
    "shards",
]

SHARD = ".safetensors"
INDEX = f"{SHARD}.index.json"
SHOWN = 4


def is_index(file: Path) -> bool:
    """Whether a file of weights is, by its name, the index of several."""
    return file.name.endswith(INDEX)


def shards(index: Path) -> tuple[str, ...]:
    """Give the names of the files that an index is of, sorted; WeightsError if it is no index."""
    return tuple(sorted(set(_weight_map(index).values())))


def digests(file: Path) -> dict[str, str]:
    """Give the SHA-256 of a file of weights by its name; of an index, and of each of its shards.

    Raises
    ------
    WeightsMissingError
        A shard is not beside its index.
    """
    names = shards(file) if is_index(file) else ()
    return {place.name: sha256_file(place) for place in (file, *_beside(file, names))}


def digest_of(file: Path) -> str:
    """Give one SHA-256 of the weights: of shards that of sha256sum's list of them."""
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


def read_shards(index: Path) -> "dict[str, torch.Tensor]":
    """Read all tensors that an index names, each from its shard.

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
        held = read_safetensors(shard)
        wrong = held.keys() ^ {name for name, of in weight_map.items() if of == shard.name}
        if wrong:
            shown = ", ".join(sorted(wrong)[:SHOWN])
            raise WeightsError(
                f"{shard} does not hold the tensors that {index.name} says it does: {len(wrong)} "
                f"are in one of them alone ({shown}): fetch both anew"
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
        raise WeightsError(f"{file} is no safetensors file: {error}") from error


def _weight_map(index: Path) -> dict[str, str]:
    with storage_errors(index, reading=True):
        content = index.read_bytes()
    try:
        said = json.loads(content)
    except ValueError as error:
        raise WeightsError(f"{index} is not JSON: {error}") from error
    found = said.get("weight_map") if isinstance(said, Mapping) else None
    if not isinstance(found, Mapping) or not found:
        raise WeightsError(
            f"{index} is no index of shards: expected 'weight_map', names of tensors and the file "
            "that holds each"
        )
    for shard in found.values():
        # Nothing outside its folder, and no pickle.
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(SHARD):
            raise WeightsError(
                f"{index} names a shard {shard!r}: expected a {SHARD} file in the same folder"
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
