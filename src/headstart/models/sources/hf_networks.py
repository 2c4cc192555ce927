"""Repositories of the Hugging Face hub, or folders laid out as one: ``hf:user/name``.

What such a repository says is data, never code: ``trust_remote_code`` is not offered.
"""

import inspect
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from headstart.errors import HeadstartError, ModelError, UnknownNameError
from headstart.models.model_source import Head, ModelSource, Part, counted, installed, last_layer
from headstart.models.sources import hf_preprocessing, hf_repository
from headstart.models.sources.hf_preprocessing import PROCESSOR, Preprocessing
from headstart.models.sources.hf_repository import CONFIG
from headstart.models.sources.timm_networks import Timm, create, with_classifier
from headstart.spec import Model, digest

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["HuggingFace"]

WRAPPED = "processor_config.json"
# What transformers calls the last layers of its image classifiers.
CLASSIFIERS = ("classifier", "fc", "head")
# Those of several layers, whose logits are averaged.
AVERAGED = {
    "DeiTForImageClassificationWithTeacher": (
        Part("cls_classifier"), Part("distillation_classifier", takes=1),
    ),
    "LevitForImageClassificationWithTeacher": (
        Part("classifier.linear", "classifier.batch_norm"),
        Part("classifier_distill.linear", "classifier_distill.batch_norm"),
    ),
    "SwiftFormerForImageClassification": (Part("head"), Part("dist_head")),
}  # fmt: skip
# Classifiers whose logits are called otherwise.
UNNAMED = ("PPLCNetForImageClassification",)
LOSS = "ForImageClassification"
SHOWN = 12
# How timm's networks begin inside transformers' wrapper of them.
OF_WRAPPER = "timm_model."
# The number of a layer in a stack.
NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
# Options of timm that read files or change what comes out, not the architecture.
NOT_OF_A_FILE = frozenset(
    ("pretrained", "checkpoint_path", "cache_dir", "features_only", "pretrained_cfg_overlay",
     "scriptable", "exportable", "no_jit")
)  # fmt: skip
FLOAT32_BYTES = 4
# A revision of how repositories are read: facts that were kept by an earlier one are read again.
READING = 2


class HuggingFace(ModelSource):
    """Networks of timm, and image classifiers and backbones of transformers."""

    name = "hf"
    extra = "hf"
    pools = True

    def describe(self, name: str) -> Model:
        import torch

        config, config_digest = hf_repository.read_config(name)
        with _one_line(name):
            prepared = _preprocessing(name, config)
            with torch.device("meta"):
                module = _build(name, config, None, _has_pooler(name, config))
        tags = {
            "repository": str(hf_repository.folder_of(name) or name),
            **_remarks(name, config, module, prepared),
        }
        # Networks differ by their configuration, wherever that lies, and by what of it
        # is the feature where earlier releases took another.
        marks = "".join(f"+{mark}" for mark in _marks(module, prepared))
        return Model(
            name=f"{self.name}:{name}",
            source=self.name,
            architecture=f"{_kind(config)}{marks}@{config_digest[:SHOWN]}",
            weights=hf_repository.weights_of(name),
            **prepared.facts,
            **counted(module, self.head(module)),
            tags=tags,
        )

    def build(self, model: Model) -> "nn.Module":
        name = model.tags["repository"]
        config, config_digest = hf_repository.read_config(name)
        kind, _, known = model.architecture.rpartition("@")
        if known != config_digest[:SHOWN]:
            raise ModelError(
                f"{CONFIG} of hf:{name} has changed since it was described: run again",
                code="model.config_changed",
            )
        _check_memory(model)
        marks = kind.split("+")[1:]
        with _one_line(name):
            pooler = _marked_pooler(config, marks)
            module: nn.Module = _build(name, config, model.pool, pooler, size=model.input_size)
        return _adapted(module, config, bgr="bgr" in marks)

    def head(self, module: "nn.Module", size: int | None = None) -> Head:  # noqa: ARG002
        if _is_timm(module):
            return Timm().head(module)
        if parts := AVERAGED.get(type(module).__name__):
            return Head.mean(parts)
        return last_layer(module, CLASSIFIERS)

    def translate(
        self, state: "Mapping[str, torch.Tensor]", module: "nn.Module"
    ) -> "dict[str, torch.Tensor]":
        if _is_timm(module):
            named = {name.removeprefix(OF_WRAPPER): t for name, t in state.items()}
            return Timm().translate(named, module)
        from headstart.models.sources.hf_backbone import Pooled, has_pooler, is_of_pooler

        if isinstance(module, Pooled):
            if has_pooler(module.model) and not any(map(is_of_pooler, state)):
                module.drop_pooler()
            return {f"model.{name}": t for name, t in _renamed(state, module.model).items()}
        return _renamed(state, module)

    def resampled(self, model: Model, usual: Model) -> list[str]:
        config, _ = hf_repository.read_config(model.tags["repository"])
        if "architecture" in config:
            return super().resampled(model, usual)
        fixed = hf_preprocessing.fixed_size(config)
        return ["position embeddings"] if fixed not in (None, model.input_size) else []

    def revision(self, name: str) -> str:
        libraries = [version(package) for package in ("timm", "transformers") if installed(package)]
        config, _ = hf_repository.read_config(name)
        contents = [
            config,
            _processor_config(name, config),
            hf_repository.weights_of(name).model_dump(),
            _absent(name),
        ]
        return digest({"libraries": libraries, "said": contents, "reading": READING})


