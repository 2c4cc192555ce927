"""Collections of images: arrays in memory, files, a user's indexable object; several joined.

Each is a sequence that can be decoded, named, subset, and distinguished by its content. Pages embed
small copies.
"""

import base64
import copy
import hashlib
import io
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from headstart.datasets.decode import ImageInfo, decode, grey_or_rgb
from headstart.datasets.file_index import Advance, FileIndex, Fingerprint
from headstart.datasets.samples import UnsupportedSamplesError, is_deep, samples_of
from headstart.errors import BrokenImageError
from headstart.files import name_in_text, storage_error, storage_errors, unusable
from headstart.shown_text import first_line
from headstart.spec import Decoding
from headstart.spec.formatting import SmallPicture
from headstart.threads import available_cpus

__all__ = [
    "ArrayImages",
    "Decodable",
    "EncodedImages",
    "FileImages",
    "Images",
    "IndexedImages",
    "JoinedImages",
    "fingerprint_of",
    "map_ahead",
    "small_picture",
]

# Follows the SHA-256 of an image whose samples are scaled by what its file says.
SCALED = b"samples 2"

Item = TypeVar("Item")
Value = TypeVar("Value")

# Pixels of a picture's longer side: screens have more than one dot per pixel.
PICTURE_SIDE = 72
# Images of no more pixels per side are enlarged with their pixels to be seen.
TINY = 32


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


class NumberedImages:
    """Some of the images of a collection, by the numbers that they have in it.

    Subsets are copies of an object that share all but the numbers.
    """

    _rows: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, rows: npt.NDArray[np.int64]) -> Self:
        """Return the images of these rows, in this order."""
        # Not `copy.copy`, which would go by what pickles the object.
        taken = object.__new__(type(self))
        taken.__dict__ = {**self.__dict__, "_rows": self._rows[rows]}
        return taken


class Images(NumberedImages, ABC):
    """Images that can be decoded, named, subset, and distinguished by content."""

    @abstractmethod
    def decode(self, row: int) -> Image.Image:
        """Decode an image, in mode L or RGB; BrokenImageError if that fails."""

    @abstractmethod
    def where(self, row: int) -> str:
        """Name an image so that a person finds it."""

    @abstractmethod
    def info(self, file_index: FileIndex, advance: Advance | None = None) -> list[ImageInfo]:
        """Return what is known of each without decoding it; StorageError if it cannot be read.

        `file_index` remembers what was seen of files; `advance` is called with the number of
        further images checked.
        """

    @abstractmethod
    def digest(self, file_index: FileIndex, advance: Advance | None = None) -> str:
        """Hexadecimal SHA-256 of the content, in order; `file_index` and `advance` as in `info`."""

    def decoded(self, decoding: Decoding) -> Self:  # noqa: ARG002  for those that are files
        """Return the same images, decoded in another way where they are files."""
        return self


class ArrayImages(Images):
    """Images held as one array.

    Parameters
    ----------
    pixels
        (n, height, width) or (n, height, width, 3) uint8.
    """

    def __init__(self, pixels: npt.NDArray[np.uint8]):
        self._pixels = pixels
        self._rows = np.arange(len(pixels), dtype=np.int64)

    def decode(self, row: int) -> Image.Image:
        return Image.fromarray(self._pixels[self._rows[row]])

    def where(self, row: int) -> str:
        return f"number {self._rows[row]}"

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


class EncodedImages(Images):
    """Images as the bytes of files, decoded when asked for.

    A file that fails is distinguished from a file that is missing or unreadable: the first is a
    BrokenImageError (`--skip-broken` may leave it out), the second a StorageError.
    """

    decoding = Decoding()

    @abstractmethod
    def content(self, row: int) -> bytes:
        """Read the bytes of an image; StorageError if they cannot be read."""

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
        self._files = tuple(paths)
        self._rows = np.arange(len(paths), dtype=np.int64)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where the images are."""
        return tuple(self._files[row] for row in self._rows)

    def content(self, row: int) -> bytes:
        path = self._files[int(self._rows[row])]
        try:
            # Before it is opened: that could wait for ever.
            if kind := unusable(path):
                raise BrokenImageError(self.where(row), kind)
            return path.read_bytes()
        except OSError as error:
            raise storage_error(path, error, reading=True) from error

    def where(self, row: int) -> str:
        return name_in_text(str(self._files[int(self._rows[row])]))

    def info(self, file_index: FileIndex, advance: Advance | None = None) -> list[ImageInfo]:
        return file_index.inspect_files(self.paths, advance)


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


class IndexedImages(Images):
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
        self._seen: dict[int, ImageInfo] = {}

    def decode(self, row: int) -> Image.Image:
        return self._item(int(self._rows[row]))

    def where(self, row: int) -> str:
        return f"{self._title}, number {self._rows[row]}"

    def info(self, file_index: FileIndex, advance: Advance | None = None) -> list[ImageInfo]:
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


def fingerprint_of(name: str, root: Path) -> Fingerprint:
    """Report the state of all files under a folder, by name, size and time of modification.

    `name` says what makes images of them, in which version.
    """
    files = []
    with storage_errors(root, reading=True):
        for folder, _, names in os.walk(root):
            for path in (os.path.join(folder, file) for file in names):
                # A link to what is not there.
                with suppress(FileNotFoundError):
                    state = os.stat(path)
                    files.append((os.path.relpath(path, root), state.st_size, state.st_mtime_ns))
    return Fingerprint(
        f"{name} {root}",
        n_bytes=sum(size for _, size, _ in files),
        # What SQLite takes for a whole number has 63 bits.
        state=int(hashlib.sha256(repr(sorted(files)).encode()).hexdigest()[:15], 16),
        modified=max((modified for _, _, modified in files), default=0),
    )


def map_ahead(
    function: Callable[[Item], Value], items: Sequence[Item], depth: int = 4, spare: int = 1
) -> Iterator[Value]:
    """Map in order, in threads that are at most `depth` items ahead: memory does not grow.

    `spare` cores are left to the code that takes the values: on a CPU, the network.
    """
    waiting: deque[Future[Value]] = deque()
    pool = ThreadPoolExecutor(max(1, min(depth, available_cpus() - spare)))
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def small_picture(images: Images, place: int) -> SmallPicture:
    """Decode an image and shrink it; BrokenImageError if it cannot be decoded."""
    image = images.decode(place)
    tiny = max(image.size) <= TINY
    return SmallPicture(Path(images.where(place)).name, thumbnail(image), tiny)


def thumbnail(image: Image.Image) -> str:
    """Shrink an image, in place, and return its content as a data URI."""
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    content = io.BytesIO()
    # Small images are shown as they are: JPEG would smear 8 x 8 pixels.
    small = max(image.size) < PICTURE_SIDE
    image.save(content, format="PNG" if small else "JPEG", quality=80)
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
