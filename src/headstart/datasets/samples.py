"""Pixel values in image files: their type and range, and conversion to 8 bits.

Images of science, medicine and the earth hold greys of 12 to 32 bits, signed numbers, floating
point, or many bands. Pillow clips all of these to 0..255. Here they are scaled by what the file
says of itself (TIFF 6.0: BitsPerSample, SampleFormat, MinSampleValue and MaxSampleValue and their
SMin and SMax forms, PhotometricInterpretation; the depth of PNG, maxval of PGM), or refused.
"""

from collections.abc import Iterator, Sequence
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

__all__ = [
    "Samples",
    "Span",
    "UnsupportedSamplesError",
    "check_tiff",
    "describe_tiff",
    "extremes",
    "is_deep",
    "range_of",
    "samples_of",
    "to_grey",
]

# The values that are black and white.
Span = tuple[float, float]

BITS, COMPRESSION, PHOTOMETRIC, BANDS, PLANES = 258, 259, 262, 277, 284
EXTRA, FORMAT = 338, 339
# (minimum, maximum): of integers, of any type.
DECLARED = ((280, 281), (340, 341))
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
TYPES = {UNSIGNED: "unsigned integers", SIGNED: "signed integers", FLOAT: "floating point"}
WHITE_IS_ZERO, BLACK_IS_ZERO = 0, 1
UNCOMPRESSED, BAND_BY_BAND = 1, 2
# Bands that are colours, by the photometric interpretation: grey, RGB, palette, CMYK, YCbCr, Lab.
COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}
ALPHA = {(1,), (2,)}
PNG_DEPTH = slice(24, 25)
# What unsigned integers of so many bits reach.
DEPTHS = frozenset(2.0**bits - 1 for bits in range(8, 33))
# So many rows are converted at a time: to bound the memory of wide types.
STRIP_PIXELS = 1 << 20


class UnsupportedSamplesError(ValueError):
    """Samples that have no certain black and white.

    Parameters
    ----------
    what
        What they are.
    remedy
        What to do.
    misread
        Whether Pillow gives an image of them all the same, and not what they show.
    """

    def __init__(self, what: str, remedy: str, *, misread: bool = False) -> None:
        super().__init__(f"{what}: {remedy}")
        self.what, self.remedy, self.misread = what, remedy, misread


class Samples(NamedTuple):
    """What a file says of its samples.

    Parameters
    ----------
    kind
        Their type: ``uint8``, ``uint12``, ``uint16``, ``int16``, ``int32``, ``uint32``,
        ``float32``; ``colour16`` of colours, which Pillow brings to 8 bits by itself.
    declared
        The smallest and largest value that the file names; None where it names none.
    inverted
        Whether the largest value is black.
    extra
        Whether there are bands beside the colours and their opacity, which are not used.
    """

    kind: str = "uint8"
    declared: Span | None = None
    inverted: bool = False
    extra: bool = False


def is_deep(image: Image.Image) -> bool:
    """Whether Pillow gives an image in more than 8 bits: greyscale alone."""
    return image.mode.startswith("I") or image.mode == "F"


def check_tiff(content: IO[bytes]) -> None:
    """Refuse a TIFF file whose samples Pillow does not read, or reads as something else.

    Raises
    ------
    UnsupportedSamplesError
    """
    tags = _first_directory(content)
    if tags is None:
        return
    bits, bands, kind = _type_of(tags)
    photometric = _number(tags, PHOTOMETRIC, BLACK_IS_ZERO)
    what = _described(bits, bands, kind)
    if COLOURS.get(photometric) == 1 and bands > 1 and tuple(_numbers(tags, EXTRA)) not in ALPHA:
        remedy = "save one band as greyscale, or three as RGB"
        raise UnsupportedSamplesError(what, remedy, misread=(bits, bands) == (8, 2))
    if kind == SIGNED and bits == 8:
        raise UnsupportedSamplesError(what, "save it as unsigned 8-bit", misread=True)
    if kind not in TYPES or bits > 32 or (kind == FLOAT and bits != 32):
        raise UnsupportedSamplesError(
            what, "save it as 8-bit or 16-bit unsigned integers, or 32-bit floating point"
        )
    if bands > 1 and (bits > 16 or kind != UNSIGNED):
        raise UnsupportedSamplesError(what, "save it as 8-bit or 16-bit unsigned integers")
    planes, compression = _number(tags, PLANES, 1), _number(tags, COMPRESSION, UNCOMPRESSED)
    if bands > 1 and bits > 8 and (planes, compression) == (BAND_BY_BAND, UNCOMPRESSED):
        # Pillow takes each byte of such a band for a sample of 8 bits.
        raise UnsupportedSamplesError(
            f"{what} stored band by band, without compression",
            "save it pixel by pixel, or with compression",
            misread=True,
        )


