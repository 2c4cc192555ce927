"""A library's classifier -> one linear layer on one feature vector, and back.

With parts k that give ``W_k x_k + b_k`` and have shares s_k, the logits are ``sum s_k (W_k x_k +
b_k)``: a linear map of the vectors x_k side by side. Parts that take the same vector add up. Batch
norms that belong to one part each are folded into it, as timm's own ``fuse`` does.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard, cast

import torch
from torch import nn

from headstart.errors import ModelError
from headstart.models.model_source import Head, Part

__all__ = [
    "Piece",
    "Tap",
    "WithClassifier",
    "is_linear",
    "main_answer",
    "one_vector",
    "resize",
    "take_out",
    "tensors_as_built",
]

# Number of classes of a fresh classifier on a backbone that has none.
CLASSES = 1000

Layer = nn.Linear | nn.Conv2d
Norm = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True)
class Piece:
    """How to restore a layer that was removed, so that it classifies as the linear map does.

    Parameters
    ----------
    part
        The layer.
    first, last
        Its columns of the map.
    scale
        Factor of its weights; its bias is the map's.
    n_dims
        Number of dimensions of its weights: 4 for a convolution.
    eps
        Epsilon of its batch norm.
    """

    part: Part
    first: int
    last: int
    scale: float
    n_dims: int
    eps: float


class PadFeatures(nn.Module):
    """Puts a vector between zeros: the sum of several is these vectors side by side."""

    def __init__(self, before: int, after: int, scale: float) -> None:
        super().__init__()
        self.before, self.after, self.scale = before, after, scale

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """(n, d) -> (n, before + d + after)."""
        return nn.functional.pad(vectors * self.scale, (self.before, self.after))


class Tap(nn.Module):
    """Keep the input of a classifier, where a network does more with its logits than return them.

    Parameters
    ----------
    n_outputs
        Outputs of the classifier that it replaces: later layers get zeros.
    """

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.n_outputs = n_outputs
        self.input: torch.Tensor | None = None

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return zeros of the shape of the classifier's output."""
        self.input = values
        shape = list(values.shape)
        shape[1 if values.ndim == 4 else -1] = self.n_outputs
        return values.new_zeros(shape)

    def give(self) -> torch.Tensor:
        """Return the classifier's input in the last pass, (n, d), and drop it."""
        assert self.input is not None  # noqa: S101 - the network has run
        values, self.input = self.input, None
        return one_vector(values)