def _processor_config(name: str, config: dict[str, Any]) -> dict[str, Any] | None:
    """Read what transformers says of the input; timm says it in the configuration itself."""
    if "architecture" in config:
        return None
    found = hf_repository.read_json(name, PROCESSOR)
    if found is None and (whole := hf_repository.read_json(name, WRAPPED)) is not None:
        found = whole.get("image_processor")
        if found is not None and not isinstance(found, dict):
            raise ModelError(
                f"hf:{name}: image_processor in {WRAPPED} is no object: {type(found).__name__}",
                code="model.preprocessing_invalid",
            )  # fmt: skip
    return found


def _has_pooler(name: str, config: dict[str, Any]) -> bool:
    """Whether the weights of a backbone bring its pooler; so if they cannot be looked at."""
    from headstart.models.sources.hf_backbone import is_of_pooler

    if "architecture" in config or "ForImageClassification" in _kind(config):
        return False
    names = hf_repository.tensor_names(name)
    return names is None or any(map(is_of_pooler, names))


def _kind(config: dict[str, Any]) -> str:
    """Name the architecture as its library does."""
    architectures = config.get("architectures") or [config.get("model_type", "unknown")]
    return str(config.get("architecture") or architectures[0])


def _check_memory(model: Model) -> None:
    """Raise ModelError if the network's numbers alone are more than this machine's memory."""
    needed = FLOAT32_BYTES * (model.parameters or 0)
    has = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    if has and needed > has:
        raise ModelError(
            f"'{model.name}' has {needed / 1e9:,.0f} GB of parameters, and this machine "
            f"{has / 1e9:,.0f} GB of memory: take a smaller network",
            code="model.too_large", needed=needed, has=has,
        )  # fmt: skip


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Turn the libraries' errors into one line, and silence their warnings."""
    import warnings

    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        try:
            yield
        except HeadstartError as error:
            if f"hf:{name}" not in str(error):
                error.args = (f"hf:{name}: {error}",)
            raise
        # What configurations raise where they do not fit is not one type.
        except Exception as error:
            reason = " ".join((str(error) or type(error).__name__).split())[:200]
            raise ModelError(
                f"hf:{name} cannot be built as an image network from its {CONFIG}: {reason}",
                code="model.config_invalid",
            ) from error


def _build(
    name: str, config: dict[str, Any], pool: Any, pooler: bool, *, size: int | None = None
) -> Any:
    """Build the library's module with fresh weights.

    `size` is that of the input; where it is None the network is described, and run once on the meta
    device.
    """
    if "architecture" in config:
        return _of_timm(config, pool, size)
    _require_transformers(name)
    return _of_transformers(name, config, pool, pooler, tried=size is None)


