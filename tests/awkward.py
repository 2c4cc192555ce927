"""Image files of every awkward kind, small, as bytes."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, PngImagePlugin

ORIENTATION = 0x0112


def noise(height: int = 24, width: int = 32, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def with_orientation(value: int, kind: str = "JPEG") -> bytes:
    """An image, not symmetric, whose EXIF says how to turn it."""
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return encoded(Image.fromarray(noise()), kind, exif=exif)


def animation(kind: str) -> bytes:
    """Red, then blue, then green."""
    first, *others = (Image.new("RGB", (8, 6), colour) for colour in ("red", "blue", "green"))
    options = {"lossless": True} if kind == "WEBP" else {}
    return encoded(first, kind, save_all=True, append_images=others, duration=50, **options)


def chunk(name: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content)) + name + content
        + struct.pack(">I", zlib.crc32(name + content))
    )  # fmt: skip


def huge_png(width: int, height: int) -> bytes:
    """A whole PNG file of one bit a pixel, all black."""
    row = bytes(1 + (width + 7) // 8)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(row * height, 1)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )  # fmt: skip


def late_exif_png() -> bytes:
    """A PNG whose EXIF, to be turned by 90 degrees, comes behind the pixels."""
    plain = encoded(Image.fromarray(noise()))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return plain[:-12] + chunk(b"eXIf", exif.tobytes()[6:]) + plain[-12:]


def half_transparent(mode: str) -> Image.Image:
    """An image whose left half shows and whose right half is transparent."""
    image = Image.new("RGBA", (8, 6), (0, 0, 0, 0))
    image.paste((10, 20, 30, 255), (0, 0, 4, 6))
    return image.quantize(4) if mode == "P" else image.convert(mode)


def deep_grey() -> np.ndarray:
    """All that makes a difference at 16 bits: (16, 16) uint16."""
    return np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16) + np.uint16(5) * (
        np.arange(16, dtype=np.uint16) < 15
    )


def one_colour_transparent() -> bytes:
    image = Image.new("RGB", (8, 6), (10, 20, 30))
    image.paste((0, 255, 0), (4, 0, 8, 6))
    return encoded(image, transparency=(0, 255, 0))


def png_with_xmp(orientation: int) -> bytes:
    """A PNG whose XMP, as some programs write it, says how to turn it."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", f'<x tiff:Orientation="{orientation}"/>')
    return encoded(Image.fromarray(noise()), pnginfo=info)


def whole_files() -> dict[str, bytes]:
    """Files that decode, by what is awkward about them."""
    colour, grey = Image.fromarray(noise()), Image.fromarray(noise(channels=1))
    files = {
        "rgb.png": encoded(colour),
        "rgb.jpg": encoded(colour, "JPEG"),
        "grey.png": encoded(grey),
        "grey.jpg": encoded(grey, "JPEG"),
        "grey.gif": encoded(grey, "GIF"),
        "one bit.png": encoded(grey.convert("1")),
        "alpha.png": encoded(Image.fromarray(noise(channels=4), "RGBA")),
        "grey alpha.png": encoded(Image.fromarray(noise(channels=4), "RGBA").convert("LA")),
        "alpha.webp": encoded(Image.fromarray(noise(channels=4), "RGBA"), "WEBP", lossless=True),
        "palette.png": encoded(colour.quantize(16)),
        "palette alpha.png": encoded(half_transparent("P")),
        "palette alpha.gif": encoded(half_transparent("P"), "GIF", transparency=0),
        "one colour.png": one_colour_transparent(),
        "cmyk.jpg": encoded(colour.convert("CMYK"), "JPEG"),
        "cmyk.tif": encoded(colour.convert("CMYK"), "TIFF"),
        "deep.png": encoded(Image.fromarray(deep_grey())),
        "deep.tif": encoded(Image.fromarray(deep_grey()), "TIFF"),
        "turned 6.tif": with_orientation(6, "TIFF"),
        "late exif.png": late_exif_png(),
        "xmp.png": png_with_xmp(8),
        "colour.bmp": encoded(colour, "BMP"),
        "no end.jpg": encoded(colour, "JPEG")[:-2] + bytes(64),
        "more behind.jpg": encoded(colour, "JPEG") + b"something of a camera's",
        "more behind.png": encoded(colour) + b"something of a server's",
        "no end.gif": encoded(grey, "GIF")[:-1],
    }
    files |= {f"turned {value}.jpg": with_orientation(value) for value in range(1, 9)}
    files |= {f"turned {value}.png": with_orientation(value, "PNG") for value in range(1, 9)}
    return files | {f"moving.{kind.lower()}": animation(kind) for kind in ("GIF", "PNG", "WEBP")}


def broken_files() -> dict[str, tuple[bytes, str]]:
    """Files that do not decode, each with words of the reason."""
    colour = Image.fromarray(noise())
    files = {
        "empty.png": (b"", "empty file"),
        "text.jpg": (b"<html>404 Not Found</html>", "not an image"),
        "beginning.png": (b"\x89PNG\r\n\x1a\n broken", "not an image, or damaged at its beginning"),
    }
    for kind in ("PNG", "JPEG", "GIF", "WEBP"):
        content = encoded(colour, kind)
        files[f"half.{kind.lower()}"] = (content[: len(content) // 2], "truncated: its end is miss")
    for kind in ("BMP", "TIFF"):
        content = encoded(colour, kind)
        files[f"half.{kind.lower()}"] = (content[: len(content) // 2], "truncated")
    return files
