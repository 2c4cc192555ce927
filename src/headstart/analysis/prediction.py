"""Predict transfer accuracy per dataset, and check how often the intervals hold.

A line in log odds, or a quadratic where an F test rejects the line. How often its intervals hold is
checked in three ways: each model left out, its whole family left out, and the best third predicted
from the rest, which is what a prediction is for.
"""

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import bdtr

from headstart.analysis.cells import AnalysisOptions, Floats, Matrix, Rows, row
from headstart.predictors import UPSTREAM_ACCURACY, Predictor
from headstart.spec.formatting import first_few, setting_label
from headstart.stats import (
    PolynomialFit,
    accuracy_of,
    lack_of_fit,
    leave_one_out_ratio,
    polynomial_fit,
)

__all__ = [
    "FEWEST_FOR_PREDICTION",
    "PREDICTION_COLUMNS",
    "above_line",
    "predict_datasets",
    "prediction_lines",
    "prediction_summary",
    "residuals",
]

# A line, its spread, and one model to leave out.
FEWEST_FOR_PREDICTION = 4
# With fewer models a test of curvature rejects little, and a quadratic follows single models.
FEWEST_FOR_CURVE = 8
# The best third, and twice as many to predict it from.
FEWEST_FOR_THIRDS = 12
SIGNIFICANCE = 0.05
# Of the largest value: accuracies that differ by less are equal.
SAME = 1e-12
THIRDS = ("low", "middle", "high")
FITS = {1: "line", 2: "quadratic"}
PREDICTION_COLUMNS = (
    "setting", "dataset", "fit", "slope", "quadratic", "intercept", "residual_sd", "centre",
    "sum_of_squares", "n_models", "covered", "cells", "coverage", "level", "curvature_f",
    "curvature_p",
    *(f"{what}_{third}" for third in THIRDS for what in ("covered", "n", "widened")),
    "middle_from", "high_from", "covered_family", "n_family", "covered_top", "n_top",
)  # fmt: skip


class Fitted(NamedTuple):
    """A row of the table `prediction`, its fit, and the (n,) cells that it was fitted to."""

    row: dict[str, Any]
    fit: PolynomialFit
    x: Floats
    places: npt.NDArray[np.intp]


