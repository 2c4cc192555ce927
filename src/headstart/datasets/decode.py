"""From the bytes of a file to an image, as `Decoding` says."""

import re
import struct
import warnings
from types import MappingProxyType
from typing import IO

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from headstart.errors import BrokenImageError
from headstart.spec import Decoding

__all__ = [
    "complaint",
    "decode",
    "has_its_end",
    "is_deep",
    "is_transparent",
    "open_image",
    "orientation",
    "over_limit",
]

# EXIF 2.3, tag 274: how the stored image has to be turned to stand upright.
TURNS = MappingProxyType(
    {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
)
PILLOW = r"PIL\."
SILENT = ("ignore", None, UserWarning, re.compile(PILLOW), 0)


def decode(content: IO[bytes], where: str, decoding: Decoding) -> Image.Image:
    """Decode an image, in mode L or RGB; BrokenImageError names `where` if that fails.

    Of several frames the first is taken.
    """
    try:
        with open_image(content) as image:
            if excess := over_limit(image.width, image.height, decoding):
                raise BrokenImageError(where, excess)
            if decoding.like == "torchvision":
                return image.convert("RGB")
            return _grey_or_rgb(_upright(image))
    except (BrokenImageError, MemoryError):
        raise
    # What Pillow's decoders raise on damaged files is not one type, nor ten.
    except Exception as error:
        content.seek(0)
        raise BrokenImageError(where, complaint(content.read(), error)) from error


def open_image(content: IO[bytes]) -> ImageFile.ImageFile:
    """Read the header of an image as `Image.open` does, at any size and without a warning.

    `Image.open` warns of, or refuses, images over `Image.MAX_IMAGE_PIXELS`. That number holds for
    the whole process, the caller's own use of Pillow included, so it is left alone: the decoders
    are asked in the order in which `Image.open` asks them, and `Decoding.max_pixels` is the limit.

    Raises
    ------
    UnidentifiedImageError
        No decoder knows the file.
    """
    _silence()
    Image.preinit()
    Image.init()
    prefix = content.read(16)
    for name in tuple(Image.ID):
        factory, accept = Image.OPEN[name]
        content.seek(0)
        try:
            answer = accept is None or accept(prefix)
            # A decoder that is not installed answers with a text.
            if answer and not isinstance(answer, str):
                return factory(content, "")
        # Those that are asked about a file of few bytes may fail too.
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
    raise UnidentifiedImageError("not an image, or damaged at its beginning")


def _silence() -> None:
    """Have Python ignore what Pillow says of odd metadata: such an image is as good as another.

    `warnings.catch_warnings` would do it for a while only, but exchanges the filters of the whole
    process, and images are decoded in threads: the one that leaves first would bring the warnings
    back to the others. So there is one rule, of the mildest category and of Pillow's modules alone,
    and it stays. It is put back to the front if somebody else's rule is there. Pillow's warning of
    too many pixels is of another category, and the caller goes on to see it.
    """
    if not warnings.filters or warnings.filters[0] != SILENT:
        warnings.filterwarnings("ignore", category=UserWarning, module=PILLOW)


def over_limit(width: int, height: int, decoding: Decoding) -> str:
    """Say that an image of this size, in pixels, is too large; "" where it is not."""
    pixels = width * height
    if pixels <= decoding.max_pixels:
        return ""
    return (
        f"{width} x {height} = {pixels:,} pixels, over the limit of {decoding.max_pixels:,}: "
        f"raise it with ?max_pixels={pixels}"
    )


def has_its_end(content: bytes) -> bool | None:
    """Whether the mark is there that files of this format end with; None where there is none.

    A file without it may be whole all the same: some writers leave it out, some transfers add to
    the end.
    """
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return content.endswith(b"IEND\xaeB`\x82")
    if content.startswith(b"\xff\xd8"):  # JPEG
        return content.endswith(b"\xff\xd9")
    if content.startswith(b"GIF8"):
        return content.endswith(b";")
    if content.startswith(b"RIFF"):  # WebP: its size is written at the beginning
        return len(content) >= 8 + int.from_bytes(content[4:8], "little")
    return None


def complaint(content: bytes, error: Exception) -> str:
    """Say in words what is wrong with a file that Pillow failed on with `error`."""
    if not content:
        return "empty file"
    words = str(error) or type(error).__name__
    if not isinstance(error, UnidentifiedImageError) and has_its_end(content) is False:
        return f"truncated: its end is missing ({words})"
    return words


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) to 8; 1 where there is none or it cannot be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged metadata, again of many types; the pixels may be whole
        return 1
    return value if value in TURNS else 1


def is_transparent(image: Image.Image) -> bool:
    """Whether an image has an alpha channel or a transparent colour."""
    return "A" in image.getbands() or "transparency" in image.info


def is_deep(image: Image.Image) -> bool:
    """Whether an image has 16 bits a pixel (or 32) that Pillow keeps: greyscale alone."""
    return image.mode.startswith("I")


def _upright(image: Image.Image) -> Image.Image:
    # Not by ImageOps.exif_transpose: it also writes the EXIF anew, and fails where that is damaged.
    image.load()  # which turns a TIFF
    turn = TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def _grey_or_rgb(image: Image.Image) -> Image.Image:
    """Bring any mode to L or RGB as a viewer would show it, on white where it is transparent."""
    if is_deep(image):
        # Pillow's own conversion would clip at 255.
        values = np.asarray(image)
        grey = (np.clip(values, 0, 65535) // 257).astype(np.uint8)
        if "transparency" in image.info:
            grey[values == image.info["transparency"]] = 255
        return Image.fromarray(grey)
    if is_transparent(image):
        opaque = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), opaque).convert("RGB")
    # A copy where nothing is converted: the file behind `image` is closed.
    return image.convert("L" if image.mode in ("1", "L") else "RGB")
