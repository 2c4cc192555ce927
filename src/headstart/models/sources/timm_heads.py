"""Where timm's networks have their classifiers: one layer, or several whose logits are averaged."""

from typing import TYPE_CHECKING, Any, cast

from headstart.models.heads import Head, Part

if TYPE_CHECKING:
    from torch import nn

__all__ = ["OF_PATCHES", "head_of", "with_classifier", "without_auxiliary"]

# Of a classifier for a backbone that is published without one.
CLASSES = 1000
# Two heads on two tokens (Touvron et al. 2021, section 4); all others with two have them on one
# vector.
ON_TWO_TOKENS = ("VisionTransformerDistilled", "PoolingVisionTransformer")
# VOLO's classifier of each patch, whose largest logit a class it adds to the class token's (Jiang
# et al. 2021).
OF_PATCHES = "aux_head"


def head_of(module: "nn.Module") -> Head:
    """State where a network of timm has its classifier, as its `get_classifier` does."""
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
