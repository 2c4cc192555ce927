"""What is published of the study's twelve datasets: facts, the protocol's splits, and the checks.

The splits are those of Kornblith et al. (2019), Table 1: the creators' validation set where there
is one. Elsewhere part of the training set is drawn, of the size that Grill et al. ("Bootstrap Your
Own Latent", 2020, Table 10) print. All draws come from the seed, without replacement.

Each check stands for something met in public copies of these datasets or in tools that read them.
What they cannot detect is a copy that was split anew and has the published number of images in
each split (and of each class, where that is fixed): of Pets, only the creators' own lists say which
images test. The content's digest distinguishes two such copies.
"""

import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np
from pydantic import Field, PositiveInt

from headstart.datasets.images import FileImages
from headstart.datasets.manifest import differs
from headstart.datasets.splits import RawDataset, Split
from headstart.errors import UnknownNameError
from headstart.labels import hold_out_exactly, kind_of
from headstart.spec import Metric, Sizes, digest, plain_name
from headstart.spec.noun import Noun

__all__ = [
    "Facts",
    "HubCopy",
    "check_published",
    "facts_of",
    "is_published_name",
    "protocol_splits",
    "published_facts",
    "without_missing",
]

LEVELS = (-1, 0, 1)

Part = Literal["train", "validation", "test", "all", "train+validation"]


class HubCopy(Noun):
    """A copy of a dataset in Parquet files on the Hugging Face hub.

    `image` and `label` name its columns. `parts` gives for each part the copy's split, or several
    joined by ``+``. `revision` is a commit; where there is none, the first fetch takes the newest
    and notes it beside the data, and later ones take what is noted.
    """

    repository: str
    image: str
    label: str
    parts: dict[Part, str]
    revision: str = ""


class Facts(Noun):
    """A dataset of the study, as published.

    `key`, `title` and `aliases` are its names. In a table of results each stands for this dataset.

    `sizes` count the images to fit on before the choice, to choose on, and to test on once: a
    published training set with validation in it is the sum of the first two. `per_class` gives
    what the protocol fixes for every class, by split; ``train+validation`` is both together.

    `parts` are those that the creators made. Where ``validation`` is not among them, it is drawn
    from ``train``; where there is only ``all``, everything is drawn, the same for every class.

    `split_rule` and `sources` say in words what this means and where the data come from, `layout`
    what a folder has to hold, a line each.

    `hub` is a copy on the Hugging Face hub. `torchvision` names the class of torchvision.datasets
    that can download it, "" where none can any more.

    `archives` and `files` give the MD5s that torchvision publishes, by where it has the files: of
    archives that unpack to a folder of their own, and of what lies in the dataset's folder.
    """

    key: str
    title: str
    aliases: tuple[str, ...] = ()
    n_classes: PositiveInt
    sizes: Sizes
    per_class: dict[str, PositiveInt] = Field(default_factory=dict)
    metric: Metric
    parts: tuple[Literal["train", "validation", "test", "all"], ...]
    split_rule: str
    sources: tuple[str, ...]
    layout: tuple[str, ...]
    hub: HubCopy | None = None
    torchvision: str = ""
    archives: dict[str, str] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)

    @property
    def multilabel(self) -> bool:
        """Whether an image may show several of the classes: the metric says it."""
        return kind_of(self.metric).ndim == 2


@cache
def published_facts() -> dict[str, Facts]:
    """Read what is published, by key, in the order of the paper's Table 1."""
    text = files("headstart.datasets").joinpath("catalogue.toml").read_text(encoding="utf-8")
    return {key: Facts(key=key, **fields) for key, fields in tomllib.loads(text).items()}


def facts_of(key: str) -> Facts:
    """Find the facts of one dataset; UnknownNameError tells the nearest keys."""
    if key not in published_facts():
        raise UnknownNameError("dataset", key, published_facts())
    return published_facts()[key]


def is_published_name(name: str) -> bool:
    """Whether a table of results would take this name for a dataset of the study.

    Capitals and what is neither letter nor digit do not count.
    """
    return plain_name(name) in {
        plain_name(known)
        for facts in published_facts().values()
        for known in (facts.key, facts.title, *facts.aliases)
    }


