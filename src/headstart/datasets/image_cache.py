"""Images decoded and resized once, memory-mapped: training reads them in any order.

A prepared form is a folder, named by the digest of all that decides its content:

* ``pixels.bin``  uint8: image after image, each of shape (height, width, channels);
* ``index.npy``   (m, 3) int32: these shapes, in the order of the images; zeros for a broken one;
* ``card.json``   what it is made of, how many images are safe on disk, their SHA-256, which were
                  broken. It is rewritten last: what the other files hold beyond is dropped, so
                  an interrupted preparation goes on where it was.

Pixels are kept as they are. As JPEG of quality 95 they would take a seventh of the space, and give
at most twice the images per second that decoding the original files does; as they are they give
thirty times (`benchmarks/data.py`).
"""

import hashlib
import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image, features
from pydantic import BaseModel, ValidationError

from headstart.context import ProgressReporter
from headstart.datasets.images import Decodable, map_ahead
from headstart.errors import BrokenImageError, StorageError, StudyError
from headstart.files import (
    Appender,
    Lock,
    check_free_space,
    locked,
    replaced,
    sha256_start,
    storage_errors,
)
from headstart.spec import Dataset, Decoding, digest
from headstart.threads import available_cpus

__all__ = [
    "SIDE",
    "Pixels",
    "PreparedForm",
    "PreparedImages",
    "bytes_needed",
    "fit_side",
    "is_whole_form",
    "open_prepared",
    "prepare_images",
]

SIDE = 256
IMPLEMENTATION = 1
CARD, INDEX, PIXELS = "card.json", "index.npy", "pixels.bin"

Pixels = npt.NDArray[np.uint8]
Shapes = npt.NDArray[np.int32]
# Of the whole image at 224 pixels, by way of 256 against straight from the file, on photographs of
# 500 pixels: 48 dB with Lanczos, 46 bicubic, 42 Hamming, 38 box. Decoding at half the size (JPEG's
# draft mode) changes single pixels by 40 of 255, so it is not used.
FILTER = Image.Resampling.LANCZOS
PART, SAMPLE = 16, 32


@dataclass(frozen=True)
class PreparedForm:
    """All that decides the pixels of a prepared form.

    Parameters
    ----------
    revision
        Digest of the dataset.
    decoding
        How its files become images.
    side
        Pixels of the shorter side, at most: a larger image is made smaller, none is made larger.
    """

    revision: str
    decoding: Decoding = field(default_factory=Decoding)
    side: int = SIDE

    def __post_init__(self) -> None:
        if self.side < 1:
            raise StudyError(
                f"invalid side of images: expected 1 pixel or more, found {self.side}",
                code="image.side",
                found=self.side,
            )

    @classmethod
    def of(cls, dataset: Dataset, side: int = SIDE) -> Self:
        """Return the recipe for all images of a dataset."""
        return cls(dataset.revision, dataset.decoding, side)

    @property
    def content(self) -> dict[str, Any]:
        """The same as JSON, with what this module adds."""
        return {
            "dataset": self.revision,
            # What came later is there only where it is used: older keys hold.
            "decoding": self.decoding.model_dump(mode="json", exclude_none=True),
            "side": self.side,
            "filter": "lanczos",
            "implementation": IMPLEMENTATION,
        }

    @property
    def key(self) -> str:
        """Name of the folder."""
        return digest(self.content)


class Card(BaseModel):
    """What the folder holds that is safe on disk.

    Parameters
    ----------
    recipe
        What it is made of.
    n_images, n_done
        How many there are to be, and are.
    n_bytes, sha256, modified_ns
        Of the pixels of these. While the size and time of the file are these, it is not read
        through again.
    index_sha256
        Of their shapes.
    broken
        Row -> what the decoder said.
    made_by
        Versions.
    """

    recipe: dict[str, Any]
    n_images: int
    n_done: int = 0
    n_bytes: int = 0
    sha256: str = ""
    modified_ns: int = 0
    index_sha256: str = ""
    broken: dict[int, str] = {}
    made_by: dict[str, str] = {}

    @property
    def complete(self) -> bool:
        """Whether all images are there."""
        return self.n_done == self.n_images


@dataclass(frozen=True)
class State:
    """A card, and what it vouches for.

    Parameters
    ----------
    card
        The card.
    shapes
        (``card.n_done``, 3) int32, of the images that are there.
    content
        SHA-256 of the pixels, to go on with; None if they were not read through.
    """

    card: Card
    shapes: Shapes
    content: "hashlib._Hash | None" = None


