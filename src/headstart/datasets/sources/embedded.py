"""Real datasets that come with headstart's dependencies or with the operating system."""

from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from headstart.context import ProgressReporter
from headstart.datasets import fashion_mnist
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.images import ArrayImages
from headstart.datasets.manifest import Manifest
from headstart.datasets.sources.base import Description, Presence, Source
from headstart.datasets.splits import RawDataset, Split
from headstart.labels import hold_out
from headstart.spec import Sizes

__all__ = ["EMBEDDED", "EmbeddedSource", "read_digits"]


class Embedded(NamedTuple):
    """How one is read, and where its splits come from."""

    classes: tuple[str, ...]
    read: Callable[[Path], dict[str, Split]]
    split_rule: str
    drawn: tuple[str, ...]


def read_digits() -> dict[str, Split]:
    """Read scikit-learn's digits: 1,797 handwritten digits of 8 x 8 pixels, in the package itself.

    60 % train, 20 % validation, 20 % test, stratified, fixed once for all. The source has no
    official split, so this one is ours and stands in the manifest.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # The source counts ink in 0..16.
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    rest, test = hold_out(labels, 0.2, seed=0)
    kept, held = hold_out(labels[rest], 0.25, seed=1)
    rows = {"train": rest[kept], "validation": rest[held], "test": test}
    images = ArrayImages(pixels)
    return {
        name: Split(images.take(places), labels[places], np.arange(len(places)))
        for name, places in rows.items()
    }


EMBEDDED: Mapping[str, Embedded] = MappingProxyType(
    {
        "digits": Embedded(
            tuple("0123456789"),
            lambda _: read_digits(),
            "Drawn once for all: 60 % train, 20 % validation, 20 % test, stratified by class.",
            drawn=("train", "validation", "test"),
        ),
        "fashion_mnist": Embedded(
            fashion_mnist.CLASSES,
            fashion_mnist.read,
            "The creators' train and test; a sixth of train validates, stratified by class.",
            drawn=("validation",),
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

    def read(self, dataset_ref: DatasetName, cache: Path) -> RawDataset:
        known = EMBEDDED[dataset_ref.stem]
        return RawDataset(known.classes, known.read(cache))

    def split(self, dataset_ref: DatasetName, raw: RawDataset) -> tuple[dict[str, Split], str]:
        return raw.parts, EMBEDDED[dataset_ref.stem].split_rule

    def manifest(self, dataset_ref: DatasetName) -> Manifest:
        # Splits that were drawn were drawn once for all.
        dataset_ref.refuse_split_seed()
        file = files("headstart.datasets").joinpath("manifests", f"{dataset_ref.stem}.json")
        text = file.read_text(encoding="utf-8")
        return Manifest.model_validate_json(text)