def describe_tiff(content: IO[bytes]) -> str:
    """Return what a TIFF file holds, for one that Pillow does not read; "" if that is unknown."""
    tags = _first_directory(content)
    return _described(*_type_of(tags)) if tags else ""


def samples_of(image: Image.Image) -> Samples:
    """Return what an opened image file says of its samples."""
    tags = getattr(image, "tag_v2", None)
    if not isinstance(tags, TiffImagePlugin.ImageFileDirectory_v2):
        return Samples(_kind_of_mode(image))
    extra = tuple(_numbers(tags, EXTRA))
    beside = len(extra[1:] if extra[:1] in ALPHA else extra) > 0
    bits, _, number = _type_of(tags)
    if not is_deep(image):
        return Samples("colour16" if bits > 8 else "uint8", extra=beside)
    kind = f"{'u' if number == UNSIGNED else ''}int{bits}" if number != FLOAT else f"float{bits}"
    inverted = _numbers(tags, PHOTOMETRIC)[:1] == [WHITE_IS_ZERO]
    return Samples(kind, _declared(tags, signed=number == SIGNED), inverted, beside)


def extremes(image: Image.Image, samples: Samples) -> Span:
    """Return the smallest and the largest value; NaN where a value is NaN."""
    found = [(strip.min(), strip.max()) for strip in _strips(image, samples) if strip.size]
    lows, highs = zip(*found, strict=True) if found else ((0,), (0,))
    return float(np.min(lows)), float(np.max(highs))


def range_of(samples: Samples, low: float, high: float, requested: Span | None = None) -> Span:
    """Return the values that are black and white.

    Parameters
    ----------
    samples
        What the file says of them.
    low, high
        The smallest and the largest value in it.
    requested
        What a person says of them; it goes before what the file says.

    Raises
    ------
    UnsupportedSamplesError
        Nothing says what is black and white.
    """
    if requested and samples.kind == "colour16":
        raise UnsupportedSamplesError(
            "colour of 16 bits", "?range= is for greyscale; save it as 8-bit RGB, or leave it out"
        )
    if np.isnan(low) or np.isnan(high):
        raise UnsupportedSamplesError(f"{samples.kind} with NaN", "replace these values")
    if requested:
        return requested
    if np.isinf(low) or np.isinf(high):
        raise UnsupportedSamplesError(
            f"{samples.kind} with infinite values",
            "replace these values, or pass those that are black and white as ?range=LOW..HIGH",
            misread=True,
        )
    if span := _certain_range(samples, low, high):
        return span
    if samples.kind == "float32":
        # What image libraries write.
        for top in (1.0, 255.0):
            if low >= 0 and high <= top:
                return 0.0, top
    raise UnsupportedSamplesError(
        f"{samples.kind} values {low:g} to {high:g}, and nothing says which are black and white",
        f"pass these as ?range=LOW..HIGH, for example ?range={low:g}..{high:g}",
        misread=True,
    )


def _certain_range(samples: Samples, low: float, high: float) -> Span | None:
    """Return black and white as an unsigned type has them, or as the file declares them."""
    largest = {"uint12": 4095.0, "uint16": 65535.0}.get(samples.kind)
    if declared := samples.declared:
        is_depth = declared[0] == 0 and declared[1] in DEPTHS
        if largest and is_depth:
            return 0.0, min(largest, declared[1])
        # Some programs declare what the smallest and the largest value of this very image are.
        fits = declared[0] <= low and high <= declared[1]
        if not largest and fits and (is_depth or declared != (low, high)):
            return declared
    return (0.0, largest) if largest else None