@dataclass(frozen=True)
class _Mapped:
    """The files of a form, opened.

    Parameters
    ----------
    place
        The folder.
    names
        Of each image, for a person to find it.
    state
        What is in the folder.
    starts
        (m + 1,) int64, where each image begins in `pixels`.
    memory, pixels
        The map, and the same as an array.
    """

    place: Path
    names: tuple[str, ...]
    state: State
    starts: npt.NDArray[np.int64]
    memory: mmap.mmap
    pixels: Pixels

    @classmethod
    def of(cls, place: Path, names: tuple[str, ...], state: State) -> Self:
        starts = np.concatenate([[0], np.cumsum(state.shapes.prod(axis=1, dtype=np.int64))])
        file = place / PIXELS
        with storage_errors(file, reading=True), file.open("rb") as opened:
            # An empty file (all images are broken) cannot be mapped.
            number = opened.fileno() if starts[-1] else -1
            memory = mmap.mmap(number, max(1, int(starts[-1])), access=mmap.ACCESS_READ)
        # A plain array: a slice of np.memmap costs nine times as much.
        return cls(place, names, state, starts, memory, np.frombuffer(memory, np.uint8))


class PreparedImages:
    """Images of a prepared form. Safe to read from several threads, and in forked processes.

    `open_prepared` and `prepare_images` give it. Pickled, it is the folder and the rows, and is
    mapped anew where it is unpickled.
    """

    def __init__(self, form: _Mapped, rows: npt.NDArray[np.int64]) -> None:
        self._form, self._rows = form, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __reduce__(self) -> tuple[Callable[..., "PreparedImages"], tuple[object, ...]]:
        return _reopened, (self._form.place, self._form.names, self._rows)

    @property
    def place(self) -> Path:
        """The folder that holds them."""
        return self._form.place

    @property
    def n_bytes(self) -> int:
        """Size of the pixels of all images of the folder."""
        return self._form.state.card.n_bytes

    @property
    def broken(self) -> Mapping[int, str]:
        """Row -> what the decoder said, of the images that did not decode."""
        broken = self._form.state.card.broken
        if not broken:
            return {}
        return {i: broken[row] for i, row in enumerate(self._rows.tolist()) if row in broken}

    @property
    def shapes(self) -> npt.NDArray[np.int64]:
        """(n, 3) heights, widths and channels, without reading an image; 0 where it is broken."""
        return self._form.state.shapes[self._rows].astype(np.int64)

    def pixels(self, row: int) -> Pixels:
        """Return an image, not copied: (height, width, 1 or 3) uint8, read-only.

        Raises
        ------
        BrokenImageError
            It did not decode when it was prepared.
        """
        form, row = self._form, int(self._rows[row])
        if row in form.state.card.broken:
            raise BrokenImageError(form.names[row], form.state.card.broken[row])
        first, last = int(form.starts[row]), int(form.starts[row + 1])
        # One request to the disk instead of one every few pages: twice as fast where the file is
        # not in memory.
        start = first - first % mmap.PAGESIZE
        form.memory.madvise(mmap.MADV_WILLNEED, start, last - start)
        return form.pixels[first:last].reshape(form.state.shapes[row])

    def decode(self, row: int) -> Image.Image:
        pixels = self.pixels(row)
        return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)

    def where(self, row: int) -> str:
        return self._form.names[int(self._rows[row])]

    def take(self, rows: npt.NDArray[np.int64]) -> "PreparedImages":
        """Return the images of these rows, in this order; the map is shared."""
        return PreparedImages(self._form, self._rows[rows])


def open_prepared(
    images: Decodable,
    recipe: PreparedForm,
    folder: Path,
    reporter: ProgressReporter,
) -> PreparedImages | None:
    """Open a prepared form; None where it is not there, not complete, or damaged.

    Parameters
    ----------
    images
        All images of the dataset, which lend their names.
    recipe
        What it has to be made of.
    folder
        Where prepared forms are kept.
    reporter
        Informed of damage.

    Raises
    ------
    StorageError
    """
    place = folder / recipe.key
    state = read_state(place, reporter, whole=True)
    if state is None:
        return None
    if len(images) != state.card.n_images:
        raise ValueError(
            f"expected the {state.card.n_images} images of {place}, found {len(images)}"
        )
    names = tuple(images.where(row) for row in range(len(images)))
    return PreparedImages(_Mapped.of(place, names, state), np.arange(len(images), dtype=np.int64))


