"""Properties of an image, read from its bytes without decoding it."""

import hashlib
import io
from dataclasses import dataclass, replace

from PIL import ImageFile

from headstart.datasets.decode import (
    complaint,
    has_its_end,
    is_transparent,
    open_image,
    orientation,
)
from headstart.datasets.samples import (
    Samples,
    Span,
    UnsupportedSamplesError,
    extremes,
    is_deep,
    range_of,
    samples_of,
)
from headstart.spec import Decoding

__all__ = ["ImageInfo", "inspect_image"]

# One of these is in a PNG whose metadata may turn it.
TURNING_CHUNKS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
# Formats whose frames are an animation's, or pages; those of a camera's MPO are previews.
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF", "TIFF")


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
