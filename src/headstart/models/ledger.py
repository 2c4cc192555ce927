"""Which file of weights was used under which name: the same name has to give the same again."""

import json
from pathlib import Path

from filelock import FileLock

from headstart.errors import WeightsError
from headstart.files import replaced, storage_errors
from headstart.models.shards import combined, digests
from headstart.spec import Model

__all__ = ["check_digest", "recorded_digest"]


def check_digest(model: Model, file: Path, cache: Path) -> str:
    """Return the SHA-256 of a file of weights, proven to be that of the catalogue or the ledger.

    A file that is in neither is written into the ledger; of an index of shards all of them.

    Raises
    ------
    WeightsError
        The file is another one than was published, or than was used before.
    """
    each = digests(file)
    found = combined(each)
    if model.weights.sha256 is not None:
        if found != model.weights.sha256:
            what, remedy = "are not the published ones", "fetch them anew"
            if model.weights.locator.startswith("file:"):
                what = f"have changed since '{model.name}' was found"
                remedy = "put the file back, or make it anew"
            raise WeightsError(
                f"weights {file} {what}: expected SHA-256 {model.weights.sha256[:12]}..., found "
                f"{found[:12]}...; {remedy}"
            )
        return found
    place = _place(cache)
    with storage_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_suffix(".lock")):
            known = _read(place)
            before = known.setdefault(model.weights.locator, found)
            if before != found:
                raise WeightsError(
                    f"weights {file} of '{model.name}' have changed since they were first used: "
                    f"expected SHA-256 {before[:12]}..., found {found[:12]}..."
                    f"{_changed(model, each, known)}; if that is meant, take "
                    f"'{model.weights.locator}' out of {place}"
                )
            known |= _of_shards(model, each)
            with replaced(place) as temporary:
                temporary.write_text(json.dumps(known, indent=1, sort_keys=True))
    return found


def recorded_digest(model: Model, cache: Path) -> str | None:
    """Return the digest that the catalogue or the ledger has of a model's weights."""
    return model.weights.sha256 or _read(_place(cache)).get(model.weights.locator)


def _of_shards(model: Model, each: dict[str, str]) -> dict[str, str]:
    """Return the ledger's entries of an index and its shards; none of a single file."""
    if len(each) == 1:
        return {}
    return {f"{model.weights.locator}/{name}": digest for name, digest in each.items()}


def _changed(model: Model, each: dict[str, str], known: dict[str, str]) -> str:
    """Name the shards that are others than before, or new."""
    now = _of_shards(model, each)
    others = [entry.rpartition("/")[2] for entry in now if known.get(entry) != now[entry]]
    return f" (another {', '.join(others)})" if others else ""


def _place(cache: Path) -> Path:
    return cache / "models" / "ledger.json"


def _read(place: Path) -> dict[str, str]:
    try:
        known = json.loads(place.read_bytes())
        if not isinstance(known, dict):
            raise ValueError(f"expected a JSON object, found {type(known).__name__}")
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise WeightsError(
            f"ledger of weights {place} is damaged ({error}): remove it",
            code="weights.ledger",
            file=str(place),
        ) from error
    return known