def read_state(place: Path, reporter: ProgressReporter, *, whole: bool = False) -> State | None:
    """Read what is there if it is as its card says; else say so and drop the card.

    With `whole`, what is not complete is None: another process may be at it.
    """
    file = place / CARD
    with storage_errors(place):
        if not file.exists():
            return None
        card = read_card(file)
        if card and whole and not card.complete:
            return None
        state = _verified(place, card) if card else None
        if state is None:
            reporter.note(f"prepared images {place} are damaged (checksum): preparing them again")
            file.unlink(missing_ok=True)
        return state


def is_whole_form(place: Path) -> bool:
    """Whether the files of a prepared form are as its card says; one without a card is."""
    with storage_errors(place):
        if not (place / CARD).exists():
            return True
        card = read_card(place / CARD)
        return card is not None and _verified(place, card, thorough=True) is not None


def _write_index(place: Path, card: Card, shapes: Shapes) -> None:
    """Write card and index for pixels that are safe on disk already."""
    card.n_done = len(shapes)
    card.n_bytes = int(shapes.prod(axis=1, dtype=np.int64).sum())
    card.modified_ns = (place / PIXELS).stat().st_mtime_ns
    card.index_sha256 = _digest(shapes)
    with replaced(place / INDEX) as temporary, temporary.open("wb") as opened:
        np.save(opened, shapes)
    write_card(place, card)


def write_card(place: Path, card: Card) -> None:
    """Write the card of the folder of a prepared form."""
    with replaced(place / CARD) as temporary:
        temporary.write_text(card.model_dump_json(indent=1), encoding="utf-8")


def read_card(file: Path) -> Card | None:
    """Read a card; return None if it is damaged."""
    try:
        return Card.model_validate_json(file.read_bytes())
    except ValidationError:
        return None


def _verified(place: Path, card: Card, *, thorough: bool = False) -> State | None:
    """Hold the files against the card; None if they are not what it says."""
    shapes = _read_shapes(place / INDEX, card)
    if shapes is None or not (place / PIXELS).exists():
        return None
    status = (place / PIXELS).stat()
    untouched = (status.st_size, status.st_mtime_ns) == (card.n_bytes, card.modified_ns)
    if card.complete and untouched and not thorough:
        return State(card, shapes)
    content = sha256_start(place / PIXELS, card.n_bytes)
    if content is None or content.hexdigest() != card.sha256:
        return None
    if card.complete and not untouched:
        card.modified_ns = status.st_mtime_ns
        # A folder that others share may be read-only.
        with suppress(StorageError):
            write_card(place, card)
    return State(card, shapes, content)


def _read_shapes(file: Path, card: Card) -> Shapes | None:
    try:
        shapes: Shapes = np.load(file, allow_pickle=False)[: card.n_done]
    except (OSError, ValueError, EOFError):
        return None
    return shapes if _digest(shapes) == card.index_sha256 else None


def _digest(shapes: Shapes) -> str:
    return hashlib.sha256(shapes.astype("<i4").tobytes()).hexdigest()


def _reopened(place: Path, names: tuple[str, ...], rows: npt.NDArray[np.int64]) -> PreparedImages:
    state = read_state(place, ProgressReporter(), whole=True)
    if state is None:
        raise StorageError(
            f"prepared images {place} are gone or damaged: prepare them again",
            code="cache.images_damaged",
        )
    return PreparedImages(_Mapped.of(place, names, state), rows)


