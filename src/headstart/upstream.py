"""Measure the top-1 accuracy of a network on its upstream task, for example ImageNet."""

import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from headstart import models
from headstart.context import RunContext
from headstart.datasets.images import map_ahead
from headstart.datasets.naming import output_order
from headstart.datasets.sources.folder import read_split
from headstart.datasets.sources.own_files import class_folders
from headstart.datasets.splits import Split
from headstart.errors import DatasetError, DatasetMissingError, FeatureError, ModelError, StudyError
from headstart.features.preprocess import NetworkInput
from headstart.files import storage_errors
from headstart.metrics import beats_chance
from headstart.spec import Model

if TYPE_CHECKING:
    from torch import nn

    from headstart.features.inference import Extractor

__all__ = ["Measured", "compared", "measure", "read_validation"]

RESIZE = "imagenet"


# Largest number of classes to search for a better order (a square matrix of that size).
MOST_MATCHED = 2000
# Images per class that the search needs, and the odds ratio at which it reports a better order.
MATCHED_PER_CLASS, MATCHED_ODDS = 5, 4.0


@dataclass(frozen=True)
class Measured:
    """Top-1 accuracy `value`, a proportion, on `n` images.

    `chance` is the accuracy of guessing. `matched` is the accuracy with the best order of classes
    if it is so much higher that the order must be wrong, else None.
    """

    value: float
    n: int
    chance: float
    matched: float | None = None

    @property
    def doubt(self) -> str:
        """Reason why this is not a valid upstream accuracy, or ""."""
        if not 0 < self.value < 1:
            return "none or all of the images right"
        found = f"{100 * self.value:.2f} % right (chance {100 * self.chance:.2f} %)"
        if self.matched is not None:
            return (
                f"{found}, and {100 * self.matched:.2f} % with the classes in another order: give "
                "the order of the network's outputs with --classes FILE, one folder name per line"
            )
        if not beats_chance(self.value, self.n, self.chance):
            return (
                f"{found}, not significantly above chance: check the weights, the preprocessing "
                "and the order of the classes (--classes FILE)"
            )
        return ""


def read_validation(
    folder: Path,
    limit: int | None = None,
    order: Path | None = None,
    known: tuple[str, ...] | None = None,
) -> tuple[tuple[str, ...], Split]:
    """Read validation images in class folders, with classes in the order of network outputs.

    Parameters
    ----------
    folder
        ImageNet's validation images: one folder per class, named by WordNet id or class number.
    limit
        Largest number of images, a fixed random subset.
    order
        Text file with the class folders in the order of outputs, one per line. By default
        `headstart.datasets.naming.output_order` decides.
    known
        Classes in the order of outputs, if the network was trained here.

    Raises
    ------
    DatasetMissingError, DatasetError, StudyError
        The folder is missing or has no class folders or images, names do not determine the order,
        or `limit` is below 1.
    """
    if limit is not None and limit < 1:
        raise StudyError(
            f"limit {limit} leaves no image: give a whole number from 1",
            code="upstream.limit_invalid",
            limit=limit,
        )
    if not folder.is_dir():
        raise DatasetMissingError(f"folder of validation images {folder} does not exist")
    classes = _in_order(folder, order, known)
    split = read_split(folder, classes)
    n = len(split.images)
    if not n:
        raise DatasetError(
            f"{folder} holds no images: expected {folder}/CLASS/IMAGE",
            code="dataset.empty",
            folder=str(folder),
        )
    if limit is None or limit >= n:
        return classes, split
    rows = np.sort(np.random.RandomState(0).permutation(n)[:limit]).astype(np.int64)
    return classes, split.take(rows)


