"""Whether splits are the published ones: classes, sizes, and no image where it must not be.

Each check stands for something met in public copies of these datasets or in tools that read them.
What they cannot tell is a copy that was split anew and has the published number of images in each
split (and of each class, where that is fixed): of Pets, only the creators' own lists say which
images test. The content's digest tells two such copies apart.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from headstart.datasets.archives.facts import Facts
from headstart.datasets.images import FileImages
from headstart.datasets.splits import Split
from headstart.errors import ManifestError

__all__ = ["check_published"]

LEVELS = (-1, 0, 1)


def check_published(facts: Facts, splits: dict[str, Split]) -> None:
    """Compare ``train``, ``validation`` and ``test`` with what is published.

    Raises
    ------
    ManifestError
        They differ; the most telling difference is reported. Classes or sizes that are not the
        published ones; labels that count from 1, or are of another kind; an image that is there
        twice, or in two splits; images that should be drawn at random and are the first.
    """
    for name, split in splits.items():
        _check_kind(facts, name, split)
    for what, expected, found in _counts(facts, splits):
        if expected != found:
            raise _error(facts, f"the number of {what} should be {expected:,}, found {found:,}")
    _check_apart(facts, splits)
    if "all" in facts.parts:
        _check_drawn(facts, splits)


def _error(facts: Facts, difference: str) -> ManifestError:
    return ManifestError(
        f"dataset '{facts.key}' is not as published: {difference}; fetch the creators' own copy"
    )


def _check_kind(facts: Facts, name: str, split: Split) -> None:
    labels = split.labels
    if labels.ndim != (2 if facts.multilabel else 1):
        kinds = ("one class per image", "several classes per image")
        expected, found = kinds if not facts.multilabel else kinds[::-1]
        raise _error(facts, f"the {name} labels should give {expected}, found {found}")
    if facts.multilabel and not np.isin(labels, LEVELS).all():
        strange = labels[~np.isin(labels, LEVELS)][0]
        raise _error(facts, f"the {name} labels should be 1, 0 or -1, found {strange}")


def _counts(facts: Facts, splits: dict[str, Split]) -> Iterator[tuple[str, int, int]]:
    """Return (what is counted, published, found), the most telling first."""
    yield "classes", facts.n_classes, _n_classes(facts, splits.values())
    yield "classes with training images", facts.n_classes, _n_present(facts, splits["train"])
    for name, size in facts.sizes:
        yield f"{name} images", size, len(splits[name])
    for names, count in facts.per_class.items():
        labels = np.concatenate([splits[name].labels for name in names.split("+")])
        found = np.bincount(labels, minlength=facts.n_classes)
        for label, here in enumerate(found.tolist()):
            yield f"{names} images of the class with label {label}", count, here


def _n_classes(facts: Facts, splits: Iterable[Split]) -> int:
    if facts.multilabel:
        return max(int(split.labels.shape[1]) for split in splits)
    labels = np.unique(np.concatenate([split.labels for split in splits]))
    outside = labels[(labels < 0) | (labels >= facts.n_classes)]
    # As many classes as there should be, and yet a label outside: another first number.
    if len(outside) and len(labels) == facts.n_classes:
        raise _error(
            facts,
            f"labels should be 0 to {facts.n_classes - 1}, found {labels[0]} to {labels[-1]}",
        )
    return len(labels)


def _n_present(facts: Facts, split: Split) -> int:
    if facts.multilabel:
        return int((split.labels == 1).any(axis=0).sum())
    return len(np.unique(split.labels))


def _check_apart(facts: Facts, splits: dict[str, Split]) -> None:
    """Check that no image is there twice."""
    seen: dict[tuple[str, str], str] = {}
    for name, split in splits.items():
        # Images in arrays are numbered anew in each of the creators' parts; a file has one name.
        part = name if name in facts.parts else facts.parts[0]
        fingerprint = "" if isinstance(split.images, FileImages) else part
        for row in range(len(split)):
            image = (fingerprint, split.images.where(row))
            if image in seen:
                places = f"{seen[image]} and {name}"
                raise _error(facts, f"an image should be there once, found {image[1]} in {places}")
            seen[image] = name


def _check_drawn(facts: Facts, splits: dict[str, Split]) -> None:
    """Check that what is drawn from each class is not just its first files."""
    fitted, test = (splits["train"], splits["validation"]), splits["test"]
    labels = np.concatenate([split.labels for split in fitted])
    rows = np.concatenate([split.rows for split in fitted])
    if all(
        (rows[labels == label].max() < test.rows[test.labels == label]).all()
        for label in np.unique(labels)
    ):
        raise _error(
            facts,
            "the images of train and validation should be drawn at random, found the first files "
            "of every class",
        )
