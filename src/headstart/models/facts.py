"""What a library says of its networks, kept by its version: asking it again takes no import."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from headstart.files import replaced, storage_errors
from headstart.models.sources import Source
from headstart.spec import Model, digest

__all__ = ["describe", "recounted"]

# Raised when a library's networks are described otherwise: 2 with classifiers of other forms.
# 3: a function's network is counted by `recounted` alone. 4: timm's weights have their accuracy.
# 5: classifiers of functions whose output is scaled, or averaged over tokens, are found.
IMPLEMENTATION = 5


def describe(source: Source, path: str, cache: Path) -> Model:
    """Return the facts of a network, from the cache where the library has not changed since."""
    said = {"source": source.name, "version": source.revision(path), "model": path}
    return _kept(said, lambda: source.describe(path), cache)


def recounted(source: Source, model: Model, usual_size: int, cache: Path) -> Model:
    """Return a network with its width and size counted as its chosen head and input have them.

    Its tag ``resampled`` says which of its weights are, where its input is not of the usual size.
    """
    said: dict[str, Any] = {"source": source.name, "version": source.version()}
    said |= {"model": model.untrained_identity}
    said |= {"head": model.head, "pool": model.pool, "usual": usual_size}
    # A function's file is named in its tags.
    said |= {"tags": model.tags, "trained": model.weights.random_seed is None}

    def ask() -> Model:
        counts = source.recount(model)
        if model.input_size == usual_size:
            return model.model_copy(update=counts)
        usual = model.model_copy(update={"input_size": usual_size})
        others = source.resampled(model, usual) if model.weights.random_seed is None else []
        tags = {
            "resampled": f"{', '.join(others)}: for {model.input_size} pixels, not {usual_size}"
        }
        return model.model_copy(update={**counts, "tags": model.tags | (tags if others else {})})

    kept = _kept(said, ask, cache)
    return model.model_copy(
        update={name: getattr(kept, name) for name in ("feature_dim", "parameters", "tags")}
    )


def _kept(said: dict[str, Any], ask: Callable[[], Model], cache: Path) -> Model:
    """Read what a library said before when it was asked the same, or ask it and keep the answer."""
    key = digest({**said, "implementation": IMPLEMENTATION})
    place = cache / "models" / "facts" / f"{key}.json"
    try:
        return Model.model_validate_json(place.read_bytes())
    except (FileNotFoundError, ValidationError):
        # Absent, or of another release of headstart: asked anew.
        model = ask()
    with storage_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        with replaced(place) as temporary:
            temporary.write_text(json.dumps(model.model_dump(mode="json"), indent=1))
    return model
