"""Decode the bytes of a file to an image, as `Decoding` specifies."""

import re
import struct
import warnings
from types import MappingProxyType
from typing import IO

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from headstart.datasets.samples import (
    Samples,
    check_tiff,
    describe_tiff,
    extremes,
    is_deep,
    range_of,
    samples_of,
    to_grey,
)
from headstart.errors import BrokenImageError
from headstart.spec import Decoding

__all__ = [
    "NOT_DECODED",
    "complaint",
    "decode",
    "from_pillow",
    "grey_or_rgb",
    "has_its_end",
    "is_transparent",
    "kind_of_file",
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
# Pillow recognises these and decodes them with other programs, or not at all.
NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
# What files are that are named as images and are none that Pillow decodes: by how they begin, and
# what to do.
CONVERT = "unsupported: convert it to JPEG or PNG"
NO_IMAGES = (
    (rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", f"a HEIC image ({CONVERT})"),
    (rb"(\xff\x0a|\0\0\0\x0cJXL )", f"a JPEG XL image ({CONVERT})"),
    (rb"....ftyp", "a video (save its frames as images)"),
    (rb"%PDF-", "a PDF document (save its pages as images)"),
    (rb"(%!PS|\xc5\xd0\xd3\xc6)", "a PostScript document (save it as PNG)"),
    (rb"version https://git-lfs", "a Git LFS pointer (fetch the file with: git lfs pull)"),
    (rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*(<!DOCTYPE svg[^>]*>\s*)?<svg[\s>]",
     "an SVG drawing (save it as PNG)"),
    (rb"\s*<(!doctype html|html|head|body)", "an HTML page, not an image: a failed download?"),
    (rb"\s*[{\[]\s*\"", "JSON text, not an image: a failed download?"),
    (rb"\s*<\?xml", "XML text, not an image: a failed download?"),
    (rb"PK\x03\x04", "a ZIP archive, not an image"),
    (rb"\x1f\x8b", "a gzip archive, not an image"),
    (rb"\x93NUMPY", "a NumPy array (save it as PNG)"),
    (rb"\x89HDF\r\n", "an HDF5 file (save its images as PNG)"),
    (rb".{128}DICM", "a DICOM image (unsupported: convert it to PNG or TIFF)"),
    (rb"\0{64}", "zero bytes, not an image: an interrupted copy?"),
)  # fmt: skip
WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PILLOW = r"PIL\."
KNOWN = tuple((re.compile(start, re.DOTALL | re.IGNORECASE), what) for start, what in NO_IMAGES)
SILENT = ("ignore", None, UserWarning, re.compile(PILLOW), 0)


def decode(content: IO[bytes], where: str, decoding: Decoding) -> Image.Image:
    """Decode an image, in mode L or RGB; BrokenImageError names `where` if that fails.

    Of several frames the first is taken.
    """
    try:
        with open_image(content) as image:
            return from_pillow(image, where, decoding)
    except (BrokenImageError, MemoryError):
        raise
    # What Pillow's decoders raise on damaged files is not one type, nor ten.
    except Exception as error:
        content.seek(0)
        raise BrokenImageError(where, complaint(content.read(), error)) from error


def from_pillow(image: Image.Image, where: str, decoding: Decoding) -> Image.Image:
    """Bring an image that Pillow opened to mode L or RGB, as `decode` does.

    Raises
    ------
    BrokenImageError
        It has no pixels, or more than are allowed.
    UnsupportedSamplesError
        Nothing says which of its values are black and white.
    """
    if 0 in image.size:
        raise BrokenImageError(where, f"{image.width} x {image.height} pixels: it is empty")
    if excess := over_limit(image.width, image.height, decoding):
        raise BrokenImageError(where, excess)
    if decoding.like == "torchvision":
        return image.convert("RGB")
    samples = samples_of(image)
    return grey_or_rgb(_upright(image), samples, decoding)


def open_image(content: IO[bytes]) -> ImageFile.ImageFile:
    """Read the header of an image as `Image.open` does, at any size and without a warning.

    `Image.open` warns of, or refuses, images over `Image.MAX_IMAGE_PIXELS`. That number holds for
    the whole process, the caller's own use of Pillow included, so it is left alone: the decoders
    are asked in the order in which `Image.open` asks them, and `Decoding.max_pixels` is the limit.

    Raises
    ------
    UnidentifiedImageError
        No decoder knows the file.
    UnsupportedSamplesError
        A TIFF file whose samples no image can be made of.
    """
    _silence()
    Image.preinit()
    Image.init()
    prefix = content.read(16)
    is_tiff = prefix[:4] in TIFF
    if is_tiff:
        check_tiff(content)
    for name in tuple(Image.ID):
        if name in NOT_DECODED:
            continue
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
    if is_tiff and (what := describe_tiff(content)):
        raise UnidentifiedImageError(f"TIFF with {what}: unsupported, or damaged")
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
    """State that an image of this size, in pixels, is too large; "" where it is not."""
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


def kind_of_file(start: bytes) -> str:
    """State what a file is that begins so and is neither an image nor a table; "" if unknown."""
    found = next((what for known, what in KNOWN if known.match(start)), "")
    return found.replace(", not an image", "")


def complaint(content: bytes, error: Exception) -> str:
    """State in words what is wrong with a file that Pillow failed on with `error`."""
    if not content:
        return "empty file"
    words = (str(error) or type(error).__name__).splitlines()[0]
    if isinstance(error, UnidentifiedImageError):
        start = content[:1024]
        return next((what for known, what in KNOWN if known.match(start)), words)
    if has_its_end(content) is False:
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
    return image.mode in WITH_ALPHA or "transparency" in image.info


def grey_or_rgb(image: Image.Image, samples: Samples, decoding: Decoding) -> Image.Image:
    """Bring any mode to L or RGB as a viewer would show it, on white where it is transparent.

    `samples` is what the file says of its samples.

    Raises
    ------
    UnsupportedSamplesError
        Nothing says which values are black and white.
    """
    if is_deep(image):
        span = range_of(samples, *extremes(image, samples), decoding.range)
        grey = to_grey(image, samples, span)
        if "transparency" in image.info:
            grey[np.asarray(image) == image.info["transparency"]] = 255
        return Image.fromarray(grey)
    if decoding.range and samples.kind != "uint8":
        range_of(samples, 0, 0, decoding.range)
    if is_transparent(image):
        # Pillow turns the mode La into no other.
        opaque = image.convert("LA") if image.mode == "La" else image
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, opaque.convert("RGBA")).convert("RGB")
    # A copy where nothing is converted: the file behind `image` is closed.
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _upright(image: Image.Image) -> Image.Image:
    # Not by ImageOps.exif_transpose: it also writes the EXIF anew, and fails where that is damaged.
    image.load()  # which turns a TIFF
    turn = TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)
