"""Repeated cross-validation of one network on nested subsets of a dataset: what a worker runs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from headstart import datasets
from headstart.context import Clock, ProgressReporter, RunContext
from headstart.datasets import JoinedImages, Splits
from headstart.datasets.images import Decodable
from headstart.errors import BrokenImageError, StudyError
from headstart.executors import Send
from headstart.features import FeatureRequest, penultimate_features
from headstart.features.extract import runtime_key
from headstart.features.runtime import FeatureRuntime
from headstart.labels import kind_of
from headstart.methods.linear import KORNBLITH_LAMBDAS
from headstart.ranking.answer import Cost
from headstart.ranking.cost import measure_cost, timed_again
from headstart.ranking.elimination import Rights
from headstart.spec import Dataset, Model, digest
from headstart.spec.formatting import count
from headstart.spec.setting import Precision, Resize

if TYPE_CHECKING:
    import torch

__all__ = [
    "FEWEST_GROUPS",
    "FOLDS",
    "LAMBDAS",
    "REPEATS",
    "TOLERANCE",
    "CrossValidation",
    "RankImages",
    "RankJob",
    "RankMeasurement",
    "check_classes",
    "check_rank_images",
    "close_networks",
    "cross_validate",
    "nested_order",
    "rank_images",
]

FOLDS, REPEATS = 5, 2
# Images of a class, or groups of them: with fewer, no fold has some to learn it from and to test.
FEWEST_GROUPS = 2
# Every fourth lambda of the linear setting: 1e5, 1e4, ..., 1e-6.
LAMBDAS = KORNBLITH_LAMBDAS[::4]
# Relative duality gap at which a fit counts as converged; that of the winner is the method's own.
TOLERANCE = 1e-3
# The first level has at least so many images, and so many per class.
FEWEST_IMAGES, FEWEST_PER_CLASS = 30, 2
RESIZE: Resize = "whole"
# Warnings of the images that say how far the answer can be trusted.
WARNINGS_OF_ANSWER = frozenset(
    ("leakage", "label-conflicts", "untested-classes", "similar-classes", "missing-images")
)
# A cross-validation is given up where it seems to take so many times what it may.
SLACK = 1.2
# Networks that stay loaded from step to step, and bytes of one that does.
MOST_OPEN, OPEN_BYTES = 2, 1 << 29

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RankImages:
    """The images that models are chosen on: train and validation together, in nested subsets.

    Nothing here sees test labels.

    Parameters
    ----------
    labels
        (n,) int64 of train, then validation.
    groups
        (n,) int64 numbers from 0; images of one number are in the same fold.
    order
        (n,) int64: the first images of it are the smaller levels.
    sizes
        Numbers of images of the levels, smallest first.
    """

    splits: Splits
    labels: Labels
    groups: Labels
    order: Labels
    sizes: tuple[int, ...]
    seed: int

    def rows(self, level: int) -> Labels:
        """Return the sorted places of a level's images among train and validation."""
        return np.sort(self.order[: self.sizes[level]])

    def n_new(self, level: int) -> int:
        """Return the number of a level's images that are in no smaller one."""
        return self.sizes[level] - (self.sizes[level - 1] if level else 0)

    def pictures(self) -> JoinedImages:
        """Return all images, train before validation."""
        parts = (self.splits.train, self.splits.validation)
        return JoinedImages([part.images for part in parts if len(part)])

    def folds(self, level: int) -> Labels:
        """Return (R, n) int64 folds of a level's images, the same for all models."""
        rows = self.rows(level)
        draws = [derived_seed(f"fold {level} {repeat}", self.seed) for repeat in range(REPEATS)]
        return np.stack([draw_folds(self.labels[rows], self.groups[rows], s) for s in draws])

    def request(self, dataset: Dataset, level: int, precision: Precision) -> FeatureRequest:
        """Request the features of a level's images: rows of the table that all trials share."""
        rows, n_train = self.rows(level), len(self.splits.train)
        of_train, of_validation = rows[rows < n_train], rows[rows >= n_train] - n_train
        parts = [self.splits.train.images.take(of_train)]
        parts.append(self.splits.validation.images.take(of_validation))
        return FeatureRequest(
            JoinedImages([part for part in parts if len(part)]),
            self.splits.places[rows],
            dataset.images_revision,
            sum(size for _, size in dataset.sizes),
            RESIZE,
            precision,
            dataset.skip_broken,
        )


