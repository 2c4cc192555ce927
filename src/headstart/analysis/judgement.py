"""Judge predictors: how well each ranks the models of a dataset, and the cost of its choice.

Each predictor is judged on every dataset alone, over the models of which it and all others are
known there, and then over datasets. Two baselines that published work often leaves out stand beside
them: upstream accuracy, and the mean standing of a model on the other datasets.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import kendalltau, pearsonr, t, weightedtau

from headstart.analysis.cells import AnalysisOptions, Matrix
from headstart.analysis.correlations import FEWEST_MODELS
from headstart.predictors import UPSTREAM_ACCURACY, Predictor
from headstart.stats import additive_fit, components

__all__ = ["JUDGED_COLUMNS", "STANDING", "STATISTICS", "judge_predictors"]

Floats = npt.NDArray[np.float64]
# For an interval over datasets.
FEWEST_DATASETS = 3
STANDING = "standing"
STATISTICS = ("pearson", "kendall", "weighted_kendall", "regret")
ALL = "all"
JUDGED_COLUMNS = (
    "setting", "dataset", "score", "label", "baseline", "statistic", "estimate", "low", "high",
    "difference", "difference_low", "difference_high", "n_models", "n_datasets",
)  # fmt: skip


class Judged(NamedTuple):
    """A predictor with its (M, D) values on its scale, NaN where unknown."""

    column: str
    label: str
    baseline: bool
    values: Floats


def judge_predictors(
    full: Matrix, setting: str, found: Sequence[tuple[Predictor, Matrix]], options: AnalysisOptions
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Judge predictors on the models and datasets of a setting.

    Parameters
    ----------
    full
        The results.
    setting
        Its name, for the rows.
    found
        Each predictor, with the same results beside its values.
    options
        The level of intervals.

    Returns
    -------
    tuple
        Rows of the table `predictors` (`JUDGED_COLUMNS`): ``pearson`` of the predictor on its scale
        with log odds, ``kendall`` (tau-b) and ``weighted_kendall`` (Vigna 2015, as in
        `scipy.stats.weightedtau`: exchanges among the best count more), and ``regret``: how much
        accuracy is lost by taking the model that the predictor ranks first, a proportion. Rows of
        dataset "all" are means over datasets with a t interval, and the `difference` from the
        baseline of mean standing, paired by dataset. And what is not given, with the reason.
    """
    if not found:
        return [], []
    judged = [_aligned(predictor, one, full) for predictor, one in found]
    judged = [one for one in judged if np.isfinite(one.values).any()]
    missing = [
        (f"predictor {predictor.label} ({setting})", "no value is known for this setting")
        for predictor, _ in found
        if predictor.column not in {one.column for one in judged}
    ]
    if len(full.datasets) > 1:
        judged.append(Judged(STANDING, "mean standing on other datasets", True, _standing(full)))
    rows: list[dict[str, Any]] = []
    few: list[str] = []
    for j, dataset in enumerate(full.datasets):
        there = [one for one in judged if np.isfinite(one.values[:, j]).any()]
        common = np.isfinite(full.scores[:, j])
        for one in there:
            common &= np.isfinite(one.values[:, j])
        if common.sum() < FEWEST_MODELS or np.ptp(full.scores[common, j]) == 0:
            few.append(dataset)
            continue
        for one in there:
            numbers = _judge(one.values[common, j], full.scores[common, j],
                             full.accuracy[common, j])  # fmt: skip
            rows += _rows(one, setting, dataset, numbers, int(common.sum()))
    if few:
        missing.append((
            f"predictors ({setting})",
            f"fewer than {FEWEST_MODELS} models with all predictors known, or all equal, on "
            + ", ".join(few),
        ))  # fmt: skip
    means, notes = _over_datasets(rows, judged, setting, options.level)
    return means + rows, missing + notes


