"""ImageInput, network and probabilities as one torch module that can be exported.

Resizing is written as matrix products with weights that are computed from the image's size, so that
one graph takes images of any size, with every filter of Pillow's, and no runtime needs an operator
for antialiased resizing (few have one: ONNX has it since opset 18, for two filters). Intermediate
pixels are rounded and cut off where Pillow does: its results are met but for one level of 255, in
about one of a thousand pixels. Pillow from version 13 on resizes tall images by columns first, for
which the graph has a branch.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

import PIL
import torch
from torch import Tensor, nn

from headstart.deploy.final_network import ImageInput

if TYPE_CHECKING:
    from headstart.models.network import Network

__all__ = ["FILTERS", "DeployedNetwork", "PreprocessingGraph", "resampling_weights"]

# A number of pixels: symbolic while a graph is exported.
Size = int | torch.SymInt
LEVELS = 255.0
# Pillow's weights are multiples of 1 / 2^22.
FIXED_POINT = 2.0**22
# Whether Pillow resizes by columns first where the height loses over twice as much as the width.
TALL_BY_COLUMNS = int(PIL.__version__.partition(".")[0]) >= 13


def _hamming(x: Tensor) -> Tensor:
    values = torch.sinc(x) * (0.54 + 0.46 * torch.cos(torch.pi * x))
    return torch.where(x.abs() < 1, values, torch.zeros_like(x))


def _bicubic(x: Tensor) -> Tensor:
    """Keys' cubic kernel with a = -1/2."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _lanczos(x: Tensor) -> Tensor:
    return torch.where(x.abs() < 3, torch.sinc(x) * torch.sinc(x / 3), torch.zeros_like(x))


# Values of Pillow's filters at (signed) distances; "nearest" is no filter but a choice
# of pixels.
FILTERS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "box": lambda x: ((x > -0.5) & (x <= 0.5)).to(x.dtype),
        "bilinear": lambda x: (1 - x.abs()).clamp(min=0),
        "hamming": _hamming,
        "bicubic": _bicubic,
        "lanczos": _lanczos,
    }
)


def resampling_weights(
    n_in: Size,
    n_out: Size,
    interpolation: str,
    box: tuple[Tensor, Tensor] | None = None,
    *,
    inside: bool = False,
) -> Tensor:
    """Return (n_out, n_in) float32 weights of input pixels in output pixels, along one axis.

    The rule is that of Pillow, and of torch's antialiased `interpolate`: the filter is stretched by
    the scale when reducing, cut off at the edge of the image, normalized to a sum of one. They are
    computed in float64 and, unless `inside`, rounded to Pillow's fixed-point numbers: with float32
    five times as many pixels would be rounded to another level.

    Parameters
    ----------
    interpolation
        A name of `FILTERS`, or ``"nearest"``.
    box
        Start and length of the part that is resized, scalars; the whole unless given.
    inside
        Whether pixels outside of the box are left out, as if it had been cut out before: as torch
        does in training, with weights of its own precision.
    """
    start, length = box or (_scalar(0), _scalar(n_in))
    scale: Tensor = length / n_out  # type: ignore[assignment]
    centre = start + (torch.arange(n_out, dtype=torch.float64) + 0.5) * scale
    pixel = torch.arange(n_in, dtype=torch.float64)
    if interpolation == "nearest":
        return (pixel[None] == torch.floor(centre)[:, None]).to(torch.float32)
    distance = (pixel + 0.5)[None] - centre[:, None]
    weights = FILTERS[interpolation](distance / scale.clamp(min=1))
    if inside:
        weights = weights * ((pixel >= start) & (pixel < start + length))[None]
    weights = weights / weights.sum(dim=1, keepdim=True)
    fixed = weights if inside else torch.floor(weights * FIXED_POINT + 0.5) / FIXED_POINT
    return fixed.to(torch.float32)


def _scalar(number: Size) -> Tensor:
    return torch.full((), number, dtype=torch.float64)


def _levels(values: Tensor) -> Tensor:
    """Round to whole levels, as 8-bit pixels are; halves go up."""
    return torch.floor(values.clamp(0.0, LEVELS) + 0.5)


