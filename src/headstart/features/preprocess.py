"""Decoded images, resized to the input of a network, in batches."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from headstart.datasets import Decodable
from headstart.errors import BrokenImageError
from headstart.spec import Interpolation, Model

__all__ = [
    "NetworkInput",
    "center_crop",
    "decode_for",
    "fit_image",
    "imagenet_crop",
    "whole_image",
]

Pixels = npt.NDArray[np.uint8]

# Fraction of the shorter side that the centre crop of ImageNet evaluations keeps.
CROP_FRACTION = 0.875

RESAMPLING = {name: Image.Resampling[name.upper()] for name in get_args(Interpolation)}


def whole_image(image: Image.Image, size: int, interpolation: str) -> Image.Image:
    """Resize the whole image to size x size (antialiased)."""
    return image.resize((size, size), RESAMPLING[interpolation])


def center_crop(image: Image.Image, size: int, interpolation: str) -> Image.Image:
    """Resize the shorter side to `size`, keep the aspect ratio, crop the centre.

    One step does both: only the central square is resampled.
    """
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), RESAMPLING[interpolation], box=box)


def imagenet_crop(image: Image.Image, size: int, interpolation: str) -> Image.Image:
    """Resize the shorter side to `size` / `CROP_FRACTION`, crop the central `size` x `size`.

    This is the usual evaluation on ImageNet, with torchvision's steps and rounding.
    """
    shorter = int(size / CROP_FRACTION)
    longer = int(shorter * max(image.size) / min(image.size))
    wide = image.width > image.height
    width, height = (longer, shorter) if wide else (shorter, longer)
    resized = image.resize((width, height), RESAMPLING[interpolation])
    left, top = round((width - size) / 2), round((height - size) / 2)
    return resized.crop((left, top, left + size, top + size))


HOW = {"whole": whole_image, "center-crop": center_crop, "imagenet": imagenet_crop}


def fit_image(image: Image.Image, size: int, interpolation: str, resize: str) -> Pixels:
    """Return a decoded image at input size: (size, size, 3) uint8, or (size, size, 1) if grey.

    A grey image keeps its single channel, to save two thirds of the resampling; `Extractor` expands
    it on the device.
    """
    pixels = np.asarray(HOW[resize](image, size, interpolation))
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


class NetworkInput(NamedTuple):
    """How a decoded image becomes the input of a network, up to the normalization.

    Networks that agree in it share the pixels.
    """

    size: int
    interpolation: Interpolation
    resize: str

    @classmethod
    def of(cls, model: Model, resize: str) -> Self:
        """Return that of a model."""
        return cls(model.input_size, model.interpolation, resize)

    def __call__(self, image: Image.Image) -> Pixels:
        """Return the image at input size, as `fit_image` does."""
        return fit_image(image, self.size, self.interpolation, self.resize)

    def decode(self, images: Decodable, rows: Iterable[int]) -> Pixels:
        """Decode the images of these rows to a batch, (n, size, size, 1 or 3)."""
        return self.stack([self(images.decode(row)) for row in rows])

    def stack(self, images: Sequence[Pixels | None]) -> Pixels:
        """Return a batch, (n, size, size, 1 or 3): grey only if all are; None is black."""
        channels = max(1 if pixels is None else pixels.shape[2] for pixels in images)
        batch = np.zeros((len(images), self.size, self.size, channels), np.uint8)
        for slot, pixels in zip(batch, images, strict=True):
            if pixels is not None:
                slot[:] = pixels
        return batch


def decode_for(
    forms: Iterable[NetworkInput], images: Decodable, row: int, skip_broken: bool
) -> dict[NetworkInput, Pixels] | str:
    """Decode an image once, for several networks.

    Returns
    -------
    dict or str
        Pixels for each of the inputs; with `skip_broken`, the decoder's reason for a broken image.

    Raises
    ------
    BrokenImageError
        The image is broken, unless `skip_broken`.
    """
    try:
        image = images.decode(row)
        return {form: form(image) for form in forms}
    except BrokenImageError as error:
        if not skip_broken:
            raise
        return error.reason
