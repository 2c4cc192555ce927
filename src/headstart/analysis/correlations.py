"""Correlations of predictors with transfer: one with its lines, and several judged.

By groups of datasets, which are given in a file or made by the sizes of training sets.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart.analysis.cells import (
    AnalysisOptions,
    Floats,
    Matrix,
    Rows,
    missing,
    row,
    unconnected,
)
from headstart.analysis.published import published_sizes
from headstart.analysis.tables.joined_tables import EVERYTHING as ALL
from headstart.analysis.tables.text_tables import read_delimited
from headstart.errors import TableError
from headstart.files import read_toml, storage_errors
from headstart.predictors import UPSTREAM_ACCURACY, Predictor
from headstart.spec.formatting import count
from headstart.stats import (
    FEWEST_UNITS,
    CorrelationName,
    additive_fit,
    components,
    correlation_interval,
    crossed_mean,
    least_squares,
    resample_weights,
)

__all__ = [
    "FEWEST_FOR_INTERVAL",
    "FEWEST_MODELS",
    "JUDGED_COLUMNS",
    "LARGE",
    "SMALL",
    "check_groups",
    "correlations",
    "groups_by_size",
    "judge_predictors",
    "read_groups",
]

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
# Training images, validation counted, from which on a dataset is large.
SPLIT = 10_000
SMALL, LARGE = "under 10,000 training images", "10,000 training images and over"
# Settings that train on another number of images than the dataset's own training set.
OTHER_SIZE = re.compile(
    r"zero.?shot|few.?shot|low.?shot|one.?shot|(?<![a-z0-9])k.?shot|\d+.?shot|vtab"
    r"|(?<![a-z0-9.])\d+(\.\d+)?\s*[-_ ]?(k|%|pct|percent|labels?|examples?|images?|samples?)"
    r"(?![a-z0-9])|per.?class|semi.?supervised|subset|low.?data|prompt",
    re.IGNORECASE,
)
# Judged predictors: what there is of each on each dataset, and over datasets.
JUDGED = ("pearson", "kendall", "weighted_kendall", "regret")
STANDING = "standing"
# For an interval over datasets.
FEWEST_DATASETS = 3
JUDGED_COLUMNS = (
    "setting", "dataset", "score", "label", "baseline", "statistic", "estimate", "low", "high",
    "difference", "difference_low", "difference_high", "n_models", "n_datasets",
)  # fmt: skip


class Scope(NamedTuple):
    """One group of datasets: its name, size, and the models' adjusted means over it.

    `models` (M,) are their indices, `values` (M,) the predictor, `scores` log odds.
    """

    group: str
    n_datasets: int
    models: npt.NDArray[np.intp]
    values: Floats
    scores: Floats
    accuracy: Floats


def correlations(full: Matrix, setting: str, options: AnalysisOptions) -> Rows:
    """Yield rows of `correlations` and `lines`: mean log odds on the predictor over models.

    For all datasets, for each group of them, and for each dataset. Means are of all cells,
    adjusted where some are missing (`Matrix.means`); cells whose predictor is unknown take
    no part.
    """
    known = full.predictable()
    places = {name: i for i, name in enumerate(known.datasets)}
    groups = {ALL: list(known.datasets)}
    for dataset, group in (options.groups or {}).items():
        if dataset in places:
            groups.setdefault(group, []).append(dataset)
    groups |= {name: [name] for name in known.datasets}
    # Scopes with the same models and predictor share their resamples.
    alike: dict[tuple[bytes, bytes], list[Scope]] = {}
    for group, members in groups.items():
        of_group = known.take(range(len(known.models)), [places[m] for m in members])
        part = of_group.measured()
        if why := unconnected(part):
            of = "all datasets" if group == ALL else group
            yield missing(f"correlation over {of} ({setting})", why)
        elif part.models:
            models = np.flatnonzero(np.isfinite(of_group.scores).any(axis=1))
            scope = Scope(group, len(part.datasets), models, part.values, *part.means())
            key = models.tobytes(), scope.values.tobytes()
            alike.setdefault(key, []).append(scope)
    for scopes in alike.values():
        first = scopes[0]
        if len(first.models) >= FEWEST_MODELS and np.ptp(first.values) > 0:
            yield from _correlations(setting, scopes, known.family[first.models], options)
            yield from _lines(setting, scopes, options)


def _correlations(
    setting: str, scopes: list[Scope], family: npt.NDArray[np.int64], options: AnalysisOptions
) -> Rows:
    """Compute each statistic of each scope, with intervals for other models and other families."""
    values = scopes[0].values
    models, x_scaled = np.arange(len(values)), options.predictor.scale.coordinates(values)
    families, codes = np.unique(family, return_inverse=True)
    scores = np.stack([scope.scores for scope in scopes], axis=1)
    accuracy = np.stack([scope.accuracy for scope in scopes], axis=1)
    # Where each model is a family of its own, there is nothing to cluster.
    clustered = FEWEST_FOR_INTERVAL <= len(families) < len(models)
    found = {}
    for statistic, name in STATISTICS.items():
        plain = statistic == "pearson_plain"
        x, y = (values, accuracy) if plain else (x_scaled, scores)
        by_model = correlation_interval(name, x, y, models, options.level)
        by_family = None
        if clustered:
            by_family = correlation_interval(name, x, y, codes, options.level)
        found[statistic] = by_model, by_family
    for s, scope in enumerate(scopes):
        for statistic, (by_model, by_family) in found.items():
            yield row(
                "correlations",
                setting=setting,
                group=scope.group,
                statistic=statistic,
                estimate=by_model.estimate[s],
                low=by_model.low[s],
                high=by_model.high[s],
                low_family=np.nan if by_family is None else by_family.low[s],
                high_family=np.nan if by_family is None else by_family.high[s],
                n_models=len(models),
                n_datasets=scope.n_datasets,
                n_families=len(families),
            )


def _lines(setting: str, scopes: list[Scope], options: AnalysisOptions) -> Rows:
    """Fit each scope's least-squares line over the range of the models, with a pointwise band."""
    scale = options.predictor.scale
    x = scale.coordinates(scopes[0].values)
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
    for s, scope in enumerate(scopes):
        for i, value in enumerate(scale.values(grid)):
            yield row("lines", setting=setting, group=scope.group, predictor=value,
                      log_odds=line[i, s], low=low[i, s], high=high[i, s])  # fmt: skip


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


