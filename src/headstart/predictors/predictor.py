"""What a predictor of transfer is: a column of a table with a label and a scale, or a score.

An analysis correlates transfer accuracy with a predictor: by default with upstream accuracy, or
with any column of numbers. A *transfer score* is a predictor that is computed from features of the
target dataset. It is one file and one entry point: an object with `label`, `scale` and `score`
(`TransferScore`), registered as ``headstart.predictor`` under the name of its column.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from headstart.errors import AnalysisError
from headstart.registry import PREDICTORS
from headstart.spec.formatting import capitalized

__all__ = [
    "SCALES",
    "UPSTREAM_ACCURACY",
    "Predictor",
    "Scale",
    "ScaleName",
    "TransferScore",
    "find_predictor",
    "transfer_score",
]

Floats = npt.NDArray[np.float64]
ScaleName = Literal["proportion", "number", "log"]
# Of features: what float32 holds, whose squares float64 holds.
LARGEST = float(np.finfo(np.float32).max)
# Of probabilities' sums: those of float16 are less exact.
SUM_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Scale:
    """How a predictor enters lines and correlations, and how it is written.

    ``proportion``: numbers in (0, 1), on which equal distances are equal ratios of odds (log odds);
    ``log``: positive numbers, by powers of ten; ``number``: any number, as it is.
    """

    name: ScaleName

    def coordinates(self, values: npt.ArrayLike) -> Floats:
        """Return values on the axis of the scale, any shape; NaN stays NaN."""
        x = np.asarray(values, dtype=np.float64)
        if self.name == "proportion":
            return np.asarray(logit(x))
        return np.asarray(np.log10(x)) if self.name == "log" else x

    def values(self, coordinates: npt.ArrayLike) -> Floats:
        """Invert `coordinates`."""
        x = np.asarray(coordinates, dtype=np.float64)
        if self.name == "proportion":
            return np.asarray(expit(x))
        return np.asarray(10.0**x) if self.name == "log" else x

    def allows(self, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return which values have coordinates, any shape."""
        x = np.asarray(values, dtype=np.float64)
        if self.name == "proportion":
            return np.asarray((x > 0) & (x < 1))
        return np.asarray((x > 0) & np.isfinite(x)) if self.name == "log" else np.isfinite(x)

    @property
    def expected(self) -> str:
        """Which values have coordinates, as a phrase."""
        phrases = {
            "proportion": "a proportion between 0 and 1",
            "log": "a positive number",
            "number": "a finite number",
        }
        return phrases[self.name]

    def label(self, of: str) -> str:
        """Return what a coordinate is, as a phrase: "log odds of ImageNet top-1 accuracy"."""
        phrases = {"proportion": "log odds of ", "log": "log10 of ", "number": ""}
        return phrases[self.name] + of

    def text(self, value: float) -> str:
        """Return a value as text, percent with two decimals; a dash where it is unknown.

        Examples
        --------
        >>> SCALES["proportion"].text(0.7634), SCALES["log"].text(25_557_032.0)
        ('76.34 %', '25,560,000')
        """
        if not np.isfinite(value):
            return "\N{EN DASH}"
        if self.name == "proportion":
            return f"{100 * value:.2f} %"
        rounded = float(f"{value:.4g}")
        return f"{rounded:,.0f}" if abs(rounded) >= 1000 else f"{rounded:g}"


SCALES: Mapping[str, Scale] = {
    "proportion": Scale("proportion"),
    "number": Scale("number"),
    "log": Scale("log"),
}


@dataclass(frozen=True)
class Predictor:
    """A number per model, or per model and dataset, that may predict transfer accuracy.

    Parameters
    ----------
    column
        Its column in tables of results and of an analysis.
    label
        What sentences and axes call it.
    scale
        How it enters lines and correlations.
    """

    column: str
    label: str
    scale: Scale

    @property
    def text(self) -> str:
        """How `find_predictor` reads it: ``upstream_accuracy:proportion``."""
        return f"{self.column}:{self.scale.name}"

    @property
    def axis_label(self) -> str:
        """The title of an axis in its coordinates."""
        kind = {"proportion": " (logit scale)", "log": " (log scale)", "number": ""}
        return f"{capitalized(self.label)}{kind[self.scale.name]}"

    @property
    def heading(self) -> str:
        """The heading of a column that holds it, percent where it is a proportion."""
        return capitalized(self.label) + (" %" if self.scale.name == "proportion" else "")

    def number(self, value: float) -> float:
        """Return a value as a table prints it: proportions in percent."""
        return 100 * value if self.scale.name == "proportion" else value

    @property
    def hint(self) -> str:
        """What to do where no value is known."""
        return f"add a column {self.column}"


UPSTREAM_ACCURACY = Predictor("upstream_accuracy", "upstream accuracy", SCALES["proportion"])


class TransferScore(Protocol):
    """A predictor that is computed from a network's features of the target dataset.

    `label` and `scale` (a name of `SCALES`) say how an analysis treats the column of its values.
    The higher the score, the better the transfer that it predicts.
    """

    @property
    def label(self) -> str: ...

    @property
    def scale(self) -> ScaleName: ...

    def score(
        self, features: Floats, labels: npt.NDArray[np.int64], source_predictions: Floats | None
    ) -> float:
        """Return the score of one network on one dataset.

        Parameters
        ----------
        features
            (n, d) float64 penultimate features of training images.
        labels
            (n,) classes 0..K-1, or (n, K) in {1 present, 0 difficult only, -1 absent}.
        source_predictions
            (n, C) probabilities that the network's own classifier gives to its C upstream classes;
            None where they are unknown.
        """
        ...


