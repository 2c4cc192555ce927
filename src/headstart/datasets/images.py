"""Where images come from: arrays in memory, or files that are decoded when asked for."""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from headstart.errors import BrokenImageError
from headstart.files import sha256_file, storage_errors

__all__ = ["ArrayImages", "Decodable", "FileImages", "Images", "JoinedImages"]


class Decodable(Protocol):
    """A sequence of images that can be decoded and named."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def decode(self, row: int) -> Image.Image:
        """Decode an image, in mode L or RGB; BrokenImageError if that fails."""
        ...

    def where(self, row: int) -> str:
        """Name an image so that a person finds it."""
        ...


class Images(Decodable, Protocol):
    """Images that can be subset, and told apart by content."""

    def take(self, rows: npt.NDArray[np.int64]) -> "Images":
        """Give the images of these rows, in this order."""
        ...

    def digest(self) -> str:
        """Hexadecimal SHA-256 of the content, in order."""
        ...


class ArrayImages:
    """Images held as one array.

    Parameters
    ----------
    pixels
        (n, height, width) or (n, height, width, 3) uint8.
    """

    def __init__(self, pixels: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64] | None = None):
        self._pixels = pixels
        self._rows = np.arange(len(pixels), dtype=np.int64) if rows is None else rows

    def __len__(self) -> int:
        return len(self._rows)

    def decode(self, row: int) -> Image.Image:
        return Image.fromarray(self._pixels[self._rows[row]])

    def where(self, row: int) -> str:
        return f"number {self._rows[row]}"

    def take(self, rows: npt.NDArray[np.int64]) -> "ArrayImages":
        return ArrayImages(self._pixels, self._rows[rows])

    def digest(self) -> str:
        content = hashlib.sha256(str(self._pixels.shape[1:]).encode())
        for row in self._rows:
            content.update(self._pixels[row].tobytes())
        return content.hexdigest()


class FileImages:
    """Images in files, decoded when asked for.

    A file that fails is told apart from a file that is missing or unreadable: the first is a
    BrokenImageError (`--skip-broken` may leave it out), the second a StorageError.
    """

    def __init__(self, paths: Sequence[Path]):
        self._paths = tuple(paths)

    def __len__(self) -> int:
        return len(self._paths)

    def decode(self, row: int) -> Image.Image:
        path = self._paths[row]
        with storage_errors(path):
            content = path.open("rb")
        with content:
            try:
                with Image.open(content) as image:
                    return _grey_or_rgb(ImageOps.exif_transpose(image))
            # What Pillow's decoders raise on damaged files is not one type.
            except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as error:
                raise BrokenImageError(str(path), str(error) or type(error).__name__) from error
            except Image.DecompressionBombError as error:
                raise BrokenImageError(str(path), str(error)) from error

    def where(self, row: int) -> str:
        return str(self._paths[row])

    def take(self, rows: npt.NDArray[np.int64]) -> "FileImages":
        return FileImages([self._paths[row] for row in rows])

    def digest(self) -> str:
        content = hashlib.sha256()
        for path in self._paths:
            with storage_errors(path):
                state = path.stat()
                content.update(_file_digest(path, state.st_size, state.st_mtime_ns))
        return content.hexdigest()


@cache
def _file_digest(path: Path, _size: int, _modified: int) -> bytes:
    """SHA-256 of a file, read once in a process unless it changes."""
    return bytes.fromhex(sha256_file(path))


def _grey_or_rgb(image: Image.Image) -> Image.Image:
    """Bring any mode to L or RGB as a viewer would show it, on white where it is transparent."""
    if image.mode.startswith("I"):
        # 16 bits a pixel: Pillow's own conversion would clip at 255.
        return Image.fromarray((np.asarray(image, dtype=np.float64) / 257).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        opaque = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), opaque).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


class JoinedImages:
    """Several collections of images as one, in order."""

    def __init__(self, parts: Sequence[Decodable]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def decode(self, row: int) -> Image.Image:
        part, inside = self._find(row)
        return part.decode(inside)

    def where(self, row: int) -> str:
        part, inside = self._find(row)
        return part.where(inside)

    def _find(self, row: int) -> tuple[Decodable, int]:
        index = int(np.searchsorted(self._ends, row, side="right"))
        part = self._parts[index]
        return part, row - int(self._ends[index]) + len(part)
