"""Datasets that come with headstart's dependencies, or with the operating system."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headstart.context import ProgressReporter
from headstart.datasets import (
    characters,
    charts,
    digits,
    fashion_mnist,
    glyphs,
    patches,
    shapes,
    textures,
)
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.drawings import Drawings
from headstart.datasets.file_index import FileIndex
from headstart.datasets.kept import keep
from headstart.datasets.manifest import Manifest
from headstart.datasets.sources.base import Description, Presence, Source
from headstart.datasets.splits import RawDataset, Split
from headstart.spec import Sizes

__all__ = ["EMBEDDED", "EmbeddedSource"]


class Embedded(NamedTuple):
    """How one is read, and where its splits come from."""

    classes: tuple[str, ...]
    read: Callable[[Path], dict[str, Split]]
    split_rule: str
    drawn: tuple[str, ...] = ()
    drawings: Drawings | None = None

    @classmethod
    def of(cls, drawings: Drawings, split_rule: str) -> "Embedded":
        """Return what a program draws, which is kept in the cache."""
        return cls(drawings.classes, lambda _: drawings.read(), split_rule, drawings=drawings)


EMBEDDED: Mapping[str, Embedded] = MappingProxyType(
    {
        "digits": Embedded(
            digits.CLASSES,
            lambda _: digits.read(),
            "Drawn once for all: 60 % train, 20 % validation, 20 % test, stratified by class.",
            drawn=("train", "validation", "test"),
        ),
        "glyphs": Embedded(
            glyphs.CLASSES,
            lambda _: glyphs.read(),
            "Font families apart: DejaVu trains, Computer Modern validates, STIX tests.",
        ),
        "fashion_mnist": Embedded(
            fashion_mnist.CLASSES,
            fashion_mnist.read,
            "The creators' train and test; a sixth of train validates, stratified by class.",
            drawn=("validation",),
        ),
        "characters": Embedded.of(
            characters.DRAWINGS, "Each image is drawn by itself; all splits share the fonts."
        ),
        "shapes": Embedded.of(shapes.DRAWINGS, "Each image is drawn by itself."),
        "textures": Embedded.of(textures.DRAWINGS, "Each image is made by itself."),
        "charts": Embedded.of(charts.DRAWINGS, "Each image is drawn by itself."),
        "patches": Embedded.of(
            patches.DRAWINGS, "Blocks of 64 pixels of each photograph: each belongs to one split."
        ),
    }
)


class EmbeddedSource(Source):
    """Datasets whose whole content is known: their manifests are part of the package."""

    name = "embedded"
    looks = False

    def names(self) -> tuple[str, ...]:
        return tuple(EMBEDDED)

    def recognises(self, stem: str) -> bool:
        return stem in EMBEDDED

    def describe(self, dataset_ref: DatasetName) -> Description:
        manifest = self.manifest(dataset_ref)
        return Description(
            title=dataset_ref.stem,
            split_rule=EMBEDDED[dataset_ref.stem].split_rule,
            n_classes=len(manifest.classes),
            drawn=EMBEDDED[dataset_ref.stem].drawn,
            sizes=Sizes(**{name: part.size for name, part in manifest.splits.items()}),
        )

    def presence(self, dataset_ref: DatasetName, cache: Path) -> Presence:
        if dataset_ref.stem == "patches" and patches.find() is None:
            return Presence(False, "pip install 'headstart[embedded]' (photographs: scikit-image)")
        if dataset_ref.stem != "fashion_mnist":
            return Presence(True, "comes with headstart's dependencies")
        if place := fashion_mnist.find(cache):
            return Presence(True, str(place))
        return Presence(False, "Debian package dataset-fashion-mnist, or downloaded on first use")

    def fetch(self, dataset_ref: DatasetName, cache: Path, reporter: ProgressReporter) -> None:
        if dataset_ref.stem == "fashion_mnist":
            fashion_mnist.fetch(cache)
        else:
            super().fetch(dataset_ref, cache, reporter)
        if drawings := EMBEDDED[dataset_ref.stem].drawings:
            # Here and not in `read`: it is the preparation that somebody watches.
            self._kept(dataset_ref, drawings, cache, reporter)

    def read(self, dataset_ref: DatasetName, cache: Path) -> RawDataset:
        known = EMBEDDED[dataset_ref.stem]
        if known.drawings is None:
            return RawDataset(known.classes, known.read(cache))
        return RawDataset(
            known.classes, self._kept(dataset_ref, known.drawings, cache, ProgressReporter())
        )

    def _kept(
        self, dataset_ref: DatasetName, drawings: Drawings, cache: Path, reporter: ProgressReporter
    ) -> dict[str, Split]:
        """Read drawn images from the cache, or draw them: once, a quarter of a minute at most."""
        folder, file_index = cache / "datasets", FileIndex(cache / "datasets" / "files.db")
        parts = {}
        for name, part in self.manifest(dataset_ref).splits.items():
            path = folder / f"{dataset_ref.stem}-{name}-{part.images_sha256[:16]}.pixels"
            draw = partial(_drawn, drawings, name, reporter)
            images = keep(path, drawings.shape, part.images_sha256, file_index, draw)
            parts[name] = drawings.split(name, images)
        return parts

    def split(self, dataset_ref: DatasetName, raw: RawDataset) -> tuple[dict[str, Split], str]:
        return raw.parts, EMBEDDED[dataset_ref.stem].split_rule

    def manifest(self, dataset_ref: DatasetName) -> Manifest:
        # Splits that were drawn were drawn once for all.
        dataset_ref.refuse_split_seed()
        file = files("headstart.datasets").joinpath("manifests", f"{dataset_ref.stem}.json")
        text = file.read_text(encoding="utf-8")
        return Manifest.model_validate_json(text)


def _drawn(drawings: Drawings, split: str, reporter: ProgressReporter) -> npt.NDArray[np.uint8]:
    """Draw all images of a split under the reporter's eyes: (n, SIDE, SIDE, 3) uint8."""
    total = len(drawings.labels(split))
    reporter.stage(f"drawing {drawings.name}, {split}", total=total, unit="images")
    return drawings.pixels(split, reporter.advance)