def protocol_splits(facts: Facts, raw: RawDataset, seed: int = 0) -> dict[str, Split]:
    """Return ``train``, ``validation`` and ``test`` as the study has them.

    Train is what is fitted on before the choice; afterwards it is train and validation together.

    Raises
    ------
    ManifestError
        The archive has other parts than its creators made, or too few images: of a class, or to
        hold the validation set out of.
    DatasetError
        More classes than the training part can keep an image of.
    """
    if set(raw.parts) != set(facts.parts):
        parts = ", ".join(facts.parts), ", ".join(raw.parts)
        raise differs(facts.key, "parts", *parts)
    if "all" in raw.parts:
        return _drawn(facts, raw, seed)
    if "validation" in raw.parts:
        return {name: raw.parts[name] for name in ("train", "validation", "test")}
    train = raw.parts["train"]
    if len(train) <= facts.sizes.validation:
        expected = facts.sizes.train + facts.sizes.validation
        what = "number of training images, validation counted"
        raise differs(facts.key, what, expected, len(train))
    kept, held = hold_out_exactly(
        train.labels, facts.sizes.validation, _derived_seed(facts, "validation", seed)
    )
    return {"train": train.take(kept), "validation": train.take(held), "test": raw.parts["test"]}


def without_missing(facts: Facts, raw: RawDataset) -> Facts:
    """Return the facts as they are for an archive whose missing images were accepted.

    Validation keeps its share of the images that are left. What was measured on them is not
    comparable with what was published: callers have to say so.
    """
    sizes = facts.sizes
    published = sizes.train + sizes.validation
    left = published - raw.missing.get("train", 0)
    validation = round(sizes.validation * left / published)
    test = sizes.test - raw.missing.get("test", 0)
    reduced = Sizes(train=left - validation, validation=validation, test=test)
    return facts.model_copy(update={"sizes": reduced})


def _drawn(facts: Facts, raw: RawDataset, seed: int) -> dict[str, Split]:
    """Draw the same number of every class, for train and for validation; the rest is test."""
    whole = raw.parts["all"]
    for_train, for_validation = (
        size // facts.n_classes for size in (facts.sizes.train, facts.sizes.validation)
    )
    drawn = for_train + for_validation
    n_classes = len(raw.classes)
    counts = np.bincount(whole.labels, minlength=n_classes)
    if (counts <= drawn).any():
        lacking = int(np.argmin(counts))
        what = f"number of images of class '{raw.classes[lacking]}'"
        raise differs(facts.key, what, f"more than {drawn}", int(counts[lacking]))
    # No class has fewer, so a balanced subset has exactly so many of each.
    subset = kind_of("top-1").subset
    fitted = subset(whole.labels, drawn * n_classes, _derived_seed(facts, "train+validation", seed))
    held = subset(
        whole.labels[fitted], for_validation * n_classes, _derived_seed(facts, "validation", seed)
    )
    return {
        "train": whole.take(np.delete(fitted, held)),
        "validation": whole.take(fitted[held]),
        "test": whole.take(np.setdiff1d(np.arange(len(whole)), fitted)),
    }


def _derived_seed(facts: Facts, drawn: str, seed: int) -> int:
    """Return each draw for each dataset a stream of its own."""
    return int(digest({"dataset": facts.key, "drawn": drawn, "seed": seed})[:8], 16)


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
            raise differs(facts.key, f"number of {what}", expected, found)
    _check_apart(facts, splits)
    if "all" in facts.parts:
        _check_drawn(facts, splits)


def _check_kind(facts: Facts, name: str, split: Split) -> None:
    labels = split.labels
    if labels.ndim != (2 if facts.multilabel else 1):
        kinds = ("one class per image", "several classes per image")
        expected, found = kinds if not facts.multilabel else kinds[::-1]
        raise differs(facts.key, f"{name} labels", expected, found)
    if facts.multilabel and not np.isin(labels, LEVELS).all():
        invalid = labels[~np.isin(labels, LEVELS)][0]
        raise differs(facts.key, f"{name} labels", "1, 0 or -1", int(invalid))


def _counts(facts: Facts, splits: dict[str, Split]) -> Iterator[tuple[str, int, int]]:
    """Return (what is counted, published, found), the most telling first."""
    labels = splits["train"].labels
    n_present = int((labels == 1).any(axis=0).sum()) if facts.multilabel else len(np.unique(labels))
    yield "classes", facts.n_classes, _n_classes(facts, splits.values())
    yield "classes with training images", facts.n_classes, n_present
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
        found = f"{labels[0]} to {labels[-1]}"
        raise differs(facts.key, "labels", f"0 to {facts.n_classes - 1}", found)
    return len(labels)


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
                found = f"it in {seen[image]} and {name}"
                raise differs(facts.key, f"image {image[1]}", "it once", found)
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
        what, found = "images of train and validation", "the first files of every class"
        raise differs(facts.key, what, "a random draw", found)