def bytes_needed(n_images: int, side: int = SIDE) -> int:
    """Size on disk of so many photographs of 4:3 whose shorter side is `side` pixels or more."""
    return n_images * side * (4 * side // 3) * 3


def fit_side(image: Image.Image, side: int) -> Pixels:
    """Make the shorter side `side` pixels if it is more: (height, width, 1 or 3) uint8.

    The longer side keeps the aspect ratio, rounded down as torchvision's ``Resize`` does.
    """
    shorter, longer = sorted(image.size)
    if shorter > side:
        longer = side * longer // shorter
        wide = image.width > image.height
        image = image.resize((longer, side) if wide else (side, longer), FILTER)
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def prepare_images(
    images: Decodable,
    recipe: PreparedForm,
    folder: Path,
    reporter: ProgressReporter,
    *,
    skip_broken: bool = False,
) -> PreparedImages:
    """Return the prepared form of images, made where it is not there, or only in part.

    A second process that asks for the same waits for the first.

    Parameters
    ----------
    images
        All images of the dataset (train, validation, test), decoded as the recipe says.
    recipe
        All that decides the pixels.
    folder
        Where prepared forms are kept.
    reporter
        Informed of the progress.
    skip_broken
        Whether an image that does not decode is left out: then reading it raises, not this.

    Raises
    ------
    BrokenImageError
        An image does not decode.
    DiskFullError, NotWritableError, StorageError
    """
    place = folder / recipe.key
    with locked_form(place, reporter) as lock:
        state = read_state(place, reporter)
        if state and state.card.broken and not skip_broken:
            for row in state.card.broken:
                images.decode(row)
            # They decode now (by another Pillow): what was left out has to come in.
            state = None
        if state is None or not state.card.complete:
            with storage_errors(place):
                place.mkdir(exist_ok=True)
                _extend(images, recipe, place, state, reporter, lock, skip_broken=skip_broken)
        prepared = open_prepared(images, recipe, folder, reporter)
    if prepared is None:
        raise StorageError(
            f"prepared images {place} were damaged while written: check the disk",
            code="cache.images_damaged",
        )
    return prepared


@contextmanager
def locked_form(place: Path, reporter: ProgressReporter) -> Iterator[Lock]:
    """Lock the folder of a prepared form."""

    def waiting() -> None:
        reporter.stage("waiting for another process's prepared images")

    with locked(place.with_name(f"{place.name}.lock"), waiting) as lock:
        yield lock


@dataclass(frozen=True)
class _Part:
    """Some images, fitted."""

    pixels: bytes
    shapes: list[tuple[int, ...]]
    broken: dict[int, str]


def _extend(
    images: Decodable,
    recipe: PreparedForm,
    place: Path,
    state: State | None,
    reporter: ProgressReporter,
    lock: Lock,
    *,
    skip_broken: bool,
) -> None:
    """Append the images that are not there yet."""
    state = state or State(_new_card(images, recipe), np.empty((0, 3), np.int32))
    card = state.card
    rows = range(card.n_done, len(images))
    check_free_space(place, _estimate_bytes(images, rows, recipe.side), "prepared images")
    reporter.stage("preparing images", total=len(images), unit="images")
    reporter.advance(card.n_done)

    def part(some: Sequence[int]) -> _Part:
        return _fitted(images, some, recipe.side, skip_broken=skip_broken)

    parts = [rows[i : i + PART] for i in range(0, len(rows), PART)]
    shapes = [state.shapes]
    with Appender(place / PIXELS, card.n_bytes, state.content, lock) as out:
        for fitted in map_ahead(part, parts, depth=2 * available_cpus(), spare=0):
            out.write(fitted.pixels)
            shapes.append(np.array(fitted.shapes, dtype=np.int32))
            card.broken |= fitted.broken
            if out.due:
                _sync(place, card, shapes, out)
            reporter.advance(len(fitted.shapes))
        _sync(place, card, shapes, out)


def _sync(place: Path, card: Card, shapes: list[Shapes], out: Appender) -> None:
    """Make safe on disk what was written, then say so."""
    card.sha256 = out.sync()
    shapes[:] = [np.concatenate(shapes)]
    _write_index(place, card, shapes[0])


def _new_card(images: Decodable, recipe: PreparedForm) -> Card:
    made_by = {name: version(name) for name in ("headstart", "pillow")}
    made_by["libjpeg"] = str(features.version("jpg"))
    return Card(recipe=recipe.content, n_images=len(images), made_by=made_by)


def _fitted(images: Decodable, rows: Sequence[int], side: int, *, skip_broken: bool) -> _Part:
    """Decode some images and make them small."""
    pixels, shapes, broken = [], [], {}
    for row in rows:
        try:
            image = fit_side(images.decode(row), side)
        except BrokenImageError as error:
            if not skip_broken:
                raise
            broken[row] = error.reason
            image = np.empty((0, 0, 0), np.uint8)
        pixels.append(image.tobytes())
        shapes.append(image.shape)
    return _Part(b"".join(pixels), shapes, broken)


def _estimate_bytes(images: Decodable, rows: range, side: int) -> int:
    """Estimate the bytes of some images from a few of them."""
    sizes = []
    for row in rows[:: max(1, len(rows) // SAMPLE)]:
        with suppress(BrokenImageError):
            sizes.append(fit_side(images.decode(row), side).nbytes)
    return round(len(rows) * float(np.mean(sizes))) if sizes else 0
