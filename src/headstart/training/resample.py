"""Crop, flip and antialiased resize of a batch, with one box per image.

There are two implementations with the same result. On a GPU, and on a CPU for small images, it is
two matrix products: a resize is linear and separable, so each image has a (side, height) and a
(width, side) matrix. They are zero outside the box and on padding, and mirrored for a flip. The
matrices of large images are nearly all zeros. There, a CPU is three times as fast with torch's own
kernel, image by image.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

__all__ = ["Interpolation", "by_kernel", "by_products", "resample"]

Interpolation = Literal["bicubic", "bilinear"]

# Largest size of an image's matrix for which products are faster on a CPU: below it, the overhead
# of a call per image exceeds the arithmetic.
SMALL = 48 * 48


def resample(
    pixels: torch.Tensor,
    boxes: npt.NDArray[np.float64],
    flips: npt.NDArray[np.bool_],
    side: int,
    interpolation: Interpolation,
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
    interpolation: Interpolation,
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
    interpolation: Interpolation,
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
    interpolation: Interpolation,
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
    weights = _tent(distance) if interpolation == "bilinear" else _cubic(distance)
    weights.mul_(((pixel > start) & (pixel < start + length))[:, None])
    return weights.div_(weights.sum(dim=2, keepdim=True))


def _tent(x: torch.Tensor) -> torch.Tensor:
    return x.neg_().add_(1).clamp_(min=0)


def _cubic(x: torch.Tensor) -> torch.Tensor:
    """Return Keys' cubic kernel with a = -1/2 at distances x >= 0."""
    near = (1.5 * x - 2.5).mul_(x).mul_(x).add_(1)
    x = x.clamp(max=2)
    far = (-0.5 * x + 2.5).mul_(x).sub_(4).mul_(x).add_(2)
    return torch.where(x < 1, near, far)
