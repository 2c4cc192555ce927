"""The synthetic datasets: images that a program makes, made once and kept in the cache.

Modules beside this one draw the images of a dataset from seeds: as many of each class, each image
from a seed of its own. A split is kept as one file: the shape of an image, as
`ArrayImages.digest` writes it, and the pixels of all its images. So the SHA-256 of the file is the
digest of the images, which the index of files remembers while the file stays as it is: a later use
reads no pixels and makes none.
"""

from collections.abc import Callable, Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

import numpy as np

from headstart.context import ProgressReporter
from headstart.contrib.miniature import characters, charts, patches, shapes, textures
from headstart.contrib.miniature.raster import Pixels
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.file_index import Advance, FileIndex
from headstart.datasets.images import ArrayImages
from headstart.datasets.manifest import Manifest
from headstart.datasets.sources.dataset_source import Description, Presence, Source
from headstart.datasets.splits import RawDataset, Split
from headstart.files import check_free_space, locked, replaced, storage_errors
from headstart.spec import Sizes

__all__ = [
    "SPLIT_RULES",
    "CachedImages",
    "SyntheticSource",
    "cached_images",
    "read_anew",
]

PACKAGE = "headstart.contrib.miniature"
# By name.
DRAWN = {
    one.name: one
    for one in (
        characters.CHARACTERS,
        shapes.DATASET,
        textures.DATASET,
        charts.DATASET,
        patches.DATASET,
    )
}
SPLIT_RULES: Mapping[str, str] = MappingProxyType(
    {
        "glyphs": "Font families apart: DejaVu trains, Computer Modern validates, STIX tests.",
        **{name: one.split_rule for name, one in DRAWN.items()},
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
        if dataset_ref.stem == "patches" and patches.find() is None:
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
        name = dataset_ref.stem
        if name not in DRAWN:
            # Made in a second or two, each time.
            return characters.read_glyphs()
        dataset, parts = DRAWN[name], {}
        file_index = FileIndex(cache / "datasets" / "files.db")

        def draw(split: str) -> Pixels:
            total = len(dataset.labels(split))
            reporter.stage(f"drawing {name}, {split}", total=total, unit="images")
            return dataset.pixels(split, reporter.advance)

        for split, part in self.manifest(dataset_ref).splits.items():
            path = cache / "datasets" / f"{name}-{split}-{part.images_sha256[:16]}.pixels"
            images = cached_images(
                path, dataset.shape, part.images_sha256, file_index, partial(draw, split)
            )
            parts[split] = dataset.split(split, images)
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
    if name not in DRAWN:
        return characters.GLYPHS, characters.read_glyphs()
    dataset = DRAWN[name]
    parts = {
        split: dataset.split(split, ArrayImages(dataset.pixels(split)))
        for split in dataset.per_class
    }
    return dataset.classes, parts


class CachedImages(ArrayImages):
    """All images of a file that `cached_images` wrote."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        with storage_errors(path, reading=True):
            pixels = np.asarray(np.memmap(path, np.uint8, "r", offset=len(_header(shape))))
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
    draw: Callable[[], Pixels],
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