# Jobs of one race follow each other.
@lru_cache(maxsize=2)
def _cached(dataset_json: str, seed: int, cache: Path) -> RankImages:
    dataset = Dataset.model_validate_json(dataset_json)
    splits = datasets.load(dataset, seed, cache)
    train, validation = splits.train, splits.validation
    labels = np.concatenate([train.labels, validation.labels])
    if train.groups is not None and validation.groups is not None:
        _, groups = np.unique(
            np.concatenate([train.groups, validation.groups]), return_inverse=True
        )
    else:
        groups = np.arange(len(labels))
    groups = groups.astype(np.int64)
    order = nested_order(labels, groups, derived_seed("order", seed))
    # All, their half, their quarter, ..., none of which ends within a group.
    n, fewest = len(labels), fewest_images(len(dataset.classes))
    ends = np.append(np.flatnonzero(np.diff(groups[order])) + 1, n)
    sizes, size = {n}, n / 2
    while size >= fewest:
        sizes.add(int(ends[np.searchsorted(ends, size)]))
        size /= 2
    return RankImages(splits, labels, groups, order, tuple(sorted(sizes)), seed)


def rank_images(dataset: Dataset, seed: int, cache: Path) -> RankImages:
    """Read a dataset, and draw the levels of a race.

    Raises
    ------
    StudyError
        Several labels per image (``ranking.multilabel``).
    DatasetError, ManifestError
        As `datasets.load`.
    """
    if kind_of(dataset.metric).ndim != 1:
        raise StudyError(
            f"dataset '{dataset.name}' has several labels per image: rank needs one label per "
            "image; compare models by headstart run",
            code="ranking.multilabel",
            dataset=dataset.name,
        )
    return _cached(dataset.model_dump_json(), seed, cache)


def check_rank_images(dataset: Dataset, images: RankImages, context: RunContext) -> tuple[str, ...]:
    """Refuse small classes, and images that would end the test after the race.

    Return notes of what bears on the answer. Errors are those of `check_classes` and
    `datasets.check_images`.
    """
    notes = check_classes(dataset, images)
    for note in notes:
        context.reporter.note(f"warning: {note}")
    datasets.check_images(dataset, context.cache, context.reporter)
    warned = datasets.warnings_of(dataset, context.cache, pooled=("train", "validation"))
    notes += [one["text"] for one in warned if one["code"] in WARNINGS_OF_ANSWER]
    parts = [one.images for one in (images.splits.train, images.splits.validation) if len(one)]
    if copies := datasets.count_copies(dataset, parts, images.groups, context.cache):
        notes.append(
            f"{count(copies, 'image')} of those that models are chosen on "
            f"{'is a copy of another' if copies == 1 else 'are copies of others'} there, and may "
            "be tested by a fold that was fitted to the other: accuracies by cross-validation may "
            "be too high; remove copies"
        )
    return tuple(notes)


