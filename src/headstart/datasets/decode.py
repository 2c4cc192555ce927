"""From the bytes of a file to an image, as `Decoding` says."""

from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from headstart.errors import BrokenImageError
from headstart.spec import Decoding

__all__ = ["decode"]


def decode(content: IO[bytes], where: str, decoding: Decoding) -> Image.Image:
    """Decode an image, in mode L or RGB; BrokenImageError names `where` if that fails."""
    try:
        with Image.open(content) as image:
            if decoding.like == "torchvision":
                return image.convert("RGB")
            return _grey_or_rgb(ImageOps.exif_transpose(image))
    # What Pillow's decoders raise on damaged files is not one type.
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as error:
        raise BrokenImageError(where, str(error) or type(error).__name__) from error
    except Image.DecompressionBombError as error:
        raise BrokenImageError(where, str(error)) from error


def _grey_or_rgb(image: Image.Image) -> Image.Image:
    """Bring any mode to L or RGB as a viewer would show it, on white where it is transparent."""
    if image.mode.startswith("I"):
        # 16 bits a pixel: Pillow's own conversion would clip at 255.
        return Image.fromarray((np.asarray(image, dtype=np.float64) / 257).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        opaque = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), opaque).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")