def to_grey(image: Image.Image, samples: Samples, span: Span) -> npt.NDArray[np.uint8]:
    """Scale the values of a greyscale image: (height, width) uint8, rounded down.

    What is beyond `span` is black or white.
    """
    grey = np.empty((image.height, image.width), np.uint8)
    low, high = span
    start = 0
    for strip in _strips(image, samples):
        if strip.dtype == np.float32:
            scaled = (np.clip(strip, low, high) - np.float32(low)) * np.float32(255 / (high - low))
        elif span == (0, 65535):
            scaled = np.clip(strip, 0, 65535) // 257
        else:
            scaled = (np.clip(strip.astype(np.float64), low, high) - low) * 255 / (high - low)
        grey[start : start + len(strip)] = scaled
        start += len(strip)
    return 255 - grey if samples.inverted else grey


def _strips(image: Image.Image, samples: Samples) -> Iterator[npt.NDArray[Any]]:
    """Return the values a few rows at a time."""
    values = np.asarray(image)
    # Pillow has no such type, and gives the bits as a signed number.
    if samples.kind == "uint32":
        values = values.view(np.uint32)
    step = max(1, STRIP_PIXELS // max(1, image.width))
    for start in range(0, image.height, step):
        yield values[start : start + step]


def _kind_of_mode(image: Image.Image) -> str:
    """Return the type of samples by Pillow's mode, where no tags say more."""
    if image.mode == "F":
        return "float32"
    # The decoder of PGM files scales them to 16 bits.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        return "uint16"
    if image.mode == "I":
        return "int32"
    content = getattr(image, "fp", None)
    if image.format == "PNG" and content is not None:
        place = content.tell()
        content.seek(0)
        depth = content.read(32)[PNG_DEPTH]
        content.seek(place)
        return "colour16" if depth == b"\x10" else "uint8"
    return "uint8"


def _declared(tags: Any, *, signed: bool) -> Span | None:
    for minimum, maximum in reversed(DECLARED):
        low, high = _values(tags, minimum), _values(tags, maximum)
        if high and (low or not signed):
            span = (min(low, default=0.0), max(high))
            return span if span[0] < span[1] else None
    return None


def _first_directory(content: IO[bytes]) -> TiffImagePlugin.ImageFileDirectory_v2 | None:
    """Read the tags of the first image; None where they cannot be read: Pillow says more then."""
    try:
        content.seek(0)
        header = content.read(8)
        if header[2:3] == b"\x2b" or header[3:4] == b"\x2b":
            header += content.read(8)
        tags = TiffImagePlugin.ImageFileDirectory_v2(header)
        content.seek(tags.next)
        tags.load(content)
    except Exception:  # of many types, on damaged files
        return None
    return tags


def _type_of(tags: Any) -> tuple[int, int, int]:
    """Return bits of a sample, bands, and the format of samples."""
    return _number(tags, BITS, 1), _number(tags, BANDS, 1), _number(tags, FORMAT, UNSIGNED)


def _described(bits: int, bands: int, kind: int) -> str:
    return f"{bands} band{'s' if bands > 1 else ''} of {bits}-bit {TYPES.get(kind, 'samples')}"


def _values(tags: Any, tag: int) -> list[float]:
    """Return the values of a tag as numbers; none where it is not there or holds something else."""
    try:
        found = tags[tag]
        several = found if isinstance(found, Sequence) and not isinstance(found, str) else (found,)
        numbers = [float(value) for value in several]
    # Not there, or damaged in one of many ways.
    except Exception:
        return []
    return [number for number in numbers if np.isfinite(number)]


def _numbers(tags: Any, tag: int) -> list[int]:
    return [int(value) for value in _values(tags, tag)]


def _number(tags: Any, tag: int, default: int) -> int:
    return next(iter(_numbers(tags, tag)), default)
