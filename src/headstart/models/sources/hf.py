"""Repositories of the Hugging Face hub, or folders laid out as one: ``hf:user/name``.

What such a repository says is data, never code: ``trust_remote_code`` is not offered.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.errors import ModelError, UnknownNameError
from headstart.files import storage_errors
from headstart.hub import REPOSITORY
from headstart.models import hub
from headstart.models.heads import Head
from headstart.models.shards import digest_of
from headstart.models.sources.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Source,
    counted,
    installed,
    last_layer,
)
from headstart.models.sources.timm import Timm
from headstart.models.sources.timm_heads import with_classifier
from headstart.spec import Model, Weights, digest

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["HuggingFace"]

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
CLASSIFIER = "classifier"
# Pillow's number for bilinear; transformers' default is bicubic or this, by model.
BILINEAR = 2
SHOWN = 12


class HuggingFace(Source):
    """Networks of timm, and image classifiers and backbones of transformers."""

    name = "hf"
    extra = "hf"
    pools = True

    def describe(self, name: str) -> Model:
        import torch

        config, config_digest = _config(name)
        with torch.device("meta"):
            module = _build(name, config, None)
        return Model(
            name=f"{self.name}:{name}",
            source=self.name,
            # A network is told from another one by its configuration, wherever that lies.
            architecture=f"{_kind(config)}@{config_digest[:SHOWN]}",
            weights=_weights(name),
            **_preprocessing(config, _said(name, config)),
            **counted(module, self.head(module)),
            tags={"repository": str(_folder(name) or name)},
        )

    def build(self, model: Model) -> "nn.Module":
        name = model.tags["repository"]
        config, config_digest = _config(name)
        if not model.architecture.endswith(f"@{config_digest[:SHOWN]}"):
            raise ModelError(f"{CONFIG} of hf:{name} has changed since it was described: run again")
        module: nn.Module = _build(name, config, model.pool)
        return module

    def head(self, module: "nn.Module", size: int | None = None) -> Head:  # noqa: ARG002
        if _is_timm(module):
            return Timm().head(module)
        return last_layer(module, (CLASSIFIER,))

    def translate(
        self, state: "Mapping[str, torch.Tensor]", module: "nn.Module"
    ) -> "dict[str, torch.Tensor]":
        if _is_timm(module):
            return Timm().translate(state, module)
        from headstart.models.pooled import Pooled

        if isinstance(module, Pooled):
            return {f"model.{name}": t for name, t in _renamed(state, module.model).items()}
        return _renamed(state, module)

    def revision(self, name: str) -> str:
        libraries = [version(package) for package in ("timm", "transformers") if installed(package)]
        config, _ = _config(name)
        said = [config, _said(name, config), _weights(name).model_dump()]
        return digest({"libraries": libraries, "said": said})


def _config(name: str) -> tuple[dict[str, Any], str]:
    """Read a repository's configuration, and its digest."""
    config = _json(name, CONFIG)
    if config is None:
        raise ModelError(f"hf:{name} has no {CONFIG}: it is no network of timm or transformers")
    return config, digest(config)


