"""Results -> cells: one number per model, dataset and setting, on the log-odds scale.

Here are also the options that all estimates from cells share, and what estimates are: rows of
tables, a generator of `Row` each.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import logit, ndtri

from headstart.errors import AnalysisError, TableError
from headstart.predictors import UPSTREAM_ACCURACY, Predictor, Scale
from headstart.spec.formatting import first_few
from headstart.stats import (
    ErrorBars,
    accuracy_of,
    additive_fit,
    components,
    edge_distance,
    log_odds,
    wilson_limits,
)

__all__ = [
    "AnalysisOptions",
    "Correction",
    "Floats",
    "Matrix",
    "Row",
    "Rows",
    "Weights",
    "at_edge",
    "cells_of",
    "edge_distances",
    "is_binomial",
    "matrix",
    "missing",
    "row",
    "seeds_said",
    "unconnected",
]

Floats = npt.NDArray[np.float64]
# The name of a table of an analysis, and a row of it; what estimates yield.
Row: TypeAlias = tuple[str, dict[str, Any]]
Rows: TypeAlias = Iterator[Row]
# So many names of a list are printed.
MOST_NAMED = 6
# Metrics that are proportions of independent examples; of others the binomial says nothing.
BINOMIAL = {"top1", "top1accuracy", "accuracy", "acc", "acc1", "top1acc"}


Correction = Literal["simultaneous", "none"]
Weights = Literal["equal", "n_test"]


@dataclass(frozen=True)
class AnalysisOptions:
    """The choices that an analysis leaves to its user.

    Parameters
    ----------
    error_bars
        "morey" (within-dataset standard errors, unbiased) or "cousineau" (as the paper drew them).
    correction
        For many comparisons at once: "simultaneous", by which all intervals of one family of
        comparisons hold together at `level` (Bonferroni's inequality), or "none", each by itself.
        Always printed with the tests.
    resamples
        Bootstrap resamples, and permutations of a permutation test.
    seed
        Of the bootstrap and the permutations.
    pairs
        Whether pairs of models over datasets are written also where there are many models.
    groups
        Dataset -> group of datasets that is analysed apart; None: by the size of their training
        sets, in each setting.
    weights
        What a dataset weighs in means over datasets, and so in correlations, ranks and comparisons
        of models: "equal", or its number of test images, "n_test". The mixed model and differences
        of settings are not weighted.
    level
        Coverage of all intervals; 1 - level is what a p-value is held against.
    """

    error_bars: ErrorBars = "morey"
    correction: Correction = "simultaneous"
    resamples: int = 10_000
    seed: int = 0
    groups: Mapping[str, str] | None = None
    pairs: bool = False
    weights: Weights = "equal"
    predictor: Predictor = UPSTREAM_ACCURACY
    level: float = 0.95

    def __post_init__(self) -> None:
        whole = isinstance(self.resamples, int), isinstance(self.seed, int)
        for name, value, holds, expected in (
            ("error_bars", self.error_bars, self.error_bars in get_args(ErrorBars),
             "morey or cousineau"),
            ("correction", self.correction, self.correction in get_args(Correction),
             "simultaneous or none"),
            ("weights", self.weights, self.weights in get_args(Weights), "equal or n_test"),
            ("resamples", self.resamples, whole[0] and self.resamples >= 100,
             "an integer of at least 100"),
            ("seed", self.seed, whole[1] and self.seed >= 0, "an integer of at least 0"),
        ):  # fmt: skip
            if not holds:
                raise AnalysisError(
                    f"invalid {name} '{value}': expected {expected}",
                    code="analysis.option", option=name, found=value,
                )  # fmt: skip

    @property
    def corrected(self) -> bool:
        """Whether comparisons are corrected for how many there are."""
        return self.correction == "simultaneous"


def row(table: str, /, **columns: Any) -> Row:
    """Return a row of a table."""
    return table, columns


def missing(what: str, why: str) -> Row:
    """Return the row of the table `missing` that states what is not given, and why."""
    return row("missing", what=what, why=why)


class Matrix(NamedTuple):
    """A setting as arrays: models by datasets, NaN where a cell is missing.

    `scores` (M, D) log odds, `accuracy` (M, D) proportions, `predictor` (M, D) in its own unit with
    its `scale`, NaN where unknown, `family` (M,) codes, `weight` (D,) of the datasets in means over
    them, None: all the same.
    """

    models: tuple[str, ...]
    datasets: tuple[str, ...]
    scores: Floats
    accuracy: Floats
    predictor: Floats
    scale: Scale
    family: npt.NDArray[np.int64]
    weight: Floats | None = None

    def take(self, models: npt.ArrayLike, datasets: npt.ArrayLike) -> "Matrix":
        """Keep these rows and columns (integer indices)."""
        rows, columns = np.asarray(models, dtype=int), np.asarray(datasets, dtype=int)
        return Matrix(
            tuple(self.models[i] for i in rows),
            tuple(self.datasets[i] for i in columns),
            self.scores[np.ix_(rows, columns)],
            self.accuracy[np.ix_(rows, columns)],
            self.predictor[np.ix_(rows, columns)],
            self.scale,
            self.family[rows],
            None if self.weight is None else self.weight[columns],
        )

    def only(self, models: Iterable[str], datasets: Iterable[str]) -> "Matrix":
        """Keep these rows and columns by their names, in this order."""
        rows = {name: i for i, name in enumerate(self.models)}
        columns = {name: i for i, name in enumerate(self.datasets)}
        return self.take([rows[name] for name in models], [columns[name] for name in datasets])

    def measured(self) -> "Matrix":
        """Leave out models and datasets that have no cell at all."""
        there = np.isfinite(self.scores)
        if there.any(axis=1).all() and there.any(axis=0).all():
            return self
        return self.take(np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0)))

    def unmeasured(self) -> Iterator[dict[str, Any]]:
        """Yield kind, name and number of missing cells of what `measured` leaves out."""
        there = np.isfinite(self.scores)
        kinds = ("model", self.models, 1), ("dataset", self.datasets, 0)
        for kind, names, axis in kinds:
            for i in np.flatnonzero(~there.any(axis=axis)):
                yield {"kind": kind, "name": names[i], "missing": there.shape[axis]}

    def predictable(self) -> "Matrix":
        """Leave out cells whose predictor is unknown, then models and datasets without a cell."""
        known = np.isfinite(self.predictor)
        return self._replace(scores=np.where(known, self.scores, np.nan)).measured()

    @property
    def values(self) -> Floats:
        """(M,) the predictor of each model, NaN where unknown.

        Where it differs by dataset it is the mean over datasets on its scale, adjusted for missing
        cells as `means` are.
        """
        low, high = self._ends()
        if not (high > low).any():
            return np.where(np.isfinite(low), low, np.nan)
        x = np.where(np.isfinite(self.scores), self.scale.coordinates(self.predictor), np.nan)
        rows, columns = (np.flatnonzero(np.isfinite(x).any(axis=axis)) for axis in (1, 0))
        means = np.full(len(x), np.nan)
        part = x[np.ix_(rows, columns)]
        if components(np.isfinite(part)).max(initial=0):
            means[rows] = np.nanmean(part, axis=1)
        else:
            weight = None if self.weight is None else self.weight[columns]
            means[rows] = additive_fit(part, weight).mean
        return self.scale.values(means)

    def _ends(self) -> tuple[Floats, Floats]:
        """(M,) smallest and largest value of each model's predictor; infinite where unknown."""
        known = np.isfinite(self.predictor)
        return (
            np.where(known, self.predictor, np.inf).min(axis=1, initial=np.inf),
            np.where(known, self.predictor, -np.inf).max(axis=1, initial=-np.inf),
        )

    @property
    def differs_by_dataset(self) -> bool:
        """Whether a model's predictor is not the same on all datasets."""
        low, high = self._ends()
        return bool((high > low).any())

    @property
    def x(self) -> Floats:
        """(M,) coordinates of `values` on the predictor's scale."""
        return self.scale.coordinates(self.values)

    @property
    def n_cells(self) -> int:
        """Cells that are there."""
        return int(np.isfinite(self.scores).sum())

    def means(self) -> tuple[Floats, Floats]:
        """Return (M,) mean log odds and mean accuracies over all datasets, adjusted for holes.

        By `headstart.stats.additive_fit`: plain means where no cell is missing. Every model and
        dataset needs a cell, and all have to be connected (`unconnected`).
        """
        accuracy = np.where(np.isfinite(self.scores), self.accuracy, np.nan)
        found = [additive_fit(values, self.weight).mean for values in (self.scores, accuracy)]
        return found[0], np.clip(found[1], 0, 1)


def cells_of(frame: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Average seeds on the log-odds scale; give each cell its interval.

    Parameters
    ----------
    frame
        Rows of one table (`headstart.analysis.tables.tidy_table.tidy`), one row per seed.
    level
        Coverage of the intervals.

    Returns
    -------
    pandas.DataFrame
        setting, model, family, dataset, metric, predictor, accuracy (of the mean log odds
        where there are several seeds), log_odds, low, high (95 % interval of the accuracy from the
        size of the test set, or from `se`; NaN where neither is known), n_test, n_seeds, seed_sd.

    Raises
    ------
    TableError
        An accuracy of exactly 0 or 1 where the size of the test set is unknown and no other
        accuracy says how it was rounded.
    """
    frame = frame.reset_index(drop=True)
    for name in ("n_test", "se", "predictor"):
        if name not in frame:
            frame[name] = np.nan
    if "metric" not in frame:
        frame["metric"] = None
    frame["log_odds"] = _log_odds(frame)
    frame["square"] = frame["se"] ** 2
    by = frame.groupby(["setting", "model", "dataset"], sort=False)
    cells = by.agg(
        family=("family", "first"),
        metric=("metric", "first"),
        predictor=("predictor", "first"),
        single=("accuracy", "first"),
        log_odds=("log_odds", "mean"),
        n_test=("n_test", "min"),
        se=("square", "mean"),
        n_seeds=("accuracy", "size"),
        seed_sd=("log_odds", "std"),
    ).reset_index()
    cells["se"] = np.sqrt(cells["se"])
    # A single number is given back as it came, not through the logit and back.
    cells["accuracy"] = cells["single"].where(cells["n_seeds"] == 1, accuracy_of(cells["log_odds"]))
    cells["low"], cells["high"] = _intervals(cells, level)
    order = ["setting", "model", "family", "dataset", "metric", "predictor", "accuracy",
             "log_odds", "low", "high", "n_test", "n_seeds", "seed_sd"]  # fmt: skip
    return cells[order]


def _log_odds(frame: pd.DataFrame) -> Floats:
    distance = edge_distances(frame)
    unknown = at_edge(frame) & ~(frame["n_test"] > 0) & ~(distance > 0)
    if unknown.any():
        row = frame[unknown].iloc[0]
        raise TableError(
            f"{row['model']} on {row['dataset']} ({row['setting']}) has an accuracy of exactly "
            f"{row['accuracy']:.0%}, whose log odds are infinite, and no accuracy in the table "
            "lies between 0 and 100 %: add a column n_test (number of test images)",
            code="table.edge_without_size",
            model=row["model"],
            dataset=row["dataset"],
            setting=row["setting"],
        )
    return np.asarray(log_odds(frame["accuracy"], frame["n_test"], distance))


def at_edge(frame: pd.DataFrame) -> pd.Series:
    """Return which accuracies are exactly 0 or 1."""
    return frame["accuracy"].isin([0.0, 1.0])


def edge_distances(frame: pd.DataFrame) -> pd.Series:
    """Return how far from 0 or 1 each row's accuracy is taken to be if it is one of the two.

    By the rule of `headstart.stats.edge_distance` on the accuracies of its dataset, or of the whole
    table where those are all 0 or 1.
    """
    edge = at_edge(frame)
    if not edge.any():
        return pd.Series(np.nan, index=frame.index)
    of_dataset = frame.groupby("dataset")["accuracy"].agg(edge_distance)
    return frame["dataset"].map(of_dataset).fillna(edge_distance(frame["accuracy"]))


def _intervals(cells: pd.DataFrame, level: float) -> tuple[Floats, Floats]:
    """(cells,) ends of the interval of each accuracy: from `se`, else from the test set's size."""
    accuracy, n, se = (cells[name].to_numpy(np.float64) for name in ("accuracy", "n_test", "se"))
    by_se = (se > 0) & (accuracy > 0) & (accuracy < 1)
    counted = (n > 0) & cells["metric"].map(is_binomial).to_numpy(dtype=bool)
    wilson = wilson_limits(accuracy, np.where(counted, n // 1, np.nan), level)
    # On the logit scale, where it cannot leave [0, 1].
    x = logit(np.where(by_se, accuracy, 0.5))
    half = ndtri((1 + level) / 2) * se / np.where(by_se, accuracy * (1 - accuracy), 1)
    low, high = (
        np.where(by_se, accuracy_of(end), np.where(counted, of_size, np.nan))
        for end, of_size in zip((x - half, x + half), wilson, strict=True)
    )
    return low, high


def is_binomial(metric: object) -> bool:
    """Return whether a metric is a proportion of independent test images; unknown counts as one."""
    plain = "".join(letter for letter in str(metric).lower() if letter.isalnum())
    return bool(pd.isna(metric)) or plain in BINOMIAL


def seeds_said(cells: pd.DataFrame) -> str:
    """Return how many seeds cells have and how far apart they are; nothing where each has one.

    Parameters
    ----------
    cells
        The table `cells` of an analysis.
    """
    if cells.empty or cells["n_seeds"].max() < 2:
        return ""
    fewest, most = cells["n_seeds"].min(), cells["n_seeds"].max()
    count = f"{most}" if fewest == most else f"{fewest} to {most}"
    return (
        f"{count} seeds per cell, averaged in log odds; their standard deviation within a cell: "
        f"median {cells['seed_sd'].median():.3f}, largest {cells['seed_sd'].max():.3f}"
    )


def matrix(
    cells: pd.DataFrame,
    setting: str,
    scale: Scale = UPSTREAM_ACCURACY.scale,
    weights: Weights = "equal",
) -> Matrix:
    """Arrange a setting's cells; models and datasets in an order that their numbers make.

    Neither the order of the table nor the names may decide anything: what is drawn at random
    depends on the order of the models.

    Raises
    ------
    AnalysisError
        Weights by the size of test sets, of which some are unknown.
    """
    rows = cells[cells["setting"] == setting]
    models, datasets = pd.unique(rows["model"]), pd.unique(rows["dataset"])
    family = rows.groupby("model", sort=False)["family"].first().loc[models]

    def arrange(name: str) -> Floats:
        wide = rows.pivot(index="model", columns="dataset", values=name)
        return np.asarray(wide.loc[models, datasets], dtype=np.float64)

    weight = None
    if weights == "n_test":
        # The median where models had several.
        sizes = rows.groupby("dataset", sort=False)["n_test"].median().loc[datasets]
        unknown = sorted(sizes.index[sizes.isna()])
        if unknown:
            raise AnalysisError(
                "--weights n_test: test-set sizes are missing for "
                f"{first_few(unknown, MOST_NAMED)}: add a column n_test (number of test images)",
                code="analysis.weights_unknown",
                datasets=unknown,
            )
        weight = np.asarray(sizes, dtype=np.float64)
    scores = arrange("log_odds")
    full = Matrix(
        tuple(models),
        tuple(datasets),
        scores,
        arrange("accuracy"),
        arrange("predictor"),
        scale,
        pd.factorize(family)[0].astype(np.int64),
        weight,
    )
    of_rows, of_columns = _order(scores, full.values), _order(scores.T, np.zeros(len(datasets)))
    codes = pd.factorize(family.iloc[of_rows])[0].astype(np.int64)[np.argsort(of_rows)]
    return full._replace(family=codes).take(of_rows, of_columns)


def _order(scores: Floats, first: Floats) -> npt.NDArray[np.int64]:
    """Order rows by `first`, then by their scores, whatever the order of the columns."""
    within = np.round(np.sort(scores, axis=1), 9)
    keys = np.column_stack([np.round(first, 9), within])
    return np.lexsort(np.where(np.isnan(keys), np.inf, keys).T[::-1])


def unconnected(part: Matrix) -> str:
    """Name the groups of models that share no dataset, not even through others; empty if none.

    Between such groups no table says which is better. The part has no empty row
    (`Matrix.measured`).
    """
    there = np.isfinite(part.scores)
    group = components(there)
    if group.max(initial=0) == 0:
        return ""
    said = []
    for number in range(group.max() + 1):
        models = [part.models[i] for i in np.flatnonzero(group == number)]
        datasets = [part.datasets[j] for j in np.flatnonzero(there[group == number].any(axis=0))]
        said.append(
            " on ".join(first_few(sorted(names), MOST_NAMED) for names in (models, datasets))
        )
    shown = "; ".join(said[:MOST_NAMED]) + ("; ..." if len(said) > MOST_NAMED else "")
    return (
        f"models and datasets are not connected: {len(said)} groups share no model and no dataset "
        f"({shown}); measure one model of each group on one dataset of another"
    )
