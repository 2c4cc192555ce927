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

from headstart.analysis.cells import AnalysisOptions, Matrix
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

Floats = npt.NDArray[np.float64]
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


class Points(NamedTuple):
    """A dataset: (n,) coordinates of the predictor, log odds of transfer, families, thirds."""

    x: Floats
    y: Floats
    family: npt.NDArray[np.int64]
    third: npt.NDArray[np.int64]


class Fitted(NamedTuple):
    """A row of the table `prediction`, its fit, and the (n,) cells that it was fitted to."""

    row: dict[str, Any]
    fit: PolynomialFit
    x: Floats
    places: npt.NDArray[np.intp]


def prediction_lines(full: Matrix, setting: str, options: AnalysisOptions) -> list[dict[str, Any]]:
    """Fit each dataset, and check the fit's prediction intervals on models left out.

    The line is replaced by a quadratic where the F test of the quadratic term has p below 5 %
    divided by the number of datasets (Bonferroni), from eight models on. In each third of the
    predictor, where the check held significantly fewer models than the level (exact binomial test,
    one-sided, at the same 5 % divided by the number of datasets), intervals are widened by the
    factor that would have held that share; the check is the family left out in the low and the
    middle third, and the prediction from the rest in the high one, which also holds for models
    above all that were measured.

    Returns
    -------
    list
        Rows of the table `prediction`; none for a dataset on which all models are equal.
    """
    alpha = SIGNIFICANCE / max(len(full.datasets), 1)
    rows = []
    for j, dataset in enumerate(full.datasets):
        use = np.isfinite(full.scores[:, j]) & np.isfinite(full.predictor[:, j])
        x, y = full.scale.coordinates(full.predictor[use, j]), full.scores[use, j]
        if len(x) < FEWEST_FOR_PREDICTION or np.ptp(x) == 0 or constant(y):
            continue
        third, bounds = _thirds(x)
        points = Points(x, y, full.family[use], third)
        rows.append({
            "setting": setting,
            "dataset": dataset,
            **_fit_row(points, alpha),
            "level": options.level,
            "middle_from": float(full.scale.values(bounds[0])),
            "high_from": float(full.scale.values(bounds[1])),
            **_checks(points, alpha, options.level),
        })  # fmt: skip
    return rows


def constant(values: Floats) -> bool:
    """Report whether values are equal but for rounding."""
    return bool(np.ptp(values) <= SAME * np.abs(values).max())


def _degree(x: Floats, y: Floats, alpha: float) -> int:
    """Return 2 where the line is rejected, else 1."""
    if len(x) < FEWEST_FOR_CURVE:
        return 1
    return 2 if lack_of_fit(x, y)[1] < alpha else 1


def _fit_row(points: Points, alpha: float) -> dict[str, Any]:
    """Describe the line, and which fit predicts."""
    x, y = points.x, points.y
    degree = _degree(x, y, alpha)
    fit = polynomial_fit(x, y, degree)
    slope, intercept = np.polynomial.polynomial.polyfit(x - x.mean(), y, 1)[::-1]
    f, p = lack_of_fit(x, y) if len(x) >= FEWEST_FOR_CURVE else (np.nan, np.nan)
    return {
        "fit": FITS[degree],
        "slope": slope,
        "quadratic": fit.coefficients[2] / fit.spread**2 if fit and degree == 2 else np.nan,
        "intercept": intercept - slope * x.mean(),
        "residual_sd": fit.residual_sd if fit else np.nan,
        "centre": x.mean(),
        "sum_of_squares": ((x - x.mean()) ** 2).sum(),
        "n_models": len(x),
        "curvature_f": f,
        "curvature_p": p,
    }


