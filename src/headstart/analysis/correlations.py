"""Correlations of a predictor with transfer, and their lines, by groups of datasets."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart.analysis.cells import AnalysisOptions, Matrix, matrix, unconnected
from headstart.analysis.comparisons import shared
from headstart.analysis.published import published_sizes
from headstart.analysis.tables.joined_tables import EVERYTHING
from headstart.analysis.tables.joined_tables import EVERYTHING as ALL
from headstart.analysis.tables.text_tables import read_delimited
from headstart.errors import AnalysisError, TableError
from headstart.files import read_toml, storage_errors
from headstart.stats import (
    FEWEST_UNITS,
    CorrelationName,
    correlation_difference,
    correlation_interval,
    least_squares,
    resample_weights,
)

__all__ = [
    "FEWEST_FOR_INTERVAL",
    "FEWEST_MODELS",
    "LARGE",
    "SMALL",
    "check_groups",
    "compare_model_sets",
    "correlations",
    "groups_by_size",
    "read_groups",
]

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
    """One group of datasets: its name, size, and the models' adjusted means over it.

    `values` (M,) are the predictor, `scores` log odds.
    """

    group: str
    n_datasets: int
    values: Floats
    scores: Floats
    accuracy: Floats


def correlations(
    full: Matrix, setting: str, options: AnalysisOptions
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[tuple[str, str]]]:
    """Correlate mean log odds with the predictor over models, and fit the line.

    For all datasets, for each group of them, and for each dataset. Means are of all cells,
    adjusted where some are missing (`Matrix.means`); cells whose predictor is unknown take
    no part.

    Returns
    -------
    tuple
        Rows of the tables `correlations` and `lines`, and what is not given and why.
    """
    rows, lines = [], []
    known = full.predictable()
    by_models, notes = _by_models(known, options)
    for (models, _), scopes in by_models.items():
        values = scopes[0].values
        if len(models) < FEWEST_MODELS or np.ptp(values) == 0:
            continue
        family = known.family[list(models)]
        rows += _correlation_rows(setting, scopes, values, family, options)
        lines += _line_rows(setting, scopes, values, options)
    return rows, lines, [(f"correlation over {of} ({setting})", why) for of, why in notes]


def _by_models(
    known: Matrix, options: AnalysisOptions
) -> tuple[dict[tuple[tuple[int, ...], bytes], list[Scope]], list[tuple[str, str]]]:
    """Bring scopes with the same models and predictor together: they share their resamples.

    Also returns the groups of datasets whose cells do not connect the models, and why not.
    """
    places = {name: i for i, name in enumerate(known.datasets)}
    groups = {ALL: list(known.datasets)}
    for dataset, group in (options.groups or {}).items():
        if dataset in places:
            groups.setdefault(group, []).append(dataset)
    groups |= {name: [name] for name in known.datasets}
    found: dict[tuple[tuple[int, ...], bytes], list[Scope]] = {}
    notes = []
    of_model = {name: i for i, name in enumerate(known.models)}
    for group, members in groups.items():
        of_group = known.take(range(len(known.models)), [places[m] for m in members])
        part = of_group.measured()
        if why := unconnected(part):
            notes.append(("all datasets" if group == ALL else group, why))
        if why or not part.models:
            continue
        scope = Scope(group, len(part.datasets), part.values, *part.means())
        models = tuple(of_model[m] for m in part.models)
        found.setdefault((models, scope.values.tobytes()), []).append(scope)
    return found, notes


def _correlation_rows(
    setting: str, scopes: list[Scope], values: Floats, family: Codes, options: AnalysisOptions
) -> list[dict[str, Any]]:
    """Compute each statistic of each scope, with intervals for other models and other families."""
    models, x_scaled = np.arange(len(values)), options.predictor.scale.coordinates(values)
    families, codes = np.unique(family, return_inverse=True)
    scores = np.stack([scope.scores for scope in scopes], axis=1)
    accuracy = np.stack([scope.accuracy for scope in scopes], axis=1)
    found = {}
    for statistic, name in STATISTICS.items():
        plain = statistic == "pearson_plain"
        x, y = (values, accuracy) if plain else (x_scaled, scores)
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
    setting: str, scopes: list[Scope], values: Floats, options: AnalysisOptions
) -> list[dict[str, Any]]:
    """Fit each scope's least-squares line over the range of the models, with a pointwise band."""
    scale = options.predictor.scale
    x = scale.coordinates(values)
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
            "predictor": value,
            "log_odds": line[i, s],
            "low": low[i, s],
            "high": high[i, s],
        }
        for s, scope in enumerate(scopes)
        for i, value in enumerate(scale.values(grid))
    ]