def _require_transformers(name: str) -> None:
    if not installed("transformers"):
        raise ModelError(
            f"hf:{name} needs the package transformers: pip install 'headstart[hf]'",
            code="model.package_missing",
            package="transformers",
        )


def _of_timm(config: dict[str, Any], pool: Any, size: int | None) -> Any:
    import timm

    architecture = config["architecture"]
    if not timm.is_model(architecture):
        raise UnknownNameError("timm model", architecture, timm.list_models())
    published = config.get("pretrained_cfg") or {}
    classes = (
        config.get("num_classes")
        or len(config.get("id2label") or ())
        or published.get("num_classes")
    )
    options = {"num_classes": classes or 1000, **(config.get("model_args") or {})}
    if refused := sorted(NOT_OF_A_FILE & options.keys()):
        raise ModelError(
            f"unsupported option of timm in model_args of {CONFIG}: {', '.join(refused)}",
            code="model.config_invalid", field="model_args", found=refused,
        )  # fmt: skip
    usual = hf_preprocessing.of_timm(config).input_size
    if "img_size" in options and size in (None, usual):
        module = timm.create_model(architecture, pretrained=False, **options)
    else:
        options.pop("img_size", None)
        module = create(architecture, size or usual, **options)
    _check_channels(_timm_channels(config))
    return Timm.pooled(with_classifier(module), pool)


def _timm_channels(config: dict[str, Any]) -> Any:
    return (config.get("model_args") or {}).get("in_chans", config.get("in_chans") or 3)


def _of_transformers(
    name: str, config: dict[str, Any], pool: Any, pooler: bool, *, tried: bool
) -> Any:
    import torch

    from headstart.models.sources.hf_backbone import Pooled

    read = _read_config(name, config)
    if "ForImageClassification" in _kind(config):
        if pool is not None:
            raise ModelError(
                f"hf:{name} is a classifier that pools its own way: leave ?pool= out",
                code="model.pool_unsupported",
            )
        model = _classifier(_kind(config), read)
        _check_input(name, model)
        if tried:
            _width(model, read)
        return model
    # On the meta device nothing is computed: the widths of features alone are wanted.
    with torch.device("meta"):
        width = _width(_pooled(name, config, read, None, 1, pooler), read)
        if pool and width != _width(_pooled(name, config, read, pool, 1, pooler), read):
            raise ModelError(
                f"hf:{name}: the pooled output has another width than its tokens: leave ?pool= out",
                code="model.pool_unsupported",
            )
    module: Pooled = _pooled(name, config, read, pool, width, pooler)
    return module