def judge_predictors(
    full: Matrix, setting: str, found: Sequence[tuple[Predictor, Matrix]], options: AnalysisOptions
) -> Rows:
    """Yield rows of the table `predictors`: how well each ranks models, and the cost of its choice.

    Each is judged on every dataset alone, over the models of which it and all others are known
    there, and then over datasets. Two baselines that published work often leaves out stand beside
    them: upstream accuracy, and the mean standing of a model on the other datasets.

    ``pearson`` is of the predictor on its scale with log odds, ``kendall`` tau-b,
    ``weighted_kendall`` that of Vigna (2015, `scipy.stats.weightedtau`: exchanges among the best
    count more), and ``regret`` how much accuracy is lost by taking the model that the predictor
    ranks first, a proportion. Rows of dataset "all" are means over datasets with a t interval, and
    the `difference` from the baseline of mean standing, paired by dataset. `found` has each
    predictor with the same results beside its values.
    """
    # Predictor -> its (M, D) values on its scale, NaN where unknown.
    judged: dict[str, Floats] = {}
    named: dict[str, dict[str, Any]] = {}
    for predictor, one in found:
        values = one.only(full.models, full.datasets).predictor
        if not np.isfinite(values).any():
            what = f"predictor {predictor.label} ({setting})"
            yield missing(what, "no value is known for this setting")
            continue
        judged[predictor.column] = predictor.scale.coordinates(values)
        baseline = predictor.column == UPSTREAM_ACCURACY.column
        named[predictor.column] = {"label": predictor.label, "baseline": baseline}
    if len(full.datasets) > 1:
        judged[STANDING] = _standing(full)
        named[STANDING] = {"label": "mean standing on other datasets", "baseline": True}
    rows, few = _on_each_dataset(full, setting, judged, named)
    if few:
        yield missing(
            f"predictors ({setting})",
            f"fewer than {FEWEST_MODELS} models with all predictors known, or all equal, on "
            + ", ".join(few),
        )
    if rows:
        yield from _over_datasets(pd.DataFrame(rows), setting, options.level)
    for judgement in rows:
        yield row("predictors", **judgement)