def measure(model: Model, classes: tuple[str, ...], split: Split, context: RunContext) -> Measured:
    """Measure top-1 accuracy with the model's preprocessing, and record it for `models.find`.

    It is not recorded if there is a doubt (`Measured.doubt`). `classes` and `split` are those of
    `read_validation`.

    Raises
    ------
    ModelError
        Weights are random, or have no classifier.
    DatasetError
        The classifier has another number of classes.
    HeadstartError
        The network cannot be loaded or run.
    """
    from headstart.devices import resolve_device
    from headstart.features.inference import Extractor

    if model.weights.random_seed is not None:
        raise ModelError(
            f"'{model.name}' has random weights: it was never trained upstream",
            code="model.untrained",
            model=model.name,
        )
    context.reporter.stage(f"loading {model.name}")
    device = resolve_device(context.device)
    models.fetch(model, context.cache)
    network = models.load(model, context.cache, trust=context.trust, note=context.reporter.note)
    _check_classifier(model, network.classifier.out_features, classes, network.trained_classifier)
    # A copy, since the extractor modifies the network.
    classifier = copy.deepcopy(network.classifier)
    extractor = Extractor(network, model, "fp32", device)
    predicted = _predicted(model, split, extractor, classifier, context)
    found = compared(split.labels, predicted, len(classes))
    # An analysis could not use an accuracy of 0 or 1, or one with a wrong order of classes.
    if not found.doubt:
        models.record_upstream(model, found.value, found.n, context.cache)
    return found


def compared(
    labels: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], n_classes: int
) -> Measured:
    """Compare (n,) predicted classes with the labels, and with the labels in the best order.

    The best order is the assignment of outputs to classes with the most images right (Hungarian
    algorithm).
    """
    n, chance = len(labels), 1 / n_classes
    value = float((labels == predicted).mean())
    if n_classes > MOST_MATCHED or n < MATCHED_PER_CLASS * n_classes or value == 1:
        return Measured(value, n, chance)
    pairs = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(pairs, (labels, predicted), 1)
    matched = float(pairs[linear_sum_assignment(pairs, maximize=True)].sum() / n)
    # With few images another order can be better by chance: report only a large difference.
    better = matched * (1 - value) > MATCHED_ODDS * value * (1 - matched)
    return Measured(value, n, chance, matched if better else None)


def _in_order(folder: Path, order: Path | None, known: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the class folders in the order of the network's outputs."""
    found = class_folders(folder)
    if order is None and known and sorted(known) == sorted(found):
        return known
    if order is None:
        return output_order(found, str(folder))
    with storage_errors(order, reading=True):
        lines = order.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    names = tuple(line.strip() for line in lines if line.strip())
    if sorted(names) != sorted(found):
        odd = sorted({*names} ^ {*found}) or sorted(n for n in {*names} if names.count(n) > 1)
        raise DatasetError(
            f"{order} has to name each class folder of {folder} once: '{odd[0]}' is "
            f"{'twice in it' if odd[0] in found and odd[0] in names else 'in one of them only'} "
            f"({len(names):,} names, {len(found):,} folders)",
            code="dataset.class_order",
            found=odd[0],
        )
    return names


def _check_classifier(model: Model, found: int, classes: tuple[str, ...], trained: bool) -> None:
    if not trained:
        raise ModelError(
            f"the weights of '{model.name}' hold no classifier: there is nothing to measure",
            code="model.classifier_untrained",
            model=model.name,
        )
    if found != len(classes):
        raise DatasetError(
            f"the classifier of '{model.name}' has {found:,} classes and there are "
            f"{len(classes):,} class folders: expected one for each, in the order of the classes",
            code="dataset.classes_differ",
            found=len(classes),
            expected=found,
        )


def _predicted(
    model: Model, split: Split, extractor: "Extractor", classifier: "nn.Linear", context: RunContext
) -> npt.NDArray[np.int64]:
    """Return the (n,) classes with the highest scores."""
    import torch

    n, size = len(split.images), extractor.batch_size
    predicted = np.zeros(n, dtype=np.int64)
    decode = partial(NetworkInput.of(model, RESIZE).decode, split.images)
    batches = [range(first, min(first + size, n)) for first in range(0, n, size)]
    context.reporter.stage(f"top-1 of {model.name}", total=n, unit="images")
    for rows, batch in zip(batches, map_ahead(decode, batches), strict=True):
        with torch.inference_mode():
            scores = classifier(torch.from_numpy(extractor(batch))).numpy()
        if not np.isfinite(scores).all():
            raise FeatureError(
                f"scores of '{model.name}' hold NaN or infinity: check its weights",
                code="features.not_finite",
                model=model.name,
            )
        predicted[rows.start : rows.stop] = scores.argmax(axis=1)
        context.reporter.advance(len(rows))
    return predicted