def _read_config(name: str, config: dict[str, Any]) -> Any:
    """Make the library's configuration of a repository's."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = config.get("model_type")
    if not kind:
        raise ModelError(
            f"hf:{name}: {CONFIG} has no model_type (of transformers) and no architecture (of "
            "timm): it is no network of either",
            code="model.type_missing",
        )  # fmt: skip
    if kind not in CONFIG_MAPPING:
        if config.get("auto_map"):
            raise ModelError(
                f"hf:{name} needs code of its own ('{kind}', auto_map in {CONFIG}), which is never "
                "executed: build it in a function of a file of yours (FILE.py:FUNCTION)",
                code="model.remote_code", found=kind,
            )  # fmt: skip
        near = get_close_matches(kind, list(CONFIG_MAPPING), n=1, cutoff=0.7)
        raise ModelError(
            f"hf:{name}: model_type '{kind[:60]}' in {CONFIG} is unknown to transformers "
            f"{version('transformers')}"
            + (f": did you mean '{near[0]}'?" if near else ": a later release may know it"),
            code="model.type_unknown", found=kind, near=near,
        )  # fmt: skip
    _check_architecture(name, config, CONFIG_MAPPING[kind])
    read = CONFIG_MAPPING[kind].from_dict(config)
    _check_channels(getattr(_vision(read), "num_channels", 3))
    return read


def _check_architecture(name: str, config: dict[str, Any], read_as: Any) -> None:
    """Raise ModelError if the architecture is of another kind than model_type says."""
    import transformers

    kind = _kind(config)
    needs = getattr(getattr(transformers, kind, None), "config_class", None)
    # A tower alone may be named beside the configuration of the whole.
    of_kind = (read_as, *getattr(read_as, "sub_configs", {}).values())
    if isinstance(needs, type) and not any(issubclass(needs, one) for one in of_kind):
        raise ModelError(
            f"hf:{name}: model_type '{config['model_type']}' in {CONFIG} contradicts architectures "
            f"'{kind}', which is of model_type '{getattr(needs, 'model_type', '')}': correct one",
            code="model.config_contradictory",
            found=kind, model_type=config["model_type"],
        )  # fmt: skip


def _vision(config: Any) -> Any:
    """Return the part of a configuration that is about images."""
    return getattr(config, "vision_config", None) or config


def _check_channels(channels: Any) -> None:
    if channels not in (1, 3):
        raise ModelError(
            f"the network takes {channels} channels: expected 3, or 1 for grey",
            code="model.channels_unsupported", found=channels,
        )  # fmt: skip


def _classifier(kind: str, read: Any) -> Any:
    """Build the image classifier that a configuration names."""
    import transformers
    from transformers import AutoModelForImageClassification

    # Distilled networks are a class beside that of the others.
    if kind in AVERAGED and hasattr(transformers, kind):
        return getattr(transformers, kind)(read).float()
    model = AutoModelForImageClassification.from_config(read, trust_remote_code=False).float()
    if type(model).__name__ in UNNAMED:
        model.register_forward_hook(_logits_of)
    return model


def _logits_of(_module: Any, _images: Any, answer: Any) -> Any:
    """Return the logits that a classifier calls its last hidden state."""
    return answer.last_hidden_state


def _pooled(
    name: str, config: dict[str, Any], read: Any, pool: Any, width: int, pooler: bool
) -> Any:
    import copy

    import transformers
    from transformers import AutoBackbone, AutoModel
    from transformers.models.auto import modeling_auto as auto

    from headstart.models.sources.hf_backbone import FAMILIES, Pooled, family_of

    if read.model_type not in FAMILIES:
        named = auto.MODEL_MAPPING_NAMES.get(read.model_type, "")
        _check_input(name, getattr(transformers, str(named), None))
    family = family_of(read)
    read = copy.deepcopy(read)
    kind = _kind(config)
    if kind.endswith("VisionModelWithProjection") and hasattr(transformers, kind):
        model = getattr(transformers, kind)(read).float()
    elif family.feature == "map" and read.model_type not in auto.MODEL_MAPPING_NAMES:
        model = AutoBackbone.from_config(read, trust_remote_code=False).float()
    else:
        model = AutoModel.from_config(read, trust_remote_code=False).float()
    if family.feature != "embedding":
        _check_input(name, model)
    return Pooled(model, pool, max(1, read.num_labels), width, pooler=pooler)


def _check_input(name: str, model: Any) -> None:
    """Raise ModelError if a network, or a class of the library, takes more than images."""
    if model is not None and model.main_input_name != "pixel_values":
        raise ModelError(
            f"hf:{name} takes {model.main_input_name}, not images alone",
            code="model.input_unsupported", found=model.main_input_name,
        )  # fmt: skip


def _width(module: Any, config: Any) -> int:
    """Run a network on the meta device: the width of what it gives for one image."""
    import torch

    side = hf_preprocessing.fixed_size(config.to_dict()) or 224
    shape = (2, getattr(_vision(config), "num_channels", 3), side, side)
    images = torch.empty(shape, device="meta")
    with torch.no_grad():
        run = getattr(module.eval(), "pooled", module)
        answer = run(images)
    found = getattr(answer, "logits", answer)
    if found.ndim != 2:
        raise ModelError(
            f"{type(module).__name__} gives {'x'.join(map(str, found.shape[1:]))} numbers "
            "per image: expected a vector",
            code="model.backbone_unsupported",
        )  # fmt: skip
    return int(found.shape[1])


def _adapted(module: "nn.Module", config: dict[str, Any], *, bgr: bool) -> "nn.Module":
    """Attach the hook that adapts images to the network's channels and size, if it needs one."""
    from headstart.models.sources.hf_backbone import InputHook

    if "architecture" in config:
        hook = InputHook(False, _timm_channels(config), None, False)
    else:
        whole = getattr(module, "model", module)
        channels = getattr(_vision(whole.config), "num_channels", 3)
        hook = InputHook(bgr, channels, hf_preprocessing.fixed_size(config), _interpolates(module))
    for part in module.modules():
        # Tracing asks every part for its loss, and those without a kind of their own warn.
        if hasattr(part, "loss_type"):
            setattr(part, "loss_type", LOSS)  # noqa: B010
    if hook.bgr or hook.channels != 3 or hook.interpolates:
        hook.attach(module)
    return module


