"""Where one result errs: per class, confusions, calibration, the most confident mistakes.

Plain data from stored predictions; nothing here loads a network.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax

from headstart.metrics import (
    CalibrationBin,
    calibration_bins,
    confusion_matrix,
    voc_map_11point,
)
from headstart.spec import Prediction, Result, Value
from headstart.spec.formatting import number_label
from headstart.stats import wilson_interval

__all__ = ["ClassRow", "ClassesConfused", "Mistake", "ResultDetails", "Surface", "details_of",
           "tie_warning", "validation_surfaces"]  # fmt: skip

# The most confident ones that are listed.
MISTAKES = 24
# Of a row of the validation curve: what it reached, and how its fit went.
NOT_TRIED = {
    "accuracy", "converged", "crop", "log_loss", "objective", "passes", "relative_gap", "steps",
}  # fmt: skip
# Over this calibration error probabilities are no longer taken for what they say.
MISCALIBRATED = 0.2


@dataclass(frozen=True)
class ClassRow:
    """One class on the test images.

    Parameters
    ----------
    name, n
        The class, and the number of its test images.
    score
        Accuracy (recall); of several labels per image the average precision. A proportion, None
        where no image shows the class.
    low, high
        95 % interval of the accuracy (Wilson); None of an average precision.
    precision
        Proportion of the images taken for this class that are of it; None where none is.
    taken_for
        The class that its images are most often taken for; "" where there is none.
    """

    name: str
    n: int
    score: float | None
    low: float | None = None
    high: float | None = None
    precision: float | None = None
    taken_for: str = ""


@dataclass(frozen=True)
class ClassesConfused:
    """`n` of the `of` test images of class `label` were taken for `predicted`."""

    label: str
    predicted: str
    n: int
    of: int


@dataclass(frozen=True)
class Mistake:
    """A test image that was taken for what it is not.

    `row` is of the stored predictions, `example` its place in the dataset's full test split. Of
    several labels per image `label` and `predicted` are ``CLASS`` and ``not CLASS``. `confidence`
    is the probability of what was predicted, `probability` that of the label.
    """

    row: int
    example: int
    label: str
    predicted: str
    confidence: float
    probability: float


@dataclass(frozen=True)
class ResultDetails:
    """All that the stored predictions of a result say.

    `per_class` is in the order of classes, `confusion` (K, K) int64 with labels as rows (None of
    several labels per image). `confused` has the most frequent pairs first, `mistakes` the most
    confident of `n_mistakes`, `calibration` the bins with predictions.
    """

    result: Result
    per_class: list[ClassRow]
    confusion: npt.NDArray[np.int64] | None
    confused: list[ClassesConfused]
    calibration: list[CalibrationBin]
    mistakes: list[Mistake]
    n_mistakes: int


def details_of(result: Result, predictions: Prediction) -> ResultDetails:
    """Compute the details of a result from its stored predictions."""
    classes = result.trial.dataset.classes
    calibration = calibration_bins(predictions.label, predictions.scores)
    if predictions.label.ndim == 2:
        mistakes, n_mistakes = _mistakes_of_several(classes, predictions)
        per_class = _average_precisions(classes, predictions)
        return ResultDetails(result, per_class, None, [], calibration, mistakes, n_mistakes)
    matrix = confusion_matrix(predictions.label, predictions.predicted, len(classes))
    per_class, confused = _accuracies(classes, matrix), _confused(classes, matrix)
    mistakes, n_mistakes = _mistakes(classes, predictions)
    return ResultDetails(result, per_class, matrix, confused, calibration, mistakes, n_mistakes)


def _accuracies(classes: Sequence[str], matrix: npt.NDArray[np.int64]) -> list[ClassRow]:
    found = []
    for place, name in enumerate(classes):
        n, right = int(matrix[place].sum()), int(matrix[place, place])
        taken = matrix[:, place].sum()
        wrong = matrix[place].copy()
        wrong[place] = 0
        row = ClassRow(
            name,
            n,
            None,
            precision=float(right / taken) if taken else None,
            taken_for=classes[int(wrong.argmax())] if wrong.any() else "",
        )
        if n:
            interval = wilson_interval(right / n, n)
            row = replace(row, score=right / n, low=interval.low, high=interval.high)
        found.append(row)
    return found


def _confused(classes: Sequence[str], matrix: npt.NDArray[np.int64]) -> list[ClassesConfused]:
    wrong = matrix - np.diag(np.diag(matrix))
    rows, columns = np.nonzero(wrong)
    order = np.argsort(-wrong[rows, columns], kind="stable")
    return [
        ClassesConfused(
            classes[row], classes[column], int(wrong[row, column]), int(matrix[row].sum())
        )
        for row, column in zip(rows[order], columns[order], strict=True)
    ]


def _mistakes(classes: Sequence[str], predictions: Prediction) -> tuple[list[Mistake], int]:
    label, predicted = predictions.label, predictions.predicted
    shares = softmax(predictions.scores.astype(np.float64), axis=1)
    wrong = np.flatnonzero(predicted != label)
    confidence = shares[wrong, predicted[wrong]]
    found = [
        Mistake(
            row,
            int(predictions.example[row]),
            classes[label[row]],
            classes[predicted[row]],
            float(shares[row, predicted[row]]),
            float(shares[row, label[row]]),
        )
        for row in wrong[np.argsort(-confidence, kind="stable")][:MISTAKES].tolist()
    ]
    return found, len(wrong)


def _average_precisions(classes: Sequence[str], predictions: Prediction) -> list[ClassRow]:
    found = []
    for place, name in enumerate(classes):
        label, scores = predictions.label[:, [place]], predictions.scores[:, [place]]
        n = int((label == 1).sum())
        # Where every label is difficult or present, nothing says how zeros are meant.
        known = n and bool((label == -1).any())
        found.append(ClassRow(name, n, voc_map_11point(scores, label) if known else None))
    return found


def _mistakes_of_several(
    classes: Sequence[str], predictions: Prediction
) -> tuple[list[Mistake], int]:
    """Of each image's labels, those that are not difficult and predicted wrongly."""
    label = predictions.label
    shares = expit(predictions.scores.astype(np.float64))
    rows, columns = np.nonzero((label != 0) & (predictions.predicted != label))
    confidence = np.maximum(shares, 1 - shares)[rows, columns]
    order = np.argsort(-confidence, kind="stable")[:MISTAKES]
    found = []
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        name, present = classes[column], label[row, column] == 1
        sure = float(max(shares[row, column], 1 - shares[row, column]))
        known, taken = (name, f"not {name}") if present else (f"not {name}", name)
        found.append(Mistake(row, int(predictions.example[row]), known, taken, sure, 1 - sure))
    return found, len(rows)


