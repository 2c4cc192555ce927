"""Files of images: decoded as `Decoding` specifies, and described without decoding them."""

import hashlib
import io
import re
import struct
import warnings
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import IO

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from headstart.datasets.samples import (
    Samples,
    Span,
    UnsupportedSamplesError,
    check_tiff,
    describe_tiff,
    extremes,
    is_deep,
    range_of,
    samples_of,
    to_grey,
)
from headstart.errors import BrokenImageError
from headstart.shown_text import first_line
from headstart.spec import Decoding

__all__ = [
    "NOT_DECODED",
    "ImageInfo",
    "complaint",
    "decode",
    "from_pillow",
    "grey_or_rgb",
    "has_its_end",
    "inspect_image",
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
    (rb"....ftypavi[fs]", "an AVIF image, truncated or damaged"),
    (rb"(....ftyp|\x1aE\xdf\xa3|RIFF....AVI )", "a video (save its frames as images)"),
    (rb"(v/1\x01|#\?RADIANCE)", f"an OpenEXR or Radiance image ({CONVERT})"),
    (rb"(FUJIFILMCCD-RAW|II\*\0....CR\x02)", f"a raw image of a camera ({CONVERT})"),
    (rb"(data:image/|iVBORw0KGgo|/9j/4A)", "text (base64), not an image: decode it"),
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
    (rb"(Rar!|7z\xbc\xaf)", "a RAR or 7z archive, not an image"),
    (rb"MATLAB 5.0", "a MATLAB file (save its images as PNG)"),
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

# One of these is in a PNG whose metadata may turn it.
TURNING_CHUNKS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
# Formats whose frames are an animation's, or pages; those of a camera's MPO are previews.
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF", "TIFF")


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
    return _known_kind(start).replace(", not an image", "")


def _known_kind(start: bytes) -> str:
    return next((what for known, what in KNOWN if known.match(start)), "")


def complaint(content: bytes, error: Exception) -> str:
    """State in words what is wrong with a file that Pillow failed on with `error`."""
    if not content:
        return "empty file"
    words = first_line(error)
    if isinstance(error, UnidentifiedImageError):
        return _known_kind(content[:1024]) or words
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


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image as it is stored.

    Parameters
    ----------
    sha256
        Hexadecimal, of the bytes. (A file_index that was asked for another digest keeps it here.)
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
        Whether it is grey with more than 8 bits per pixel.
    frames
        How many an animation has, or pages; 1 for a still image.
    kind, declared_low, declared_high, extra
        As in `Samples`.
    low, high
        Smallest and largest value; None of an image of 8 bits, or of one that was not decoded.
    misread
        Whether headstart 0.1 made another image of it, or made one where it is refused now:
        its numbers must not be taken from a cache.
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
    kind: str = ""
    declared_low: float | None = None
    declared_high: float | None = None
    extra: bool = False
    low: float | None = None
    high: float | None = None
    misread: bool = False

    def span(self, requested: Span | None) -> Span | None:
        """Return the values that are black and white, of an image that has to be scaled.

        None of any other, and of one that was not decoded.

        Raises
        ------
        UnsupportedSamplesError
            Nothing says which they are.
        """
        if not self.deep or self.low is None or self.high is None:
            return None
        return range_of(self.samples, self.low, self.high, requested)

    @property
    def samples(self) -> Samples:
        """What the file says of its samples."""
        declared = None
        if self.declared_low is not None and self.declared_high is not None:
            declared = self.declared_low, self.declared_high
        return Samples(self.kind, declared, extra=self.extra)


def inspect_image(content: bytes) -> ImageInfo:
    """Look at the bytes of an image file: header, metadata, and whether its end is there.

    An image that looks truncated, or of a format where that does not show, is decoded to be sure,
    and one of more than 8 bits to know the range of its values. One of more pixels than `Decoding`
    allows by default is not, for its memory.
    """
    bare = ImageInfo(hashlib.sha256(content).hexdigest(), len(content))
    try:
        with open_image(io.BytesIO(content)) as image:
            samples = samples_of(image)
            low, high = samples.declared or (None, None)
            header = replace(
                bare,
                width=image.width,
                height=image.height,
                mode=image.mode,
                format=image.format or "",
                transparent=is_transparent(image),
                deep=is_deep(image),
                kind=samples.kind,
                declared_low=low,
                declared_high=high,
                extra=samples.extra,
            )
            if header.width * header.height > Decoding().max_pixels:
                return header
            # In this order: to decode a TIFF turns it, to count frames moves on in the file.
            whole = has_its_end(content) and not header.deep
            header = replace(
                header,
                problem="" if whole else _problem(image, content),
                turned=_is_turned(image, content),
            )
            if header.deep and not header.problem:
                header = _with_values(header, image, samples)
            return replace(header, frames=_count_frames(image))
    except UnsupportedSamplesError as error:
        return replace(bare, problem=str(error), misread=error.misread)
    except Exception as error:  # of many types, on damaged files
        return replace(bare, problem=complaint(content, error))


def _with_values(header: ImageInfo, image: ImageFile.ImageFile, samples: Samples) -> ImageInfo:
    """Add the range of the values of an image that is decoded."""
    low, high = extremes(image, samples)
    header = replace(header, low=low, high=high)
    try:
        span = range_of(samples, low, high)
    except UnsupportedSamplesError as error:
        return replace(header, misread=error.misread)
    # What Pillow's clipping came to.
    before = (0, 255) if samples.kind == "float32" else (0, 65535)
    return replace(header, misread=samples.inverted or span != before)


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
