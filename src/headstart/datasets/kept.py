"""Drawn images, kept in the cache: drawn on first use, mapped into memory after that.

A split is a file: the shape of an image, as `ArrayImages.digest` writes it, and the pixels of all
its images. So the SHA-256 of the file is the digest of the images, which the file_index of files
remembers while the file stays as it is: a later use reads neither pixels nor draws any.
"""

import mmap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart.datasets.file_index import Advance, FileIndex
from headstart.datasets.images import ArrayImages
from headstart.files import check_free_space, locked, replaced, storage_errors

__all__ = ["KeptImages", "keep"]


class KeptImages(ArrayImages):
    """All images of a file that `keep` wrote.

    Parameters
    ----------
    path
        The file.
    shape
        Of an image.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        with storage_errors(path, reading=True), path.open("rb") as file:
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        pixels = np.frombuffer(memory, np.uint8, offset=len(_header(shape)))
        super().__init__(pixels.reshape(-1, *shape))
        self.path = path

    def digest(self, file_index: FileIndex, advance: Advance | None = None) -> str:
        digest = file_index.sha256([self.path])[0]
        if advance:
            advance(len(self))
        return digest


def keep(
    path: Path,
    shape: tuple[int, ...],
    digest: str,
    file_index: FileIndex,
    draw: Callable[[], npt.NDArray[np.uint8]],
) -> ArrayImages:
    """Return images from their file; drawn, and the file written, where it is not there or damaged.

    A second process that asks for the same waits for the first.

    Parameters
    ----------
    path
        The file.
    shape
        Of an image.
    digest
        What the images should be. What is drawn to something else is given, for the manifest to
        refuse, and not kept.
    file_index
        Remembers the digest of the file.
    draw
        Draws the images.

    Raises
    ------
    DiskFullError, NotWritableError, StorageError
    """
    with locked(path.with_name(f"{path.name}.lock"), lambda: None):
        if path.exists() and file_index.sha256([path])[0] == digest:
            return KeptImages(path, shape)
        pixels = draw()
        drawn = ArrayImages(pixels)
        if drawn.digest(file_index) != digest:
            return drawn
        check_free_space(path, pixels.nbytes, "drawn images")
        with replaced(path) as temporary, temporary.open("wb") as file:
            file.write(_header(shape))
            file.write(pixels.tobytes())
    return KeptImages(path, shape)


def _header(shape: tuple[int, ...]) -> bytes:
    return str(shape).encode()