def find_predictor(text: str) -> Predictor:
    """Return the predictor of a column: ``upstream_accuracy``, ``params:log``, ``logme``.

    Parameters
    ----------
    text
        A column, with ``:proportion``, ``:number`` or ``:log`` where its scale is another than a
        registered predictor says, or than ``number``.

    Raises
    ------
    AnalysisError
        An empty name, or a scale that there is not.

    Examples
    --------
    >>> find_predictor("params:log")
    Predictor(column='params', label='params', scale=Scale(name='log'))
    """
    head, _, scale = text.strip().rpartition(":")
    column = (head if scale in SCALES else text).strip()
    known = (UPSTREAM_ACCURACY.column, *PREDICTORS)
    if not column or (scale not in SCALES and head.strip() in known):
        raise AnalysisError(
            f"invalid predictor '{text}': expected COLUMN or COLUMN:SCALE, where SCALE is "
            f"{', '.join(SCALES)}",
            code="analysis.predictor_form", found=text,
        )  # fmt: skip
    found = Predictor(column, column.replace("_", " "), SCALES["number"])
    if column == UPSTREAM_ACCURACY.column:
        found = UPSTREAM_ACCURACY
    elif column in PREDICTORS:
        registered: TransferScore = PREDICTORS[column]
        found = Predictor(column, registered.label, SCALES[registered.scale])
    return Predictor(found.column, found.label, SCALES[scale]) if scale in SCALES else found


def transfer_score(
    name: str,
    features: npt.ArrayLike,
    labels: npt.ArrayLike,
    source_predictions: npt.ArrayLike | None = None,
) -> float:
    """Compute a registered transfer score.

    Parameters
    ----------
    name
        Its name: ``logme``, or that of an installed package.
    features, labels, source_predictions
        As `TransferScore.score` has them; (n,) labels may be names, or any numbers.

    Raises
    ------
    UnknownNameError
        No registered predictor has this name.
    AnalysisError
        Arrays of other shapes, no features, or labels of fewer than two classes
        (``analysis.predictor_arrays``); features that are no finite numbers
        (``analysis.predictor_finite``); source predictions that are no probabilities
        (``analysis.predictor_probabilities``).
    """
    score: TransferScore = PREDICTORS[name]
    X, y = _numbers(name, "features", features), _class_numbers(name, labels)
    several = (y.ndim == 1 and y.max(initial=0) > 0) or (y.ndim == 2 and y.shape[1] > 1)
    if X.ndim != 2 or not X.shape[1] or len(X) != len(y) or not several or not (y >= 0).any():
        raise AnalysisError(
            f"{name}: expected features (n, d) and labels (n,) or (n, K) of at least two classes, "
            f"found shapes {X.shape} and {y.shape}",
            code="analysis.predictor_arrays", features=X.shape, labels=y.shape,
        )  # fmt: skip
    if not np.abs(X).max() <= LARGEST:
        raise AnalysisError(
            f"{name}: features contain NaN, infinite numbers, or numbers over {LARGEST:.1g}",
            code="analysis.predictor_finite",
        )
    source = None
    if source_predictions is not None:
        source = _probabilities(name, source_predictions, len(X))
    return float(score.score(X, y, source))


def _numbers(name: str, what: str, values: npt.ArrayLike) -> Floats:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise AnalysisError(
            f"{name}: {what} are no array of numbers: expected one row per image",
            code="analysis.predictor_arrays", argument=what,
        ) from error  # fmt: skip


def _class_numbers(name: str, labels: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """(n,) 0..K-1 in the order of the labels, which may be names; (n, K) labels as they are."""
    given = np.asarray(labels)
    if given.ndim != 1:
        numbers = _numbers(name, "labels", labels)
        if given.ndim == 2 and np.isin(numbers, (-1, 0, 1)).all():
            return numbers.astype(np.int64)
    elif not (given.dtype.kind == "f" and np.isnan(given).any()):
        with suppress(TypeError):
            return np.unique(given, return_inverse=True)[1].astype(np.int64)
    raise AnalysisError(
        f"{name}: expected labels (n,), or (n, K) of 1, 0 and -1; found {given.dtype} of shape "
        f"{given.shape}, or NaN in it",
        code="analysis.predictor_arrays", argument="labels",
    )  # fmt: skip


def _probabilities(name: str, source_predictions: npt.ArrayLike, n: int) -> Floats:
    source = _numbers(name, "source_predictions", source_predictions)
    shaped = source.ndim == 2 and len(source) == n and source.shape[1] > 0
    sums_to_1 = shaped and np.allclose(source.sum(axis=1), 1, atol=SUM_TOLERANCE)
    if not sums_to_1 or (source < 0).any():
        raise AnalysisError(
            f"{name}: expected source_predictions ({n}, C) that are probabilities: not negative, "
            f"with rows that add up to 1; found shape {source.shape}",
            code="analysis.predictor_probabilities", found=source.shape, n=n,
        )  # fmt: skip
    return source
