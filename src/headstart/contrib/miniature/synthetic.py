"""The synthetic datasets: images that a program makes, made once and kept in the cache.

Each module beside this one makes the images of a dataset from seeds: as many of each class, each
image from a seed of its own. A split is kept as one file: the shape of an image, as
`ArrayImages.digest` writes it, and the pixels of all its images. So the SHA-256 of the file is the
digest of the images, which the index of files remembers while the file stays as it is: a later use
reads no pixels and makes none.
"""

import mmap
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.context import ProgressReporter
from headstart.contrib.miniature.raster import SIDE
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.file_index import Advance, FileIndex
from headstart.datasets.images import ArrayImages
from headstart.datasets.manifest import Manifest
from headstart.datasets.sources.base import Description, Presence, Source
from headstart.datasets.splits import RawDataset, Split
from headstart.files import check_free_space, locked, replaced, storage_errors
from headstart.spec import Sizes

__all__ = [
    "SPLIT_RULES",
    "CachedImages",
    "SyntheticDataset",
    "SyntheticSource",
    "cached_images",
    "read_anew",
]

PACKAGE = "headstart.contrib.miniature"
# By name, which is that of the module that makes the images.
SPLIT_RULES: Mapping[str, str] = MappingProxyType(
    {
        "glyphs": "Font families apart: DejaVu trains, Computer Modern validates, STIX tests.",
        "characters": "Each image is drawn by itself; all splits share the fonts.",
        "shapes": "Each image is drawn by itself.",
        "textures": "Each image is made by itself.",
        "charts": "Each image is drawn by itself.",
        "patches": "Blocks of 64 pixels of each photograph: each belongs to one split.",
    }
)


class SyntheticSource(Source):
    """Datasets whose whole content is known: their manifests are part of the package."""

    name = "synthetic"
    looks = False

    def names(self) -> tuple[str, ...]:
        return tuple(SPLIT_RULES)

    def recognises(self, stem: str) -> bool:
        return stem in SPLIT_RULES

    def describe(self, dataset_ref: DatasetName) -> Description:
        manifest = self.manifest(dataset_ref)
        return Description(
            title=dataset_ref.stem,
            split_rule=SPLIT_RULES[dataset_ref.stem],
            n_classes=len(manifest.classes),
            sizes=Sizes(**{name: part.size for name, part in manifest.splits.items()}),
        )

    def presence(self, dataset_ref: DatasetName, cache: Path) -> Presence:  # noqa: ARG002
        if dataset_ref.stem == "patches" and _module("patches").find() is None:
            return Presence(False, "pip install 'headstart[embedded]' (photographs: scikit-image)")
        return Presence(True, "comes with headstart's dependencies")

    def fetch(self, dataset_ref: DatasetName, cache: Path, reporter: ProgressReporter) -> None:
        super().fetch(dataset_ref, cache, reporter)
        # Here and not in `read`: it is the preparation that somebody watches.
        self._parts(dataset_ref, cache, reporter)

    def read(self, dataset_ref: DatasetName, cache: Path) -> RawDataset:
        classes = self.manifest(dataset_ref).classes
        return RawDataset(classes, self._parts(dataset_ref, cache, ProgressReporter()))

    def _parts(
        self, dataset_ref: DatasetName, cache: Path, reporter: ProgressReporter
    ) -> dict[str, Split]:
        """Read images from the cache, or make them: once, a quarter of a minute at most."""
        dataset: SyntheticDataset | None = getattr(_module(dataset_ref.stem), "DATASET", None)
        if dataset is None:
            # Made in a second or two, each time.
            return read_anew(dataset_ref.stem)[1]
        folder, file_index = cache / "datasets", FileIndex(cache / "datasets" / "files.db")
        parts = {}
        for name, part in self.manifest(dataset_ref).splits.items():
            path = folder / f"{dataset_ref.stem}-{name}-{part.images_sha256[:16]}.pixels"
            draw = partial(_drawn, dataset, name, reporter)
            images = cached_images(path, dataset.shape, part.images_sha256, file_index, draw)
            parts[name] = dataset.split(name, images)
        return parts

    def split(self, dataset_ref: DatasetName, raw: RawDataset) -> tuple[dict[str, Split], str]:
        return raw.parts, SPLIT_RULES[dataset_ref.stem]

    def manifest(self, dataset_ref: DatasetName) -> Manifest:
        # Splits that were drawn were drawn once for all.
        dataset_ref.refuse_split_seed()
        file = files(PACKAGE).joinpath("manifests", f"{dataset_ref.stem}.json")
        return Manifest.model_validate_json(file.read_text(encoding="utf-8"))