def check_classes(dataset: Dataset, images: RankImages) -> list[str]:
    """Refuse classes that cannot be cross-validated; return a note of those not all folds test.

    Images of one group are in one fold: the groups of a class are what is divided. Where broken
    images are left out, those that decode count; as many are decoded as it takes to know.

    Raises
    ------
    StudyError
        A class with fewer than two, or none to train on (``ranking.class_small``); none of the
        images, or of the test images, decodes (``ranking.all_broken``).
    """
    pictures = images.pictures()
    for part, some in (("", pictures), (" test", images.splits.test.images)):
        if not any(_decodes(some, row) for row in range(len(some))):
            raise StudyError(
                f"no{part} image of dataset '{dataset.name}' can be decoded, first "
                f"{some.where(0)}: replace them",
                code="ranking.all_broken",
                dataset=dataset.name,
            )
    counts = _groups_per_class(dataset, images, pictures if dataset.skip_broken else None)
    grouped = len(np.unique(images.groups)) < len(images.labels)
    kind = "groups of images" if grouped else "images"
    decoded = " that can be decoded" if dataset.skip_broken else ""
    small = [name for name, n in zip(dataset.classes, counts, strict=True) if n < FEWEST_GROUPS]
    if small:
        others = f" (and {len(small) - 1} more)" if len(small) > 1 else ""
        remedy = "raise --limit" if dataset.limit else "add some"
        raise StudyError(
            f"class '{small[0]}'{others} of dataset '{dataset.name}' has fewer than "
            f"{FEWEST_GROUPS} {kind}{decoded} outside the test part, or none to train on: "
            f"{remedy} ({FOLDS} for {FOLDS} folds), or leave the class out",
            code="ranking.class_small",
            classes=small,
            folds=FOLDS,
        )
    if few := [name for name, n in zip(dataset.classes, counts, strict=True) if n < FOLDS]:
        shown = ", ".join(few[:5]) + (" ..." if len(few) > 5 else "")
        return [
            f"{len(few)} class{'es have' if len(few) > 1 else ' has'} fewer {kind}"
            f"{decoded} outside the test part than the {FOLDS} folds, so not all folds test them: "
            f"{shown}"
        ]
    return []


def _groups_per_class(dataset: Dataset, images: RankImages, pictures: Decodable | None) -> Labels:
    """(K,) number of groups, up to FOLDS; of `pictures` those with one that decodes."""
    counts = np.zeros(len(dataset.classes), np.int64)
    order = np.argsort(images.labels, kind="stable")
    ends = np.cumsum(np.bincount(images.labels, minlength=len(counts)))
    for label, own in enumerate(np.split(order, ends[:-1])):
        groups = set[int]()
        # Those to train on come first.
        for row in own.tolist():
            group = int(images.groups[row])
            if group in groups or (pictures and not _decodes(pictures, row)):
                continue
            if not groups and row >= len(images.splits.train):
                break
            groups.add(group)
            if len(groups) == FOLDS:
                break
        counts[label] = len(groups)
    return counts


def _decodes(images: Decodable, row: int) -> bool:
    try:
        images.decode(row)
    except BrokenImageError:
        return False
    return True


def derived_seed(what: str, seed: int) -> int:
    """Return a seed of its own for each draw."""
    return int(digest({"rank": what, "seed": seed})[:8], 16)


def nested_order(labels: Labels, groups: Labels, seed: int) -> Labels:
    """Order images so that every beginning has the classes in proportion, and at least two of each.

    Images of one group follow each other.
    """
    random = np.random.RandomState(seed)
    n_groups = int(groups.max()) + 1
    # A group stands for the class that most of its images have.
    counts = np.zeros((n_groups, int(labels.max()) + 1), np.int64)
    np.add.at(counts, (groups, labels), 1)
    main = counts.argmax(axis=1)
    place = np.empty(n_groups)
    for label in np.unique(main):
        own = random.permutation(np.flatnonzero(main == label))
        share = (np.arange(len(own)) + random.uniform(size=len(own))) / len(own)
        # The first two of each class come first.
        place[own] = np.where(np.arange(len(own)) < 2, share - 2, share)
    ranked = np.lexsort((np.arange(len(labels)), groups, place[groups]))
    return ranked.astype(np.int64)