def _aligned(predictor: Predictor, one: Matrix, full: Matrix) -> Judged:
    """Put a predictor's values in the order of the results."""
    values = predictor.scale.coordinates(one.only(full.models, full.datasets).predictor)
    baseline = predictor.column == UPSTREAM_ACCURACY.column
    return Judged(predictor.column, predictor.label, baseline, values)


def _standing(full: Matrix) -> Floats:
    """(M, D) mean log odds of each model over all datasets but this one, adjusted for gaps."""
    found = np.full(full.scores.shape, np.nan)
    for j in range(len(full.datasets)):
        others = np.delete(full.scores, j, axis=1)
        rows, columns = (np.isfinite(others).any(axis=axis) for axis in (1, 0))
        part = others[np.ix_(rows, columns)]
        if part.size and components(np.isfinite(part)).max(initial=0) == 0:
            found[rows, j] = additive_fit(part).mean
    return found


def _judge(values: Floats, scores: Floats, accuracy: Floats) -> dict[str, float]:
    """Judge one predictor on one dataset; it says nothing where all its values are equal."""
    # Of equals, each is as likely to be taken.
    chosen = accuracy[values == values.max()].mean()
    numbers = dict.fromkeys(STATISTICS, 0.0) | {"regret": float(accuracy.max() - chosen)}
    if np.ptp(values) > 0:
        numbers["pearson"] = float(pearsonr(values, scores).statistic)
        numbers["kendall"] = float(kendalltau(values, scores).statistic)
        numbers["weighted_kendall"] = float(weightedtau(scores, values).statistic)
    return numbers


def _rows(
    one: Judged, setting: str, dataset: str, numbers: Mapping[str, float], n_models: int
) -> list[dict[str, Any]]:
    head = {"setting": setting, "dataset": dataset, "score": one.column, "label": one.label}
    blank = dict.fromkeys(JUDGED_COLUMNS, np.nan)
    return [
        {**blank, **head, "baseline": one.baseline, "statistic": statistic, "estimate": value,
         "n_models": n_models, "n_datasets": 1}
        for statistic, value in numbers.items()
    ]  # fmt: skip


def _over_datasets(
    rows: list[dict[str, Any]], judged: Sequence[Judged], setting: str, level: float
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Average over datasets, with t intervals, and compare with the baseline of standing."""
    if not rows:
        return [], []
    frame = pd.DataFrame(rows)
    wide = frame.pivot(index="dataset", columns=["statistic", "score"], values="estimate")
    models = frame.groupby("dataset")["n_models"].first()
    means = []
    for one in judged:
        for statistic in STATISTICS:
            if (statistic, one.column) not in wide:
                continue
            values = wide[statistic, one.column].dropna()
            (row,) = _rows(one, setting, ALL, {statistic: float(values.mean())},
                           int(models[values.index].max()))  # fmt: skip
            row |= {"n_datasets": len(values)}
            row["low"], row["high"] = _interval(values.to_numpy(), level)
            if one.column != STANDING and (statistic, STANDING) in wide:
                apart = (wide[statistic, one.column] - wide[statistic, STANDING]).dropna()
                row["difference"] = float(apart.mean())
                ends = _interval(apart.to_numpy(), level)
                row["difference_low"], row["difference_high"] = ends
            means.append(row)
    ordered = sorted(means, key=lambda row: STATISTICS.index(row["statistic"]))
    n = len(wide)
    if n >= FEWEST_DATASETS:
        return ordered, []
    why = f"{n} {'dataset' if n == 1 else 'datasets'}; at least {FEWEST_DATASETS} are needed"
    return ordered, [(f"intervals of predictors over datasets ({setting})", why)]


def _interval(values: Floats, level: float) -> tuple[float, float]:
    """Return the t interval of a mean over datasets, NaN with too few."""
    n = len(values)
    if n < FEWEST_DATASETS:
        return np.nan, np.nan
    half = float(t.ppf((1 + level) / 2, n - 1)) * float(values.std(ddof=1)) / np.sqrt(n)
    return float(values.mean()) - half, float(values.mean()) + half
