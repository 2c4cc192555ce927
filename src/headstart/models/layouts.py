"""What other programs make of a network in their checkpoints: its names, and the size of its input.

Libraries translate their own older names (`Source.translate`); here are those of programs that load
a library's network and save it under names of theirs.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

    Tensors = Mapping[str, torch.Tensor]

__all__ = [
    "LAYOUTS",
    "is_position",
    "multiplied_out",
    "resampled",
    "size_for",
    "stretched",
    "without_wrappers",
]

# Embeddings of places, and biases by distances, under the names of timm, torchvision, transformers
# and of the papers' own releases.
POSITIONS = re.compile(
    r"(^|\.)(pos_embed(_(win|h|w|spatial|x|y))?|pos_embedding|position_embeddings?|positional_embedding"
    r"|position_embedding\.weight|absolute_pos_embed|relative_position_bias_table|rel_pos_[hw]"
    r"|rel_pos(_bias)?(_table)?|attention_biases|lepe_pos\w*)(\.weight)?$"
)
# Before the embeddings of places: class, distillation and register tokens.
MOST_TOKENS = 8
# detectron2's names of a ResNet's parts.
DETECTRON2 = (
    (r"^stem\.", ""),
    (r"^res(\d)\.", lambda found: f"layer{int(found[1]) - 1}."),
    (r"(^|\.)conv(\d)\.norm\.", r"\1bn\2."),
    (r"\.shortcut\.norm\.", ".downsample.1."),
    (r"\.shortcut\.", ".downsample.0."),
)

# Modules that programs put around parts of a network: torch.compile, FSDP, activation
# checkpoints, and DataParallel around the convolutions (PyTorch's own ImageNet example).
WRAPPERS = re.compile(
    r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_fpw_module|_checkpoint_wrapped_module"
    r"|_forward_module|module)\."
)
# How weights are kept that are computed from others at each pass: the ends of the names.
PRUNED, NORMED, SPECTRAL = "pruning", "weight norm", "spectral norm"
KEPT_AS = (
    (("_orig", "_mask"), PRUNED),
    (("_g", "_v"), NORMED),
    (("_orig", "_u", "_v"), SPECTRAL),
)
PARAMETRIZED = re.compile(r"(?P<layer>.*\.|)parametrizations\.(?P<name>\w+)\.original0?")


def by_number(state: "Tensors", module: "nn.Module") -> "dict[str, torch.Tensor]":
    """Rename what ``nn.Sequential(*network.children())`` calls its parts: by their numbers.

    So lightly's and fastai's backbones are made.
    """
    names = [name for name, _ in module.named_children()]
    renamed = {}
    for name, tensor in state.items():
        first, point, rest = name.partition(".")
        known = first.isdigit() and int(first) < len(names)
        renamed[f"{names[int(first)]}{point}{rest}" if known else name] = tensor
    return renamed


def of_detectron2(
    state: "Tensors",
    module: "nn.Module",  # noqa: ARG001 - as all translations
) -> "dict[str, torch.Tensor]":
    """Rename the parts of a ResNet from what detectron2 calls them."""
    renamed = {}
    for name, tensor in state.items():
        new = name
        for pattern, replacement in DETECTRON2:
            new = re.sub(pattern, replacement, new)
        renamed[new] = tensor
    return renamed


def of_old_torchvision(
    state: "Tensors",
    module: "nn.Module",  # noqa: ARG001 - as all translations
) -> "dict[str, torch.Tensor]":
    """Rename what torchvision's DenseNets (published so) and transformers were called before."""
    renamed = {}
    for name, tensor in state.items():
        new = re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)", r"\1\2", name)
        new = re.sub(r"\.mlp\.linear_1\.", ".mlp.0.", new)
        renamed[re.sub(r"\.mlp\.linear_2\.", ".mlp.3.", new)] = tensor
    return renamed


def without_wrappers(
    tensors: "Tensors", containers: Mapping[str, int]
) -> "tuple[dict[str, torch.Tensor], dict[str, int]]":
    """Leave the modules out of tensors' names that programs put around parts of a network.

    Parameters
    ----------
    tensors, containers
        As `headstart.models.checkpoint.list_tensors` returns them; names of containers stay.
    """
    named: dict[str, torch.Tensor] = {}
    lengths: dict[str, int] = {}
    for name, tensor in tensors.items():
        inside = containers[name]
        new = name[:inside] + WRAPPERS.sub("", name[inside:])
        named[new], lengths[new] = tensor, inside
    # Two that would be called the same are no wrapped parts.
    return (named, lengths) if len(named) == len(tensors) else (dict(tensors), dict(containers))


def multiplied_out(
    tensors: "Tensors", containers: Mapping[str, int]
) -> "tuple[dict[str, torch.Tensor], dict[str, int], list[str]]":
    """Compute weights that a file holds as pruning, weight norm or spectral norm keep them.

    Parameters
    ----------
    tensors, containers
        As `headstart.models.checkpoint.list_tensors` returns them.

    Returns
    -------
    dict, dict
        Likewise, with the weights in place of what they are computed from.
    list of str
        What was done, for a message: ``pruning``, ``weight norm``, ``spectral norm``.
    """
    named, lengths, kinds = dict(tensors), dict(containers), set[str]()
    for name in tensors:
        for weight, parts, kind in _kept_as(name):
            values = [tensors[part] for part in parts if part in named]
            if len(values) < len(parts) or weight in named:
                continue
            computed = _computed(kind, values)
            if computed is None:
                continue
            for part in parts:
                del named[part]
            named[weight], lengths[weight] = computed, containers[name]
            kinds.add(kind)
    return named, lengths, sorted(kinds)