def tie_warning(result: Result) -> str | None:
    """Return a line on poor probabilities of a choice that tied with others on validation.

    None where the choice did not tie, or the calibration error is at most 20 %.
    """
    selection, error = result.selection, result.metrics.get("calibration-error", 0.0)
    if selection is None or "lambda" not in selection.chosen or error <= MISCALIBRATED:
        return None
    best = max(float(row["accuracy"]) for row in selection.validation_curve)
    tied = sum(float(row["accuracy"]) == best for row in selection.validation_curve)
    if tied < 2:
        return None
    remedy = (
        ': the option ties = "log_loss" of the setting linear selects by log loss among them'
        if getattr(result.trial.setting, "ties", None) == "strongest"
        else ""
    )
    return (
        f"probabilities say little (calibration error {100 * error:.0f} %): {tied} lambdas tied on "
        f"validation, of which {number_label(float(selection.chosen['lambda']))} was selected"
        f"{remedy}"
    )


@dataclass(frozen=True)
class Surface:
    """What was reached on validation, by one or two hyperparameters.

    `title` is what it is of: numbers of steps, or "". `row` and `column` are names of the
    hyperparameters, `rows` and `columns` their values, increasing; where there is one
    hyperparameter, `column` is "" and `columns` ("",). `scores` has for each row and column the
    best score, a proportion; None where it was not tried, or diverged. `chosen` is the place of the
    chosen pair, if it is of this surface.
    """

    title: str
    row: str
    column: str
    rows: tuple[Value, ...]
    columns: tuple[Value, ...]
    scores: tuple[tuple[float | None, ...], ...]
    chosen: tuple[int, int] | None


def validation_surfaces(result: Result) -> list[Surface]:
    """Return what was tried on validation, a surface per number of steps, the longest first.

    Hyperparameters beyond the first two that vary are left to their best value.
    """
    selection = result.selection
    if selection is None:
        return []
    curve = selection.validation_curve
    steps = sorted({row["steps"] for row in curve if "steps" in row}, key=float, reverse=True)
    surfaces = list[Surface]()
    every: list[Value | None] = [*steps] or [None]
    for one in every:
        rows = [row for row in curve if one is None or row.get("steps") == one]
        title = f"after {float(one):,.0f} steps" if one is not None else ""
        chosen = selection.chosen if not surfaces else {}
        if surface := _surface(title, rows, chosen):
            surfaces.append(surface)
    return surfaces


def _surface(
    title: str, curve: Sequence[dict[str, Value]], chosen: dict[str, Value]
) -> Surface | None:
    tried = [name for name in curve[0] if name not in NOT_TRIED]
    varying = [name for name in tried if len({row.get(name) for row in curve}) > 1] or tried
    if not varying:
        return None
    row, column = varying[0], varying[1] if len(varying) > 1 else ""
    rows = _values(curve, row)
    columns = _values(curve, column) if column else ("",)

    def best(one: Value, other: Value) -> float | None:
        found = [
            float(each["accuracy"])
            for each in curve
            if each.get(row) == one
            and (not column or each.get(column) == other)
            # A training that diverged has no crop, and nothing was evaluated.
            and ("learning_rate" not in each or "crop" in each)
        ]
        return max(found, default=None)

    scores = tuple(tuple(best(one, other) for other in columns) for one in rows)
    place = None
    if row in chosen and (not column or column in chosen):
        place = (rows.index(chosen[row]), columns.index(chosen[column]) if column else 0)
    return Surface(title, row, column, rows, columns, scores, place)


def _values(curve: Sequence[dict[str, Value]], name: str) -> tuple[Value, ...]:
    found = {row[name] for row in curve if name in row}
    return tuple(sorted(found, key=lambda value: (isinstance(value, str), value)))