def _on_each_dataset(
    full: Matrix, setting: str, judged: dict[str, Floats], named: dict[str, dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Judge on each dataset alone; return the datasets with too few models, too."""
    rows: list[dict[str, Any]] = []
    few = []
    for j, dataset in enumerate(full.datasets):
        there = {name: x[:, j] for name, x in judged.items() if np.isfinite(x[:, j]).any()}
        use = np.isfinite(np.column_stack([full.scores[:, j], *there.values()])).all(axis=1)
        if use.sum() < FEWEST_MODELS or np.ptp(full.scores[use, j]) == 0:
            few.append(dataset)
            continue
        rows += [
            {"setting": setting, "dataset": dataset, "score": name, **named[name],
             "statistic": statistic, "estimate": value, "n_models": int(use.sum()),
             "n_datasets": 1}
            for name, x in there.items()
            for statistic, value in _judge(x[use], full.scores[use, j],
                                           full.accuracy[use, j]).items()
        ]  # fmt: skip
    return rows, few


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
    # Takes most of a second to import, which a table of results need not wait for.
    from scipy.stats import kendalltau, pearsonr, weightedtau

    # Of equals, each is as likely to be taken.
    chosen = accuracy[values == values.max()].mean()
    numbers = dict.fromkeys(JUDGED, 0.0) | {"regret": float(accuracy.max() - chosen)}
    if np.ptp(values) > 0:
        numbers["pearson"] = float(pearsonr(values, scores).statistic)
        numbers["kendall"] = float(kendalltau(values, scores).statistic)
        numbers["weighted_kendall"] = float(weightedtau(scores, values).statistic)
    return numbers


def _over_datasets(frame: pd.DataFrame, setting: str, level: float) -> Rows:
    """Average over datasets, with t intervals, and compare with the baseline of standing."""
    wide = frame.pivot(index="dataset", columns=["statistic", "score"], values="estimate")

    def mean(values: pd.Series) -> tuple[float, float, float]:
        found = crossed_mean(values.dropna().to_numpy()[:, None], level)
        interval = (found.low, found.high) if values.count() >= FEWEST_DATASETS else (np.nan,) * 2
        return found.mean, *interval

    ordered = frame.sort_values("statistic", key=lambda of: of.map(JUDGED.index), kind="stable")
    for (statistic, score), of in ordered.groupby(["statistic", "score"], sort=False):
        own = wide[statistic, score]
        one = of.iloc[0][["setting", "score", "label", "baseline", "statistic"]].to_dict()
        one |= dict(zip(("estimate", "low", "high"), mean(own), strict=True))
        if score != STANDING and (statistic, STANDING) in wide:
            apart = mean(own - wide[statistic, STANDING])
            one |= {"difference": apart[0], "difference_low": apart[1], "difference_high": apart[2]}
        yield row("predictors", **one, dataset=ALL, n_models=int(of["n_models"].max()),
                  n_datasets=len(of))  # fmt: skip
    if len(wide) < FEWEST_DATASETS:
        yield missing(
            f"intervals of predictors over datasets ({setting})",
            f"{count(len(wide), 'dataset')}; at least {FEWEST_DATASETS} are needed",
        )


def groups_by_size(frame: pd.DataFrame) -> dict[str, str]:
    """Report datasets under and over 10,000 training images (validation counted) apart.

    Sizes come from a column ``n_train``, else from Table 1 of Kornblith et al. (2019) by the
    dataset's name; a dataset of unknown size is in neither group. The published size is not used
    where a setting says that it trains on another number of images (zero-shot, 5-shot, VTAB-1k,
    10 %) or a column says that subsets were drawn. With all datasets in one group there is nothing
    to tell apart, and no group.
    """
    groups = {}
    for dataset, rows in frame.groupby("dataset", sort=False):
        known = rows["n_train"].dropna() if "n_train" in rows else pd.Series(dtype="float64")
        published = None if _is_subset(rows) else published_sizes(str(dataset))
        # The largest, where subsets were drawn.
        size = known.max() if len(known) else published.n_train if published else None
        if size is not None:
            groups[str(dataset)] = SMALL if size < SPLIT else LARGE
    if len(set(groups.values())) < 2:
        return {}
    return dict(sorted(groups.items(), key=lambda item: item[1] != SMALL))


def _is_subset(rows: pd.DataFrame) -> bool:
    """Report whether something says that a dataset's rows were trained on a part of it."""
    if any(name in rows and rows[name].notna().any() for name in ("examples_per_class", "limit")):
        return True
    settings = rows["setting"].unique() if "setting" in rows else []
    return any(OTHER_SIZE.search(str(setting)) for setting in settings)


def read_groups(path: Path, datasets: list[str]) -> dict[str, str]:
    """Read which dataset is in which group.

    A TOML file (``fine-grained = ["Birdsnap", "Stanford Cars"]``) or a CSV with columns ``dataset``
    and ``group``; `datasets` are the names in the table of results.

    Raises
    ------
    TableError
        Neither form, a dataset that is not in the table, or one in two groups.
    """
    with storage_errors(path, reading=True):
        content = path.read_bytes()
    pairs: list[tuple[str, str]] = []
    if path.suffix == ".toml":
        for group, members in read_toml(content, f"groups {path}", TableError).items():
            if not isinstance(members, list):
                raise TableError(f"{path}: invalid group '{group}': expected a list of datasets",
                                 code="table.group_form", group=group)  # fmt: skip
            pairs += [(str(member), group) for member in members]
    else:
        frame = read_delimited(content, str(path))
        if not {"dataset", "group"} <= set(frame.columns) or not frame.columns.is_unique:
            raise TableError(
                f"{path}: expected columns dataset and group, found {', '.join(frame.columns)}",
                code="table.group_columns",
                found=list(frame.columns),
            )
        pairs = list(zip(frame["dataset"], frame["group"], strict=True))
    check_groups(pairs, datasets, str(path))
    groups: dict[str, str] = {}
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
        if not group.strip() or group == ALL or group in datasets:
            raise TableError(
                f"{where}: a group cannot be called '{group}': expected a name that is not empty, "
                f"not '{ALL}' and no dataset's",
                code="table.group_name",
                group=group,
            )
