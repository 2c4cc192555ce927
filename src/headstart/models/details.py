"""Details of a network before it is built: for display, and to estimate cost."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.context import default_cache
from headstart.files import replaced, storage_errors
from headstart.models import weights
from headstart.models.model_catalogue import catalogue
from headstart.models.model_source import Head, source_of
from headstart.models.weight_formats import n_bytes
from headstart.spec import Model, Weights, digest

if TYPE_CHECKING:
    import torch

__all__ = ["licence_of", "model_details", "multiply_adds", "remarks"]

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


def licence_of(model: Model) -> str | None:
    """Return the licence of a model's published weights as timm names it; None if unknown."""
    if model.source not in ("timm", "embedded"):
        return None
    scheme = model.weights.locator.partition(":")[0]
    if scheme not in ("hf", "https", "package"):
        # The user's own weights, or random ones.
        return None
    import timm

    tag = model.tags.get("weights_tag")
    known = timm.get_pretrained_cfg(f"{model.architecture}.{tag}" if tag else model.architecture)
    return getattr(known, "license", None) or None


def model_details(model: Model) -> dict[str, Any]:
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
    cache = default_cache()
    present, place = weights.presence(model, cache)
    file = weights.locate(model, cache) if model.weights.random_seed is None else None
    return {
        **model.model_dump(mode="json"),
        "digest": weights.recorded_digest(model, cache),
        "present": present,
        "place": place,
        "origin": weights.origin(model),
        "weights_bytes": n_bytes(file) if file else None,
        "feature_bytes_per_1000_images": FLOAT32_BYTES * model.feature_dim * IMAGES,
    }


def remarks(model: Model) -> list[str]:
    """Return one line for each assumption about a network; most need none."""
    return [
        f"'{model.name}': {text.format(model.tags[tag])}"
        for tag, text in REMARKS.items()
        if model.tags.get(tag)
    ]


# Raised when the same network is counted otherwise.
IMPLEMENTATION = 1

FOLDER = "arithmetic"


def multiply_adds(model: Model, cache: Path) -> int | None:
    """Return the multiply-adds of a forward pass, from an image to its feature.

    They are those of the catalogue where the network takes images of the size that the catalogue
    counts. Else torch counts them (`torch.utils.flop_counter`: convolutions, matrix products and
    attention) on shapes alone, and the count is kept in the cache.

    Parameters
    ----------
    model
        Any network; its weights do not count.
    cache
        Where counts are kept.

    Returns
    -------
    int or None
        None where the network cannot be built or run here: its arithmetic is unknown.
    """
    for usual in catalogue().values():
        same = (usual.source, usual.architecture) == (model.source, model.architecture)
        if same and usual.multiply_adds and usual.input_size == model.input_size:
            return usual.multiply_adds
    request = {"model": model.untrained_identity, "head": model.head, "pool": model.pool}
    request |= {"version": source_of(model.source).version(), "tags": model.tags}
    key = digest({**request, "implementation": IMPLEMENTATION})
    place = cache / "models" / FOLDER / f"{key}.json"
    try:
        known = json.loads(place.read_bytes())
    except (FileNotFoundError, ValueError):
        known = _counted(model)
        with storage_errors(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            with replaced(place) as temporary:
                temporary.write_text(json.dumps(known))
    return int(known) if known else None


def _counted(model: Model) -> int | None:
    """Count on the meta device: nothing is computed, and weights are not even drawn."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    image = torch.zeros(1, 3, model.input_size, model.input_size, device="meta")
    try:
        run = _backbone(model)
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            run(image)
    # Whatever a library's network may raise on shapes alone: the estimate goes without.
    except Exception:
        return None
    # torch counts a multiplication and an addition as two.
    return counter.get_total_flops() // 2 or None


def _backbone(model: Model) -> "Callable[[torch.Tensor], Any]":
    """Build a network without its classifier, if that is a layer of its own, on the meta device."""
    import torch

    from headstart.models.network import Network

    source = source_of(model.source)
    random = model.model_copy(update={"weights": Weights(locator="random:0")})
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                module = source.build(random)
        # Some libraries need a number while they build.
        except Exception:
            module = source.build(random)
    module = module.to("meta").eval()
    head = Head.at(model.head) if model.head else source.head(module, model.input_size)
    return Network(module, head).eval().penultimate
