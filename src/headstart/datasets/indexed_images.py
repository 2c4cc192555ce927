"""Images that an object gives by number, and that are no files of their own."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from headstart.datasets.decode import grey_or_rgb
from headstart.datasets.file_index import Advance, FileIndex, Fingerprint
from headstart.datasets.image_info import ImageInfo
from headstart.datasets.samples import UnsupportedSamplesError, is_deep, samples_of
from headstart.errors import BrokenImageError
from headstart.files import storage_errors
from headstart.spec import Decoding

__all__ = ["IndexedImages", "fingerprint_of", "first_line"]


class IndexedImages:
    """Images that an object gives by number, as ``dataset[number][0]``.

    They have no files of one image each to be known by: what is known of them, and their digest, is
    of the decoded pixels. It is kept as long as the files under the class's root stay as they are.

    Parameters
    ----------
    dataset
        Gives (PIL image, label).
    title
        Names it for a person.
    fingerprint
        What makes the images, of which files.
    """

    def __init__(self, dataset: Any, title: str, fingerprint: Fingerprint) -> None:
        self._dataset, self._title, self._fingerprint = dataset, title, fingerprint
        self._rows = np.arange(len(dataset), dtype=np.int64)
        # Shared by all subsets.
        self._seen: dict[int, ImageInfo] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def decode(self, row: int) -> Image.Image:
        return self._item(int(self._rows[row]))

    def where(self, row: int) -> str:
        return f"{self._title}, number {self._rows[row]}"

    def take(self, rows: npt.NDArray[np.int64]) -> "IndexedImages":
        taken = IndexedImages.__new__(IndexedImages)
        taken.__dict__ = {**self.__dict__, "_rows": self._rows[rows]}
        return taken

    def info(
        self,
        file_index: FileIndex,
        advance: Advance | None = None,
    ) -> list[ImageInfo]:
        numbers = self._rows.tolist()
        fresh = [number for number in numbers if number not in self._seen]
        if advance:
            advance(len(self) - len(fresh))
        looked = file_index.inspect_generated(self._fingerprint, fresh, self._look, advance)
        self._seen |= dict(zip(fresh, looked, strict=True))
        return [self._seen[number] for number in numbers]

    def _item(self, number: int) -> Image.Image:
        where = f"{self._title}, number {number}"
        try:
            image = self._dataset[number][0]
        # What the class and the decoders raise on damaged files is not one type.
        except Exception as error:
            raise BrokenImageError(where, first_line(error)) from error
        if not isinstance(image, Image.Image):
            raise BrokenImageError(where, f"it is given as {type(image).__name__}")
        if not is_deep(image):
            return image if image.mode in ("L", "RGB") else image.convert("RGB")
        # Pillow would clip the values at 255.
        try:
            return grey_or_rgb(image, samples_of(image), Decoding())
        except UnsupportedSamplesError as error:
            raise BrokenImageError(where, f"{error.what}: give it in 8 bits") from error

    def _look(self, number: int) -> ImageInfo:
        try:
            image = self._item(number)
        except BrokenImageError as error:
            return ImageInfo(hashlib.sha256().hexdigest(), 0, problem=error.reason)
        pixels = hashlib.sha256(f"{image.mode} {image.size}".encode() + image.tobytes())
        n_bytes = len(image.getbands()) * image.width * image.height
        return ImageInfo(
            pixels.hexdigest(), n_bytes, width=image.width, height=image.height, mode=image.mode
        )

    def digest(self, file_index: FileIndex, advance: Advance | None = None) -> str:
        """Hexadecimal SHA-256 over the SHA-256 of each image's mode, size and pixels, in order."""
        digests = (bytes.fromhex(seen.sha256) for seen in self.info(file_index, advance))
        return hashlib.sha256(b"".join(digests)).hexdigest()

    def decoded(self, decoding: Decoding) -> "IndexedImages":  # noqa: ARG002  the class decodes
        return self


def fingerprint_of(name: str, root: Path) -> Fingerprint:
    """Report the state of all files under a folder, by name, size and time of modification.

    Parameters
    ----------
    name
        What makes images of them, in which version.
    """
    with storage_errors(root, reading=True):
        files = sorted(
            (os.path.relpath(path, root), state.st_size, state.st_mtime_ns)
            for folder, _, names in os.walk(root)
            for path in (os.path.join(folder, file) for file in names)
            if (state := _state(path))
        )
    return Fingerprint(
        f"{name} {root}",
        n_bytes=sum(size for _, size, _ in files),
        # What SQLite takes for a whole number has 63 bits.
        state=int(hashlib.sha256(repr(files).encode()).hexdigest()[:15], 16),
        modified=max((modified for _, _, modified in files), default=0),
    )


def _state(path: str) -> os.stat_result | None:
    """Ask for a file's state; None of a link to what is not there."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, else its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