def _kept_as(name: str) -> list[tuple[str, tuple[str, ...], str]]:
    """Return of the first of several tensors which weight they may be: its name, theirs, how."""
    if found := PARAMETRIZED.fullmatch(name):
        weight = found["layer"] + found["name"]
        inner = name.rpartition(".")[0]
        if name.endswith("0"):
            return [(weight, (name, f"{inner}.original1"), NORMED)]
        return [(weight, (name, f"{inner}.0._u", f"{inner}.0._v"), SPECTRAL)]
    return [
        (weight, tuple(weight + end for end in ends), kind)
        for ends, kind in KEPT_AS
        if name.endswith(ends[0]) and (weight := name.removesuffix(ends[0])).endswith("weight")
    ]


def _computed(kind: str, values: "list[torch.Tensor]") -> "torch.Tensor | None":
    """Compute a weight as torch.nn.utils does in evaluation mode; None of shapes that do not go."""
    first, *others = (value.detach().float() for value in values)
    if kind == PRUNED:
        return first * others[0] if first.shape == others[0].shape else None
    if kind == NORMED:
        # w = g v / |v|, of each output its own: g is (outputs, 1, ...).
        direction = others[0]
        if first.numel() != len(direction) or direction.ndim < 2:
            return None
        norms: torch.Tensor = direction.flatten(1).norm(dim=1).reshape(first.shape)
        return direction * (first / norms)
    left, right = others
    rows = first.flatten(1) if first.ndim > 1 else first[:, None]
    if rows.shape != (left.numel(), right.numel()):
        return None
    sigma: torch.Tensor = left.flatten() @ rows @ right.flatten()
    return first / sigma


# Tried in turn where a library's own translation does not make a file fit.
LAYOUTS: tuple[
    "Callable[[Tensors, nn.Module], dict[str, torch.Tensor]]", ...
] = (by_number, of_detectron2, of_old_torchvision)  # fmt: skip


def is_position(name: str) -> bool:
    """Whether a tensor is an embedding of places, whose size is that of the input."""
    return POSITIONS.search(name) is not None


def resampled(raw: "Tensors", state: "Tensors", required: "Tensors") -> str | None:
    """Return the first position embedding of a network that a translation has resampled, if any.

    Parameters
    ----------
    raw, state
        Before and after the translation.
    required
        The network's own tensors.
    """
    sides = {_side(n, t) for n, t in raw.items() if is_position(n)}
    return next(
        (n for n in required if is_position(n) and sides and _side(n, state[n]) not in sides), None
    )


def stretched(raw: "Tensors", state: "Tensors", required: "Tensors") -> list[str]:
    """Return the tensors, other than position embeddings, that a translation made fit by size."""
    # What only was renamed is still the file's own tensor.
    own = {_place(t) for t in raw.values()}
    return [
        n
        for n in required
        if n in raw
        and n in state
        and raw[n].numel() != state[n].numel() == required[n].numel()
        and _place(state[n]) not in own
        and not is_position(n)
    ]


def _place(tensor: "torch.Tensor") -> int:
    """Return where a tensor's values are; a sparse one has no such place."""
    import torch

    return tensor.data_ptr() if tensor.layout == torch.strided else id(tensor)


def size_for(raw: "Tensors", required: "Tensors", size: int) -> int | None:
    """Return the side of the images, in pixels, that position embeddings are made for.

    Parameters
    ----------
    raw
        The file's tensors.
    required
        The network's, for images of `size` pixels.

    Returns
    -------
    int or None
        None where it is unknown, or is not a whole number.
    """
    ours = {n: t for n, t in required.items() if is_position(n)}
    by_end = {n.rpartition(".")[2]: t for n, t in ours.items()}
    for name, tensor in raw.items():
        end = name.rpartition(".")[2]
        own = ours.get(name, by_end.get(end))
        if own is None or not is_position(name) or own.shape == tensor.shape:
            continue
        here, there = _side(name, own), _side(name, tensor)
        if here and there and here != there and size * there % here == 0:
            return size * there // here
    return None


def _side(name: str, tensor: "torch.Tensor") -> int | None:
    """Return how many places a side has, from the shape of position embeddings.

    Of (1, n, d) or (n, d) with a few tokens before the places; of maps (1, h, w, d); of biases by
    distance, (2 h - 1)^2 of them and a few of tokens, where h is the side of a window.
    """
    shape = tuple(tensor.shape)
    if name.endswith("table"):
        side = math.isqrt(shape[0])
        return (side + 1) // 2 if side % 2 else None
    if len(shape) == 4:
        return shape[1] if shape[1] == shape[2] else shape[2]
    if len(shape) not in (2, 3):
        return None
    side = math.isqrt(shape[-2])
    return side if shape[-2] - side * side <= MOST_TOKENS else None