def draw_folds(labels: Labels, groups: Labels, seed: int) -> Labels:
    """Return the (n,) fold of each image: stratified, groups kept together.

    Groups are drawn at random, the large ones first; each goes to the fold that has fewest images
    of its classes, then to the smallest fold.
    """
    random = np.random.RandomState(seed)
    _, group = np.unique(groups, return_inverse=True)
    sizes = np.bincount(group)
    if sizes.max() == 1:
        order = random.permutation(len(labels))
        order = order[np.argsort(labels[order], kind="stable")]
        folds = np.empty(len(labels), np.int64)
        folds[order] = np.arange(len(labels)) % FOLDS
        return folds
    counts = np.zeros((len(sizes), int(labels.max()) + 1), np.int64)
    np.add.at(counts, (group, labels), 1)
    filled, where = np.zeros((FOLDS, counts.shape[1])), np.empty(len(sizes), np.int64)
    order = random.permutation(len(sizes))
    for one in order[np.argsort(-sizes[order], kind="stable")]:
        own = filled @ counts[one]
        where[one] = np.lexsort((filled.sum(axis=1), own))[0]
        filled[where[one]] += counts[one]
    return where[group]


def fewest_images(n_classes: int) -> int:
    """Return the images that the first level has at least."""
    return max(FEWEST_IMAGES, FEWEST_PER_CLASS * n_classes)


def cross_validate(
    X: npt.NDArray[np.float32],
    labels: Labels,
    folds: Labels,
    device: "torch.device",
    advance: Callable[[], None] = lambda: None,
) -> tuple[Rights, float]:
    """Return whether each image is predicted right by the folds that lack it, (R, n) bool.

    Each fold's lambda is the best one on the other folds of the same repeat, the largest of equal
    ones: the labels of a fold choose nothing for it. The second value is the lambda that is best on
    all folds of all repeats.

    `X` are (n, d) features, `labels` (n,) classes, `folds` (R, n) numbers from 0; `advance` is
    called after each fit of a path.
    """
    import torch

    from headstart.probe import Softmax, fit_path

    right = np.zeros((len(folds), len(LAMBDAS), len(labels)), bool)
    for repeat, fold in enumerate(folds):
        for held in np.unique(fold):
            train, test = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
            # A class may lack training images here: its logit would have no optimum.
            classes, y = np.unique(labels[train], return_inverse=True)
            if len(classes) > 1:
                loss = Softmax.of(torch.from_numpy(y), len(classes))
                for fit in fit_path(X[train], loss, LAMBDAS, TOLERANCE, device=device):
                    predicted = classes[fit.scores(X[test]).argmax(axis=1)]
                    right[repeat, LAMBDAS.index(fit.lam), test] = predicted == labels[test]
            advance()
    chosen = np.empty(folds.shape, bool)
    for repeat, fold in enumerate(folds):
        for held in np.unique(fold):
            best = int(right[repeat][:, fold != held].sum(axis=1).argmax())
            chosen[repeat, fold == held] = right[repeat, best, fold == held]
    return chosen, LAMBDAS[int(right.sum(axis=(0, 2)).argmax())]


# Networks that are loaded in this process, the last one last.
_open: dict[str, FeatureRuntime] = {}


def _make_room() -> dict[str, FeatureRuntime]:
    """Return the networks that are loaded, one fewer than may be at most."""
    while len(_open) >= MOST_OPEN:
        del _open[next(iter(_open))]
    return _open


def close_networks() -> None:
    """Release the networks that stayed loaded: another race may be on another device."""
    _open.clear()


@dataclass(frozen=True)
class RankJob:
    """A step of the race: a model on a level, if its features take no more than `allowed` seconds.

    `n_images` of them are counted: those of the step, and those that are needed in the end. The
    cross-validation is given up when the step cannot end within `limit` seconds. `cost` is what
    earlier steps measured of the model's speed; its latency is timed again where the network is
    loaded.
    """

    model: Model
    level: int
    allowed: float
    limit: float
    n_images: int
    cost: Cost | None


@dataclass(frozen=True)
class RankMeasurement:
    """What a step gave.

    Parameters
    ----------
    right
        (R, n) bool; None where the step was not ended: the network is too slow, or features, or all
        of the step, take `needed` seconds.
    seconds
        Time of each part: ``imports``, ``cost``, ``load`` (of a network whose speed is known),
        ``features``, ``probe``.
    lam
        The lambda that is best over all folds.
    broken
        Number of images that do not decode, which count as wrong.
    """

    cost: Cost
    right: Rights | None
    seconds: dict[str, float]
    needed: float | None = None
    lam: float | None = None
    broken: int = 0


