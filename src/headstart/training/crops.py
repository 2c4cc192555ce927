"""Crop boxes for a batch of images of different sizes.

A box is (top, left, height, width) in pixels, whole numbers as float64.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["DRAWS", "central_boxes", "full_boxes", "random_boxes"]

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
