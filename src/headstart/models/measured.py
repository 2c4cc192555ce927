"""Upstream accuracies that were measured on this machine, by what the network is."""

import json
from pathlib import Path
from typing import Any

from filelock import FileLock

from headstart.errors import StorageError
from headstart.files import replaced, storage_errors
from headstart.spec import Model, UpstreamAccuracy, digest

__all__ = ["record", "with_measured"]


def record(model: Model, value: float, n: int, cache: Path) -> None:
    """Keep that a network classified this proportion of `n` upstream images rightly.

    Of several measurements the last one counts.

    Raises
    ------
    StorageError
        The file cannot be written, or is damaged.
    """
    place = _place(cache)
    with storage_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_suffix(".lock")):
            known = _read(place)
            known[digest(model.identity)] = {"value": value, "n": n, "model": model.name}
            with replaced(place) as temporary:
                temporary.write_text(json.dumps(known, indent=1, sort_keys=True))


def with_measured(model: Model, cache: Path) -> Model:
    """Put what was measured of exactly this network before what is published of it."""
    known = _read(_place(cache))
    found = known.get(digest(model.identity)) if known else None
    if found is None:
        return model
    source = f"measured by headstart upstream on {found['n']:,} images"
    accuracy = UpstreamAccuracy(value=found["value"], n=found["n"], source=source)
    return model.model_copy(update={"upstream": (accuracy, *model.upstream)})


def _place(cache: Path) -> Path:
    return cache / "models" / "upstream.json"


def _read(place: Path) -> dict[str, dict[str, Any]]:
    try:
        known = json.loads(place.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise StorageError(
            f"measured accuracies {place} are damaged ({error}): remove that file"
        ) from error
    return dict(known)