def _said(name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Read what transformers says of the input; timm says it in the configuration itself."""
    return {} if "architecture" in config else _json(name, PREPROCESSOR) or {}


def _json(name: str, file: str) -> dict[str, Any] | None:
    """Read one of a repository's JSON files; None if it has no such file."""
    place = _file(name, file)
    if place is None:
        return None
    with storage_errors(place, reading=True):
        text = place.read_bytes()
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ModelError(f"{place} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{place}: expected a JSON object, found {type(value).__name__}")
    return value


def _file(name: str, file: str) -> Path | None:
    if folder := _folder(name):
        return folder / file if (folder / file).is_file() else None
    if not REPOSITORY.fullmatch(name):
        raise ModelError(f"hf:{name}: there is no such folder, nor is it a name as user/name")
    return hub.file(name, file)


def _folder(name: str) -> Path | None:
    folder = Path(name).expanduser()
    return folder.resolve() if folder.is_dir() else None


def _weights(name: str) -> Weights:
    folder = _folder(name)
    if folder is None:
        return Weights(locator=f"hf:{name}")
    for file in hub.WEIGHT_FILES:
        if (folder / file).is_file():
            with storage_errors(folder / file, reading=True):
                return Weights(locator=f"file:{folder / file}", sha256=digest_of(folder / file))
    return Weights(locator=f"file:{folder / hub.WEIGHT_FILES[0]}")


def _kind(config: dict[str, Any]) -> str:
    """Name the architecture as its library does."""
    architectures = config.get("architectures") or [config.get("model_type", "unknown")]
    return str(config.get("architecture") or architectures[0])


def _build(name: str, config: dict[str, Any], pool: Any) -> Any:
    if "architecture" in config:
        import timm

        if not timm.is_model(config["architecture"]):
            raise UnknownNameError("timm model", config["architecture"], timm.list_models())
        classes = config.get("num_classes") or config.get("pretrained_cfg", {}).get("num_classes")
        options = {"num_classes": classes or 1000, **config.get("model_args", {})}
        module = timm.create_model(config["architecture"], pretrained=False, **options)
        return Timm.pooled(with_classifier(module), pool)
    if not installed("transformers"):
        raise ModelError(f"hf:{name} needs the package transformers: pip install 'headstart[hf]'")
    try:
        return _of_transformers(name, config, pool)
    # What its configurations raise where they do not fit is not one type.
    except (ValueError, KeyError, TypeError, AttributeError, OSError, ImportError) as error:
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise ModelError(f"hf:{name} is no image network of transformers: {reason}") from error


def _of_transformers(name: str, config: dict[str, Any], pool: Any) -> Any:
    from transformers import AutoConfig, AutoModel, AutoModelForImageClassification

    from headstart.models.pooled import Pooled

    place = _file(name, CONFIG)
    assert place is not None  # noqa: S101 - `_config` has read it
    read = AutoConfig.from_pretrained(place.parent, local_files_only=True, trust_remote_code=False)
    if "ForImageClassification" in _kind(config):
        if pool is not None:
            raise ModelError(f"hf:{name} is a classifier that pools its own way: leave ?pool= out")
        return AutoModelForImageClassification.from_config(read, trust_remote_code=False).float()
    model = AutoModel.from_config(read, trust_remote_code=False).float()
    if model.main_input_name != "pixel_values":
        raise ModelError(f"hf:{name} takes {model.main_input_name}, not images alone")
    return Pooled(model, pool, read.num_labels)


def _is_timm(module: "nn.Module") -> bool:
    return hasattr(module, "get_classifier")


def _renamed(state: "Mapping[str, torch.Tensor]", module: Any) -> "dict[str, torch.Tensor]":
    """Bring published weights under today's names by transformers' own loading.

    What it finds missing stays missing, what has another shape keeps it, so that `load_state`
    judges; what belongs to another head than this network has is left out.
    """
    import torch

    with _quiet():
        loaded, info = type(module).from_pretrained(
            None,
            config=module.config,
            state_dict=dict(state),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    own, lost = module.state_dict(), set(info["missing_keys"])
    names = [name for name in loaded.state_dict() if name in own and name not in lost]
    if not names:
        return dict(state)
    found = {name: loaded.state_dict()[name] for name in names}
    return found | {name: torch.zeros(shape) for name, shape, *_ in info["mismatched_keys"]}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from telling at length what `load_state` says in one line."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def _preprocessing(config: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """Read how the weights want their images: timm's own words, or transformers'."""
    if "architecture" in config:
        said = config.get("pretrained_cfg", config)
        size, mean, std = (said.get("input_size") or (3, 224, 224))[-1], "mean", "std"
        bilinear = said.get("interpolation") == "bilinear"
    else:
        size = _size(said.get("crop_size") or said.get("size") or config.get("image_size") or 224)
        mean, std = "image_mean", "image_std"
        bilinear = said.get("resample", BILINEAR) == BILINEAR
        if said.get("do_normalize") is False:
            said = {mean: (0, 0, 0), std: (1, 1, 1)}
    return {
        "input_size": size,
        "interpolation": "bilinear" if bilinear else "bicubic",
        "mean": tuple(said.get(mean) or IMAGENET_MEAN),
        "std": tuple(said.get(std) or IMAGENET_STD),
    }


def _size(said: Any) -> int:
    """Read the side of the input: a number, or a table that names its sides."""
    if isinstance(said, dict):
        return int(said.get("height") or said.get("shortest_edge") or 224)
    return int(said[0] if isinstance(said, list | tuple) else said)
