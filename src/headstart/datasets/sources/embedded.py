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
from headstart.datasets.archive import Archive
from headstart.datasets.drawings import Drawings
from headstart.datasets.kept import keep
from headstart.datasets.ledger import Ledger
from headstart.datasets.manifest import Manifest
from headstart.datasets.names import DatasetName
from headstart.datasets.sources.base import Description, Presence, Source
from headstart.datasets.splits import Split
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

    def describe(self, asked: DatasetName) -> Description:
        manifest = self.manifest(asked)
        return Description(
            title=asked.stem,
            split_rule=EMBEDDED[asked.stem].split_rule,
            n_classes=len(manifest.classes),
            drawn=EMBEDDED[asked.stem].drawn,
            sizes=Sizes(**{name: part.size for name, part in manifest.splits.items()}),
        )

    def presence(self, asked: DatasetName, cache: Path) -> Presence:
        if asked.stem == "patches" and patches.find() is None:
            return Presence(False, "pip install 'headstart[embedded]' (photographs: scikit-image)")
        if asked.stem != "fashion_mnist":
            return Presence(True, "comes with headstart's dependencies")
        if place := fashion_mnist.find(cache):
            return Presence(True, str(place))
        return Presence(False, "Debian package dataset-fashion-mnist, or downloaded on first use")

    def fetch(self, asked: DatasetName, cache: Path, reporter: ProgressReporter) -> None:
        if asked.stem == "fashion_mnist":
            fashion_mnist.fetch(cache)
        else:
            super().fetch(asked, cache, reporter)
        if drawings := EMBEDDED[asked.stem].drawings:
            # Here and not in `read`: it is the preparation that somebody watches.
            self._kept(asked, drawings, cache, reporter)

    def read(self, asked: DatasetName, cache: Path) -> Archive:
        known = EMBEDDED[asked.stem]
        if known.drawings is None:
            return Archive(known.classes, known.read(cache))
        return Archive(known.classes, self._kept(asked, known.drawings, cache, ProgressReporter()))

    def _kept(
        self, asked: DatasetName, drawings: Drawings, cache: Path, reporter: ProgressReporter
    ) -> dict[str, Split]:
        """Read drawn images from the cache, or draw them: once, a quarter of a minute at most."""
        folder, ledger = cache / "datasets", Ledger(cache / "datasets" / "files.db")
        parts = {}
        for name, part in self.manifest(asked).splits.items():
            path = folder / f"{asked.stem}-{name}-{part.images_sha256[:16]}.pixels"
            draw = partial(_drawn, drawings, name, reporter)
            images = keep(path, drawings.shape, part.images_sha256, ledger, draw)
            parts[name] = drawings.split(name, images)
        return parts

    def split(self, asked: DatasetName, archive: Archive) -> tuple[dict[str, Split], str]:
        return archive.parts, EMBEDDED[asked.stem].split_rule

    def manifest(self, asked: DatasetName) -> Manifest:
        # Splits that were drawn were drawn once for all.
        asked.refuse_split_seed()
        file = files("headstart.datasets").joinpath("manifests", f"{asked.stem}.json")
        text = file.read_text(encoding="utf-8")
        return Manifest.model_validate_json(text)


def _drawn(drawings: Drawings, split: str, reporter: ProgressReporter) -> npt.NDArray[np.uint8]:
    """Draw all images of a split under the reporter's eyes: (n, SIDE, SIDE, 3) uint8."""
    total = len(drawings.labels(split))
    reporter.stage(f"drawing {drawings.name}, {split}", total=total, unit="images")
    return drawings.pixels(split, reporter.advance)
