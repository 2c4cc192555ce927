"""Cached facts about networks: what libraries report, and accuracies measured here."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from headstart.errors import StorageError
from headstart.files import locked, replaced, storage_errors
from headstart.models.model_source import Head, ModelSource, counted
from headstart.spec import Model, UpstreamAccuracy, digest

__all__ = ["describe", "record_upstream", "recounted", "with_measured"]

# Raised when a library's networks are described otherwise: 2 with classifiers of other forms.
# 3: a function's network is counted by `recounted` alone. 4: timm's weights have their accuracy.
# 5: classifiers of functions whose output is scaled, or averaged over tokens, are found.
IMPLEMENTATION = 5


def describe(source: ModelSource, path: str, cache: Path) -> Model:
    """Return the facts of a network, from the cache where the library has not changed since."""
    request = {"source": source.name, "version": source.revision(path), "model": path}
    return _cached(request, lambda: source.describe(path), cache)


def recounted(source: ModelSource, model: Model, usual_size: int, cache: Path) -> Model:
    """Return a network with its width and size counted as its chosen head and input have them.

    Its tag ``resampled`` says which of its weights are, where its input is not of the usual size.
    """
    request: dict[str, Any] = {"source": source.name, "version": source.version()}
    request |= {"model": model.untrained_identity}
    request |= {"head": model.head, "pool": model.pool, "usual": usual_size}
    # A function's file is named in its tags.
    request |= {"tags": model.tags, "trained": model.weights.random_seed is None}

    def ask() -> Model:
        counts = _counts(source, model)
        if model.input_size == usual_size:
            return model.model_copy(update=counts)
        usual = model.model_copy(update={"input_size": usual_size})
        others = source.resampled(model, usual) if model.weights.random_seed is None else []
        tags = {
            "resampled": f"{', '.join(others)}: for {model.input_size} pixels, not {usual_size}"
        }
        return model.model_copy(update={**counts, "tags": model.tags | (tags if others else {})})

    kept = _cached(request, ask, cache)
    return model.model_copy(
        update={name: getattr(kept, name) for name in ("feature_dim", "parameters", "tags")}
    )


def _counts(source: ModelSource, model: Model) -> dict[str, Any]:
    """Return `feature_dim` and `parameters` of a network whose head or input size was chosen.

    Raises
    ------
    ModelError
        It cannot be built so, or does not take images of that size (code ``model.forward``).
    """
    import torch

    from headstart.models.proof import forward

    with torch.random.fork_rng(devices=[]):
        module = source.build(model)
    forward(module, model.input_size, model.name)
    head = Head.at(model.head) if model.head else source.head(module, model.input_size)
    return counted(module, head)


def _cached(request: dict[str, Any], ask: Callable[[], Model], cache: Path) -> Model:
    """Read the answer to an earlier request, or ask the library and keep its answer."""
    key = digest({**request, "implementation": IMPLEMENTATION})
    place = cache / "models" / "facts" / f"{key}.json"
    try:
        return Model.model_validate_json(place.read_bytes())
    except (FileNotFoundError, ValidationError):
        # Absent, or of another release of headstart.
        model = ask()
    with storage_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        with replaced(place) as temporary:
            temporary.write_text(json.dumps(model.model_dump(mode="json"), indent=1))
    return model


def record_upstream(model: Model, value: float, n: int, cache: Path) -> None:
    """Keep that a network classified this proportion of `n` upstream images rightly.

    The last of several measurements counts.

    Raises
    ------
    StorageError
        The file cannot be written, or is damaged.
    """
    place = _place(cache)
    with storage_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        with locked(place.with_suffix(".lock"), lambda: None):
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
            f"measured accuracies {place} are damaged ({error}): remove that file",
            code="upstream.damaged",
            file=str(place),
        ) from error
    return dict(known)
