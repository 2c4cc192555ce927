"""Which datasets there are, and how a name becomes examples."""

from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from headstart.datasets import digits, fashion_mnist, folder, glyphs
from headstart.datasets.manifest import Manifest, check_manifest, make_manifest
from headstart.datasets.splits import SealedTest, Split, Splits, balanced_subset
from headstart.errors import DatasetError, ManifestError, StudyError, UnknownNameError
from headstart.spec import Dataset, Sizes, digest

__all__ = ["NAMES", "find", "load", "prepare", "presence", "published_manifest"]

NAMES = ("digits", "glyphs", "fashion_mnist")
EMBEDDED = "embedded"
FOLDER = "folder"


def find(name: str, *, limit: int | None = None, skip_broken: bool = False) -> Dataset:
    """Find a dataset by its name in the catalogue or by the path of a folder of images.

    A folder is read through once, since its content is its revision.

    Raises
    ------
    UnknownNameError
        Neither a name in the catalogue nor a folder.
    StudyError
        `limit` exceeds the data, or is under one training image a class.
    DatasetError
        A folder that is no dataset.
    """
    if name in NAMES:
        source, location, manifest = EMBEDDED, "", published_manifest(name)
    elif "/" in name or Path(name).is_dir():
        source, location = FOLDER, str(Path(name).resolve())
        manifest = _folder_manifest(Path(location))
        name = Path(location).name
    else:
        raise UnknownNameError("dataset", name, NAMES)
    dataset = Dataset(
        name=name,
        source=source,
        location=location,
        revision=manifest.revision,
        classes=manifest.classes,
        sizes=Sizes(**{split: part.size for split, part in manifest.splits.items()}),
        limit=limit,
        skip_broken=skip_broken,
    )
    _check_limit(dataset)
    return dataset


def presence(name: str, cache: Path) -> tuple[bool, str]:
    """Say whether a dataset of the catalogue is on this machine, and where it is or comes from."""
    if name != "fashion_mnist":
        return True, "comes with headstart's dependencies"
    if place := fashion_mnist.find(cache):
        return True, str(place)
    return False, "Debian package dataset-fashion-mnist, or downloaded on first use"


def prepare(dataset: Dataset, cache: Path) -> None:
    """Fetch what is not on this machine; DatasetMissingError if that is not to be had."""
    if dataset.name == "fashion_mnist" and dataset.source == EMBEDDED:
        fashion_mnist.fetch(cache)


def load(dataset: Dataset, seed: int, cache: Path) -> Splits:
    """Read a dataset, prove that it is the one named, and draw the trial's subset.

    Raises
    ------
    DatasetMissingError, DatasetError
        Absent; an empty split, labels outside the classes, a class with no training example.
    ManifestError
        The content is not that of ``dataset.revision``.
    """
    parts = _read(dataset.name, dataset.source, dataset.location, dataset.revision, cache)
    taken = {name: np.arange(len(part), dtype=np.int64) for name, part in parts.items()}
    if dataset.limit is not None:
        taken = {
            name: balanced_subset(part.labels, dataset.limit, _derived_seed(dataset, name, seed))
            for name, part in parts.items()
        }
        parts = {name: part.take(taken[name]) for name, part in parts.items()}
        _check_examples(dataset.name, dataset.classes, parts)
    sizes = dataset.sizes
    firsts = {"train": 0, "validation": sizes.train, "test": sizes.train + sizes.validation}
    places = [taken[name] + first for name, first in firsts.items()]
    rows = {name: part.rows.tolist() for name, part in parts.items()}
    revision = digest({"revision": dataset.revision, "rows": rows})
    return Splits(
        train=parts["train"],
        validation=parts["validation"],
        test=SealedTest(parts["test"], revision),
        n_classes=len(dataset.classes),
        revision=revision,
        places=np.concatenate(places),
    )


def published_manifest(name: str) -> Manifest:
    """Read the manifest that the package holds of a dataset of the catalogue."""
    text = files("headstart.datasets").joinpath("manifests", f"{name}.json").read_text()
    return Manifest.model_validate_json(text)


# One dataset at a time is kept: a study goes through its datasets one by one.
@lru_cache(maxsize=1)
def _read(name: str, source: str, location: str, revision: str, cache: Path) -> dict[str, Split]:
    classes, parts = _read_source(name, source, location, cache)
    _check_examples(name, classes, parts)
    manifest = make_manifest(classes, parts)
    if source == EMBEDDED:
        check_manifest(name, published_manifest(name), manifest)
    elif manifest.revision != revision:
        raise ManifestError(f"dataset folder {location} changed while it was in use: run again")
    return parts


def _read_source(
    name: str, source: str, location: str, cache: Path
) -> tuple[tuple[str, ...], dict[str, Split]]:
    if source == FOLDER:
        return folder.read(Path(location))
    if name == "digits":
        return digits.CLASSES, digits.read()
    if name == "glyphs":
        return glyphs.CLASSES, glyphs.read()
    return fashion_mnist.CLASSES, fashion_mnist.read(cache)


def _derived_seed(dataset: Dataset, split: str, seed: int) -> int:
    """Give each split of each dataset a stream of its own, the same for all models."""
    return int(digest({"data": dataset.revision, "split": split, "seed": seed})[:8], 16)


def _folder_manifest(location: Path) -> Manifest:
    classes, parts = folder.read(location)
    _check_examples(location.name, classes, parts)
    return make_manifest(classes, parts)


def _check_examples(name: str, classes: tuple[str, ...], parts: dict[str, Split]) -> None:
    if len(classes) < 2:
        raise DatasetError(f"dataset '{name}' has {len(classes)} classes: at least 2 are needed")
    for split, part in parts.items():
        if not len(part):
            raise DatasetError(f"dataset '{name}' has no {split} images: each split needs some")
        outside = np.flatnonzero((part.labels < 0) | (part.labels >= len(classes)))
        if len(outside):
            place = int(outside[0])
            raise DatasetError(
                f"dataset '{name}' has labels outside the classes: {split} image "
                f"{part.images.where(place)} has label {part.labels[place]}, "
                f"classes are 0 to {len(classes) - 1}"
            )
    counts = np.bincount(parts["train"].labels, minlength=len(classes))
    if not counts.all():
        lacking = classes[int(np.argmin(counts))]
        raise DatasetError(
            f"dataset '{name}' has a class with no training example: '{lacking}'; "
            "add some, or raise --limit"
        )


def _check_limit(dataset: Dataset) -> None:
    if dataset.limit is None:
        return
    sizes = dict(dataset.sizes)
    if dataset.limit > max(sizes.values()):
        had = ", ".join(f"{size:,} {name}" for name, size in sizes.items())
        raise StudyError(
            f"limit {dataset.limit:,} is larger than the data: dataset '{dataset.name}' has {had} "
            "images; lower it or leave it out"
        )
    if dataset.limit < len(dataset.classes):
        raise StudyError(
            f"limit {dataset.limit} leaves a class with no training example: dataset "
            f"'{dataset.name}' has {len(dataset.classes)} classes; raise it to that at least"
        )
