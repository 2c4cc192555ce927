"""Network inputs: random views of images for training, fixed ones for evaluation.

Every random draw is a function of a seed and a purpose, without state. Random words come from
Philox, a counter-based generator. Its key is a hash of seed and purpose. Only raw words are used:
NumPy guarantees their stream, but not that of `Generator`. A seed therefore gives the same order
and crops on every machine and with every NumPy release, and a run that resumes at step k needs
nothing but k.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from headstart.spec import Crop, TrainingConfig
from headstart.training.pixels import Batch

__all__ = [
    "DRAWS",
    "InputSpec",
    "ResizeFilter",
    "by_kernel",
    "by_products",
    "central_boxes",
    "derived_seed",
    "evaluation_views",
    "full_boxes",
    "permutation",
    "random_boxes",
    "resample",
    "rows_of_step",
    "training_views",
    "uniforms",
]

Rows = npt.NDArray[np.int64]

ResizeFilter = Literal["bicubic", "bilinear"]
LEVELS = 255


def derived_seed(seed: int, *what: int | str) -> int:
    """Return a seed in [0, 2**63) for a purpose, named by words and numbers."""
    return int.from_bytes(_hash(seed, *what)[:8], "little") >> 1


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, n: int) -> Rows:
    """Return the order of `n` images in an epoch (from 0): (n,) int64, read-only.

    The last few are cached: every step of an epoch uses the same one.
    """
    # Two of n words are equal with probability n**2 / 2**65; a stable sort is deterministic even
    # then.
    order = np.argsort(_words(n, seed, "order", epoch), kind="stable").astype(np.int64)
    order.setflags(write=False)
    return order


def rows_of_step(seed: int, step: int, batch_size: int, n: int) -> Rows:
    """Return the image indices of a step (from 0): (batch_size,) int64 in [0, n).

    The permutations of all epochs are concatenated and cut into batches. A batch may span two
    epochs, or more if it is larger than the data. Every epoch sees every image once.
    """
    first, last = step * batch_size, (step + 1) * batch_size
    epochs = range(first // n, (last - 1) // n + 1)
    rows = np.concatenate([permutation(seed, epoch, n) for epoch in epochs])
    start = first - epochs.start * n
    return rows[start : start + batch_size]


def uniforms(seed: int, step: int, stream: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return uniform numbers in [0, 1), multiples of 2**-53, for one step and purpose.

    They fill `shape` in row-major order, so row i does not depend on the number of rows.
    """
    words = _words(int(np.prod(shape)), seed, stream, step)
    high = (words >> np.uint64(11)).astype(np.float64)
    return (high * 2.0**-53).reshape(shape)


def _words(n: int, seed: int, *what: int | str) -> npt.NDArray[np.uint64]:
    key = int.from_bytes(_hash(seed, *what)[:16], "little")
    return np.random.Philox(key=key).random_raw(n)


def _hash(seed: int, *what: int | str) -> bytes:
    return hashlib.sha256(json.dumps([seed, *what]).encode()).digest()


@dataclass(frozen=True)
class InputSpec:
    """Input of a network.

    Parameters
    ----------
    side
        Side of the square input, in pixels.
    mean, std
        Normalization of each RGB channel, for pixels in [0, 1].
    interpolation
        Filter of antialiased resizing.
    """

    side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: ResizeFilter


def training_views(
    batch: Batch, input_spec: InputSpec, config: TrainingConfig, step: int, first: int = 0
) -> torch.Tensor:
    """Return randomly cropped and flipped, resized and normalized images.

    A view depends on the image, the seed, the step and the position in the batch.

    Parameters
    ----------
    batch
        Images.
    input_spec
        Input size and normalization.
    config
        Ranges of crops, whether to flip, and the seed.
    step
        Step, from 0.
    first
        Position of the first image, if `batch` is a part of the step's batch.

    Returns
    -------
    (B, 3, side, side) float32, channels last.
    """
    sizes, last = batch.sizes, first + len(batch.sizes)
    draws = uniforms(config.seed, step, "crop", (last, DRAWS))[first:]
    boxes = random_boxes(sizes, draws, config.crop_area, config.crop_aspect)
    flips = uniforms(config.seed, step, "flip", (last,))[first:] < (0.5 if config.flip else 0)
    return _normalised(
        resample(batch.pixels, boxes, flips, input_spec.side, input_spec.interpolation), input_spec
    )


