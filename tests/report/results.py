"""Made-up results in the form of an analysis's tables, for the tests of the report."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import expit, logit

SETTINGS = ("logistic_regression", "fine_tuned", "random_init")
COLUMNS = {
    "cells": "setting model family dataset metric upstream_accuracy accuracy log_odds low high "
    "n_test n_seeds seed_sd residual best not_different",
    "correlations": "setting group statistic estimate low high low_family high_family n_models "
    "n_datasets n_families",
    "lines": "setting group upstream_accuracy log_odds low high",
    "model_means": "model family setting upstream_accuracy mean se low high error_bars n_datasets "
    "best not_different",
    "mixed": "setting slope se low high sd_dataset sd_model sd_residual n_models n_datasets",
    "pairwise": "setting dataset model other test difference p_value p_adjusted correction n",
    "ranks": "setting model family mean rank low high",
    "settings": "setting other wins ties cells difference low high",
    "prediction": "setting dataset slope intercept residual_sd n_models covered cells coverage "
    "level",
    "ablation": "setting model configuration position mean se upstream_accuracy n_datasets",
    "convergence": "setting model steps mean se low high n_datasets",
    "dataset_size": "setting model dataset examples_per_class mean se n_seeds",
    "dropped": "setting kind name missing",
    "missing": "what why",
}


def empty() -> SimpleNamespace:
    """An analysis of nothing: every table is there and has no row."""
    tables = {name: pd.DataFrame(columns=columns.split()) for name, columns in COLUMNS.items()}
    return SimpleNamespace(**tables, trials=pd.DataFrame(), sources=[], options={})


def made(
    n_models: int = 6,
    n_datasets: int = 3,
    settings: tuple[str, ...] = SETTINGS[:2],
    upstream: bool = True,
    models: tuple[str, ...] = (),
    datasets: tuple[str, ...] = (),
    seed: int = 0,
) -> SimpleNamespace:
    """Results in which upstream accuracy and transfer go together, with all that follows."""
    random = np.random.default_rng(seed)
    models = models or tuple(f"net_{i:02d}" for i in range(n_models))
    datasets = datasets or tuple(f"set {i}" for i in range(n_datasets))
    subject = empty()
    subject.cells = made_cells(random, models, datasets, settings, upstream)
    subject.model_means = pd.concat([means_of(g, s) for s, g in by_setting(subject)])
    subject.ranks = pd.concat([ranks_of(g) for _, g in subject.model_means.groupby("setting")])
    if upstream and len(models) > 2:
        parts = [correlated(group, setting) for setting, group in by_setting(subject)]
        subject.correlations = pd.concat([part[0] for part in parts])
        subject.lines = pd.concat([part[1] for part in parts])
    if len(datasets) > 1:
        subject.pairwise = pd.concat([pairs_of(g, s) for s, g in by_setting(subject)])
    if len(settings) > 1:
        subject.settings = settings_of(subject.cells, settings)
    subject.sources = [
        {"name": "made up", "kind": "csv", "digitised": False, "description": "Made for tests"}
    ]
    subject.options = {"error_bars": "morey", "correction": "none", "resamples": 1000, "seed": 0}
    return subject


def by_setting(subject: SimpleNamespace):
    return subject.cells.groupby("setting", sort=False)


def made_cells(random, models, datasets, settings, upstream) -> pd.DataFrame:
    rows = []
    for s, setting in enumerate(settings):
        for m, model in enumerate(models):
            x = logit(0.7 + 0.1 * (m + 0.5) / len(models))
            for d, dataset in enumerate(datasets):
                odds = 0.4 * s + 0.5 * d + x + 0.1 * random.standard_normal()
                rows.append((setting, model, f"family {m % 3}", dataset, expit(x), odds))
    columns = ["setting", "model", "family", "dataset", "upstream_accuracy", "log_odds"]
    cells = pd.DataFrame(rows, columns=columns)
    cells["upstream_accuracy"] = cells.upstream_accuracy if upstream else np.nan
    cells["metric"], cells["n_test"], cells["n_seeds"], cells["seed_sd"] = "top1", 1000, 1, np.nan
    cells["accuracy"] = expit(cells.log_odds)
    width = 1.96 * np.sqrt(cells.accuracy * (1 - cells.accuracy) / 1000)
    cells["low"], cells["high"] = cells.accuracy - width, cells.accuracy + width
    top = cells.groupby(["setting", "dataset"]).log_odds.transform("max")
    cells["best"] = cells.log_odds == top
    cells["not_different"] = [bool(v) for v in cells.log_odds > top - 0.1]
    cells["not_different"] = cells["not_different"].astype(object)
    centred = cells.log_odds - cells.groupby(["setting", "dataset"]).log_odds.transform("mean")
    cells["residual"] = centred if upstream else np.nan
    return cells[COLUMNS["cells"].split()]


def means_of(cells: pd.DataFrame, setting: str) -> pd.DataFrame:
    columns = {"mean": ("log_odds", "mean"), "upstream_accuracy": ("upstream_accuracy", "first")}
    table = cells.groupby(["model", "family"], sort=False).agg(**columns).reset_index()
    table["setting"], table["se"], table["error_bars"] = setting, 0.05, "morey"
    table["low"], table["high"] = table["mean"] - 0.1, table["mean"] + 0.1
    table["n_datasets"] = cells.dataset.nunique()
    table["best"] = table["mean"] == table["mean"].max()
    table["not_different"] = (table["mean"] > table["mean"].max() - 0.1).astype(object)
    return table[COLUMNS["model_means"].split()]


def ranks_of(means: pd.DataFrame) -> pd.DataFrame:
    rank = means["mean"].rank(ascending=False).astype(int)
    low, high = (rank - 2).clip(lower=1), (rank + 2).clip(upper=len(means))
    return means.assign(rank=rank, low=low, high=high)[COLUMNS["ranks"].split()]


def correlated(cells: pd.DataFrame, setting: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows, lines = [], []
    for group in ("all", *cells.dataset.unique()):
        part = cells if group == "all" else cells[cells.dataset == group]
        y = part.groupby("model", sort=False).log_odds.mean()
        up = part.groupby("model", sort=False).upstream_accuracy.first()
        r = np.corrcoef(logit(up), y)[0, 1]
        known = len(up) >= 5
        low, high = (r - 0.1, min(1, r + 0.01)) if known else (np.nan, np.nan)
        numbers = (r, low, high, low, high, len(up))
        rows += [(setting, group, name, *numbers) for name in ("pearson_logit", "spearman")]
        slope, intercept = np.polyfit(logit(up), y, 1)
        for x in np.linspace(logit(up.min()), logit(up.max()), 41):
            at = intercept + slope * x
            band = (at - 0.1, at + 0.1) if known else (np.nan, np.nan)
            lines.append((setting, group, expit(x), at, *band))
    columns = COLUMNS["correlations"].split()
    table = pd.DataFrame(rows, columns=columns[:9])
    table["n_datasets"] = [cells.dataset.nunique() if g == "all" else 1 for g in table.group]
    table["n_families"] = cells.family.nunique()
    return table, pd.DataFrame(lines, columns=COLUMNS["lines"].split())


def pairs_of(cells: pd.DataFrame, setting: str) -> pd.DataFrame:
    odds = cells.pivot(index="model", columns="dataset", values="log_odds")
    rows = []
    for i, model in enumerate(odds.index):
        for other in odds.index[i + 1 :]:
            gap = odds.loc[model] - odds.loc[other]
            p = float(stats.ttest_1samp(gap, 0).pvalue)
            rows.append((setting, "all", model, other, "paired_t", gap.mean(), p, np.nan))
    columns = COLUMNS["pairwise"].split()
    table = pd.DataFrame(rows, columns=columns[:8])
    return table.assign(correction="none", n=odds.shape[1])


def settings_of(cells: pd.DataFrame, settings: tuple[str, ...]) -> pd.DataFrame:
    odds = cells.pivot(index=["model", "dataset"], columns="setting", values="log_odds")
    rows = []
    for one in settings:
        for other in [name for name in settings if name != one]:
            gap = odds[one] - odds[other]
            mean = gap.mean()
            rows.append((one, other, (gap > 0).sum(), 0, len(gap), mean, mean - 0.1, mean + 0.1))
    return pd.DataFrame(rows, columns=COLUMNS["settings"].split())


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
        columns=COLUMNS["ablation"].split(),
    )
    subject.convergence = pd.DataFrame(
        [(s, model, 10**i, i, 0.1, i - 0.2, i + 0.2, 3) for s in settings for i in (1, 2, 3)],
        columns=COLUMNS["convergence"].split(),
    )
    subject.dataset_size = pd.DataFrame(
        [
            (s, model, d, 2**i, float(i), 0.1, 3)
            for s in settings
            for d in subject.cells.dataset.unique()
            for i in range(4)
        ],
        columns=COLUMNS["dataset_size"].split(),
    )
    return subject


def with_trials(subject: SimpleNamespace) -> SimpleNamespace:
    """Add the trials that the cells came from, one of them with something to report."""
    trials = subject.cells[["setting", "model", "dataset", "metric", "n_test"]].reset_index()
    trials = trials.assign(
        seed=0,
        protocol="kornblith2019",
        precision="float64",
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
    )
    trials.loc[0, ["unconverged", "skipped_images"]] = [2, 3]
    subject.trials = trials
    return subject
