"""How far upstream accuracy goes with transfer: correlations and lines."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import logit

from headstart.analysis.agree import EVERYTHING as ALL
from headstart.analysis.cells import Matrix, unconnected
from headstart.analysis.options import Options
from headstart.stats import (
    FEWEST_UNITS,
    CorrelationName,
    accuracy_of,
    correlation_interval,
    least_squares,
    resample_weights,
)

__all__ = ["ALL", "FEWEST_FOR_INTERVAL", "FEWEST_MODELS", "correlations"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
# Through two points there is always a line.
FEWEST_MODELS = 3
FEWEST_FOR_INTERVAL = FEWEST_UNITS
LINE_POINTS = 41
STATISTICS: dict[str, CorrelationName] = {
    "pearson_logit": "pearson",
    "pearson_plain": "pearson",
    "spearman": "spearman",
    "kendall": "kendall",
}
# Weights of so many resamples are in memory together.
RESAMPLES_AT_ONCE = 1000


class Scope(NamedTuple):
    """One group of datasets: its name, size, and the models' adjusted means over it."""

    group: str
    n_datasets: int
    scores: Floats
    accuracy: Floats


def correlations(
    full: Matrix, setting: str, options: Options
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[tuple[str, str]]]:
    """Correlate mean log odds with upstream accuracy over models, and fit the line.

    For all datasets, for each group of them, and for each dataset. Means are of all cells,
    adjusted where some are missing (`Matrix.means`); models whose upstream accuracy is unknown take
    no part.

    Returns
    -------
    tuple
        Rows of the tables `correlations` and `lines`, and what is not given and why.
    """
    rows, lines = [], []
    known = full.take(np.flatnonzero(np.isfinite(full.upstream)), range(len(full.datasets)))
    by_models, notes = _by_models(known, options)
    for models, scopes in by_models.items():
        upstream = known.upstream[list(models)]
        if len(models) < FEWEST_MODELS or np.ptp(upstream) == 0:
            continue
        family = known.family[list(models)]
        rows += _correlation_rows(setting, scopes, upstream, family, options)
        lines += _line_rows(setting, scopes, upstream, options)
    return rows, lines, [(f"correlation over {of} ({setting})", why) for of, why in notes]


def _by_models(
    known: Matrix, options: Options
) -> tuple[dict[tuple[int, ...], list[Scope]], list[tuple[str, str]]]:
    """Bring scopes with the same models together: they share their resamples.

    Also returns the groups of datasets whose cells do not connect the models, and why not.
    """
    places = {name: i for i, name in enumerate(known.datasets)}
    groups = {ALL: list(known.datasets)}
    for dataset, group in (options.groups or {}).items():
        if dataset in places:
            groups.setdefault(group, []).append(dataset)
    groups |= {name: [name] for name in known.datasets}
    found: dict[tuple[int, ...], list[Scope]] = {}
    notes = []
    of_model = {name: i for i, name in enumerate(known.models)}
    for group, members in groups.items():
        of_group = known.take(range(len(known.models)), [places[m] for m in members])
        part = of_group.measured()
        if why := unconnected(part):
            notes.append(("all datasets" if group == ALL else group, why))
        if why or not part.models:
            continue
        scope = Scope(group, len(part.datasets), *part.means())
        found.setdefault(tuple(of_model[m] for m in part.models), []).append(scope)
    return found, notes


def _correlation_rows(
    setting: str, scopes: list[Scope], upstream: Floats, family: Codes, options: Options
) -> list[dict[str, Any]]:
    """Compute each statistic of each scope, with intervals for other models and other families."""
    models = np.arange(len(upstream))
    families, codes = np.unique(family, return_inverse=True)
    scores = np.stack([scope.scores for scope in scopes], axis=1)
    accuracy = np.stack([scope.accuracy for scope in scopes], axis=1)
    found = {}
    for statistic, name in STATISTICS.items():
        plain = statistic == "pearson_plain"
        x, y = (upstream, accuracy) if plain else (logit(upstream), scores)
        by_model = correlation_interval(name, x, y, models, options.level)
        # Where each model is a family of its own, there is nothing to cluster.
        by_family = (
            correlation_interval(name, x, y, codes, options.level)
            if FEWEST_FOR_INTERVAL <= len(families) < len(models)
            else None
        )
        found[statistic] = by_model, by_family
    return [
        {
            "setting": setting,
            "group": scope.group,
            "statistic": statistic,
            "estimate": by_model.estimate[s],
            "low": by_model.low[s],
            "high": by_model.high[s],
            "low_family": np.nan if by_family is None else by_family.low[s],
            "high_family": np.nan if by_family is None else by_family.high[s],
            "n_models": len(models),
            "n_datasets": scope.n_datasets,
            "n_families": len(families),
        }
        for s, scope in enumerate(scopes)
        for statistic, (by_model, by_family) in found.items()
    ]


def _line_rows(
    setting: str, scopes: list[Scope], upstream: Floats, options: Options
) -> list[dict[str, Any]]:
    """Fit each scope's least-squares line over the range of the models, with a pointwise band."""
    x = logit(upstream)
    scores = np.stack([scope.scores for scope in scopes], axis=1)
    grid = np.linspace(x.min(), x.max(), LINE_POINTS)
    slope, intercept = least_squares(np.ones((1, len(x))), x, scores)
    # (points, S)
    line = intercept + grid[:, None] * slope
    low, high = np.full_like(line, np.nan), np.full_like(line, np.nan)
    if len(x) >= FEWEST_FOR_INTERVAL:
        slopes, intercepts = _resampled_lines(x, scores, options)
        ends = [(1 - options.level) / 2, (1 + options.level) / 2]
        for s in range(len(scopes)):
            of_scope = intercepts[:, s, None] + slopes[:, s, None] * grid
            low[:, s], high[:, s] = np.quantile(of_scope, ends, axis=0)
    return [
        {
            "setting": setting,
            "group": scope.group,
            "upstream_accuracy": accuracy,
            "log_odds": line[i, s],
            "low": low[i, s],
            "high": high[i, s],
        }
        for s, scope in enumerate(scopes)
        for i, accuracy in enumerate(accuracy_of(grid))
    ]


def _resampled_lines(x: Floats, scores: Floats, options: Options) -> tuple[Floats, Floats]:
    """(B, S) slopes and intercepts of resampled models, without those of one model alone."""
    # A generator for each set of models: the band of one does not depend on which others there are.
    random = np.random.default_rng(options.seed)
    parts = []
    for start in range(0, options.resamples, RESAMPLES_AT_ONCE):
        n = min(RESAMPLES_AT_ONCE, options.resamples - start)
        parts.append(least_squares(resample_weights(len(x), n, random), x, scores))
    slopes, intercepts = (np.concatenate(part) for part in zip(*parts, strict=True))
    drawn = np.isfinite(slopes).all(axis=1)
    return slopes[drawn], intercepts[drawn]
