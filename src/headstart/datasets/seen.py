"""What the bytes of an image say without decoding it."""

import hashlib
import io
from dataclasses import dataclass, replace

from PIL import ImageFile

from headstart.datasets.decode import (
    complaint,
    has_its_end,
    is_deep,
    is_transparent,
    open_image,
    orientation,
)
from headstart.spec import Decoding

__all__ = ["Seen", "look_at"]

# One of these is in a PNG whose metadata may turn it.
TURNING_CHUNKS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
# Formats whose frames are an animation's, or pages; those of a camera's MPO are previews.
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF", "TIFF")


@dataclass(frozen=True, slots=True)
class Seen:
    """An image as it is stored.

    Parameters
    ----------
    sha256
        Hexadecimal, of the bytes. (A ledger that was asked for another digest keeps it here.)
    n_bytes
        Size of the file.
    problem
        What is wrong with it, in words; "" where nothing is known to be. The fields below are then
        what could still be read.
    width, height
        In pixels, as stored: before it is turned.
    mode, format
        As Pillow names them; no format where the image is no file.
    turned
        Whether its EXIF orientation is another than upright.
    transparent
        Whether it has an alpha channel or a transparent colour.
    deep
        Whether it is grey with more than 8 bits a pixel.
    frames
        How many an animation has, or pages; 1 for a still image.
    """

    sha256: str
    n_bytes: int
    problem: str = ""
    width: int = 0
    height: int = 0
    mode: str = ""
    format: str = ""
    turned: bool = False
    transparent: bool = False
    deep: bool = False
    frames: int = 1


def look_at(content: bytes) -> Seen:
    """Look at the bytes of an image file: header, metadata, and whether its end is there.

    An image that looks truncated, or of a format where that does not show, is decoded to be sure;
    one of more pixels than `Decoding` allows by default is not, for its memory.
    """
    bare = Seen(hashlib.sha256(content).hexdigest(), len(content))
    try:
        with open_image(io.BytesIO(content)) as image:
            header = replace(
                bare,
                width=image.width,
                height=image.height,
                mode=image.mode,
                format=image.format or "",
                transparent=is_transparent(image),
                deep=is_deep(image),
            )
            if header.width * header.height > Decoding().max_pixels:
                return header
            # In this order: to decode a TIFF turns it, to count frames moves on in the file.
            return replace(
                header,
                problem="" if has_its_end(content) else _problem(image, content),
                turned=_is_turned(image, content),
                frames=_count_frames(image),
            )
    except Exception as error:  # of many types, on damaged files
        return replace(bare, problem=complaint(content, error))


def _problem(image: ImageFile.ImageFile, content: bytes) -> str:
    try:
        image.load()
    except Exception as error:  # of many types, on damaged files
        return complaint(content, error)
    return ""


def _is_turned(image: ImageFile.ImageFile, content: bytes) -> bool:
    # Pillow decodes a PNG to find metadata behind the pixels: only where there can be some.
    if image.format == "PNG" and not any(chunk in content for chunk in TURNING_CHUNKS):
        return False
    return orientation(image) != 1


def _count_frames(image: ImageFile.ImageFile) -> int:
    if image.format not in ANIMATED:
        return 1
    try:
        return max(1, getattr(image, "n_frames", 1))
    except Exception:  # a damaged later frame; the first is what is used
        return 1
