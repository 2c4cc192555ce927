"""How well a network does on the task that it was pretrained for, measured here."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headstart import models
from headstart.datasets.ahead import ahead
from headstart.datasets.sources.folder import class_folders, read_split
from headstart.datasets.splits import Split
from headstart.errors import (
    DatasetError,
    DatasetMissingError,
    FeatureError,
    ModelError,
    StudyError,
)
from headstart.features.stream import Decoder
from headstart.spec import Model
from headstart.workspace import Workspace

if TYPE_CHECKING:
    from torch import nn

    from headstart.features.forward import Extractor

__all__ = ["Measured", "measure", "read_validation"]

RESIZE = "imagenet"


@dataclass(frozen=True)
class Measured:
    """Of `n` images the proportion `value` was classified rightly."""

    value: float
    n: int


def read_validation(folder: Path, limit: int | None = None) -> tuple[tuple[str, ...], Split]:
    """Read a folder of class folders, whose sorted order is that of the network's classes.

    Parameters
    ----------
    folder
        ImageNet's validation images: a folder a class, named by its WordNet number.
    limit
        At most so many images, drawn at random, always the same ones.

    Raises
    ------
    DatasetMissingError, DatasetError, StudyError
        No such folder; no class folders or no images in it; a limit under 1.
    """
    if limit is not None and limit < 1:
        raise StudyError(f"limit {limit} leaves no image: give a whole number from 1")
    if not folder.is_dir():
        raise DatasetMissingError(f"folder of validation images {folder} does not exist")
    classes = class_folders(folder)
    split = read_split(folder, classes)
    n = len(split.images)
    if not n:
        raise DatasetError(f"{folder} holds no images: expected {folder}/CLASS/IMAGE")
    if limit is None or limit >= n:
        return classes, split
    rows = np.sort(np.random.RandomState(0).permutation(n)[:limit]).astype(np.int64)
    return classes, split.take(rows)


def measure(model: Model, classes: tuple[str, ...], split: Split, workspace: Workspace) -> Measured:
    """Measure top-1 accuracy with the model's own preprocessing, and keep it for `models.find`.

    Parameters
    ----------
    model
        A network with the classifier of its weights.
    classes, split
        As `read_validation` gives them.

    Raises
    ------
    ModelError
        Random weights, or weights without a classifier.
    DatasetError
        The classifier has another number of classes.
    HeadstartError
        Whatever else keeps the network from answering.
    """
    from headstart.devices import resolve_device
    from headstart.features.forward import Extractor

    if model.weights.random_seed is not None:
        raise ModelError(f"'{model.name}' has random weights: it was never trained upstream")
    workspace.watcher.stage(f"loading {model.name}")
    device = resolve_device(workspace.device)
    models.fetch(model, workspace.cache)
    network = models.load(model, workspace.cache, trust=workspace.trust)
    _check_classifier(model, network.classifier.out_features, classes, network.trained_classifier)
    # The extractor changes the network: its classifier answers from here on.
    classifier = copy.deepcopy(network.classifier)
    extractor = Extractor(network, model, "fp32", device)
    right = _count_right(model, split, extractor, classifier, workspace)
    found = Measured(value=right / len(split.images), n=len(split.images))
    # A proportion of none or all of few images has no odds; the analysis could not use it.
    if 0 < found.value < 1:
        models.record_upstream(model, found.value, found.n, workspace.cache)
    return found


def _check_classifier(model: Model, found: int, classes: tuple[str, ...], trained: bool) -> None:
    if not trained:
        raise ModelError(
            f"the weights of '{model.name}' hold no classifier: there is nothing to measure"
        )
    if found != len(classes):
        raise DatasetError(
            f"the classifier of '{model.name}' has {found:,} classes and there are "
            f"{len(classes):,} class folders: expected one for each, in the order of the classes"
        )


def _count_right(
    model: Model,
    split: Split,
    extractor: "Extractor",
    classifier: "nn.Linear",
    workspace: Workspace,
) -> int:
    """Count the images whose highest score is that of their class."""
    import torch

    n, size, right = len(split.images), extractor.batch_size, 0
    decoder = Decoder(split.images, model, RESIZE, skip_broken=False)
    batches = [range(first, min(first + size, n)) for first in range(0, n, size)]
    workspace.watcher.stage(f"top-1 of {model.name}", total=n, unit="images")
    for rows, batch in zip(batches, ahead(decoder, batches), strict=True):
        with torch.inference_mode():
            scores = classifier(torch.from_numpy(extractor(batch.pixels))).numpy()
        if not np.isfinite(scores).all():
            raise FeatureError(f"scores of '{model.name}' hold NaN or infinity: check its weights")
        right += int((scores.argmax(axis=1) == split.labels[rows.start : rows.stop]).sum())
        workspace.watcher.advance(len(rows))
    return right
