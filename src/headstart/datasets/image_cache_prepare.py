"""The making of prepared images: decoded in threads, appended, resumed where it was interrupted."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image, features

from headstart.context import ProgressReporter
from headstart.datasets.ahead import ahead
from headstart.datasets.image_cache import (
    PIXELS,
    SIDE,
    Card,
    Pixels,
    PreparedForm,
    PreparedImages,
    Shapes,
    State,
    keep,
    open_prepared,
    read_state,
)
from headstart.datasets.images import Decodable
from headstart.errors import BrokenImageError, StorageError
from headstart.files import Appender, check_free_space, locked, storage_errors

__all__ = ["bytes_needed", "fit_side", "prepare_images"]

# Of the whole image at 224 pixels, by way of 256 against straight from the file, on photographs of
# 500 pixels: 48 dB with Lanczos, 46 bicubic, 42 Hamming, 38 box. Decoding at half the size (JPEG's
# draft mode) changes single pixels by 40 of 255, so it is not used.
FILTER = Image.Resampling.LANCZOS
PART, SAMPLE = 16, 32


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
        Told of the progress.
    skip_broken
        Whether an image that does not decode is left out: then reading it raises, not this.

    Raises
    ------
    BrokenImageError
        An image does not decode.
    DiskFullError, NotWritableError, StorageError
    """
    place = folder / recipe.key
    lock = place.with_name(f"{recipe.key}.lock")
    with locked(lock, lambda: reporter.stage("waiting for another process's prepared images")):
        state = read_state(place, reporter)
        if state and state.card.broken and not skip_broken:
            for row in state.card.broken:
                images.decode(row)
            # They decode now (by another Pillow): what was left out has to come in.
            state = None
        if state is None or not state.card.complete:
            with storage_errors(place):
                place.mkdir(exist_ok=True)
                _extend(images, recipe, place, state, reporter, skip_broken=skip_broken)
        prepared = open_prepared(images, recipe, folder, reporter)
    if prepared is None:
        raise StorageError(
            f"prepared images {place} were damaged while written: check the disk",
            code="cache.images_damaged",
        )
    return prepared


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
    *,
    skip_broken: bool,
) -> None:
    """Append the images that are not there yet."""
    state = state or State(_new_card(images, recipe), np.empty((0, 3), np.int32))
    card = state.card
    rows = range(card.n_done, len(images))
    check_free_space(place, _bytes_of(images, rows, recipe.side), "prepared images")
    reporter.stage("preparing images", total=len(images), unit="images")
    reporter.advance(card.n_done)

    def part(some: Sequence[int]) -> _Part:
        return _fitted(images, some, recipe.side, skip_broken=skip_broken)

    parts = [rows[i : i + PART] for i in range(0, len(rows), PART)]
    shapes = [state.shapes]
    with Appender(place / PIXELS, card.n_bytes, state.content) as out:
        for fitted in ahead(part, parts, depth=2 * (os.cpu_count() or 1), spare=0):
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
    keep(place, card, shapes[0])


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


def _bytes_of(images: Decodable, rows: range, side: int) -> int:
    """Estimate the bytes of some images from a few of them."""
    sizes = []
    for row in rows[:: max(1, len(rows) // SAMPLE)]:
        with suppress(BrokenImageError):
            sizes.append(fit_side(images.decode(row), side).nbytes)
    return round(len(rows) * float(np.mean(sizes))) if sizes else 0
