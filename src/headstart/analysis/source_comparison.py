"""Compare two sources of results: correlations, shared cells, and what only one of them has."""

import numpy as np
import pandas as pd

from headstart.analysis.cells import (
    AnalysisOptions,
    Matrix,
    Rows,
    cells_of,
    matrix,
    missing,
    row,
    unconnected,
)
from headstart.analysis.comparisons import paired_on_examples, shared
from headstart.analysis.correlations import FEWEST_MODELS
from headstart.analysis.sweeps import main_results
from headstart.analysis.tables.joined_tables import EVERYTHING as ALL
from headstart.analysis.tables.joined_tables import ResultsTable
from headstart.errors import AnalysisError
from headstart.spec.formatting import first_few
from headstart.stats import (
    correlation_difference,
    correlation_interval,
    crossed_mean,
    independent_difference,
)

__all__ = ["compare_sources"]

CELL = ["setting", "model", "dataset"]


def compare_sources(
    source: ResultsTable, other: ResultsTable, cells: pd.DataFrame, options: AnalysisOptions
) -> Rows:
    """Yield rows of the tables `model_sets`, `compared`, `compared_means` and `unshared`.

    A difference is that of `source` less that of `other`.
    The interval of a difference in accuracy is for other test images. Where both sources have the
    predictions of one network on the same images it is that of paired proportions
    (`headstart.stats.mcnemar`); else that of independent test sets, from the intervals of the two
    accuracies (`headstart.stats.independent_difference`), which is too wide for one test set.
    The interval of a mean difference in log odds is for other datasets, and of all models together
    for other models and datasets (`headstart.stats.crossed_mean`); those of the single models hold
    together if `options.corrected`. Names are as in `source`, whose `cells` are given
    (`headstart.analysis.tables.joined_tables.align`).

    Raises
    ------
    AnalysisError
        They share no setting, model or dataset.
    """
    names = source.name, other.name
    others = cells_of(main_results(other.frame), options.level)
    for kind in CELL:
        found = [list(pd.unique(one[kind])) for one in (cells, others)]
        if set(found[0]).isdisjoint(found[1]):
            has = [f"{name} has {first_few(of, 3)}" for name, of in zip(names, found, strict=True)]
            raise AnalysisError(
                f"{names[0]} against {names[1]}: they share no {kind}: {'; '.join(has)}: give what "
                "is the same in both the same name",
                code="analysis.nothing_shared", kind=kind, found=found,
            )  # fmt: skip
    yield from _model_sets(cells, others, names, options)
    compared = _compared_cells(source, other, cells.merge(others, on=CELL, suffixes=("", "_other")),
                               options)  # fmt: skip
    for one in compared.to_dict("records"):
        yield row("compared", **one)
    for setting in pd.unique(compared["setting"]):
        yield from _means(compared[compared["setting"] == setting], setting, options)
    for one, two in ((source, other), (other, source)):
        for kind in CELL:
            for name in pd.unique(one.frame[kind]):
                if name not in set(two.frame[kind]):
                    yield row("unshared", source=one.name, kind=kind, name=name)


def _compared_cells(
    source: ResultsTable, other: ResultsTable, both: pd.DataFrame, options: AnalysisOptions
) -> pd.DataFrame:
    """Return the cells that both have, with the interval of their difference."""
    rows = [dict(iter(one.frame.groupby(CELL, sort=False))) for one in (source, other)]
    ends: list[tuple[float, float, str | None]] = []
    for cell in both.to_dict("records"):
        own, others = (of[tuple(cell[name] for name in CELL)] for of in rows)
        tested = paired_on_examples(
            (own, source.predictions), (others, other.predictions), options.level
        )
        if tested is not None:
            ends.append((tested.low, tested.high, "paired"))
            continue
        low, high = independent_difference(
            *((cell[f"accuracy{of}"], cell[f"low{of}"], cell[f"high{of}"]) for of in ("", "_other"))
        )
        ends.append((low, high, "independent" if np.isfinite(low) else None))
    compared = both[[*CELL, "accuracy", "n_test"]].assign(
        other_accuracy=both["accuracy_other"],
        other_n_test=both["n_test_other"],
        difference=both["accuracy"] - both["accuracy_other"],
        log_odds=both["log_odds"] - both["log_odds_other"],
    )
    compared[["low", "high", "interval"]] = pd.DataFrame(ends, both.index, dtype=object)
    return compared


def _means(part: pd.DataFrame, setting: str, options: AnalysisOptions) -> Rows:
    """Yield the mean difference of all models, and of each model with several datasets."""
    table, plain = (part.pivot(index="model", columns="dataset", values=name)
                    for name in ("log_odds", "difference"))  # fmt: skip
    models = [name for name in pd.unique(part["model"]) if table.loc[name].notna().sum() > 1]
    single = 1 - (1 - options.level) / (max(len(models), 1) if options.corrected else 1)
    for model in [ALL, *models] if len(table) > 1 else models or [ALL]:
        odds, accuracy = (
            one.dropna(axis=1, how="all") if model == ALL else one.loc[[model]].dropna(axis=1)
            for one in (table, plain)
        )
        found = crossed_mean(odds, options.level if model == ALL else single)
        cells = accuracy.to_numpy()
        yield row(
            "compared_means",
            setting=setting,
            model=model,
            mean=found.mean,
            low=found.low,
            high=found.high,
            accuracy=crossed_mean(accuracy).mean,
            wins=int((cells > 0).sum()),
            ties=int((cells == 0).sum()),
            n_models=len(odds),
            n_datasets=odds.shape[1],
        )


def _model_sets(
    cells: pd.DataFrame, others: pd.DataFrame, names: tuple[str, str], options: AnalysisOptions
) -> Rows:
    """Yield rows of the table `model_sets`.

    For each setting that both have: Pearson's r of mean log odds of transfer with the predictor
    in each set, over the models, datasets and so the means that both share, and its difference
    (first less other). The intervals are for other models, each with its numbers in both sets
    (`headstart.stats.correlation_difference`): what makes a network easy to transfer is in both,
    and leaves the difference. There is no p-value: to exchange a model's two sets would test that
    they are alike in everything, accuracies included, and not that r is the same.
    """
    notes, found = [], [0]
    for setting in pd.unique(cells["setting"]):
        if not (others["setting"] == setting).any():
            continue
        first, second = _common(
            *(matrix(one, setting, options.predictor.scale) for one in (cells, others))
        )
        if why := unconnected(first):
            notes.append(missing(f"the two model sets ({setting})", why))
            continue
        n = len(first.models)
        found.append(n)
        if n < FEWEST_MODELS:
            continue
        pair = [(one.x, one.means()[0]) for one in (first, second)]
        r, other_r = (
            correlation_interval("pearson", x, y[:, None], np.arange(n), options.level)
            for x, y in pair
        )
        difference = correlation_difference(pair[0], pair[1], options.level)
        yield row(
            "model_sets",
            setting=setting,
            source=names[0],
            other=names[1],
            **{name: values[0] for name, values in zip(("r", "low", "high"), r, strict=True)},
            **{f"other_{name}": values[0]
               for name, values in zip(("r", "low", "high"), other_r, strict=True)},
            difference_r=difference[0],
            difference_low=difference[1],
            difference_high=difference[2],
            n_models=n,
            n_datasets=len(first.datasets),
        )  # fmt: skip
    yield from notes
    if max(found) < FEWEST_MODELS:
        yield missing(
            "correlations of the two model sets",
            f"{max(found)} models with {options.predictor.label} and a shared dataset in both; at "
            f"least {FEWEST_MODELS} are needed",
        )


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
