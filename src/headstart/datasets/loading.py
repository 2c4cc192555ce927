"""Load splits from a source, and verify them."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headstart.context import ProgressReporter
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.file_index import FileIndex
from headstart.datasets.images import EncodedImages, FileImages
from headstart.datasets.manifest import Manifest, check_manifest, make_manifest
from headstart.datasets.naming import join_names
from headstart.datasets.sources import SOURCES
from headstart.datasets.splits import RawDataset, Split
from headstart.errors import DatasetError, ManifestError
from headstart.files import name_in_text
from headstart.labels import LabelKind, kind_of
from headstart.spec import Dataset, Metric

__all__ = [
    "DrawnSplits",
    "LoadedDataset",
    "check_examples",
    "check_metric",
    "clear_loaded",
    "loaded_dataset",
    "open_file_index",
    "read_dataset",
]


def open_file_index(cache: Path, note: Callable[[str], None] | None = None) -> FileIndex:
    """Open what is known of files on this machine."""
    return FileIndex(cache / "datasets" / "files.db", note)


def check_metric(name: str, metric: Metric, images: str, ndim: int) -> None:
    """Raise DatasetError unless a metric is for labels of so many dimensions."""
    if ndim != kind_of(metric).ndim:
        found = "several" if ndim == 2 else "one"
        raise DatasetError(
            f"dataset '{name}' is scored by {metric}, and its {images} have {found} of the classes "
            "each: name another metric with ?metric=",
            code="dataset.metric",
            metric=metric,
            ndim=ndim,
        )


class DrawnSplits(NamedTuple):
    """What trials of one limit and one seed see of a dataset, and the digest of its content.

    `places` are those of the (n,) images in `catalogue.all_images`, int64.
    """

    parts: dict[str, Split]
    places: npt.NDArray[np.int64]
    revision: str


@dataclass(frozen=True)
class LoadedDataset:
    """A dataset as it is on this machine.

    Parameters
    ----------
    classes, missing, left_out, notes
        As in `RawDataset`.
    parts
        ``train``, ``validation`` and ``test``, whole.
    manifest
        What they hold, in brief.
    metric
        How predictions are scored.
    split_rule
        In words, where the splits come from.
    drawn
        Subsets that were drawn of it, for the trials that follow with the same.
    """

    classes: tuple[str, ...]
    parts: dict[str, Split]
    manifest: Manifest
    metric: Metric
    split_rule: str
    missing: dict[str, int]
    left_out: dict[str, int]
    notes: tuple[str, ...] = ()
    drawn: dict[tuple[int | None, ...], DrawnSplits] = field(
        default_factory=dict, repr=False, compare=False
    )

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
    dataset_ref: DatasetName,
    cache: Path,
    reporter: ProgressReporter | None = None,
    file_index: FileIndex | None = None,
) -> LoadedDataset:
    """Read a dataset, split it, and prove it to be what is published of it.

    `reporter` sees how far it is; `file_index` is that of the cache unless given.

    Raises
    ------
    DatasetMissingError, DatasetError
        Absent; an empty split, labels outside the classes, a class with no training example.
    ManifestError
        It is not what was published under its name.
    """
    own = SOURCES[source]
    metric = dataset_ref.metric or own.describe(dataset_ref).metric
    kind = kind_of(metric)
    raw = own.read(dataset_ref, cache)
    for part, split in raw.parts.items():
        check_metric(dataset_ref.stem, metric, f"{part} images", split.labels.ndim)
        if not isinstance(split.images, EncodedImages):
            dataset_ref.refuse_decoding()
    if own.published_files(dataset_ref, cache) is None and own.manifest(dataset_ref) is None:
        raw = _without_unused(raw, kind)
    parts, split_rule = own.split(dataset_ref, raw)
    parts = {
        name: replace(part, images=part.images.decoded(dataset_ref.decoding))
        for name, part in parts.items()
    }
    check_examples(dataset_ref.stem, raw.classes, parts, kind)
    reporter, file_index = reporter or ProgressReporter(), file_index or open_file_index(cache)
    # The first time every image is read, which may take as long as the disk needs for all.
    total = sum(map(len, parts.values()))
    reporter.stage("reading the images", total=total, unit="images")
    manifest = make_manifest(raw.classes, parts, kind, file_index, reporter.advance)
    if published := own.manifest(dataset_ref):
        check_manifest(dataset_ref.stem, published, manifest)
    return LoadedDataset(
        raw.classes, parts, manifest, metric, split_rule, raw.missing, raw.left_out, raw.notes
    )


def _without_unused(raw: RawDataset, kind: LabelKind) -> RawDataset:
    """Leave out classes that are named and that no image has, with a note."""
    n_classes = len(raw.classes)
    if any(kind.find_invalid(part.labels, n_classes) for part in raw.parts.values()):
        return raw
    counts = sum(kind.counts(part.labels, n_classes) for part in raw.parts.values())
    used = np.flatnonzero(counts)
    if len(used) in (0, n_classes):
        return raw
    place = np.full(n_classes, -1, dtype=np.int64)
    place[used] = np.arange(len(used))
    parts = {
        name: replace(part, labels=place[part.labels] if kind.ndim == 1 else part.labels[:, used])
        for name, part in raw.parts.items()
    }
    unused = [name for row, name in enumerate(raw.classes) if row not in set(used.tolist())]
    verb = "1 class has" if len(unused) == 1 else f"{len(unused):,} classes have"
    note = f"left out, as {verb} no image: {join_names(unused, quoted=False)}"
    classes = tuple(raw.classes[row] for row in used)
    return replace(raw, classes=classes, parts=parts, notes=(*raw.notes, note))


# Trials of a study go through its datasets one by one, several at a time: where one ends and the
# next begins, two are in use.
@lru_cache(maxsize=2)
def _load_cached(
    source: str, dataset_ref: DatasetName, _revision: str, cache: Path
) -> LoadedDataset:
    return read_dataset(source, dataset_ref, cache)


_loading = Lock()


def clear_loaded() -> None:
    """Have datasets read anew: images may have other names by now, and the same content."""
    _load_cached.cache_clear()
    for source in SOURCES.values():
        source.forget()


def loaded_dataset(dataset: Dataset, cache: Path) -> LoadedDataset:
    """Return a dataset that was found before; ManifestError if it is another by now."""
    # Trials that begin together wait for the first to read it.
    with _loading:
        loaded = _load_cached(dataset.source, DatasetName.of(dataset), dataset.revision, cache)
    if loaded.manifest.revision != dataset.revision:
        raise ManifestError(
            f"dataset '{dataset.name}' ({dataset.location}) changed while it was in use: run again",
            code="dataset.changed",
        )
    return loaded


def check_examples(
    name: str, classes: tuple[str, ...], parts: Mapping[str, Split], kind: LabelKind
) -> None:
    """Raise DatasetError unless every split has images, labels fit, and train has every class."""
    if len(classes) < 2:
        found = f"1 class ('{classes[0]}')" if classes else "no classes"
        raise DatasetError(
            f"dataset '{name}' has {found}: at least 2 are needed",
            code="dataset.one_class",
            found=len(classes),
        )
    for split, part in parts.items():
        if not len(part):
            raise DatasetError(
                f"dataset '{name}' has no {split} images: each split needs some",
                code="dataset.split_empty",
                split=split,
            )
        if invalid := kind.find_invalid(part.labels, len(classes)):
            place, what = invalid
            raise DatasetError(
                f"dataset '{name}' has labels outside the classes: {split} image "
                f"{part.images.where(place)} has {what}",
                code="dataset.class_unknown",
                split=split,
                row=place,
            )
        if not kind.counts(part.labels, len(classes)).any():
            raise DatasetError(
                f"dataset '{name}' has no {split} image that shows any class: nothing can be "
                "scored; add some, or raise --limit",
                code="dataset.split_unlabelled",
                split=split,
            )
    counts = kind.counts(parts["train"].labels, len(classes))
    if not counts.all():
        empty = classes[int(counts.argmin())]
        raise DatasetError(
            f"dataset '{name}' has a class with no training example: '{empty}'; add some, or raise "
            "--limit",
            code="dataset.class_empty",
            found=empty,
        )
