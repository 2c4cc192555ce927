"""The recommended model on the test images, and whether fine-tuning pays: ordinary trials."""

import shlex
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from headstart import datasets
from headstart.artifacts import ArtifactFolder
from headstart.context import RunContext
from headstart.datasets.images import small_picture
from headstart.errors import StudyError
from headstart.executors import Executor
from headstart.metrics import confusion_matrix
from headstart.models.saved_networks import CARD, KEY_DIGITS
from headstart.ranking.answer import ClassAccuracy, Confusion, FineTuned, HeldOut
from headstart.spec import Dataset, Model, Prediction, Result, Setting, Trial
from headstart.stats import mcnemar, wilson_interval
from headstart.store import ResultStore
from headstart.study import run_study

__all__ = ["fine_tune_leaders", "test_winner"]

# Confusions that are listed, and images of each.
CONFUSIONS, PICTURES = 6, 6
LEVEL = 0.95
DEFAULT_STORE = "headstart.db"

Counts = npt.NDArray[np.int64]


def test_winner(
    model: Model,
    dataset: Dataset,
    setting: Setting,
    seed: int,
    store: ResultStore,
    context: RunContext,
) -> HeldOut:
    """Fit the model on all other images by an ordinary linear trial, and test it once.

    Its result is stored like any other, and its network is kept where `context` has a folder.

    Raises
    ------
    HeadstartError
        Whatever the trial failed by.
    """
    result = _measured([Trial(model=model, dataset=dataset, setting=setting, seed=seed)],
                       store, context, None)[0]  # fmt: skip
    predictions = store.predictions(result.trial.key)
    right = predictions.predicted == predictions.label
    metric, n = dataset.metric, len(right)
    test = datasets.load(dataset, seed, context.cache).test
    counts = confusion_matrix(predictions.label, predictions.predicted, len(dataset.classes))
    top1 = metric == "top-1"
    found = wilson_interval(float(right.mean()), n, LEVEL)
    return HeldOut(
        key=result.trial.key,
        store=store.name,
        folder=_kept(result, context.keep),
        deploy=_deploy(result, store, context.keep),
        n=n,
        left_out=len(test.images) - n,
        metric=metric,
        accuracy=result.metrics[metric],
        low=found.low if top1 else None,
        high=found.high if top1 else None,
        calibration_error=result.metrics["calibration-error"],
        log_loss=result.metrics["log-loss"],
        classes=_per_class(dataset, counts),
        confusions=_confusions(dataset, predictions, counts, test),
    )


def fine_tune_leaders(
    leaders: Sequence[Model],
    dataset: Dataset,
    settings: tuple[Setting, Setting],
    seed: int,
    store: ResultStore,
    context: RunContext,
    executor: Executor | None,
) -> tuple[FineTuned, ...]:
    """Fine-tune models, and compare each with its linear probe on the same test images.

    Fine-tuned networks are kept where `context` has a folder; a probe can be fitted again.

    Parameters
    ----------
    settings
        The linear one, and the one that fine-tunes.
    """
    trials = [
        [Trial(model=model, dataset=dataset, setting=one, seed=seed) for one in settings]
        for model in leaders
    ]
    probes, tunings = zip(*trials, strict=True)
    _measured(list(probes), store, replace(context, keep=None), executor)
    _measured(list(tunings), store, context, executor)
    results = {result.trial.key: result for result in store.results()}
    found = []
    for linear, tuned in trials:
        both = [store.predictions(one.key) for one in (linear, tuned)]
        _, first, second = np.intersect1d(both[0].example, both[1].example, return_indices=True)
        right = [
            (one.predicted == one.label)[places]
            for one, places in zip(both, (first, second), strict=True)
        ]
        test = mcnemar(right[1], right[0], 1 - (1 - LEVEL) / len(leaders))
        found.append(
            FineTuned(
                name=tuned.model.name,
                key=tuned.key,
                setting=tuned.setting.title,
                linear=float(right[0].mean()),
                accuracy=float(right[1].mean()),
                difference=test.difference,
                low=test.low,
                high=test.high,
                seconds=sum(results[tuned.key].seconds.values()),
                deploy=_deploy(results[tuned.key], store, context.keep),
            )
        )
    return tuple(found)


def _measured(
    trials: list[Trial], store: ResultStore, context: RunContext, executor: Executor | None
) -> list[Result]:
    run = run_study(trials, store, context, executor)
    if run.failures:
        failed = run.failures[0]
        raise StudyError(
            f"{failed.trial.title}: {failed.error}",
            code="ranking.trial_failed",
            key=failed.trial.key,
        )
    return list(run.results)


def _kept(result: Result, folder: ArtifactFolder | None) -> str | None:
    """Return where the network is; one that was stored before without it has none."""
    place = result.trial.key[:KEY_DIGITS]
    return f"{folder}/{place}" if folder and folder.exists(f"{place}/{CARD}") else None


def _deploy(result: Result, store: ResultStore, folder: ArtifactFolder | None) -> str:
    """Return the command that exports the network; options are named where they are not usual."""
    command = f"headstart export {result.trial.key[:KEY_DIGITS]} --to onnx"
    if store.name != DEFAULT_STORE:
        command += f" --store {shlex.quote(store.name)}"
    if folder is not None and str(folder) != str(store.models_place):
        command += f" --kept-models {shlex.quote(str(folder))}"
    return command


def _per_class(dataset: Dataset, counts: Counts) -> tuple[ClassAccuracy, ...]:
    found = []
    for name, n, right in zip(dataset.classes, counts.sum(axis=1), counts.diagonal(), strict=True):
        if n:
            estimate = wilson_interval(right / n, int(n), LEVEL)
            one = ClassAccuracy(name, int(n), float(right / n), estimate.low, estimate.high)
            found.append(one)
    return tuple(found)


def _confusions(
    dataset: Dataset, predictions: Prediction, counts: Counts, test: datasets.SealedTest
) -> tuple[Confusion, ...]:
    """Return the most frequent confusions; images of each, the most confident mistakes first."""
    labels, predicted = predictions.label, predictions.predicted
    wrong = counts - np.diag(counts.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS]
    places = {row: place for place, row in enumerate(test.rows.tolist())}
    margin = predictions.scores.max(axis=1) - predictions.scores[np.arange(len(labels)), labels]
    found = []
    for label, taken_for in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if not wrong[label, taken_for]:
            break
        rows = np.flatnonzero((labels == label) & (predicted == taken_for))
        rows = rows[np.argsort(-margin[rows], kind="stable")][:PICTURES]
        pictures = [
            small_picture(test.images, places[int(predictions.example[row])]) for row in rows
        ]
        found.append(
            Confusion(
                dataset.classes[label],
                dataset.classes[taken_for],
                int(wrong[label, taken_for]),
                int(counts[label].sum()),
                tuple(pictures),
            )
        )
    return tuple(found)
