"""Analyze a table of results: every estimate, as tidy tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from headstart.analysis.cells import (
    AnalysisOptions,
    Correction,
    Matrix,
    Rows,
    Weights,
    cells_of,
    matrix,
    row,
    unconnected,
)
from headstart.analysis.comparisons import (
    SAME,
    Verdict,
    compare_settings,
    independent_verdicts,
    over_datasets,
    pairs_on_examples,
)
from headstart.analysis.correlations import (
    JUDGED_COLUMNS,
    check_groups,
    correlations,
    groups_by_size,
    judge_predictors,
    read_groups,
)
from headstart.analysis.notes import notes_on, remarks_on
from headstart.analysis.prediction import (
    PREDICTION_COLUMNS,
    above_line,
    predict_datasets,
    prediction_lines,
    residuals,
)
from headstart.analysis.source_comparison import compare_sources
from headstart.analysis.sweeps import main_results, sweep_rows
from headstart.analysis.tables.column_names import PREDICTOR, SIZES
from headstart.analysis.tables.joined_tables import ResultsTable, align
from headstart.analysis.tables.results_sources import SourceLike, read_sources
from headstart.analysis.tables.tidy_table import ReadOptions, Unit
from headstart.errors import AnalysisError
from headstart.predictors import UPSTREAM_ACCURACY, Predictor, find_predictor
from headstart.registry import REPORTERS
from headstart.spec.formatting import count
from headstart.stats import ErrorBars, additive_fit

if TYPE_CHECKING:
    from headstart.figures import Figure

__all__ = ["Analysis", "analyze"]

# The columns of each table, also of one that has no rows; the predictor is called as its column.
TABLES: Mapping[str, tuple[str, ...]] = {
    "counts": ("setting", "n_models", "n_datasets", "n_cells", "n_missing"),
    "cells": ("setting", "model", "family", "dataset", "metric", PREDICTOR, "accuracy",
              "log_odds", "adjusted", "low", "high", "n_test", "n_seeds", "seed_sd", "residual",
              "best", "not_different", "difference", "difference_low", "difference_high",
              "p_adjusted", "test"),
    "correlations": ("setting", "group", "statistic", "estimate", "low", "high", "low_family",
                     "high_family", "n_models", "n_datasets", "n_families"),
    "lines": ("setting", "group", PREDICTOR, "log_odds", "low", "high"),
    "model_means": ("model", "family", "setting", PREDICTOR, "mean", "accuracy", "se",
                    "low", "high", "error_bars", "n_datasets", "of_datasets", "best",
                    "not_different", "difference", "difference_low", "difference_high",
                    "odds_ratio", "odds_ratio_low", "odds_ratio_high", "p_adjusted",
                    "correction"),
    "mixed": ("setting", "slope", "se", "df", "low", "high", "random_slopes", "sd_slope",
              "sd_dataset", "sd_model", "sd_residual", "f", "f_df", "f_df_residual", "f_p",
              "converged", "n_models", "n_datasets", "n_cells"),
    "pairwise": ("setting", "dataset", "model", "other", "test", "difference", "low", "high",
                 "p_value", "p_adjusted", "correction", "n"),
    "ranks": ("setting", "model", "family", "mean", "accuracy", "rank", "low", "high"),
    "settings": ("setting", "other", "wins", "ties", "cells", "difference", "low", "high",
                 "n_models", "n_datasets"),
    "prediction": PREDICTION_COLUMNS,
    "predictors": JUDGED_COLUMNS,
    "ablation": ("setting", "model", "configuration", "position", "mean", "se",
                 PREDICTOR, "n_datasets"),
    "effects": ("setting", "position", "before", "after", "effect", "se", "df", "low", "high",
                "sampled", "n_models", "n_datasets"),
    "convergence": ("setting", "model", "steps", "mean", "se", "low", "high", "n_datasets"),
    "reached": ("setting", "model", "dataset", "steps", "epochs", "at_first", "at_last",
                "learned"),
    "speedup": ("setting", "other", "speedup", "low", "high", "sampled", "steps", "other_steps",
                "epochs", "other_epochs", "cells", "at_chance"),
    "dataset_size": ("setting", "model", "dataset", "examples_per_class", "mean", "se", "n_seeds"),
    "model_sets": ("setting", "source", "other", "r", "low", "high", "other_r", "other_low",
                   "other_high", "difference_r", "difference_low", "difference_high", "n_models",
                   "n_datasets"),
    "above_line": ("setting", "model", "mean", "expected", "difference", "low", "high",
                   "n_models", "n_datasets"),
    "compared": ("setting", "model", "dataset", "accuracy", "other_accuracy", "difference", "low",
                 "high", "interval", "log_odds", "n_test", "other_n_test"),
    "compared_means": ("setting", "model", "mean", "low", "high", "accuracy", "wins", "ties",
                       "n_models", "n_datasets"),
    "unshared": ("source", "kind", "name"),
    "models": ("model", "family", "upstream_accuracy", *SIZES),
    "dropped": ("setting", "table", "kind", "name", "missing"),
    "missing": ("what", "why"),
    "notes": ("about", "note"),
}  # fmt: skip


@dataclass(frozen=True, repr=False)
class Analysis:
    """The estimates from a table of results, each part a tidy DataFrame; see `analyze`.

    Accuracies are proportions, log odds natural logarithms, intervals have 95 % coverage. A part
    that cannot be computed has no rows, an interval that cannot be computed is NaN, and `missing`
    says why.

    Parameters
    ----------
    counts
        One row per setting: numbers of models, datasets and cells.
    cells
        One row per model, dataset and setting: accuracy, log odds (mean over seeds), interval of
        the accuracy, `adjusted` (log odds whose mean over a model's cells is its adjusted mean),
        the `residual` from its dataset's fit, and whether it is the best or
        `not_different` from the best by a `test`, with the `difference` in accuracy and its
        interval: "mcnemar" or "permutation" on the same test images, or, without predictions,
        "independent" of the sizes of the test sets, which is conservative.
    correlations
        One row per setting, group of datasets ("all", a group, one dataset) and statistic, with
        intervals for other models (`low`, `high`) and for other families (`low_family`, ...).
    lines
        The least-squares line of each setting and group at 41 points, with its bootstrap band.
    model_means
        Mean log odds (and mean accuracy) of each model over datasets, adjusted for missing cells,
        with a within-dataset standard error and interval; its `difference` from the best with a
        simultaneous interval, and so whether it is `not_different`.
    mixed
        log odds ~ predictor + (1 + predictor || dataset) + (1 | model), one row per
        setting, with the test of one slope for all datasets.
    pairwise
        Every pair of models: on one dataset from stored predictions, and over datasets ("all"; of
        many models only with `pairs`).
    ranks
        The simultaneous confidence interval of each model's rank, from the same comparisons.
    settings
        Every ordered pair of settings: wins, and the mean difference in log odds.
    prediction
        Per setting and dataset the fit that predicts, and how often its intervals held models left
        out: one by one, by family, and the best third predicted from the rest.
    predictors
        How well each of the predictors that `analyze` was asked to judge orders models, per dataset
        and over datasets ("all"), beside two baselines.
    ablation, convergence, dataset_size
        Means by training configuration, by steps, by examples per class.
    effects
        Each training configuration against the one before it, in log odds: one row per setting, and
        of the predictor itself the setting "upstream".
    reached
        Steps and epochs to 90 % of the largest odds, one row per setting, model and dataset; none
        for a curve that never leaves chance.
    speedup
        How many times as many steps another setting needs to reach them.
    model_sets
        The correlation of the predictor with transfer in two sets of weights, and the
        difference, one row per setting; only with `against`.
    above_line
        Own models (of a source given beside a published table, and not in that table) against the
        line through the published ones: the `difference` between the mean log odds and those
        expected from the predictor, with its prediction interval.
    compared
        Accuracies of a model, dataset and setting in both sources, and their difference (source
        less `against`) with its interval: "paired" on the same images, or "independent".
    compared_means
        The mean difference in log odds over datasets, one row per setting and model, and of all
        models ("all").
    unshared
        Settings, models and datasets that only one of the two sources has.
    models
        Cost of models, where a source has it: parameters, multiply-adds per image, images per
        second.
    dropped
        Models and datasets left out of a comparison because all of their cells are missing.
    missing
        What could not be computed, and why.
    notes
        How numbers were treated (accuracies of exactly 0 or 100 %), and where intervals are
        misleading.
    trials
        One row per stored result: how it was measured.
    sources
        Where the table comes from: one dict per source; `against` is last and has a key of that
        name.
    predictor
        What is correlated with transfer: its column in these tables, its label (for example
        "ImageNet top-1 accuracy"), its scale.
    options
        The options of the analysis.
    """

    counts: pd.DataFrame
    cells: pd.DataFrame
    correlations: pd.DataFrame
    lines: pd.DataFrame
    model_means: pd.DataFrame
    mixed: pd.DataFrame
    pairwise: pd.DataFrame
    ranks: pd.DataFrame
    settings: pd.DataFrame
    prediction: pd.DataFrame
    predictors: pd.DataFrame
    ablation: pd.DataFrame
    effects: pd.DataFrame
    convergence: pd.DataFrame
    reached: pd.DataFrame
    speedup: pd.DataFrame
    dataset_size: pd.DataFrame
    model_sets: pd.DataFrame
    above_line: pd.DataFrame
    compared: pd.DataFrame
    compared_means: pd.DataFrame
    unshared: pd.DataFrame
    models: pd.DataFrame
    dropped: pd.DataFrame
    missing: pd.DataFrame
    notes: pd.DataFrame
    trials: pd.DataFrame
    sources: tuple[dict[str, Any], ...]
    predictor: Predictor
    options: dict[str, Any]

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return every table by its name."""
        return {f.name: value for f in fields(self)
                if isinstance(value := getattr(self, f.name), pd.DataFrame)}  # fmt: skip

    def __repr__(self) -> str:
        """Name what was analyzed, and the tables that have rows."""
        named = " and ".join(str(source["name"]) for source in self.sources)
        sizes = [
            count(self.cells[kind].nunique(), kind) for kind in ("model", "dataset", "setting")
        ]
        filled = ", ".join(name for name, table in self.tables().items() if len(table))
        sizes.append(count(len(self.cells), "cell"))
        return f"Analysis of {named}: {', '.join(sizes)}\ntables: {filled}"

    def _repr_html_(self) -> str:
        """Return the answer and the best models, for a notebook."""
        html: str = REPORTERS["notebook"].text(self)
        return html

    def predict(self, value: float) -> pd.DataFrame:
        """Predict what a model of this predictor (by default, upstream accuracy) reaches.

        Parameters
        ----------
        value
            In the unit of the predictor: a proportion for upstream accuracy.

        Returns
        -------
        pandas.DataFrame
            setting, dataset, the predictor, accuracy, low, high, coverage, n_models, fit,
            widened, extrapolated.

        Raises
        ------
        AnalysisError
            A value that its scale does not allow, or no line to predict by.
        """
        scale = self.predictor.scale
        if not scale.allows(value):
            raise AnalysisError(
                f"invalid {self.predictor.label} {value:g}: expected {scale.expected}",
                code="analysis.predictor_range", value=value,
            )  # fmt: skip
        if self.prediction.empty:
            why = self.missing.loc[self.missing["what"] == "prediction", "why"]
            reason = why.iloc[0] if len(why) else "no cells"
            raise AnalysisError(f"no prediction: {reason}", code="analysis.no_prediction")
        return predict_datasets(self.prediction, self.cells, self.predictor, value)

    def figure(self, name: str, **options: Any) -> "Figure":
        """Draw a figure by its name (`headstart.figures.FIGURES`); options are the figure's.

        Raises
        ------
        UnknownNameError, AnalysisError
            No such figure, or one that these tables cannot give.
        """
        from headstart.figures import draw

        # Numbers that somebody measured off a figure are marked so.
        digitised = [str(source.get("citation", source["name"])) for source in self.sources
                     if source.get("digitised") and "against" not in source]  # fmt: skip
        note = f"Digitised values: {'; '.join(digitised)}." if digitised else ""
        return draw(name, self.tables(), predictor=self.predictor, source=note, **options)


def analyze(
    *sources: SourceLike,
    against: SourceLike | None = None,
    columns: Mapping[str, str] | str | None = None,
    unit: Unit | None = None,
    reading: ReadOptions | None = None,
    predictions: Sequence[SourceLike] = (),
    groups: Mapping[str, str] | Path | str | None = None,
    error_bars: ErrorBars = "morey",
    correction: Correction = "simultaneous",
    resamples: int = 10_000,
    seed: int = 0,
    pairs: bool = False,
    weights: Weights = "equal",
    predictor: str | Predictor = UPSTREAM_ACCURACY,
    predictors: Sequence[str | Predictor] = (),
    scores: pd.DataFrame | None = None,
) -> Analysis:
    """Analyze tables of results.

    Parameters
    ----------
    sources
        Stores, files, published tables ("kornblith2019"), DataFrames (`analysis.read_sources`).
    against
        Another source to compare with (`model_sets`, `compared`, `compared_means`, `unshared`).
    columns, unit, reading
        Our column name -> theirs, also as text: ``"model=Model,setting:=linear"``; the unit of
        accuracies (overrides that of `reading`); how to read what tables do not say.
    predictions
        Tables with a row per example and model: models are compared on the same examples.
    groups
        Dataset -> group, or a file of groups; under and over 10,000 training images if omitted.
    error_bars, correction, resamples, seed, pairs, weights
        See `headstart.analysis.cells.AnalysisOptions`.
    predictor, predictors, scores
        What to correlate with transfer, ``"params:log"`` (`predictors.find_predictor`); predictors
        to judge (table `predictors`); values that sources lack (`study.feature_scores`).

    Raises
    ------
    TableError, AnalysisError
        A table that cannot be read, an unknown option, or an `against` that shares too little.

    Examples
    --------
    >>> r = analyze("kornblith2019", resamples=1000).correlations.set_index("setting")
    >>> r.query("group == 'all' and statistic == 'pearson_logit'").estimate.round(2).to_dict()
    {'logistic_regression': 0.99, 'fine_tuned': 0.96, 'random_init': 0.55}
    """
    reading = reading or ReadOptions()
    reading = replace(reading, unit=unit or reading.unit, predictor=_predictor_of(predictor))
    read = partial(read_sources, columns=columns, predictions=predictions)
    source = read(sources, options=reading)
    own_groups = _groups(groups, source.frame)
    options = AnalysisOptions(error_bars, correction, resamples, seed, own_groups, pairs,
                              weights, source.predictor)  # fmt: skip
    judged = _judged(predictors, scores, source, sources, reading, read)
    other = None if against is None else read_sources([against], columns, reading)
    return _analyze(source, options, other and align(other, source, lenient=True), judged)


def _judged(
    predictors: Sequence[str | Predictor],
    scores: pd.DataFrame | None,
    source: ResultsTable,
    sources: Sequence[SourceLike],
    reading: ReadOptions,
    read: Callable[..., ResultsTable],
) -> list[ResultsTable]:
    """Read the results once more beside each predictor that is judged; upstream accuracy first."""
    tables = []
    named = [UPSTREAM_ACCURACY, *predictors] if predictors else []
    for one in dict.fromkeys(map(_predictor_of, named)):
        options = replace(reading, predictor=one)
        if scores is not None and one.column in scores:
            own = scores[["model", "dataset", one.column]]
            tables.append(read([*sources, own], options=options))
        elif one.column == source.predictor.column:
            tables.append(source)
        else:
            tables.append(read(sources, options=options))
    return tables


def _groups(
    groups: Mapping[str, str] | Path | str | None, frame: pd.DataFrame
) -> dict[str, str] | None:
    datasets = list(pd.unique(frame["dataset"]))
    if isinstance(groups, str | Path):
        return read_groups(Path(groups), datasets)
    if groups is None:
        return None
    check_groups(groups.items(), datasets, "groups")
    return dict(groups)


def _predictor_of(predictor: str | Predictor) -> Predictor:
    """Return a predictor whose column is none of the tables that it becomes a part of."""
    found = find_predictor(predictor) if isinstance(predictor, str) else predictor
    if found.column in {name for of in TABLES.values() if PREDICTOR in of for name in of}:
        raise AnalysisError(
            f"invalid predictor '{found.column}': a table of an analysis has a column of that "
            "name: rename the column",
            code="analysis.predictor_reserved", column=found.column,
        )  # fmt: skip
    return found


def _analyze(
    source: ResultsTable,
    options: AnalysisOptions,
    other: ResultsTable | None = None,
    judged: Sequence[ResultsTable] = (),
) -> Analysis:
    frame = main_results(source.frame)
    cells = cells_of(frame, options.level)
    full = {
        setting: matrix(cells, setting, options.predictor.scale, options.weights)
        for setting in pd.unique(cells["setting"])
    }
    # How large a training set is, the setting may say.
    groups = {
        setting: groups_by_size(frame[frame["setting"] == setting])
        if options.groups is None else options.groups
        for setting in full
    }  # fmt: skip
    on_examples, on_images = pairs_on_examples(frame, source.predictions, options)
    estimates = [
        sweep_rows(source.frame, options),
        *(_of_setting(one, setting, cells, source.own, replace(options, groups=groups[setting]))
          for setting, one in full.items()),
        compare_settings(full, options),
        on_examples,
        [] if other is None else compare_sources(source, other, cells, options),
        _judge(full, judged, options),
        _models(source.frame),
    ]  # fmt: skip
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    for table, one in chain.from_iterable(estimates):
        rows[table].append(one)
    tables = {name: pd.DataFrame(rows[name], columns=list(TABLES[name])) for name in TABLES}
    # Python's True, False and None, also where no None is.
    tables["model_means"] = tables["model_means"].astype({"not_different": object})
    cells = cells.assign(adjusted=_adjusted(cells, full))
    tables["cells"] = _finish_cells(cells, tables["prediction"], on_images, options)
    rows["missing"] += [one for _, one in notes_on(tables, full, source, options.predictor)]
    rows["notes"] += [one for _, one in remarks_on(tables, frame, full, options.predictor)]
    for name in ("missing", "notes"):
        said = pd.DataFrame(rows[name], columns=list(TABLES[name]))
        tables[name] = said.drop_duplicates(ignore_index=True)
    against = [{**fact, "against": True} for fact in other.facts] if other else []
    own_name = {PREDICTOR: options.predictor.column}
    all_groups = {name: group for own in groups.values() for name, group in own.items()}
    return Analysis(
        **{name: table.rename(columns=own_name) for name, table in tables.items()},
        trials=source.trials,
        sources=source.facts + tuple(against),
        predictor=options.predictor,
        options={**asdict(options), "groups": all_groups, "predictor": options.predictor.text},
    )


def _of_setting(
    one: Matrix, setting: str, cells: pd.DataFrame, own: frozenset[str], options: AnalysisOptions
) -> Rows:
    """Yield all that is of one setting; `own` are the models that no published table has."""
    n_models, n_datasets = one.scores.shape
    yield row("counts", setting=setting, n_models=n_models, n_datasets=n_datasets,
              n_cells=one.n_cells, n_missing=n_models * n_datasets - one.n_cells)  # fmt: skip
    families = dict(zip(cells["model"], cells["family"], strict=True))
    yield from over_datasets(one, families, setting, options)
    yield from correlations(one, setting, options)
    yield from prediction_lines(one, setting, options)
    yield from above_line(one, setting, own, options)


def _judge(
    full: Mapping[str, Matrix], judged: Sequence[ResultsTable], options: AnalysisOptions
) -> Rows:
    """Yield rows of the table `predictors`."""
    cells = [(one.predictor, cells_of(main_results(one.frame))) for one in judged]
    for setting, own in full.items() if judged else ():
        found = [
            (predictor, matrix(of, setting, predictor.scale, options.weights))
            for predictor, of in cells
        ]
        yield from judge_predictors(own, setting, found, options)


def _models(frame: pd.DataFrame) -> Rows:
    """Yield rows of the table `models`: those of which a size is known."""
    sizes = [name for name in SIZES if name in frame]
    if not sizes:
        return
    kept = [name for name in ("family", "upstream_accuracy", *sizes) if name in frame]
    models = frame.groupby("model", sort=False)[kept].first()
    for one in models.dropna(subset=sizes, how="all").reset_index().to_dict("records"):
        yield row("models", **one)


def _adjusted(cells: pd.DataFrame, full: Mapping[str, Matrix]) -> pd.Series:
    """Take from each cell its dataset's effect, where cells are missing.

    Averaging a model's cells then gets its adjusted mean.
    """
    effect: dict[tuple[str, str], float] = {}
    for setting, one in full.items():
        holed = one.n_cells < one.scores.size and not unconnected(one)
        of = additive_fit(one.scores, one.weight).dataset if holed else np.zeros(len(one.datasets))
        effect |= {(setting, name): value for name, value in zip(one.datasets, of, strict=True)}
    places = zip(cells["setting"], cells["dataset"], strict=True)
    return cells["log_odds"] - np.array([effect[place] for place in places])


def _finish_cells(
    cells: pd.DataFrame,
    prediction: pd.DataFrame,
    on_images: Mapping[tuple[str, str, str], Verdict],
    options: AnalysisOptions,
) -> pd.DataFrame:
    """Add to each cell its residual, and how it stands to the best of its dataset and setting."""
    highest = cells.groupby(["setting", "dataset"])["log_odds"].transform("max")
    places = zip(cells["setting"], cells["dataset"], cells["model"], strict=True)
    same = {**on_images} | independent_verdicts(cells, on_images, options)
    verdicts = pd.DataFrame(
        [same.get(place, Verdict(None)) for place in places], cells.index, dtype=object
    )
    x = options.predictor.scale.coordinates(cells["predictor"])
    cells = cells.assign(
        residual=residuals(prediction, cells, x),
        best=np.asarray(cells["log_odds"] >= highest - SAME),
        **verdicts.astype(dict.fromkeys(Verdict._fields[1:-1], float)),
    )
    return cells[list(TABLES["cells"])]
