"""How far upstream accuracy goes with transfer: correlations, lines, and the mixed model."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import logit

from headstart.analysis.agree import EVERYTHING as ALL
from headstart.analysis.cells import Dropped, Matrix, complete
from headstart.analysis.options import Options
from headstart.stats import (
    CORRELATIONS,
    accuracy_of,
    bca_interval,
    cluster_weights,
    jackknife_weights,
    least_squares,
    mixed_model,
    pearson,
    resample_weights,
)

__all__ = ["ALL", "FEWEST_FOR_INTERVAL", "FEWEST_MODELS", "correlations", "mixed"]

Floats = npt.NDArray[np.float64]
# Through two points there is always a line.
FEWEST_MODELS = 3
# With fewer units a bootstrap says little more than that there are few.
FEWEST_FOR_INTERVAL = 5
LINE_POINTS = 41
STATISTICS = ("pearson_logit", "pearson_plain", "spearman", "kendall")


class Scope(NamedTuple):
    """One group of datasets: its name, size, the models' means over it, and what was left out."""

    group: str
    n_datasets: int
    scores: Floats
    accuracy: Floats
    dropped: list[Dropped]


def correlations(
    full: Matrix, setting: str, options: Options
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Correlate mean log odds with upstream accuracy over models, and fit the line.

    For all datasets, for each group of them, and for each dataset. Means are over a complete
    sub-table; models whose upstream accuracy is unknown take no part.

    Returns
    -------
    tuple
        Rows of the tables `correlations`, `lines` and `dropped`.
    """
    rows, lines, dropped = [], [], []
    known = full.take(np.flatnonzero(np.isfinite(full.upstream)), range(len(full.datasets)))
    for models, scopes in _by_models(known, options):
        upstream = known.upstream[list(models)]
        if len(models) < FEWEST_MODELS or np.ptp(upstream) == 0:
            continue
        data = Data(
            upstream,
            np.stack([scope.scores for scope in scopes], axis=1),
            np.stack([scope.accuracy for scope in scopes], axis=1),
        )
        # A generator a set of models: the estimates of one do not depend on which others there are.
        random = np.random.default_rng(options.seed)
        weights = _Weights(known.family[list(models)], options, random)
        rows += _correlation_rows(setting, scopes, data, weights, options)
        lines += _line_rows(setting, scopes, data, weights, options)
        dropped += [
            {"setting": setting, "table": f"correlations: {scope.group}", **one._asdict()}
            for scope in scopes
            if scope.n_datasets > 1
            for one in scope.dropped
        ]
    return rows, lines, dropped


class Data(NamedTuple):
    """(M,) upstream proportions; (M, S) mean log odds and mean accuracies, a column a scope."""

    upstream: Floats
    scores: Floats
    accuracy: Floats

    def statistic(self, name: str, weights: Floats) -> Floats:
        """(B, S) of one of `STATISTICS`."""
        x = logit(self.upstream)
        if name == "pearson_plain":
            return pearson(weights, self.upstream, self.accuracy)
        return CORRELATIONS[name.removesuffix("_logit")](weights, x, self.scores)


class _Weights:
    """Resamples of models and of families of models, None where there are too few."""

    def __init__(
        self, family: npt.NDArray[np.int64], options: Options, random: np.random.Generator
    ) -> None:
        families, codes = np.unique(family, return_inverse=True)
        n, self.n_families = len(family), len(families)
        self.data = np.ones((1, n))
        self.models = self.families = None
        if n >= FEWEST_FOR_INTERVAL:
            self.models = (resample_weights(n, options.resamples, random), jackknife_weights(n))
        # Where each model is a family of its own, there is nothing to cluster.
        if FEWEST_FOR_INTERVAL <= self.n_families < n:
            self.families = (
                cluster_weights(
                    resample_weights(self.n_families, options.resamples, random), codes
                ),
                cluster_weights(jackknife_weights(self.n_families), codes),
            )


def _by_models(known: Matrix, options: Options) -> Iterator[tuple[tuple[int, ...], list[Scope]]]:
    """Bring scopes with the same models together: they share their resamples."""
    places = {name: i for i, name in enumerate(known.datasets)}
    groups = {ALL: list(known.datasets)}
    for dataset, group in options.groups.items():
        if dataset in places:
            groups.setdefault(group, []).append(dataset)
    groups |= {name: [name] for name in known.datasets}
    found: dict[tuple[int, ...], list[Scope]] = {}
    of_model = {name: i for i, name in enumerate(known.models)}
    for group, members in groups.items():
        part, dropped = complete(known.take(range(len(known.models)), [places[m] for m in members]))
        if not part.models:
            continue
        means = part.scores.mean(axis=1), part.accuracy.mean(axis=1)
        scope = Scope(group, len(part.datasets), *means, dropped)
        found.setdefault(tuple(of_model[m] for m in part.models), []).append(scope)
    yield from found.items()


def _correlation_rows(
    setting: str, scopes: list[Scope], data: Data, weights: _Weights, options: Options
) -> list[dict[str, Any]]:
    nothing = np.full(len(scopes), np.nan)
    rows = []
    for name in STATISTICS:
        estimate = data.statistic(name, weights.data)[0]
        intervals = []
        for pair in (weights.models, weights.families):
            if pair is None:
                intervals += [nothing, nothing]
            else:
                drawn, left_out = (data.statistic(name, one) for one in pair)
                intervals += bca_interval(drawn, estimate, left_out, options.level)
        for s, scope in enumerate(scopes):
            rows.append(
                {
                    "setting": setting,
                    "group": scope.group,
                    "statistic": name,
                    "estimate": estimate[s],
                    "low": intervals[0][s],
                    "high": intervals[1][s],
                    "low_family": intervals[2][s],
                    "high_family": intervals[3][s],
                    "n_models": len(data.upstream),
                    "n_datasets": scope.n_datasets,
                    "n_families": weights.n_families,
                }
            )
    return sorted(rows, key=lambda row: [scope.group for scope in scopes].index(row["group"]))


def _line_rows(
    setting: str, scopes: list[Scope], data: Data, weights: _Weights, options: Options
) -> list[dict[str, Any]]:
    """Give each scope's least-squares line over the range of the models, with a pointwise band."""
    x = logit(data.upstream)
    grid = np.linspace(x.min(), x.max(), LINE_POINTS)
    slope, intercept = least_squares(weights.data, x, data.scores)
    # (points, S)
    line = intercept + grid[:, None] * slope
    low, high = np.full_like(line, np.nan), np.full_like(line, np.nan)
    if weights.models is not None:
        slopes, intercepts = least_squares(weights.models[0], x, data.scores)
        ends = [(1 - options.level) / 2, (1 + options.level) / 2]
        # A resample of one model alone has no line.
        drawn = np.isfinite(slopes).all(axis=1)
        for s in range(len(scopes)):
            of_scope = intercepts[drawn, s, None] + slopes[drawn, s, None] * grid
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


def mixed(full: Matrix, setting: str, options: Options) -> dict[str, Any] | None:
    """Fit the mixed model to all cells whose model has an upstream accuracy.

    None where there is nothing to estimate: under three models, under two datasets, upstream
    accuracies that are all the same, or too few cells to tell models, datasets and residual apart.
    """
    rows, columns = np.nonzero(np.isfinite(full.scores) & np.isfinite(full.upstream)[:, None])
    n_models, n_datasets = len(np.unique(rows)), len(np.unique(columns))
    upstream = full.upstream[rows]
    if n_models < FEWEST_MODELS or n_datasets < 2 or np.ptp(upstream) == 0:
        return None
    _, model = np.unique(rows, return_inverse=True)
    _, dataset = np.unique(columns, return_inverse=True)
    try:
        fitted = mixed_model(
            full.scores[rows, columns], logit(upstream), model, dataset, options.level
        )
    except (ValueError, np.linalg.LinAlgError):
        return None
    return {
        "setting": setting,
        **fitted._asdict(),
        "n_models": n_models,
        "n_datasets": n_datasets,
    }
