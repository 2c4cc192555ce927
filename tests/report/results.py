"""Real analyses of made-up results, as plain namespaces that a test may change."""

from dataclasses import fields
from functools import cache
from types import SimpleNamespace

import numpy as np
import pandas as pd
from scipy.special import expit, logit

import headstart as hs
from headstart.analysis.analysis import TABLES
from headstart.analysis.tables.joined_tables import TRIAL_COLUMNS
from headstart.predictors import UPSTREAM_ACCURACY

SETTINGS = ("logistic_regression", "fine_tuned", "random_init")


def empty() -> SimpleNamespace:
    """An analysis of nothing: every table is there and has no row."""
    tables = {
        name: pd.DataFrame(columns=list(columns)).rename(columns={"predictor": "upstream_accuracy"})
        for name, columns in TABLES.items()
    }
    trials = pd.DataFrame(columns=list(TRIAL_COLUMNS))
    return SimpleNamespace(
        **tables, trials=trials, sources=[], options={}, predictor=UPSTREAM_ACCURACY
    )


def made(
    n_models: int = 6,
    n_datasets: int = 5,
    settings: tuple[str, ...] = SETTINGS[:2],
    upstream: bool = True,
    models: tuple[str, ...] = (),
    datasets: tuple[str, ...] = (),
    seed: int = 0,
) -> SimpleNamespace:
    """Results in which upstream accuracy and transfer go together, with all that follows."""
    models = models or tuple(f"net_{i:02d}" for i in range(n_models))
    datasets = datasets or tuple(f"set {i}" for i in range(n_datasets))
    analysis = analyzed(models, datasets, settings, upstream, seed)
    parts = {field.name: getattr(analysis, field.name) for field in fields(analysis)}
    copies = {n: p.copy() if isinstance(p, pd.DataFrame) else p for n, p in parts.items()}
    subject = SimpleNamespace(**copies)
    # As if tests on the examples had found what is close to the best not different from it.
    top = subject.cells.groupby(["setting", "dataset"]).log_odds.transform("max")
    subject.cells["not_different"] = (subject.cells.log_odds > top - 0.1).astype(object)
    subject.cells["test"] = "permutation"
    subject.sources = [{**analysis.sources[0], "name": "made up", "description": "Made for tests"}]
    return subject


@cache
def analyzed(*made_of) -> hs.Analysis:
    """Analyse the same results once; whoever changes the tables takes copies."""
    return hs.analyze(results(*made_of), resamples=200)


def results(models, datasets, settings, upstream, seed) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    rows = []
    for s, setting in enumerate(settings):
        for m, model in enumerate(models):
            x = logit(0.7 + 0.1 * (m + 0.5) / len(models))
            for d, dataset in enumerate(datasets):
                odds = 0.4 * s + 0.5 * d + x + 0.1 * random.standard_normal()
                rows.append((setting, model, f"family {m % 3}", dataset, expit(x), expit(odds)))
    columns = ["setting", "model", "family", "dataset", "upstream_accuracy", "accuracy"]
    frame = pd.DataFrame(rows, columns=columns)
    frame = frame.assign(metric="top-1", n_test=1000, upstream_name="ImageNet")
    return frame if upstream else frame.drop(columns="upstream_accuracy")


def with_studies(subject: SimpleNamespace) -> SimpleNamespace:
    """Add the further studies: ablation, convergence, size of the training set."""
    model = subject.cells.model.iloc[0]
    settings = list(subject.cells.setting.unique())
    subject.ablation = pd.DataFrame(
        [
            (s, model, f"with {i}", i, 1 + 0.1 * i, np.nan, 0.75, 3)
            for s in settings
            for i in (0, 1)
        ],
        columns=list(TABLES["ablation"]),
    ).rename(columns={"predictor": "upstream_accuracy"})
    subject.convergence = pd.DataFrame(
        [(s, model, 10**i, i, 0.1, i - 0.2, i + 0.2, 3) for s in settings for i in (1, 2, 3)],
        columns=list(TABLES["convergence"]),
    )
    subject.dataset_size = pd.DataFrame(
        [
            (s, model, d, 2**i, float(i), 0.1, 3)
            for s in settings
            for d in subject.cells.dataset.unique()
            for i in range(4)
        ],
        columns=list(TABLES["dataset_size"]),
    )
    return subject


def with_trials(subject: SimpleNamespace) -> SimpleNamespace:
    """Add the trials that the cells came from, one of them with something to report."""
    trials = subject.cells[["setting", "model", "dataset", "metric", "n_test"]].reset_index()
    trials = trials.assign(
        seed=0,
        protocol="kornblith2019",
        precision="fp32",
        limit="",
        n_train=500,
        chosen="lambda 3.2",
        relative_gap=1e-9,
        unconverged=0,
        skipped_images=0,
        versions="headstart 0.1.0",
        examples="a" * 64,
        weights="b" * 64,
        key="c" * 64,
        seconds=1.5,
        left_out=[[] for _ in range(len(trials))],
        data_warnings=[[] for _ in range(len(trials))],
    )
    trials.loc[0, ["unconverged", "skipped_images"]] = [2, 3]
    broken = [("d" * 64, f"{number}.png") for number in range(3)]
    # Three files, that two trials left out.
    for row in (0, 1):
        trials.at[row, "left_out"] = broken
        trials.at[row, "data_warnings"] = ["1 image is in two splits <leakage>"]
    subject.trials = trials
    return subject


def unpacked(table: dict) -> pd.DataFrame:
    """Return a table as a page's script unpacks it."""
    return pd.DataFrame({name: unpacked_column(column) for name, column in table.items()})


def unpacked_column(column) -> list:
    if not isinstance(column, dict):
        return column
    if "runs" in column:
        return np.repeat(column["runs"], column["times"]).tolist()
    return [column["levels"][code] for code in column["codes"]]