class WithClassifier(nn.Module):
    """A backbone that gives features, with a classifier that is not trained.

    Parameters
    ----------
    backbone
        (n, 3, height, width) -> (n, width), or maps (n, width, height, width), which are averaged.
    width
        Width of its features.
    """

    def __init__(self, backbone: nn.Module, width: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Linear(width, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, height, width) normalised images -> (n, classes)."""
        return cast(torch.Tensor, self.classifier(one_vector(main_answer(self.backbone(images)))))


def main_answer(answers: object) -> torch.Tensor:
    """Take the main answer of a network: alone, first of a tuple, or called `logits`.

    Raises
    ------
    TypeError
        It is no tensor.
    """
    if isinstance(answers, tuple | list) and answers:
        answers = answers[0]
    if isinstance(answers, Mapping):
        answers = answers.get("logits", answers)
    answers = getattr(answers, "logits", answers)
    if not isinstance(answers, torch.Tensor):
        raise TypeError(f"expected a tensor, found {type(answers).__name__}")
    return answers


def one_vector(values: torch.Tensor) -> torch.Tensor:
    """Average maps over their places: (n, d) or (n, d, height, width) -> (n, d).

    Raises
    ------
    ValueError
        It has another shape, such as tokens: which of them is the feature is not known.
    """
    if values.ndim not in (2, 4):
        raise ValueError(f"expected (n, d) or (n, d, height, width), found {tuple(values.shape)}")
    return values if values.ndim == 2 else values.mean((2, 3))


def take_out(backbone: nn.Module, head: Head) -> tuple[nn.Linear, tuple[Piece, ...]]:
    """Take the classifier out of a network, which then gives the features in place of the logits.

    Parameters
    ----------
    backbone
        Changed: an identity stands in the place of each layer, or a `PadFeatures`.

    Returns
    -------
    nn.Linear
        Features -> logits.
    tuple of Piece
        For `tensors_as_built`.

    Raises
    ------
    ModelError
        There is no linear layer, nor a 1x1 convolution, where it should be; the message says how to
        name it.
    """
    modules, layers = dict(backbone.named_modules()), []
    for path in [part.path for part in head.parts] or [""]:
        layer = modules.get(path) if path else None
        if not is_linear(layer):
            raise _none_at(backbone, path)
        layers.append(layer)
    widths: dict[int, int] = {}
    shares: dict[int, float] = defaultdict(float)
    for part, layer in zip(head.parts, layers, strict=True):
        widths[part.takes] = int(layer.weight.shape[1])
        shares[part.takes] += part.share
    firsts = {takes: sum(width for t, width in widths.items() if t < takes) for takes in widths}
    total = sum(widths.values())
    norms = [
        cast(Norm, backbone.get_submodule(part.norm)) if part.norm else None for part in head.parts
    ]
    pieces = tuple(
        Piece(
            part,
            first=firsts[part.takes],
            last=firsts[part.takes] + widths[part.takes],
            scale=1 / shares[part.takes],
            n_dims=layer.weight.ndim,
            eps=norm.eps if norm else 0.0,
        )
        for part, layer, norm in zip(head.parts, layers, norms, strict=True)
    )
    classifier = _one_layer(pieces, layers, norms, total)
    for piece in pieces:
        if piece.part.norm:
            _put(backbone, piece.part.norm, nn.Identity())
        alone = piece.scale == 1 and piece.last - piece.first == total
        pad = PadFeatures(piece.first, total - piece.last, piece.scale)
        _put(backbone, piece.part.path, nn.Identity() if alone else pad)
    return classifier, pieces


def tensors_as_built(classifier: nn.Linear, pieces: tuple[Piece, ...]) -> dict[str, torch.Tensor]:
    """Return tensors with which the library's layers classify as the linear layer does.

    Parts that share a vector get the same weights, and batch norms that were folded are identities.
    """
    tensors: dict[str, torch.Tensor] = {}
    for piece in pieces:
        weight = classifier.weight[:, piece.first : piece.last]
        if piece.scale != 1:
            weight = weight * piece.scale
        shape = weight.shape + (1,) * (piece.n_dims - 2)
        tensors[f"{piece.part.path}.weight"] = weight.detach().reshape(shape)
        if classifier.bias is not None:
            tensors[f"{piece.part.path}.bias"] = classifier.bias.detach()
        if piece.part.norm:
            tensors |= _identity_norm(piece, classifier.weight)
    return tensors


def resize(module: nn.Module, head: Head, state: Mapping[str, torch.Tensor]) -> None:
    """Resize the classifier to the classes of a state dict, with a bias if that has one."""
    for part in head.parts:
        old, weight = module.get_submodule(part.path), state.get(f"{part.path}.weight")
        if not is_linear(old) or weight is None or weight.shape[1:] != old.weight.shape[1:]:
            continue
        bias = f"{part.path}.bias" in state
        if len(weight) != len(old.weight) or bias != (old.bias is not None):
            inputs = int(weight.shape[1])
            fresh: Layer
            with torch.device("meta"):
                if weight.ndim == 2:
                    fresh = nn.Linear(inputs, len(weight), bias=bias)
                else:
                    fresh = nn.Conv2d(inputs, len(weight), 1, bias=bias)
            # Without numbers, which would be drawn: the state's come.
            _put(module, part.path, fresh.to_empty(device=old.weight.device))


def is_linear(layer: object) -> TypeGuard[Layer]:
    """Whether a layer computes a linear map of what is in one place."""
    if isinstance(layer, nn.Conv2d):
        usual = layer.kernel_size == layer.stride == (1, 1) and layer.padding in ((0, 0), "valid")
        return usual and layer.groups == 1
    return isinstance(layer, nn.Linear)


def _none_at(backbone: nn.Module, path: str) -> ModelError:
    parts = dict(backbone.named_modules())
    names = [name for name, part in parts.items() if isinstance(part, nn.Linear)]
    known = f"its last linear layers are {', '.join(names[-3:])}"
    return ModelError(
        f"expected a linear classifier at '{path}' of {type(backbone).__name__}, found "
        f"{type(parts.get(path) if path else None).__name__}: name it with ?head=..., "
        f"{known if names else 'and it has no linear layer at all'}",
        code="model.no_classifier",
        head=path,
        known=names[-3:],
    )


def _one_layer(
    pieces: tuple[Piece, ...], layers: list[Layer], norms: list[Norm | None], total: int
) -> nn.Linear:
    """Add up the parts, in float64: the one linear layer stays the library's own."""
    first = layers[0]
    if len(layers) == 1 and isinstance(first, nn.Linear) and norms[0] is None:
        return first
    like = first.weight
    weight = torch.zeros(len(like), total, dtype=torch.float64, device=like.device)
    bias = torch.zeros(len(like), dtype=torch.float64, device=like.device)
    with torch.no_grad():
        for piece, layer, norm in zip(pieces, layers, norms, strict=True):
            own, shift = layer.weight.flatten(1).double(), torch.zeros_like(bias)
            if layer.bias is not None:
                shift = layer.bias.double()
            if norm is not None:
                own, shift = _folded(own, shift, norm)
            weight[:, piece.first : piece.last] += piece.part.share * own
            bias += piece.part.share * shift
        classifier = nn.Linear(total, len(like), device="meta", dtype=like.dtype)
        classifier = classifier.to_empty(device=like.device)
        classifier.weight.copy_(weight)
        classifier.bias.copy_(bias)
    return classifier


def _folded(
    weight: torch.Tensor, bias: torch.Tensor, norm: Norm
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fold a batch norm in evaluation mode into the linear layer behind it."""
    mean, variance = cast(torch.Tensor, norm.running_mean), cast(torch.Tensor, norm.running_var)
    scale = norm.weight.double() / torch.sqrt(variance.double() + norm.eps)
    shift = norm.bias.double() - mean.double() * scale
    return weight * scale, bias + weight @ shift


def _identity_norm(piece: Piece, like: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return a batch norm's tensors with which it changes nothing."""
    path, width = piece.part.norm, piece.last - piece.first
    ones = torch.ones(width, dtype=like.dtype, device=like.device)
    return {
        f"{path}.weight": ones * (1 + piece.eps) ** 0.5,
        f"{path}.bias": torch.zeros_like(ones),
        f"{path}.running_mean": torch.zeros_like(ones),
        f"{path}.running_var": ones,
        f"{path}.num_batches_tracked": torch.tensor(0),
    }


def _put(module: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(module.get_submodule(parent), name, layer)