def _resampled_lines(x: Floats, scores: Floats, options: AnalysisOptions) -> tuple[Floats, Floats]:
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


def compare_model_sets(
    cells: pd.DataFrame, others: pd.DataFrame, names: tuple[str, str], options: AnalysisOptions
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Rows of the table `model_sets`, and what is not given and why.

    For each setting that both have: Pearson's r of mean log odds of transfer with the predictor
    in each set, over the models, datasets and so the means that both share, and its difference
    (first less other). The intervals are for other models, each with its numbers in both sets
    (`headstart.stats.correlation_difference`): what makes a network easy to transfer is in both,
    and leaves the difference. There is no p-value: to exchange a model's two sets would test that
    they are alike in everything, accuracies included, and not that r is the same.

    Parameters
    ----------
    cells, others
        Tables `cells` of the two sets, matched by the names of settings, models and datasets
        (`headstart.analysis.tables.results_sources.align` gives them the same names).
    names
        What the two are called.

    Raises
    ------
    AnalysisError
        They share no setting, model or dataset.
    """
    for kind in ("setting", "model", "dataset"):
        _check_shared(kind, cells, others, names)
    rows: list[dict[str, Any]] = []
    notes, found = [], []
    for setting in pd.unique(cells["setting"]):
        if not (others["setting"] == setting).any():
            continue
        first, second = _common(
            *(matrix(one, setting, options.predictor.scale) for one in (cells, others))
        )
        if why := unconnected(first):
            notes.append((f"the two model sets ({setting})", why))
            continue
        found.append(len(first.models))
        if len(first.models) >= FEWEST_MODELS:
            rows.append(_row(setting, first, second, names, options))
    if not rows:
        why = (
            f"{max(found, default=0)} models with {options.predictor.label} and a shared dataset "
            f"in both; at least {FEWEST_MODELS} are needed"
        )
        notes.append(("correlations of the two model sets", why))
    return rows, notes


def _check_shared(
    kind: str, cells: pd.DataFrame, others: pd.DataFrame, names: tuple[str, str]
) -> None:
    found = [list(pd.unique(one[kind])) for one in (cells, others)]
    if set(found[0]).isdisjoint(found[1]):
        has = [f"{name} has {', '.join(of[:3])}{', ...' * (len(of) > 3)}"
               for name, of in zip(names, found, strict=True)]  # fmt: skip
        raise AnalysisError(
            f"{names[0]} against {names[1]}: they share no {kind}: {'; '.join(has)}: give what is "
            "the same in both the same name",
            code="analysis.nothing_shared", kind=kind, found=found,
        )  # fmt: skip


def _common(first: Matrix, second: Matrix) -> tuple[Matrix, Matrix]:
    """Take the cells that both have, of models whose predictor is known in both."""
    first, second = shared(first, second)
    known = np.isfinite(first.values) & np.isfinite(second.values)
    missing = ~(np.isfinite(first.scores) & np.isfinite(second.scores))
    parts = [
        one._replace(scores=np.where(missing, np.nan, one.scores))
        .take(np.flatnonzero(known), range(len(one.datasets)))
        .measured()
        for one in (first, second)
    ]
    return parts[0], parts[1]


def _row(
    setting: str, first: Matrix, second: Matrix, names: tuple[str, str], options: AnalysisOptions
) -> dict[str, Any]:
    pair = [(one.x, one.means()[0]) for one in (first, second)]
    n = len(first.models)
    units = np.arange(n)
    row: dict[str, Any] = {"setting": setting, "source": names[0], "other": names[1]}
    for of, (x, y) in zip(("", "other_"), pair, strict=True):
        r = correlation_interval("pearson", x, y[:, None], units, options.level)
        row |= {of + "r": r.estimate[0], of + "low": r.low[0], of + "high": r.high[0]}
    difference = correlation_difference(pair[0], pair[1], options.level)
    ends = ("difference_r", "difference_low", "difference_high")
    row |= dict(zip(ends, difference, strict=True))
    return row | {"n_models": n, "n_datasets": len(first.datasets)}


SPLIT = 10_000
SMALL, LARGE = "under 10,000 training images", "10,000 training images and over"


# Settings that train on another number of images than the dataset's own training set.
OTHER_SIZE = re.compile(
    r"zero.?shot|few.?shot|low.?shot|one.?shot|(?<![a-z0-9])k.?shot|\d+.?shot|vtab"
    r"|(?<![a-z0-9.])\d+(\.\d+)?\s*[-_ ]?(k|%|pct|percent|labels?|examples?|images?|samples?)"
    r"(?![a-z0-9])|per.?class|semi.?supervised|subset|low.?data|prompt",
    re.IGNORECASE,
)


def groups_by_size(frame: pd.DataFrame) -> dict[str, str]:
    """Report datasets under and over 10,000 training images (validation counted) apart.

    Sizes come from a column ``n_train``, else from Table 1 of Kornblith et al. (2019) by the
    dataset's name; a dataset of unknown size is in neither group. The published size is not used
    where a setting says that it trains on another number of images (zero-shot, 5-shot, VTAB-1k,
    10 %) or a column says that subsets were drawn. With all datasets in one group there is nothing
    to tell apart, and no group.

    Parameters
    ----------
    frame
        Rows of one setting, or of several that are analysed together.
    """
    groups = {}
    for dataset, rows in frame.groupby("dataset", sort=False):
        known = rows["n_train"].dropna() if "n_train" in rows else pd.Series(dtype="float64")
        published = published_sizes(str(dataset)) if _whole_training_set(rows) else None
        # The largest, where subsets were drawn.
        size = known.max() if len(known) else published.n_train if published else None
        if size is not None:
            groups[str(dataset)] = SMALL if size < SPLIT else LARGE
    if len(set(groups.values())) < 2:
        return {}
    return dict(sorted(groups.items(), key=lambda item: item[1] != SMALL))


def _whole_training_set(rows: pd.DataFrame) -> bool:
    """Report whether nothing says that a dataset's rows were trained on a part of it."""
    if any(name in rows and rows[name].notna().any() for name in ("examples_per_class", "limit")):
        return False
    settings = rows["setting"].unique() if "setting" in rows else []
    return not any(OTHER_SIZE.search(str(setting)) for setting in settings)


def read_groups(path: Path, datasets: list[str]) -> dict[str, str]:
    """Read which dataset is in which group.

    A TOML file (``fine-grained = ["Birdsnap", "Stanford Cars"]``) or a CSV with columns ``dataset``
    and ``group``.

    Parameters
    ----------
    datasets
        The names in the table of results.

    Raises
    ------
    TableError
        Neither form, a dataset that is not in the table, or one in two groups.
    """
    with storage_errors(path, reading=True):
        content = path.read_bytes()
    pairs = _from_toml(content, path) if path.suffix == ".toml" else _from_csv(content, path)
    groups: dict[str, str] = {}
    check_groups(pairs, datasets, str(path))
    for dataset, group in pairs:
        if groups.setdefault(dataset, group) != group:
            raise TableError(f"{path}: dataset '{dataset}' is in two groups: keep it in one",
                             code="table.group_twice", dataset=dataset)  # fmt: skip
    return groups


def check_groups(pairs: Iterable[tuple[str, str]], datasets: list[str], where: str) -> None:
    """Raise TableError for a dataset that is not there, or a name that no group can have."""
    for dataset, group in pairs:
        if dataset not in datasets:
            raise TableError(
                f"{where}: dataset '{dataset}' is not in the table; it has: {', '.join(datasets)}",
                code="table.group_dataset",
                dataset=dataset,
                found=datasets,
            )
        if not group.strip() or group == EVERYTHING or group in datasets:
            raise TableError(
                f"{where}: a group cannot be called '{group}': expected a name that is not empty, "
                f"not '{EVERYTHING}' and no dataset's",
                code="table.group_name",
                group=group,
            )


def _from_toml(content: bytes, path: Path) -> list[tuple[str, str]]:
    pairs = []
    for group, members in read_toml(content, f"groups {path}", TableError).items():
        if not isinstance(members, list):
            raise TableError(f"{path}: invalid group '{group}': expected a list of datasets",
                             code="table.group_form", group=group)  # fmt: skip
        pairs += [(str(member), group) for member in members]
    return pairs


def _from_csv(content: bytes, path: Path) -> list[tuple[str, str]]:
    frame = read_delimited(content, str(path))
    if not {"dataset", "group"} <= set(frame.columns) or not frame.columns.is_unique:
        raise TableError(
            f"{path}: expected columns dataset and group, found {', '.join(frame.columns)}",
            code="table.group_columns",
            found=list(frame.columns),
        )
    return list(zip(frame["dataset"], frame["group"], strict=True))
