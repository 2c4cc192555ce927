"""Crop, flip and antialiased resize of a batch, another box for each image.

There are two ways to one result. A GPU, and a processor for small images, multiply by matrices:
a resize is linear and separable, so each image has a (side, height) and a (width, side) matrix
that are zero outside its box and on padding, and mirrored where it is flipped. Nearly all of a
larger image's matrix is zeros: on a processor torch's own kernel, which takes one image at a time,
needs a third of the time.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

__all__ = ["Interpolation", "by_kernel", "by_products", "resample"]

Interpolation = Literal["bicubic", "bilinear"]

# Entries of an image's matrix up to which the products are faster on a processor: with fewer, the
# calls for each image cost more than the arithmetic.
SMALL = 48 * 48


def resample(
    pixels: torch.Tensor,
    boxes: npt.NDArray[np.float64],
    flips: npt.NDArray[np.bool_],
    side: int,
    interpolation: Interpolation,
) -> torch.Tensor:
    """Bring the box of each image to side x side.

    The result is that of torchvision's ``resized_crop(..., antialias=True)`` and
    ``horizontal_flip``, clamped to what a pixel can be.

    Parameters
    ----------
    pixels
        (B, C, H, W) uint8; what is outside the boxes does not matter.
    boxes
        (B, 4): top, left, height, width; whole numbers, within H and W.
    flips
        (B,), which are mirrored left to right.
    side, interpolation
        Of the result.

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
    """Do as `resample` does, image by image."""
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
    """Do as `resample` does, for the batch at once."""
    n, channels, height, width = pixels.shape
    device = pixels.device
    edges = torch.from_numpy(boxes.astype(np.float32)).to(device, non_blocking=True)
    mirrored = torch.from_numpy(flips).to(device, non_blocking=True)
    # The places of results in their box, from its top or left as a share of it.
    place = ((torch.arange(side, device=device) + 0.5) / side)[None]
    rows = _weights(edges[:, 0], edges[:, 2], place, height, interpolation)
    place = torch.where(mirrored[:, None], 1 - place, place)
    columns = _weights(edges[:, 1], edges[:, 3], place, width, interpolation)
    values = pixels.to(torch.float32, memory_format=torch.contiguous_format)
    out = torch.empty((n, channels, side, side), device=device, memory_format=torch.channels_last)
    # Autocast would multiply in half precision, which has fewer levels than a pixel.
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
    """Give the weight of each of `size` pixels in each result: (B, side, size).

    The filter of Pillow and of torch: stretched by the reduction where the result is smaller, cut
    at the edges of the box, and scaled to a sum of one.
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
    """Keys' cubic with a = -1/2, of distances x >= 0."""
    near = (1.5 * x - 2.5).mul_(x).mul_(x).add_(1)
    x = x.clamp(max=2)
    far = (-0.5 * x + 2.5).mul_(x).sub_(4).mul_(x).add_(2)
    return torch.where(x < 1, near, far)
