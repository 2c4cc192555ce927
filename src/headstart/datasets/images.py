"""Where images come from: arrays in memory, or files that are decoded when asked for."""

import copy
import hashlib
import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from headstart.datasets.decode import decode
from headstart.datasets.file_index import Advance, FileIndex
from headstart.datasets.image_info import ImageInfo
from headstart.errors import BrokenImageError
from headstart.files import name_in_text, storage_error, unusable
from headstart.spec import Decoding

# Follows the SHA-256 of an image whose samples are scaled by what its file says.
SCALED = b"samples 2"

__all__ = [
    "ArrayImages",
    "Decodable",
    "EncodedImages",
    "FileImages",
    "Images",
    "JoinedImages",
]


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
    """Images that can be subset, and distinguished by content."""

    def take(self, rows: npt.NDArray[np.int64]) -> "Images":
        """Return the images of these rows, in this order."""
        ...

    def info(self, file_index: FileIndex, advance: Advance | None = None) -> list[ImageInfo]:
        """Return what is known of each without decoding it; StorageError if it cannot be read.

        Parameters
        ----------
        file_index
            Remembers what was seen of files.
        advance
            Told how many images more were looked at.
        """
        ...

    def digest(self, file_index: FileIndex, advance: Advance | None = None) -> str:
        """Hexadecimal SHA-256 of the content, in order; `file_index` and `advance` as in `info`."""
        ...

    def decoded(self, decoding: Decoding) -> "Images":
        """Return the same images, decoded in another way where they are files."""
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

    def info(
        self,
        file_index: FileIndex,  # noqa: ARG002  no files
        advance: Advance | None = None,
    ) -> list[ImageInfo]:
        height, width, *channels = self._pixels.shape[1:]
        n_bytes, mode = height * width * (3 if channels else 1), "RGB" if channels else "L"
        digests = [hashlib.sha256(self._pixels[row].tobytes()).hexdigest() for row in self._rows]
        if advance:
            advance(len(digests))
        return [ImageInfo(sha, n_bytes, width=width, height=height, mode=mode) for sha in digests]

    def digest(
        self,
        file_index: FileIndex,  # noqa: ARG002  no files
        advance: Advance | None = None,
    ) -> str:
        content = hashlib.sha256(str(self._pixels.shape[1:]).encode())
        for row in self._rows:
            content.update(self._pixels[row].tobytes())
        if advance:
            advance(len(self))
        return content.hexdigest()

    def decoded(self, decoding: Decoding) -> "ArrayImages":  # noqa: ARG002  nothing to decode
        return self


class EncodedImages(ABC):
    """Images as the bytes of files, decoded when asked for.

    A file that fails is distinguished from a file that is missing or unreadable: the first is a
    BrokenImageError (`--skip-broken` may leave it out), the second a StorageError.
    """

    decoding = Decoding()

    @abstractmethod
    def content(self, row: int) -> bytes:
        """Read the bytes of an image; StorageError if they cannot be read."""

    @abstractmethod
    def where(self, row: int) -> str:
        """Name an image so that a person finds it."""

    @abstractmethod
    def info(self, file_index: FileIndex, advance: Advance | None = None) -> list[ImageInfo]:
        """Return what is known of each without decoding it; see `Images`."""

    def digest(self, file_index: FileIndex, advance: Advance | None = None) -> str:
        """Hexadecimal SHA-256 over the SHA-256 of each file, in order."""
        content = hashlib.sha256()
        for info in self.info(file_index, advance):
            content.update(bytes.fromhex(info.sha256))
            if info.misread and self.decoding.like == "viewer":
                # Another digest than that under which wrong numbers may be kept.
                content.update(SCALED)
        return content.hexdigest()

    def decode(self, row: int) -> Image.Image:
        return decode(io.BytesIO(self.content(row)), self.where(row), self.decoding)

    def decoded(self, decoding: Decoding) -> Self:
        """Return the same images, decoded in another way."""
        other = copy.copy(self)
        other.decoding = decoding
        return other


class FileImages(EncodedImages):
    """Images in files."""

    def __init__(self, paths: Sequence[Path]):
        self._paths = tuple(paths)

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where the images are."""
        return self._paths

    def content(self, row: int) -> bytes:
        path = self._paths[row]
        try:
            # Before it is opened: that could wait for ever.
            if kind := unusable(path):
                raise BrokenImageError(self.where(row), kind)
            return path.read_bytes()
        except OSError as error:
            raise storage_error(path, error, reading=True) from error

    def where(self, row: int) -> str:
        return name_in_text(str(self._paths[row]))

    def take(self, rows: npt.NDArray[np.int64]) -> "FileImages":
        taken = copy.copy(self)
        taken._paths = tuple(self._paths[row] for row in rows)
        return taken

    def info(self, file_index: FileIndex, advance: Advance | None = None) -> list[ImageInfo]:
        return file_index.inspect_files(self._paths, advance)


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
