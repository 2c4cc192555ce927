"""Transfer scores of the models and datasets of a store, from features that its study cached."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart import datasets, models
from headstart.context import RunContext
from headstart.errors import HeadstartError
from headstart.features import FeatureRequest, penultimate_features
from headstart.files import replaced, storage_errors
from headstart.predictors import transfer_score
from headstart.registry import PREDICTORS
from headstart.spec import Model, Trial, digest
from headstart.spec.formatting import first_few
from headstart.store import ResultStore

__all__ = ["MOST_IMAGES", "TransferScores", "balanced_rows", "source_probabilities",
           "transfer_scores"]  # fmt: skip

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
# A score sees so many training images at most, or ten per class where that is more: then each costs
# less than a tenth of the probe (benchmarks/predictors.py).
MOST_IMAGES, PER_CLASS = 500, 10
FOLDER = "scores"
# Raised when an own score of the same features changes.
IMPLEMENTATION = 1


@dataclass(frozen=True)
class TransferScores:
    """Scores by model and dataset, and why some are missing.

    `values` has model, dataset, and one column per score: the mean over the seeds that drew
    training images, NaN where it is missing; `notes` one line per kind of gap.
    """

    values: pd.DataFrame
    notes: tuple[str, ...]


def transfer_scores(
    store: ResultStore | Path | str, names: Sequence[str], context: RunContext | None = None
) -> TransferScores:
    """Compute registered transfer scores for each model and dataset that a store has results of.

    They see features and labels of training images alone: neither validation nor test images. Each
    score is kept in the cache; features that are not cached are computed.

    Raises
    ------
    UnknownNameError
        A predictor that is not registered.
    """
    context = context or RunContext()
    for name in names:
        PREDICTORS[name]
    opened = store if isinstance(store, ResultStore) else ResultStore(store)
    cells: dict[str, Trial] = {}
    for result in opened.results():
        trial = result.trial
        seed = trial.seed if trial.dataset.is_drawn else None
        key = digest({"model": trial.model.identity, "dataset": trial.dataset.identity,
                      "seed": seed, "name": trial.model.name})  # fmt: skip
        cells.setdefault(key, trial)
    rows, notes = [], dict[str, list[str]]()
    for number, trial in enumerate(cells.values(), start=1):
        title = f"scores of {trial.model.name}, {trial.dataset.name}"
        own = context.reporter.trial_started(title, number, len(cells))
        found, why = _scores(trial, names, context)
        rows.append({"model": trial.model.name, "dataset": trial.dataset.name, **found})
        for reason in why:
            notes.setdefault(reason, []).append(f"{trial.model.name} on {trial.dataset.name}")
        own.trial_finished()
    frame = pd.DataFrame(rows, columns=["model", "dataset", *names])
    values = frame.groupby(["model", "dataset"], sort=False, as_index=False).mean()
    lines = [f"{reason} ({first_few(places, 1)})" for reason, places in notes.items()]
    return TransferScores(values, tuple(lines))


def _scores(
    trial: Trial, names: Sequence[str], context: RunContext
) -> tuple[dict[str, float], list[str]]:
    """Return the scores of one model on one dataset, and why some are missing."""
    try:
        splits = datasets.load(trial.dataset, trial.seed, context.cache)
        known = {name: _place(name, trial.model, splits.revision, context) for name in names}
        found = {name: value for name, place in known.items() if (value := _read(place))}
        wanted = [name for name in names if name not in found]
        if wanted:
            X, y = _training(trial, splits, context)
            source = None
            if any(getattr(PREDICTORS[name], "needs_source", False) for name in wanted):
                source = source_probabilities(trial.model, X, context)
    except HeadstartError as error:
        return {}, [str(error)]
    for name in wanted:
        found[name] = _computed(name, X, y, source)
        with storage_errors(known[name]):
            known[name].parent.mkdir(parents=True, exist_ok=True)
            with replaced(known[name]) as temporary:
                temporary.write_text(json.dumps(found[name]))
    reasons = [f"{name}: {one['why']}" for name, one in found.items() if one["value"] is None]
    return {n: float(one["value"]) for n, one in found.items() if one["value"] is not None}, reasons


def _computed(name: str, X: Floats, y: Rows, source: Floats | None) -> dict[str, Any]:
    try:
        value = transfer_score(name, X, y, source)
    except HeadstartError as error:
        return {"value": None, "why": str(error)}
    return {"value": value} if np.isfinite(value) else {"value": None, "why": "not a finite number"}


def _place(name: str, model: Model, revision: str, context: RunContext) -> Path:
    """Return the file that keeps a score of a network on exactly these training images."""
    request = {"model": model.identity, "examples": revision, "score": name,
               "package": PREDICTORS.plugins[name].package, "images": [MOST_IMAGES, PER_CLASS],
               "implementation": IMPLEMENTATION}  # fmt: skip
    return context.cache / FOLDER / f"{digest(request)}.json"


def _read(place: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(place.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return dict(found) if isinstance(found, dict) and "value" in found else None


def _training(trial: Trial, splits: datasets.Splits, context: RunContext) -> tuple[Floats, Rows]:
    """Return features and labels of a balanced part of the training images that decode."""
    dataset, train = trial.dataset, splits.train
    rows = balanced_rows(train.labels, splits.n_classes)
    request = FeatureRequest(
        train.take(rows).images,
        splits.places[rows],
        dataset.images_revision,
        total=sum(size for _, size in dataset.sizes),
        resize=getattr(trial.setting, "resize", "whole"),
        precision=trial.setting.precision,
        skip_broken=dataset.skip_broken,
    )
    features = penultimate_features(trial.model, request, context)
    whole = np.setdiff1d(np.arange(len(rows)), list(features.broken))
    X, y = np.asarray(features.values[whole], dtype=np.float64), train.labels[rows[whole]]
    return X, np.asarray(y, dtype=np.int64)


def balanced_rows(labels: Rows, n_classes: int, most: int = MOST_IMAGES) -> Rows:
    """Draw the images that scores see: all, or as many of each class as there are of the others.

    Parameters
    ----------
    labels
        (n,) classes, or (n, K), of which any are drawn.
    n_classes
        K.
    most
        Number of images, at least ten per class.

    Returns
    -------
    numpy.ndarray
        Sorted rows; the same each time.
    """
    wanted = max(most, PER_CLASS * n_classes)
    order = np.random.RandomState(0).permutation(len(labels))
    if len(labels) <= wanted or labels.ndim != 1:
        return np.sort(order[:wanted])
    # The k-th of its class comes before every k+1-st.
    shuffled = labels[order]
    by_class = np.argsort(shuffled, kind="stable")
    counts = np.bincount(labels)
    turn = np.empty(len(labels), dtype=np.int64)
    turn[by_class] = np.concatenate([np.arange(count) for count in counts])
    return np.sort(order[np.argsort(turn, kind="stable")[:wanted]])


def source_probabilities(model: Model, X: Floats, context: RunContext) -> Floats | None:
    """Return what a network's own classifier says of features.

    Parameters
    ----------
    model
        Its weights have to be here.
    X
        (n, d) penultimate features.

    Returns
    -------
    numpy.ndarray or None
        (n, C) probabilities; None where the network has no trained classifier, or one that is not a
        linear map of its features.
    """
    import torch

    if model.weights.random_seed is not None:
        return None
    network = models.load(model, context.cache, trust=context.trust, note=context.reporter.note)
    if not (network.trained_classifier and network.exact):
        return None
    with torch.inference_mode():
        logits = network.classifier(torch.from_numpy(X.astype(np.float32))).double()
        return np.asarray(logits.softmax(dim=1).numpy())