@dataclass(frozen=True)
class CrossValidation:
    """Runs the steps of a race, in this process or a worker.

    `seed` draws levels and folds; `max_latency` is the median seconds per image that a network may
    take, one at a time.
    """

    dataset: Dataset
    seed: int
    context: RunContext
    precision: Precision = "fp32"
    max_latency: float | None = None

    def __call__(self, job: RankJob, send: Send | None = None) -> RankMeasurement:
        context = self.context.reporting_to(send) if send else self.context
        clock, cost = Clock(), job.cost
        # The first step of a process takes seconds for it: no part of what larger levels will take.
        with clock("imports"):
            from headstart.devices import resolve_device
            from headstart.probe import fit_path  # noqa: F401
        if cost is None:
            with clock("cost"):
                context.reporter.stage("measuring its speed")
                cost = measure_cost(job.model, self.precision, context, _make_room())
        if self.max_latency is not None and cost.latency > self.max_latency:
            return RankMeasurement(cost, None, clock.seconds)
        images = rank_images(self.dataset, self.seed, context.cache)
        begun, rate = sum(clock.seconds.values()), cost.seconds_per_image
        if begun + job.n_images * rate > job.allowed:
            needed = begun + images.n_new(job.level) * rate
            return RankMeasurement(cost, None, clock.seconds, needed=needed)
        key = runtime_key(job.model, self.precision)
        with clock("features"):
            request = images.request(self.dataset, job.level, self.precision)
            runtimes = _open if key in _open else _make_room()
            features = penultimate_features(job.model, request, context, runtimes, clock)
        clock.seconds["features"] -= clock.seconds.get("load", 0.0)
        if job.cost is not None and key in _open:
            # A neighbour may have slowed it when it was timed first.
            with clock("cost"):
                cost = timed_again(cost, _open[key], job.model.input_size)
        if cost.memory > OPEN_BYTES:
            _open.pop(key, None)
        folds, rows = images.folds(job.level), images.rows(job.level)
        whole = np.setdiff1d(np.arange(len(rows)), list(features.broken))
        right = np.zeros(folds.shape, bool)
        fits = _Fits(context.reporter, job.limit - sum(clock.seconds.values()))
        try:
            with clock("probe"):
                # Images that do not decode count as wrong, for all models alike.
                right[:, whole], lam = cross_validate(
                    np.asarray(features.values[whole]),
                    images.labels[rows[whole]],
                    folds[:, whole],
                    resolve_device(context.device),
                    fits,
                )
        except _OutOfTimeError:
            others = sum(clock.seconds.values()) - clock.seconds["probe"]
            return RankMeasurement(cost, None, clock.seconds, needed=others + fits.expected)
        n_broken = len(rows) - len(whole)
        return RankMeasurement(cost, right, clock.seconds, lam=lam, broken=n_broken)


class _OutOfTimeError(Exception):
    """The fits of a cross-validation do not end in time."""


class _Fits:
    """Counts the fits of a cross-validation, and ends it where they do not end in time."""

    def __init__(self, reporter: ProgressReporter, limit: float) -> None:
        self._reporter, self._limit, self._done = reporter, limit, 0
        self._begin = time.monotonic()
        # Seconds of all fits, as those so far let expect.
        self.expected = 0.0
        reporter.stage("cross-validation", total=FOLDS * REPEATS, unit="fits")

    def __call__(self) -> None:
        self._done += 1
        self._reporter.advance()
        spent = time.monotonic() - self._begin
        self.expected = spent * FOLDS * REPEATS / self._done
        # One fit may be slow for a moment; what two let expect is known better.
        needed = max(spent, self.expected / SLACK) if self._done > 1 else spent
        if needed > self._limit and self._done < FOLDS * REPEATS:
            raise _OutOfTimeError