def evaluation_views(batch: Batch, input_spec: InputSpec, crop: Crop) -> torch.Tensor:
    """Return whole images, or their central 87.5 %, resized to a square and normalized.

    Returns
    -------
    (B, 3, side, side) float32, channels last.
    """
    boxes = (central_boxes if crop == "central" else full_boxes)(batch.sizes)
    unmirrored = np.zeros(len(boxes), np.bool_)
    return _normalised(
        resample(batch.pixels, boxes, unmirrored, input_spec.side, input_spec.interpolation),
        input_spec,
    )


def _normalised(values: torch.Tensor, input_spec: InputSpec) -> torch.Tensor:
    """Expand grey images to three channels and normalize each channel."""
    values = values.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
    mean, std = torch.tensor(input_spec.mean), torch.tensor(input_spec.std)
    # Whole lines of an image: a CPU does not vectorize over three channels.
    scale = (1 / (LEVELS * std)).repeat(input_spec.side).to(values.device, non_blocking=True)
    shift = (-mean / std).repeat(input_spec.side).to(values.device, non_blocking=True)
    lines = values.permute(0, 2, 3, 1).view(len(values), input_spec.side, 3 * input_spec.side)
    lines.mul_(scale).add_(shift)
    return values


# Fraction of height and width that TF-Slim's evaluation keeps.
CENTRAL_FRACTION = 0.875
TRIES = 10
# Uniform numbers per random box: area and aspect ratio for each try, and a position.
DRAWS = 2 * TRIES + 2

Boxes = npt.NDArray[np.float64]
Sizes = npt.NDArray[np.int64]


def full_boxes(sizes: Sizes) -> Boxes:
    """Return (B, 4) boxes of whole images, for (B, 2) heights and widths."""
    return np.concatenate([np.zeros(sizes.shape), sizes], axis=1)


def central_boxes(sizes: Sizes) -> Boxes:
    """Return (B, 4) boxes of the central 87.5 % of height and width, for (B, 2) heights and widths.

    Rounding is that of TensorFlow's central_crop: both margins are equal.
    """
    margin = np.floor((sizes - sizes * CENTRAL_FRACTION) / 2)
    return np.concatenate([margin, sizes - 2 * margin], axis=1)


def random_boxes(
    sizes: Sizes,
    draws: npt.NDArray[np.float64],
    area: tuple[float, float],
    aspect: tuple[float, float],
) -> Boxes:
    """Return random boxes, distributed as in torchvision's `RandomResizedCrop`.

    The area fraction is uniform in `area`, the aspect ratio log-uniform in `aspect`. The first of
    ten tries that fits the image is placed at a uniform position. If none fits, the box is the
    largest centred one with an aspect ratio in `aspect`. An area of (1, 1) is the whole image.

    Parameters
    ----------
    sizes
        (B, 2) heights and widths.
    draws
        (B, `DRAWS`) uniform in [0, 1).

    Returns
    -------
    (B, 4)
    """
    if area == (1.0, 1.0):
        return full_boxes(sizes)
    heights, widths = sizes[:, :1].astype(np.float64), sizes[:, 1:].astype(np.float64)
    target = heights * widths * _between(draws[:, :TRIES], *area)
    ratio = np.exp(_between(draws[:, TRIES : 2 * TRIES], *np.log(aspect)))
    w, h = np.rint(np.sqrt(target * ratio)), np.rint(np.sqrt(target / ratio))
    fits = (w > 0) & (w <= widths) & (h > 0) & (h <= heights)
    every, tried = np.arange(len(sizes)), fits.argmax(axis=1)
    shape = np.stack([h[every, tried], w[every, tried]], axis=1)
    room = sizes - shape + 1
    # A number below 1 times an integer can round up to that integer.
    corner = np.minimum(np.floor(draws[:, 2 * TRIES :] * room), room - 1)
    boxes = np.concatenate([corner, shape], axis=1)
    return np.where(fits.any(axis=1, keepdims=True), boxes, _largest(sizes, aspect))


def _largest(sizes: Sizes, aspect: tuple[float, float]) -> Boxes:
    """Return the largest centred boxes with width / height in the range."""
    heights, widths = sizes.T.astype(np.float64)
    narrow, wide = widths / heights < aspect[0], widths / heights > aspect[1]
    h = np.where(narrow, np.rint(widths / aspect[0]), heights)
    w = np.where(wide, np.rint(heights * aspect[1]), widths)
    shape = np.stack([h, w], axis=1)
    return np.concatenate([np.floor((sizes - shape) / 2), shape], axis=1)


def _between(u: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.float64]:
    return low + (high - low) * u


# Largest size of an image's matrix for which products are faster on a CPU: below it, the overhead
# of a call per image exceeds the arithmetic.
SMALL = 48 * 48