def _thirds(x: Floats) -> tuple[npt.NDArray[np.int64], tuple[float, float]]:
    """Number each model's third of the predictor, equals together; return where they begin, too."""
    ordered, n = np.sort(x), len(x)
    bounds = float(ordered[n // 3]), float(ordered[n - n // 3])
    return np.searchsorted(np.array(bounds), x, side="right"), bounds


def _checks(points: Points, alpha: float, level: float) -> dict[str, Any]:
    """Count how often intervals hold what was left out, and how far they would have to go."""
    x, y, third = points.x, points.y, points.third
    degree = _degree(x, y, alpha)
    by_model = leave_one_out_ratio(x, y, degree, level)
    by_family = _family_left_out(points, degree, level)
    top = np.full(len(x), np.nan)
    if len(x) >= FEWEST_FOR_THIRDS:
        rest = third < 2
        top[~rest] = _ratio(x[rest], y[rest], x[~rest], y[~rest], level, alpha)
    row: dict[str, Any] = {
        "covered": _held(by_model),
        "cells": int(np.isfinite(by_model).sum()),
        "coverage": _held(by_model) / max(np.isfinite(by_model).sum(), 1),
        "covered_family": _held(by_family),
        "n_family": int(np.isfinite(by_family).sum()),
        "covered_top": _held(top),
        "n_top": int(np.isfinite(top).sum()),
    }
    for number, name in enumerate(THIRDS):
        own = by_model[third == number]
        check = top if number == 2 and np.isfinite(top).any() else by_family
        row |= {
            f"covered_{name}": _held(own),
            f"n_{name}": int(np.isfinite(own).sum()),
            f"widened_{name}": _factor(check[third == number], level, alpha),
        }
    return row


def _family_left_out(points: Points, degree: int, level: float) -> Floats:
    """(n,) ratios of each model, predicted by those of other families; NaN with too few of them."""
    ratio = np.full(len(points.x), np.nan)
    for family in np.unique(points.family):
        out = points.family == family
        if (~out).sum() >= FEWEST_FOR_PREDICTION - 1:
            x, y = points.x[~out], points.y[~out]
            fit = polynomial_fit(x, y, degree) or polynomial_fit(x, y, 1)
            if fit:
                distance = np.abs(points.y[out] - fit.mean(points.x[out]))
                ratio[out] = distance / fit.half_width(points.x[out], level)
    return ratio


def _ratio(
    x: Floats, y: Floats, new_x: Floats, new_y: Floats, level: float, alpha: float
) -> Floats:
    """Distance of new models from their predictions in half widths; the fit is chosen anew."""
    fit = polynomial_fit(x, y, _degree(x, y, alpha))
    if fit is None:
        return np.full(len(new_x), np.nan)
    return np.asarray(np.abs(new_y - fit.mean(new_x)) / fit.half_width(new_x, level))


def _held(ratio: Floats) -> int:
    return int((ratio <= 1).sum())


def _factor(ratio: Floats, level: float, alpha: float) -> float:
    """Return by how much to widen: 1 unless significantly too few were held.

    Else the quantile that would have held the next one (Vovk et al. 2005, split conformal), the
    largest where there are too few for that.
    """
    ratio = np.sort(ratio[np.isfinite(ratio)])
    n = len(ratio)
    if n == 0 or bdtr(_held(ratio), n, level) >= alpha:
        return 1.0
    place = min(int(np.ceil((n + 1) * level)), n)
    return max(float(ratio[place - 1]), 1.0)


def _fits(prediction: pd.DataFrame, cells: pd.DataFrame, of_cells: Floats) -> Iterator[Fitted]:
    """Fit again what each row of the table `prediction` says; `of_cells` (cells,) coordinates."""
    by = cells.groupby(["setting", "dataset"], sort=False).indices
    scores = cells["log_odds"].to_numpy(dtype=np.float64)
    degrees = {name: degree for degree, name in FITS.items()}
    for row in prediction.to_dict("records"):
        places = by[row["setting"], row["dataset"]]
        places = places[np.isfinite(of_cells[places]) & np.isfinite(scores[places])]
        x = of_cells[places]
        fit = polynomial_fit(x, scores[places], degrees[row["fit"]])
        if fit:
            yield Fitted(row, fit, x, places)


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

    Parameters
    ----------
    prediction, cells
        The tables of an analysis: which fit, and what it is fitted to.
    predictor, value
        The predictor of the analysis, and its value for the model.

    Returns
    -------
    pandas.DataFrame
        setting, dataset, the predictor, accuracy, low, high (prediction interval, widened as
        the table says), coverage (when each model was left out, without the widening), n_models,
        fit, widened (the factor), extrapolated (outside the range of the models).
    """
    x = float(predictor.scale.coordinates(value))
    of_cells = predictor.scale.coordinates(cells[predictor.column])
    rows = []
    for row, fit, known, _ in _fits(prediction, cells, of_cells):
        bounds = [row["middle_from"], row["high_from"]]
        third = THIRDS[int(np.searchsorted(bounds, value, side="right"))]
        factor = row[f"widened_{third}"]
        mean = float(fit.mean(x)[0])
        half = factor * float(fit.half_width(x, row["level"])[0])
        rows.append({
            "setting": row["setting"],
            "dataset": row["dataset"],
            predictor.column: value,
            "accuracy": float(accuracy_of(mean)),
            "low": float(accuracy_of(mean - half)),
            "high": float(accuracy_of(mean + half)),
            "coverage": row["coverage"],
            "n_models": row["n_models"],
            "fit": row["fit"],
            "widened": factor,
            "extrapolated": not known.min() <= x <= known.max(),
        })  # fmt: skip
    return pd.DataFrame(rows)


def above_line(
    full: Matrix, setting: str, own: Collection[str], options: AnalysisOptions
) -> list[dict[str, Any]]:
    """Compare own models with the least-squares line through published ones.

    The line is of mean log odds on the predictor, through the published models that have a cell
    on each dataset that the own model has; own models have no part in it. The interval is the
    line's prediction interval: 0 inside means that one more published model could be as far off.

    Parameters
    ----------
    full
        One setting.
    own
        The models that are not published.

    Returns
    -------
    list
        Rows of the table `above_line`; none for a model without a value of the predictor, or with
        too few published ones on its datasets.
    """
    published = np.array([name not in own for name in full.models])
    rows = []
    for i in np.flatnonzero(~published):
        there = np.isfinite(full.scores[i]) & np.isfinite(full.predictor[i])
        weight = None if full.weight is None else full.weight[there]
        mean = np.average(full.scores[:, there], axis=1, weights=weight) if there.any() else None
        if mean is None:
            continue
        of_models = full.scale.coordinates(full.predictor[:, there]).mean(axis=1)
        use = published & np.isfinite(mean) & np.isfinite(of_models)
        fit = polynomial_fit(of_models[use], mean[use], 1)
        if use.sum() < FEWEST_FOR_PREDICTION or fit is None:
            continue
        expected = float(fit.mean(of_models[i])[0])
        half = float(fit.half_width(of_models[i], options.level)[0])
        rows.append({
            "setting": setting,
            "model": full.models[i],
            "mean": float(mean[i]),
            "expected": expected,
            "difference": float(mean[i]) - expected,
            "low": float(mean[i]) - expected - half,
            "high": float(mean[i]) - expected + half,
            "n_models": int(use.sum()),
            "n_datasets": int(there.sum()),
        })  # fmt: skip
    return rows


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
    thirds = [
        f"{name} third {_share(*prediction[[f'covered_{name}', f'n_{name}']].sum())}"
        for name in THIRDS
        if prediction[f"n_{name}"].sum()
    ]
    text = (
        f"{level} prediction intervals from {label} contained "
        f"{_share(*prediction[['covered', 'cells']].sum())} accuracies of models left out one at a "
        f"time (by {label}: {', '.join(thirds)})"
    )
    if prediction["n_family"].sum():
        text += (
            "; with whole families left out, "
            f"{_share(*prediction[['covered_family', 'n_family']].sum())}"
        )
    if prediction["n_top"].sum():
        text += (
            "; of the best third, predicted from the rest, "
            f"{_share(*prediction[['covered_top', 'n_top']].sum())}"
        )
    return [f"{text}.", *_rejected(prediction), *_widened(prediction)]


def _share(held: int, n: int) -> str:
    return f"{held} of {n} ({held / n:.1%})".replace("%", " %")


def _rejected(prediction: pd.DataFrame) -> list[str]:
    curved, several = prediction[prediction["fit"] != "line"], _several(prediction)
    if curved.empty:
        return []
    return [
        "A straight line is rejected (F test of the quadratic term, p < 0.05 divided by the number "
        f"of datasets); a quadratic is fitted instead on {first_few(_names(curved, several))}."
    ]


def _widened(prediction: pd.DataFrame) -> list[str]:
    """Name where intervals are widened, and by how much."""
    parts = []
    for third in THIRDS:
        rows = prediction[prediction[f"widened_{third}"] > 1]
        if len(rows):
            names = zip(_names(rows, _several(prediction)), rows[f"widened_{third}"], strict=True)
            parts.append(
                f"{third} third: {first_few([f'{name} x {by:.1f}' for name, by in names])}"
            )
    if not parts:
        return []
    return [
        "Prediction intervals are widened where they contained significantly too few of the "
        f"left-out accuracies: {'; '.join(parts)}."
    ]


def _several(prediction: pd.DataFrame) -> bool:
    return bool(prediction["setting"].nunique() > 1)


def _names(rows: pd.DataFrame, several: bool) -> list[str]:
    """Name datasets, with their setting where there are several."""
    return [
        f"{row.dataset} ({setting_label(row.setting)})" if several else str(row.dataset)
        for row in rows.itertuples()
    ]
