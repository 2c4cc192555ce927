"""From a source to splits that are what they claim to be."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from headstart.context import ProgressReporter
from headstart.datasets.archive import Archive
from headstart.datasets.images import EncodedImages, FileImages
from headstart.datasets.ledger import Ledger
from headstart.datasets.manifest import Manifest, check_manifest, make_manifest
from headstart.datasets.names import DatasetName
from headstart.datasets.naming import listed
from headstart.datasets.sources import SOURCES
from headstart.datasets.splits import Split
from headstart.errors import DatasetError, ManifestError
from headstart.files import name_in_text
from headstart.labels import LabelKind, kind_of
from headstart.spec import Dataset, Metric

__all__ = [
    "Reading",
    "check_examples",
    "check_metric",
    "forget_readings",
    "ledger_in",
    "read_dataset",
    "reading_of",
]


def ledger_in(cache: Path, note: Callable[[str], None] | None = None) -> Ledger:
    """Open what is known of files on this machine."""
    return Ledger(cache / "datasets" / "files.db", note)


def check_metric(name: str, metric: Metric, images: str, ndim: int) -> None:
    """Raise DatasetError unless a metric is for labels of so many dimensions."""
    if ndim != kind_of(metric).ndim:
        found = "several" if ndim == 2 else "one"
        raise DatasetError(
            f"dataset '{name}' is scored by {metric}, and its {images} have {found} of the classes "
            "each: name another metric with ?metric="
        )


@dataclass(frozen=True)
class Reading:
    """A dataset as it is on this machine.

    Parameters
    ----------
    classes
        Names in the order of the labels.
    parts
        ``train``, ``validation`` and ``test``, whole.
    manifest
        What they hold, in brief.
    metric
        How predictions are scored.
    split_rule
        In words, where the splits come from.
    missing
        How many images are listed and are not there, for parts with some.
    left_out
        Kinds of files that lie among the images and are taken for none -> how many.
    notes
        What else a person should know of how it was read, a line each.
    """

    classes: tuple[str, ...]
    parts: dict[str, Split]
    manifest: Manifest
    metric: Metric
    split_rule: str
    missing: dict[str, int]
    left_out: dict[str, int]
    notes: tuple[str, ...] = ()

    @cached_property
    def root(self) -> Path | None:
        """The folder that all images lie in, where they are files."""
        found = [part.images for part in self.parts.values()]
        files = [images.paths for images in found if isinstance(images, FileImages)]
        folders = {name_in_text(str(path.parent)) for paths in files for path in paths}
        return Path(os.path.commonpath(folders)) if folders else None

    def image(self, split: str, place: int) -> str:
        """Name an image so that another copy of the dataset has the same name for it."""
        where = self.parts[split].images.where(place)
        if self.root and Path(where).is_relative_to(self.root):
            return Path(where).relative_to(self.root).as_posix()
        return where


def read_dataset(
    source: str,
    asked: DatasetName,
    cache: Path,
    reporter: ProgressReporter | None = None,
    ledger: Ledger | None = None,
) -> Reading:
    """Read a dataset, split it, and prove it to be what is published of it.

    `reporter` sees how far it is; `ledger` is that of the cache unless given.

    Raises
    ------
    DatasetMissingError, DatasetError
        Absent; an empty split, labels outside the classes, a class with no training example.
    ManifestError
        It is not what was published under its name.
    """
    own = SOURCES[source]
    metric = asked.metric or own.describe(asked).metric
    kind = kind_of(metric)
    archive = own.read(asked, cache)
    for part, split in archive.parts.items():
        check_metric(asked.stem, metric, f"{part} images", split.labels.ndim)
        if not isinstance(split.images, EncodedImages):
            asked.refuse_decoding()
    if own.published_files(asked, cache) is None and own.manifest(asked) is None:
        archive = _without_unused(archive, kind)
    parts, split_rule = own.split(asked, archive)
    parts = {
        name: Split(part.images.decoded(asked.decoding), part.labels, part.rows)
        for name, part in parts.items()
    }
    check_examples(asked.stem, archive.classes, parts, kind)
    reporter, ledger = reporter or ProgressReporter(), ledger or ledger_in(cache)
    # The first time every image is read, which may take as long as the disk needs for all.
    total = sum(map(len, parts.values()))
    reporter.stage("reading the images", total=total, unit="images")
    manifest = make_manifest(archive.classes, parts, kind, ledger, reporter.advance)
    if published := own.manifest(asked):
        check_manifest(asked.stem, published, manifest)
    return Reading(
        archive.classes,
        parts,
        manifest,
        metric,
        split_rule,
        archive.missing,
        archive.left_out,
        archive.notes,
    )


def _without_unused(archive: Archive, kind: LabelKind) -> Archive:
    """Leave out classes that are named and that no image has, with a note."""
    n_classes = len(archive.classes)
    if any(kind.strange(part.labels, n_classes) for part in archive.parts.values()):
        return archive
    counts = sum(kind.counts(part.labels, n_classes) for part in archive.parts.values())
    used = np.flatnonzero(counts)
    if len(used) in (0, n_classes):
        return archive
    place = np.full(n_classes, -1, dtype=np.int64)
    place[used] = np.arange(len(used))
    parts = {
        name: replace(part, labels=place[part.labels] if kind.ndim == 1 else part.labels[:, used])
        for name, part in archive.parts.items()
    }
    unused = [name for row, name in enumerate(archive.classes) if row not in set(used.tolist())]
    verb = "1 class has" if len(unused) == 1 else f"{len(unused):,} classes have"
    note = f"left out, as {verb} no image: {listed(unused, quoted=False)}"
    classes = tuple(archive.classes[row] for row in used)
    return replace(archive, classes=classes, parts=parts, notes=(*archive.notes, note))


# One dataset at a time is kept: a study goes through its datasets one by one.
@lru_cache(maxsize=1)
def _kept(source: str, asked: DatasetName, _revision: str, cache: Path) -> Reading:
    return read_dataset(source, asked, cache)


def forget_readings() -> None:
    """Have datasets read anew: images may have other names by now, and the same content."""
    _kept.cache_clear()
    for source in SOURCES.values():
        source.forget()


def reading_of(dataset: Dataset, cache: Path) -> Reading:
    """Return a dataset that was found before; ManifestError if it is another by now."""
    reading = _kept(dataset.source, DatasetName.of(dataset), dataset.revision, cache)
    if reading.manifest.revision != dataset.revision:
        raise ManifestError(
            f"dataset '{dataset.name}' ({dataset.location}) changed while it was in use: run again"
        )
    return reading


def check_examples(
    name: str, classes: tuple[str, ...], parts: Mapping[str, Split], kind: LabelKind
) -> None:
    """Raise DatasetError unless every split has images, labels fit, and train has every class."""
    if len(classes) < 2:
        found = "1 class" if classes else "no classes"
        raise DatasetError(f"dataset '{name}' has {found}: at least 2 are needed")
    for split, part in parts.items():
        if not len(part):
            raise DatasetError(f"dataset '{name}' has no {split} images: each split needs some")
        if strange := kind.strange(part.labels, len(classes)):
            place, what = strange
            raise DatasetError(
                f"dataset '{name}' has labels outside the classes: {split} image "
                f"{part.images.where(place)} has {what}"
            )
        if not kind.counts(part.labels, len(classes)).any():
            raise DatasetError(
                f"dataset '{name}' has no {split} image that shows any class: nothing can be "
                "scored; add some, or raise --limit"
            )
    counts = kind.counts(parts["train"].labels, len(classes))
    if not counts.all():
        raise DatasetError(
            f"dataset '{name}' has a class with no training example: "
            f"'{classes[int(counts.argmin())]}'; add some, or raise --limit"
        )