def resample(
    pixels: torch.Tensor,
    boxes: npt.NDArray[np.float64],
    flips: npt.NDArray[np.bool_],
    side: int,
    interpolation: ResizeFilter,
) -> torch.Tensor:
    """Crop each image to its box and resize it to side x side.

    The result is that of torchvision's ``resized_crop(..., antialias=True)`` and
    ``horizontal_flip``, clamped to [0, 255].

    Parameters
    ----------
    pixels
        (B, C, H, W) uint8; values outside the boxes are ignored.
    boxes
        (B, 4): top, left, height, width; whole numbers, within H and W.
    flips
        (B,) bool, whether to mirror the image left to right.
    side, interpolation
        Side of the result in pixels, and the filter.

    Returns
    -------
    (B, C, side, side) float32 in [0, 255], channels last, on the device of `pixels`.
    """
    small = side * max(pixels.shape[2:]) <= SMALL
    way = by_kernel if pixels.device.type == "cpu" and not small else by_products
    return way(pixels, boxes, flips, side, interpolation)


def by_kernel(
    pixels: torch.Tensor,
    boxes: npt.NDArray[np.float64],
    flips: npt.NDArray[np.bool_],
    side: int,
    interpolation: ResizeFilter,
) -> torch.Tensor:
    """Resample image by image with torch's kernel; see `resample`."""
    shape = (len(pixels), pixels.shape[1], side, side)
    out = torch.empty(shape, memory_format=torch.channels_last)
    whole = boxes.astype(np.int64).tolist()
    for image, slot, (top, left, h, w), flip in zip(pixels, out, whole, flips, strict=True):
        part = image[None, :, top : top + h, left : left + w].to(
            torch.float32, memory_format=torch.contiguous_format
        )
        small = functional.interpolate(part, (side, side), mode=interpolation, antialias=True)
        slot.copy_(small[0].flip(-1) if flip else small[0])
    return out.clamp_(0, 255)


def by_products(
    pixels: torch.Tensor,
    boxes: npt.NDArray[np.float64],
    flips: npt.NDArray[np.bool_],
    side: int,
    interpolation: ResizeFilter,
) -> torch.Tensor:
    """Resample the whole batch by matrix products; see `resample`."""
    n, channels, height, width = pixels.shape
    device = pixels.device
    edges = torch.from_numpy(boxes.astype(np.float32)).to(device, non_blocking=True)
    mirrored = torch.from_numpy(flips).to(device, non_blocking=True)
    # Centres of output pixels, as fractions of the box from its top or left.
    place = ((torch.arange(side, device=device) + 0.5) / side)[None]
    rows = _weights(edges[:, 0], edges[:, 2], place, height, interpolation)
    place = torch.where(mirrored[:, None], 1 - place, place)
    columns = _weights(edges[:, 1], edges[:, 3], place, width, interpolation)
    values = pixels.to(torch.float32, memory_format=torch.contiguous_format)
    out = torch.empty((n, channels, side, side), device=device, memory_format=torch.channels_last)
    # Not under autocast: bfloat16 has fewer levels than a pixel.
    with torch.autocast(device.type, enabled=False):
        lines = torch.bmm(values.view(n, channels * height, width), columns.transpose(1, 2))
        lines = lines.view(n, channels, height, side)
        for channel in range(channels):
            out[:, channel] = torch.bmm(rows, lines[:, channel])
    return out.clamp_(0, 255)


def _weights(
    start: torch.Tensor,
    length: torch.Tensor,
    place: torch.Tensor,
    size: int,
    interpolation: ResizeFilter,
) -> torch.Tensor:
    """Return (B, side, size) weights of input pixels in output pixels.

    The filter is that of Pillow and torch: stretched by the scale factor when reducing, cut off at
    the edges of the box, normalized to a sum of one.
    """
    start, length = start[:, None], length[:, None]
    centre = start + place * length
    pixel = torch.arange(size, device=start.device) + 0.5
    distance = (pixel - centre[:, :, None]).abs_()
    distance.div_((length / place.shape[1]).clamp_(min=1)[:, :, None])
    if interpolation == "bilinear":
        weights = distance.neg_().add_(1).clamp_(min=0)
    else:
        weights = _cubic(distance)
    weights.mul_(((pixel > start) & (pixel < start + length))[:, None])
    return weights.div_(weights.sum(dim=2, keepdim=True))


def _cubic(x: torch.Tensor) -> torch.Tensor:
    """Return Keys' cubic kernel with a = -1/2 at distances x >= 0."""
    near = (1.5 * x - 2.5).mul_(x).mul_(x).add_(1)
    x = x.clamp(max=2)
    far = (-0.5 * x + 2.5).mul_(x).sub_(4).mul_(x).add_(2)
    return torch.where(x < 1, near, far)