def _interpolates(module: Any) -> bool:
    """Whether a network resamples its position embeddings when it is asked to."""
    forward = getattr(module, "model", module).forward
    return "interpolate_pos_encoding" in inspect.signature(forward).parameters


def _marks(module: "nn.Module", prepared: Preprocessing) -> list[str]:
    """Return what changes a network's features relative to releases before 0.5."""
    from headstart.models.sources.hf_backbone import Pooled

    marks = ["bgr"] if prepared.bgr else []
    if isinstance(module, Pooled):
        token = module.family.feature == "token"
        if module.feature == "pooler" and token:
            marks.append("pooler")
        elif module.lacks_pooler and not token:
            marks.append("unpooled")
        elif module.family.renewed:
            marks.append("feature")
    return marks


def _marked_pooler(config: dict[str, Any], marks: list[str]) -> bool:
    """Read off the marks whether the weights have the pooler."""
    from headstart.models.sources.hf_backbone import FAMILIES

    family = FAMILIES.get(str(config.get("model_type")))
    token = family is not None and family.feature == "token"
    return "pooler" in marks if token else "unpooled" not in marks


def _remarks(
    name: str, config: dict[str, Any], module: "nn.Module", prepared: Preprocessing
) -> dict[str, str]:
    """Return tags: how a repository was read, and what had to be assumed."""
    from headstart.models.sources.hf_backbone import Pooled

    tags = {"channels": "BGR"} if prepared.bgr else {}
    fixed = None if _is_timm(module) else hf_preprocessing.fixed_size(config)
    if fixed not in (None, prepared.input_size) and _interpolates(module):
        # Their authors trained some so; the library itself fails for others.
        tags["interpolated"] = f"{fixed} to {prepared.input_size} pixels"
    if isinstance(module, Pooled):
        tags["feature"] = module.described
        if module.switched_off:
            tags["switched_off"] = module.switched_off
    if prepared.note:
        tags["assumed"] = prepared.note
    if absent := _absent(name):
        tags["weights_missing"] = absent
    return tags


def _absent(name: str) -> str | None:
    """Return what a folder without weights holds; None if they are here or on the hf_repository."""
    if hf_repository.has_weights(name):
        return None
    return hf_repository.kind_of(hf_repository.names(name)) if hf_repository.folder_of(name) else ""


def _is_timm(module: "nn.Module") -> bool:
    return hasattr(module, "get_classifier")


def _renamed(state: "Mapping[str, torch.Tensor]", module: Any) -> "dict[str, torch.Tensor]":
    """Rename published weights by transformers' own loading.

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
    # One more layer of a stack is of no other head: the file has more of them than the config.
    stacks = {NUMBER.sub("#", name) for name in own if NUMBER.search(name)}
    more = [name for name in info["unexpected_keys"] if NUMBER.sub("#", name) in stacks]
    found |= {name: torch.zeros(0) for name in more if name not in own}
    return found | {name: torch.zeros(shape) for name, shape, *_ in info["mismatched_keys"]}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' logging and progress bars."""
    if not installed("transformers"):
        yield
        return
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


def _preprocessing(name: str, config: dict[str, Any]) -> Preprocessing:
    """Read the preprocessing from timm's or transformers' configuration."""
    if "architecture" in config:
        found = hf_preprocessing.of_timm(config)
        return found.grey if _timm_channels(config) == 1 else found
    _require_transformers(name)
    found = hf_preprocessing.of_transformers(_processor_config(name, config), config)
    inner = config.get("vision_config")
    whole = {**config, **(inner if isinstance(inner, dict) else {})}
    return found.grey if whole.get("num_channels") == 1 else found
