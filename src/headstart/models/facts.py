"""What is known of a network that is not built: its facts, its arithmetic, and what a run takes.

What libraries report and what is counted is kept in the cache, as are accuracies measured here.
"""

import json
import tomllib
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from headstart.context import default_cache
from headstart.errors import StorageError
from headstart.files import locked, replaced, writable_folder
from headstart.models import weights
from headstart.models.model_source import ModelSource, counted, source_of
from headstart.models.weight_formats import n_bytes
from headstart.spec import Model, UpstreamAccuracy, Weights, digest

if TYPE_CHECKING:
    import torch

__all__ = [
    "catalogue",
    "describe",
    "licence_of",
    "model_details",
    "multiply_adds",
    "record_upstream",
    "recounted",
    "remarks",
    "with_measured",
]

# Raised when a library's networks are described otherwise: 2 with classifiers of other forms.
# 3: a function's network is counted by `recounted` alone. 4: timm's weights have their accuracy.
# 5: classifiers of functions whose output is scaled, or averaged over tokens, are found.
IMPLEMENTATION = 5
# Raised when the arithmetic of the same network is counted otherwise.
ARITHMETIC_IMPLEMENTATION = 1
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


@cache
def catalogue() -> dict[str, Model]:
    """Read all networks by name: those of the study, and those whose weights are packages."""
    text = files("headstart.models").joinpath("catalogue.toml").read_text(encoding="utf-8")
    return {name: Model(name=name, **fields) for name, fields in tomllib.loads(text).items()}


def describe(source: ModelSource, path: str, cache: Path) -> Model:
    """Return the facts of a network, from the cache where the library has not changed since."""
    request = {"source": source.name, "version": source.revision(path), "model": path}
    return _cached(request, lambda: source.describe(path), cache)


def recounted(source: ModelSource, model: Model, usual_size: int, cache: Path) -> Model:
    """Return a network with its width and size counted as its chosen head and input have them.

    Its tag ``resampled`` says which of its weights are, where its input is not of the usual size.

    Raises
    ------
    ModelError
        It cannot be built so, or does not take images of that size (code ``model.forward``).
    """
    request = {
        "source": source.name,
        "version": source.version(),
        "model": model.untrained_identity,
        "head": model.head,
        "pool": model.pool,
        "usual": usual_size,
        # A function's file is named in its tags.
        "tags": model.tags,
        "trained": model.weights.random_seed is None,
    }

    def ask() -> Model:
        import torch

        from headstart.models.proof import forward

        with torch.random.fork_rng(devices=[]):
            module = source.build(model)
        # It has to take images of that size.
        forward(module, model.input_size, model.name)
        counts = counted(module, source.head_of(module, model))
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


def _cached(request: dict[str, Any], ask: Callable[[], Model], cache: Path) -> Model:
    """Read the answer to an earlier request, or ask the library and keep its answer."""
    key = digest({**request, "implementation": IMPLEMENTATION})
    place = cache / "models" / "facts" / f"{key}.json"
    try:
        return Model.model_validate_json(place.read_bytes())
    except (FileNotFoundError, ValidationError):
        # Absent, or of another release of headstart.
        model = ask()
    _write(place, model.model_dump(mode="json"))
    return model


def _write(place: Path, content: Any) -> None:
    writable_folder(place.parent)
    with replaced(place) as temporary:
        temporary.write_text(json.dumps(content, indent=1))


def record_upstream(model: Model, value: float, n: int, cache: Path) -> None:
    """Keep that a network classified this proportion of `n` upstream images rightly.

    The last of several measurements counts.

    Raises
    ------
    StorageError
        The file cannot be written, or is damaged.
    """
    place = _place(cache)
    with locked(place.with_suffix(".lock"), lambda: None):
        known = _read(place)
        known[digest(model.identity)] = {"value": value, "n": n, "model": model.name}
        _write(place, dict(sorted(known.items())))


def with_measured(model: Model, cache: Path) -> Model:
    """Put what was measured of exactly this network before what is published of it."""
    found = _read(_place(cache)).get(digest(model.identity))
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

    Nothing is built, and no library imported.

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


def multiply_adds(model: Model, cache: Path) -> int | None:
    """Return the multiply-adds of a forward pass, from an image to its feature.

    They are those of the catalogue where the network takes images of the size that the catalogue
    counts. Else torch counts them (`torch.utils.flop_counter`: convolutions, matrix products and
    attention) on shapes alone, and the count is kept in the cache. It is None where the network
    cannot be built or run here.
    """
    for usual in catalogue().values():
        same = (usual.source, usual.architecture) == (model.source, model.architecture)
        if same and usual.multiply_adds and usual.input_size == model.input_size:
            return usual.multiply_adds
    request = {
        "model": model.untrained_identity,
        "head": model.head,
        "pool": model.pool,
        "version": source_of(model.source).version(),
        "tags": model.tags,
    }
    key = digest({**request, "implementation": ARITHMETIC_IMPLEMENTATION})
    place = cache / "models" / "arithmetic" / f"{key}.json"
    try:
        known = json.loads(place.read_bytes())
    except (FileNotFoundError, ValueError):
        known = _arithmetic(model)
        _write(place, known)
    return int(known) if known else None


def _arithmetic(model: Model) -> int | None:
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
    return Network(module, source.head_of(module, model)).eval().penultimate
