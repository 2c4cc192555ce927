"""The catalogue of datasets: from a name to examples, or to images prepared once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.context import ProgressReporter, default_cache
from headstart.datasets.audit import VerifiedDataset, check_audit, verify_located
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.image_cache import PreparedForm, PreparedImages, prepare_images
from headstart.datasets.images import JoinedImages
from headstart.datasets.loading import (
    DrawnSplits,
    check_examples,
    check_metric,
    clear_loaded,
    loaded_dataset,
    read_dataset,
)
from headstart.datasets.sources import (
    SOURCES,
    Description,
    Presence,
    Source,
    is_packaged,
    locate,
    names,
    resolve_name,
)
from headstart.datasets.sources.study_datasets import adopt, place_of
from headstart.datasets.splits import SealedTest, Split, Splits
from headstart.errors import StudyError
from headstart.labels import kind_of
from headstart.spec import Dataset, Sizes, digest

__all__ = [
    "all_images",
    "describe",
    "fetch",
    "find",
    "is_packaged",
    "load",
    "names",
    "prepare_dataset",
    "presence",
]

Rows = npt.NDArray[np.int64]
# Subsets of a dataset that are kept: trials of other models and settings have the same.
DRAWN = 8


def describe(name: str) -> Description:
    """State what is known of a dataset without looking at it; errors as `find`."""
    source, dataset_ref = resolve_name(name)
    return source.describe(dataset_ref)


def presence(name: str, cache: Path | None = None) -> Presence:
    """Return whether a dataset is on this machine, and where it is or how to get it."""
    source, dataset_ref = locate(name)
    return source.presence(dataset_ref, cache or default_cache())


def find(
    name: str | Path,
    *,
    limit: int | None = None,
    examples_per_class: int | None = None,
    skip_broken: bool = False,
    cache: Path | None = None,
    reporter: ProgressReporter | None = None,
) -> Dataset:
    """Find a dataset by its name, and all that is to know of it before it is measured.

    What is not published of it shows in its content, so labels are read and files looked at.

    Parameters
    ----------
    name
        Of the catalogue (``headstart datasets``), a folder, or of one of the other sources, then
        ``?option=value&...`` (`names.OPTIONS`, and the source's own).
    limit, examples_per_class
        At most so many images of each split; so many training images of each class.
    skip_broken
        Whether images that do not decode are left out.
    cache, reporter
        Where downloads and known facts of files are, the usual folder unless given; who is
        informed of what goes on.

    Raises
    ------
    UnknownNameError
        No such name or option; the nearest are suggested.
    StudyError
        An option with a value that it cannot have; `limit` exceeds the data, or is under one
        training image a class; `examples_per_class` exceeds the smallest class.
    DatasetMissingError, DatasetError, ManifestError
        Not on this machine; no dataset, or a metric that its labels have not; not the one that is
        published.
    """
    cache, reporter = cache or default_cache(), reporter or ProgressReporter()
    clear_loaded()
    source, dataset_ref = resolve_name(name, cache)
    title, published = source.describe(dataset_ref).title, source.manifest(dataset_ref)
    if source.fetches and not (published or source.presence(dataset_ref, cache).present):
        source.fetch(dataset_ref, cache, reporter)
        _, dataset_ref = resolve_name(name, cache)
    dataset = Dataset(
        name=dataset_ref.titled(title),
        source=source.name,
        location=dataset_ref.stem,
        options=dataset_ref.options,
        source_revision=source.source_revision(dataset_ref, cache),
        split_seed=dataset_ref.split_seed,
        allow_missing=dataset_ref.allow_missing,
        decoding=dataset_ref.decoding,
        limit=limit,
        examples_per_class=examples_per_class,
        skip_broken=skip_broken,
        **_content(source, dataset_ref, cache, reporter),
    )
    _check_subset(dataset)
    return dataset


def _content(
    source: Source, dataset_ref: DatasetName, cache: Path, reporter: ProgressReporter
) -> dict[str, Any]:
    """Return the fields of a dataset that its manifest, published or read, is asked for."""
    manifest = source.manifest(dataset_ref)
    if manifest is None:
        loaded = read_dataset(source.name, dataset_ref, cache, reporter)
        manifest, split_rule, metric = loaded.manifest, loaded.split_rule, loaded.metric
    else:
        description = source.describe(dataset_ref)
        metric, split_rule = dataset_ref.metric or description.metric, description.split_rule
        # What is published is not read here, so that this would show in the middle of a run.
        dataset_ref.refuse_decoding()
        check_metric(dataset_ref.stem, metric, "images", kind_of(description.metric).ndim)
    return {
        "revision": manifest.revision,
        "classes": manifest.classes,
        "sizes": Sizes(**{split: part.size for split, part in manifest.splits.items()}),
        "smallest_class": min(manifest.splits["train"].class_counts),
        "metric": metric,
        "split_rule": split_rule,
    }


def fetch(dataset: Dataset, cache: Path, reporter: ProgressReporter) -> None:
    """Fetch what is not on this machine; DatasetMissingError if that is not to be had."""
    SOURCES[dataset.source].fetch(DatasetName.of(dataset), cache, reporter)


def load(dataset: Dataset, seed: int, cache: Path, *, test_labels: bool = False) -> Splits:
    """Read a dataset, prove that it is the one named, and draw the trial's subset.

    Parameters
    ----------
    dataset
        As it was found.
    seed
        Draws the subset, where the dataset has a limit.
    cache
        Where downloads are.
    test_labels
        Whether the test labels are behind their door: for the trial alone. Without, nobody can
        open it.

    Raises
    ------
    DatasetMissingError, DatasetError
        Absent; an empty split, labels outside the classes, a class with no training example.
    ManifestError
        The content is not that of ``dataset.revision``.
    """
    loaded = loaded_dataset(dataset, cache)
    what = (dataset.limit, dataset.examples_per_class, seed if dataset.is_drawn else None)
    if (drawn := loaded.drawn.get(what)) is None:
        drawn = loaded.drawn[what] = _drawn_splits(dataset, loaded.parts, seed)
        for old in list(loaded.drawn)[:-DRAWN]:
            loaded.drawn.pop(old, None)
    return Splits(
        train=drawn.parts["train"],
        validation=drawn.parts["validation"],
        test=SealedTest(drawn.parts["test"], drawn.revision, blind=not test_labels),
        n_classes=len(dataset.classes),
        revision=drawn.revision,
        places=drawn.places,
    )


def all_images(dataset: Dataset, cache: Path) -> JoinedImages:
    """Return the images of train, validation and test, whole: `Splits.places` are places in it."""
    loaded = loaded_dataset(dataset, cache)
    return JoinedImages([part.images for part in loaded.parts.values()])


def _drawn_splits(dataset: Dataset, parts: dict[str, Split], seed: int) -> DrawnSplits:
    """Draw what a trial of this seed sees of the whole parts."""
    taken = {name: _drawn(dataset, name, part.labels, seed) for name, part in parts.items()}
    if dataset.is_drawn:
        parts = {name: part.take(taken[name]) for name, part in parts.items()}
        check_examples(dataset.name, dataset.classes, parts, kind_of(dataset.metric))
    sizes = dataset.sizes
    firsts = {"train": 0, "validation": sizes.train, "test": sizes.train + sizes.validation}
    places = [taken[name] + first for name, first in firsts.items()]
    rows = {name: part.rows.tolist() for name, part in parts.items()}
    revision = digest({"revision": dataset.revision, "rows": rows})
    return DrawnSplits(parts, np.concatenate(places), revision)


def _drawn(dataset: Dataset, split: str, labels: Rows, seed: int) -> Rows:
    """Draw the places of a split that a trial of this seed sees; all unless there is a limit."""
    # Each split of each dataset has a stream of its own, the same for all models.
    stream = digest({"data": dataset.revision, "split": split, "seed": seed})
    kind, own_seed = kind_of(dataset.metric), int(stream[:8], 16)
    rows = np.arange(len(labels), dtype=np.int64)
    if dataset.limit is not None:
        rows = kind.subset(labels, dataset.limit, own_seed)
    if dataset.examples_per_class is not None and split == "train":
        n_classes = len(dataset.classes)
        rows = rows[
            kind.subsample_per_class(labels[rows], n_classes, dataset.examples_per_class, own_seed)
        ]
    return rows


def _check_subset(dataset: Dataset) -> None:
    """Raise StudyError for a subset that cannot be drawn."""
    limit, few = dataset.limit, dataset.examples_per_class
    sizes, n_classes = dict(dataset.sizes), len(dataset.classes)
    if limit is not None and limit > max(sizes.values()):
        had = ", ".join(f"{size:,} {name}" for name, size in sizes.items())
        raise StudyError(
            f"limit {limit:,} is larger than the data: dataset '{dataset.name}' has {had} "
            "images; lower it or leave it out",
            code="dataset.limit",
            found=limit,
            sizes=sizes,
        )
    if limit is not None and limit < kind_of(dataset.metric).min_images(n_classes):
        raise StudyError(
            f"limit {limit} leaves a class with no training example: dataset "
            f"'{dataset.name}' has {n_classes} classes; raise it to that at least",
            code="dataset.limit",
            found=limit,
            n_classes=n_classes,
        )
    if few and few > dataset.most_per_class:
        raise StudyError(
            f"{few:,} images per class are more than there are: the smallest class of dataset "
            f"'{dataset.name}' has {dataset.most_per_class:,} training images; lower it",
            code="dataset.too_few_per_class",
            found=few,
            most=dataset.most_per_class,
        )


def prepare_dataset(
    name: str,
    cache: Path,
    reporter: ProgressReporter,
    *,
    folder: Path | None = None,
    skip_broken: bool = False,
) -> tuple[VerifiedDataset, PreparedImages]:
    """Bring a dataset onto this machine, prove what it is, look at its images, decode them once.

    Parameters
    ----------
    name
        As in `find`.
    cache
        Where downloads and prepared images are kept.
    reporter
        Informed of the progress.
    folder
        Where a dataset of the study lies already: it is used from there and remembered, once it is
        proven to be what it should be.
    skip_broken
        Whether images that do not decode are left out; they are listed among the problems.

    Raises
    ------
    StudyError
        A folder for a dataset whose name says already where it is.
    HeadstartError
        Not to be had; not what is published; images that do not do; no space.
    """
    clear_loaded()
    source, dataset_ref = resolve_name(name, cache)
    place = None
    if folder is not None:
        if "root" not in source.options or dataset_ref.stem not in source.names():
            raise StudyError(
                f"the name '{dataset_ref.full}' already says where the dataset is: --from is for "
                f"the datasets of the study ({', '.join(source.names()) or 'headstart datasets'})",
                code="dataset.from_unused",
                name=dataset_ref.full,
            )
        place = place_of(dataset_ref.stem, folder.expanduser().resolve())
        dataset_ref = replace(
            dataset_ref, options={**dataset_ref.options, "root": str(place.folder)}
        )
    elif not source.presence(dataset_ref, cache).present:
        source.fetch(dataset_ref, cache, reporter)
        _, dataset_ref = resolve_name(name, cache)
    checked = verify_located(source, dataset_ref, cache, reporter)
    check_audit(checked.audit, checked.name, skip_broken)
    if place is not None:
        adopt(dataset_ref.stem, place, cache)
    loaded = checked.loaded
    images = JoinedImages([part.images for part in loaded.parts.values()])
    recipe = PreparedForm(loaded.manifest.revision, dataset_ref.decoding)
    prepared = prepare_images(images, recipe, cache / "prepared", reporter, skip_broken=skip_broken)
    return checked, prepared