def read_anew(name: str) -> tuple[tuple[str, ...], dict[str, Split]]:
    """Return the classes and the splits of a dataset, made now."""
    module = _module(name)
    parts = module.DATASET.read() if hasattr(module, "DATASET") else module.read()
    return module.CLASSES, parts


def _module(name: str) -> Any:
    """Import the module that makes a dataset."""
    return import_module(f"{PACKAGE}.{name}")


def _drawn(
    dataset: "SyntheticDataset", split: str, reporter: ProgressReporter
) -> npt.NDArray[np.uint8]:
    """Make all images of a split under the reporter's eyes: (n, SIDE, SIDE, 3) uint8."""
    total = len(dataset.labels(split))
    reporter.stage(f"drawing {dataset.name}, {split}", total=total, unit="images")
    return dataset.pixels(split, reporter.advance)


@dataclass(frozen=True)
class SyntheticDataset:
    """A dataset of (32, 32, 3) images that are drawn.

    Parameters
    ----------
    name
        Its name, which is in the seed of every image.
    classes
        Names in the order of the labels.
    per_class
        Images of each class in ``train``, ``validation`` and ``test``.
    draw
        Draws an image of a class for a split: (SIDE, SIDE, 3) uint8. All that is random in it comes
        from the stream that it is given.
    """

    name: str
    classes: tuple[str, ...]
    per_class: Mapping[str, int]
    draw: Callable[[np.random.RandomState, int, str], npt.NDArray[np.uint8]]

    shape = (SIDE, SIDE, 3)

    def labels(self, split: str) -> npt.NDArray[np.int64]:
        """Return the (n,) int64 labels of a split: the classes in turn."""
        return np.tile(np.arange(len(self.classes), dtype=np.int64), self.per_class[split])

    def image(self, split: str, row: int) -> npt.NDArray[np.uint8]:
        """Draw an image: (SIDE, SIDE, 3) uint8."""
        return self._drawn(np.random.RandomState(0), split, row)

    def pixels(self, split: str, advance: Advance | None = None) -> npt.NDArray[np.uint8]:
        """Draw all images of a split: (n, SIDE, SIDE, 3) uint8; `advance` takes how many more."""
        n = len(self.classes) * self.per_class[split]
        drawn = np.empty((n, *self.shape), dtype=np.uint8)
        # Seeded anew for each: making one takes as long as drawing.
        random = np.random.RandomState(0)
        for row in range(n):
            drawn[row] = self._drawn(random, split, row)
            if advance and (row + 1) % len(self.classes) == 0:
                advance(len(self.classes))
        return drawn

    def read(self) -> dict[str, Split]:
        """Draw all images of all splits."""
        return {name: self.split(name, ArrayImages(self.pixels(name))) for name in self.per_class}

    def split(self, name: str, images: ArrayImages) -> Split:
        """Put the labels of a split to its images."""
        labels = self.labels(name)
        return Split(images, labels, np.arange(len(labels)))

    def _drawn(self, random: np.random.RandomState, split: str, row: int) -> npt.NDArray[np.uint8]:
        random.seed([zlib.crc32(f"{self.name} {split}".encode()), row])
        return self.draw(random, row % len(self.classes), split)


class CachedImages(ArrayImages):
    """All images of a file that `cached_images` wrote.

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


def cached_images(
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
            return CachedImages(path, shape)
        pixels = draw()
        drawn = ArrayImages(pixels)
        if drawn.digest(file_index) != digest:
            return drawn
        check_free_space(path, pixels.nbytes, "drawn images")
        with replaced(path) as temporary, temporary.open("wb") as file:
            file.write(_header(shape))
            file.write(pixels.tobytes())
    return CachedImages(path, shape)


def _header(shape: tuple[int, ...]) -> bytes:
    return str(shape).encode()