def _rows_first(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return _levels(rows @ _levels(images @ columns))


def _columns_first(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return _levels(_levels(rows @ images) @ columns)


def _resized(
    images: Tensor,
    to: tuple[Size, Size],
    interpolation: str,
    boxes: Sequence[tuple[Tensor, Tensor] | None] = (None, None),
) -> Tensor:
    """Resize (n, 3, height, width) levels as Pillow does, in two steps, each to whole levels.

    `to` are height and width of the result, `boxes` the part of the image in both directions, as in
    `resampling_weights`.
    """
    size = images.shape[2:]
    rows, columns = (
        resampling_weights(n, n_out, interpolation, box)
        for n, n_out, box in zip(size, to, boxes, strict=True)
    )
    operands = images, rows, columns.T
    lost_height, lost_width = (_scalar(n) - n_out for n, n_out in zip(size, to, strict=True))
    tall = (lost_height > 0) & (lost_height > 2 * lost_width)
    if not TALL_BY_COLUMNS:
        return _rows_first(*operands)
    if torch.compiler.is_compiling():
        return cast(Tensor, torch.cond(tall, _columns_first, _rows_first, operands))
    return (_columns_first if tall else _rows_first)(*operands)


class PreprocessingGraph(nn.Module):
    """(n, height, width, 3) uint8 pixels of any size -> (n, 3, size, size) normalized float32."""

    def __init__(self, preprocessing: ImageInput) -> None:
        super().__init__()
        self.preprocessing = preprocessing
        std = torch.tensor(preprocessing.std)
        self.register_buffer("scale", (1 / (LEVELS * std)).view(3, 1, 1), persistent=False)
        shift = -torch.tensor(preprocessing.mean) / std
        self.register_buffer("shift", shift.view(3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the input of the network."""
        images = pixels.permute(0, 3, 1, 2).to(torch.float32)
        if self.preprocessing.side is None:
            resized = self._as_features(images)
        else:
            resized = self._as_training(self._reduced(images, self.preprocessing.side))
        scale, shift = cast(Tensor, self.scale), cast(Tensor, self.shift)
        return resized * scale + shift

    def _as_features(self, images: Tensor) -> Tensor:
        """Resize the image, or its central square, as Pillow does."""
        height, width = images.shape[2:]
        boxes: list[tuple[Tensor, Tensor] | None] = [None, None]
        if self.preprocessing.view == "center-crop":
            shorter = _scalar(torch.sym_min(height, width))
            boxes = [((_scalar(n) - shorter) / 2, shorter) for n in (height, width)]
        size = self.preprocessing.size
        return _resized(images, (size, size), self.preprocessing.interpolation, boxes)

    def _as_training(self, images: Tensor) -> Tensor:
        """Resize as training evaluates: the part is cut out first, levels are not rounded."""
        size, interpolation = self.preprocessing.size, self.preprocessing.interpolation
        matrices = []
        for n in images.shape[2:]:
            # The central 87.5 %: both margins are equal, rounded down.
            margin = n // 16 if self.preprocessing.view == "central" else n - n
            box = (_scalar(margin), _scalar(n - 2 * margin))
            matrices.append(resampling_weights(n, size, interpolation, box, inside=True))
        rows, columns = matrices
        return (rows @ (images @ columns.T)).clamp(0.0, LEVELS)

    @staticmethod
    def _reduced(images: Tensor, side: int) -> Tensor:
        """Make the shorter side `side` pixels if it is more, as cached images for training are."""
        height, width = images.shape[2:]
        shorter = torch.sym_min(height, width)
        target = torch.sym_min(shorter, side)
        return _resized(images, (target * height // shorter, target * width // shorter), "lanczos")


class DeployedNetwork(nn.Module):
    """(n, height, width, 3) uint8 pixels of any size -> (n, K) float32 probabilities.

    Where an image may show `several` classes, each probability is its own. With `half` the network
    computes in float16; preprocessing and probabilities do not.
    """

    def __init__(
        self,
        network: "Network",
        preprocessing: ImageInput,
        *,
        several: bool,
        half: bool = False,
    ) -> None:
        super().__init__()
        self.preprocess = PreprocessingGraph(preprocessing)
        self.network = network.to(torch.float16 if half else torch.float32)
        self.several, self.half_precision = several, half

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the probabilities of the classes."""
        images = self.preprocess(pixels)
        logits = self.network(images.half() if self.half_precision else images).float()
        return cast(Tensor, logits.sigmoid() if self.several else logits.softmax(dim=1))
