"""All that is known of a network before it is built, for a person who may want to measure it."""

from pathlib import Path
from typing import Any

from headstart.context import default_cache
from headstart.models import ledger, places
from headstart.models.shards import n_bytes
from headstart.spec import Model

__all__ = ["backbone_remark", "card", "presence", "remarks"]

# Tags that a run repeats: what was understood of a network that another reading would change.
REMARKS = {
    "current_name": "an old name of {}",
    "feature": "the feature is its {}",
    "switched_off": "switched off {}, which is random",
    "channels": "takes its channels as {}",
    "interpolated": "its position embeddings are resampled from {} (preprocessor_config.json)",
    "resampled": "resampled to its input size: {}",
    "assumed": "{}",
}
FLOAT32_BYTES = 4
IMAGES = 1_000


def presence(model: Model, cache: Path | None = None) -> tuple[bool, str]:
    """Return whether the weights are on this machine, and where they are or come from."""
    if model.weights.random_seed is not None:
        return True, "random weights"
    place = places.locate(model, cache or default_cache())
    return (True, str(place)) if place else (False, places.remedy(model))


def card(model: Model, cache: Path | None = None) -> dict[str, Any]:
    """Return the facts of a network, where its weights are, and what a run takes.

    Parameters
    ----------
    model
        Nothing of it is built, and its library is not imported.

    Returns
    -------
    dict
        The fields of the model, then ``digest`` (SHA-256 of its weights, None before their first
        use), ``present``, ``place``, ``origin``, ``weights_bytes`` (None where they are not here)
        and ``feature_bytes_per_1000_images``.
    """
    cache = cache or default_cache()
    present, place = presence(model, cache)
    file = places.locate(model, cache) if model.weights.random_seed is None else None
    return {
        **model.model_dump(mode="json"),
        "digest": ledger.recorded_digest(model, cache),
        "present": present,
        "place": place,
        "origin": places.origin(model),
        "weights_bytes": n_bytes(file) if file else None,
        "feature_bytes_per_1000_images": FLOAT32_BYTES * model.feature_dim * IMAGES,
    }


def remarks(model: Model) -> list[str]:
    """State in a line each what was understood or assumed of a network; most need none."""
    return [
        f"'{model.name}': {text.format(model.tags[tag])}"
        for tag, text in REMARKS.items()
        if model.tags.get(tag)
    ]


def backbone_remark(model: Model, width: int) -> str:
    """Return the line on a function's network whose output is taken for the feature."""
    return (
        f"{model.name}: no layer's output is the network's: the feature is the output itself "
        f"({width} values); if these are logits, name the layer with ?head=PATH"
    )