def prediction_lines(full: Matrix, setting: str, options: AnalysisOptions) -> Rows:
    """Yield rows of the table `prediction`: each dataset's fit, and how often its intervals hold.

    The line is replaced by a quadratic where the F test of the quadratic term has p below 5 %
    divided by the number of datasets (Bonferroni), from eight models on. In each third of the
    predictor, where the check held significantly fewer models than the level (exact binomial test,
    one-sided, at the same 5 % divided by the number of datasets), intervals are widened by the
    factor that would have held that share; the check is the family left out in the low and the
    middle third, and the prediction from the rest in the high one, which also holds for models
    above all that were measured. There is no row for a dataset on which all models are equal.
    """
    alpha = SIGNIFICANCE / max(len(full.datasets), 1)
    for j, dataset in enumerate(full.datasets):
        use = np.isfinite(full.scores[:, j]) & np.isfinite(full.predictor[:, j])
        x, y = full.scale.coordinates(full.predictor[use, j]), full.scores[use, j]
        if len(x) < FEWEST_FOR_PREDICTION or np.ptp(x) == 0:
            continue
        if np.ptp(y) <= SAME * np.abs(y).max():
            # Equal but for rounding.
            continue
        ordered, n = np.sort(x), len(x)
        bounds = ordered[[n // 3, n - n // 3]]
        degree, f, p = _degree(x, y, alpha)
        fit = polynomial_fit(x, y, degree)
        slope, intercept = np.polynomial.polynomial.polyfit(x - x.mean(), y, 1)[::-1]
        yield row(
            "prediction",
            setting=setting,
            dataset=dataset,
            fit=FITS[degree],
            slope=slope,
            quadratic=fit.coefficients[2] / fit.spread**2 if fit and degree == 2 else np.nan,
            intercept=intercept - slope * x.mean(),
            residual_sd=fit.residual_sd if fit else np.nan,
            centre=x.mean(),
            sum_of_squares=((x - x.mean()) ** 2).sum(),
            n_models=n,
            curvature_f=f,
            curvature_p=p,
            level=options.level,
            middle_from=float(full.scale.values(bounds[0])),
            high_from=float(full.scale.values(bounds[1])),
            **_checks(x, y, full.family[use], bounds, alpha, options.level),
        )


def _degree(x: Floats, y: Floats, alpha: float) -> tuple[int, float, float]:
    """Return 2 where the line is rejected, else 1; and the F and p of the quadratic term."""
    if len(x) < FEWEST_FOR_CURVE:
        return 1, np.nan, np.nan
    f, p = lack_of_fit(x, y)
    return (2 if p < alpha else 1), f, p


def _checks(
    x: Floats,
    y: Floats,
    family: npt.NDArray[np.int64],
    bounds: Floats,
    alpha: float,
    level: float,
) -> dict[str, Any]:
    """Count how often intervals hold what was left out, and how far they would have to go.

    `bounds` are where the middle and the high third of the predictor begin; equals are together.
    """
    degree, *_ = _degree(x, y, alpha)
    third = np.searchsorted(bounds, x, side="right")
    by_model = leave_one_out_ratio(x, y, degree, level)
    by_family, top = np.full((2, len(x)), np.nan)
    for one in np.unique(family):
        out = family == one
        if (~out).sum() >= FEWEST_FOR_PREDICTION - 1:
            fit = polynomial_fit(x[~out], y[~out], degree) or polynomial_fit(x[~out], y[~out], 1)
            by_family[out] = _ratio(fit, x[out], y[out], level)
    if len(x) >= FEWEST_FOR_THIRDS:
        high = third == 2
        # The fit is chosen anew.
        rest = x[~high], y[~high]
        fit = polynomial_fit(*rest, _degree(*rest, alpha)[0])
        top[high] = _ratio(fit, x[high], y[high], level)
    counts = {
        what: (int((ratio <= 1).sum()), int(np.isfinite(ratio).sum()))
        for what, ratio in (("model", by_model), ("family", by_family), ("top", top))
    }
    found: dict[str, Any] = {
        "covered": counts["model"][0],
        "cells": counts["model"][1],
        "coverage": counts["model"][0] / max(counts["model"][1], 1),
        "covered_family": counts["family"][0],
        "n_family": counts["family"][1],
        "covered_top": counts["top"][0],
        "n_top": counts["top"][1],
    }
    for number, name in enumerate(THIRDS):
        own = by_model[third == number]
        check = top if number == 2 and np.isfinite(top).any() else by_family
        found |= {
            f"covered_{name}": int((own <= 1).sum()),
            f"n_{name}": int(np.isfinite(own).sum()),
            f"widened_{name}": _factor(check[third == number], level, alpha),
        }
    return found


def _ratio(fit: PolynomialFit | None, x: Floats, y: Floats, level: float) -> Floats | float:
    """Return the distance of models from their predictions in half widths; NaN without a fit."""
    return np.nan if fit is None else np.abs(y - fit.mean(x)) / fit.half_width(x, level)


def _factor(ratio: Floats, level: float, alpha: float) -> float:
    """Return by how much to widen: 1 unless significantly too few were held.

    Else the quantile that would have held the next one (Vovk et al. 2005, split conformal), the
    largest where there are too few for that.
    """
    ratio = np.sort(ratio[np.isfinite(ratio)])
    n = len(ratio)
    if n == 0 or bdtr((ratio <= 1).sum(), n, level) >= alpha:
        return 1.0
    place = min(int(np.ceil((n + 1) * level)), n)
    return max(float(ratio[place - 1]), 1.0)


def _fits(prediction: pd.DataFrame, cells: pd.DataFrame, of_cells: Floats) -> Iterator[Fitted]:
    """Fit again what each row of the table `prediction` says; `of_cells` (cells,) coordinates."""
    by = cells.groupby(["setting", "dataset"], sort=False).indices
    scores = cells["log_odds"].to_numpy(dtype=np.float64)
    degrees = {name: degree for degree, name in FITS.items()}
    for one in prediction.to_dict("records"):
        places = by[one["setting"], one["dataset"]]
        places = places[np.isfinite(of_cells[places]) & np.isfinite(scores[places])]
        x = of_cells[places]
        fit = polynomial_fit(x, scores[places], degrees[one["fit"]])
        if fit:
            yield Fitted(one, fit, x, places)


def residuals(prediction: pd.DataFrame, cells: pd.DataFrame, of_cells: Floats) -> Floats:
    """(cells,) log odds less what the fit of the dataset and setting expects; NaN without one.

    `of_cells` (cells,) are coordinates of the predictor.
    """
    found = np.full(len(cells), np.nan)
    scores = cells["log_odds"].to_numpy(dtype=np.float64)
    for _, fit, x, places in _fits(prediction, cells, of_cells):
        found[places] = scores[places] - fit.mean(x)
    return found


def predict_datasets(
    prediction: pd.DataFrame, cells: pd.DataFrame, predictor: Predictor, value: float
) -> pd.DataFrame:
    """Predict the accuracy of a model of known predictor on each dataset.

    From the tables of an analysis, which say which fit, and what it is fitted to. Intervals are
    widened by the factor `widened`; `coverage` is when each model was left out, without it.
    """
    x = float(predictor.scale.coordinates(value))
    of_cells = predictor.scale.coordinates(cells[predictor.column])
    rows = []
    for one, fit, known, _ in _fits(prediction, cells, of_cells):
        bounds = [one["middle_from"], one["high_from"]]
        third = THIRDS[int(np.searchsorted(bounds, value, side="right"))]
        factor = one[f"widened_{third}"]
        mean = float(fit.mean(x)[0])
        half = factor * float(fit.half_width(x, one["level"])[0])
        rows.append({
            "setting": one["setting"],
            "dataset": one["dataset"],
            predictor.column: value,
            "accuracy": float(accuracy_of(mean)),
            "low": float(accuracy_of(mean - half)),
            "high": float(accuracy_of(mean + half)),
            "coverage": one["coverage"],
            "n_models": one["n_models"],
            "fit": one["fit"],
            "widened": factor,
            "extrapolated": not known.min() <= x <= known.max(),
        })  # fmt: skip
    return pd.DataFrame(rows)


def above_line(full: Matrix, setting: str, own: Collection[str], options: AnalysisOptions) -> Rows:
    """Yield rows of the table `above_line`: own models against the line through published ones.

    The least-squares line is of mean log odds on the predictor, through the published models that
    have a cell on each dataset that the own model has; own models have no part in it. The interval
    is the line's prediction interval: 0 inside means that one more published model could be as far
    off. There is no row for a model without a value of the predictor, or with too few published
    ones on its datasets.
    """
    published = np.array([name not in own for name in full.models])
    for i in np.flatnonzero(~published):
        there = np.isfinite(full.scores[i]) & np.isfinite(full.predictor[i])
        if not there.any():
            continue
        weight = None if full.weight is None else full.weight[there]
        mean = np.average(full.scores[:, there], axis=1, weights=weight)
        x = full.scale.coordinates(full.predictor[:, there]).mean(axis=1)
        use = published & np.isfinite(mean) & np.isfinite(x)
        fit = polynomial_fit(x[use], mean[use], 1)
        if use.sum() < FEWEST_FOR_PREDICTION or fit is None:
            continue
        expected, half = float(fit.mean(x[i])[0]), float(fit.half_width(x[i], options.level)[0])
        difference = float(mean[i]) - expected
        yield row(
            "above_line",
            setting=setting,
            model=full.models[i],
            mean=float(mean[i]),
            expected=expected,
            difference=difference,
            low=difference - half,
            high=difference + half,
            n_models=int(use.sum()),
            n_datasets=int(there.sum()),
        )


def prediction_summary(prediction: pd.DataFrame, label: str = UPSTREAM_ACCURACY.label) -> list[str]:
    """Describe in sentences how often prediction intervals held, and where the line is rejected.

    Parameters
    ----------
    prediction
        The table of `prediction_lines`, of all settings.
    label
        Name of the predictor.
    """
    if prediction.empty:
        return []
    level = f"{prediction['level'].iloc[0]:.0%}".replace("%", " %")

    def share(covered: str, n: str) -> str:
        held, of = prediction[covered].sum(), prediction[n].sum()
        return f"{held} of {of} ({held / of:.1%})".replace("%", " %")

    thirds = [f"{name} third {share(f'covered_{name}', f'n_{name}')}"
              for name in THIRDS if prediction[f"n_{name}"].sum()]  # fmt: skip
    text = (
        f"{level} prediction intervals from {label} contained {share('covered', 'cells')} "
        f"accuracies of models left out one at a time (by {label}: {', '.join(thirds)})"
    )
    if prediction["n_family"].sum():
        text += f"; with whole families left out, {share('covered_family', 'n_family')}"
    if prediction["n_top"].sum():
        text += f"; of the best third, predicted from the rest, {share('covered_top', 'n_top')}"
    sentences = [f"{text}."]
    several = prediction["setting"].nunique() > 1
    names = prediction["dataset"].astype(str)
    if several:
        names += " (" + prediction["setting"].map(setting_label) + ")"
    curved = prediction["fit"] != "line"
    if curved.any():
        sentences.append(
            "A straight line is rejected (F test of the quadratic term, p < 0.05 divided by the "
            "number of datasets); a quadratic is fitted instead on "
            f"{first_few(names[curved].tolist())}."
        )
    parts = []
    for third in THIRDS:
        factor = prediction[f"widened_{third}"]
        widened = [f"{name} x {by:.1f}" for name, by in zip(names, factor, strict=True) if by > 1]
        parts += [f"{third} third: {first_few(widened)}"] if widened else []
    if parts:
        sentences.append(
            "Prediction intervals are widened where they contained significantly too few of the "
            f"left-out accuracies: {'; '.join(parts)}."
        )
    return sentences
