"""Tables of an analysis made up from a seed: no file, no analysis is needed to draw."""

from collections.abc import Mapping
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from headstart.figures import draw

SETTINGS = ("linear", "finetune", "scratch")


def make_tables(
    models: int = 5,
    datasets: int = 3,
    settings: tuple[str, ...] = SETTINGS,
    names: Mapping[str, str] | None = None,
) -> dict[str, pd.DataFrame]:
    """Every table, of so many models and datasets; `names` replaces some of their names."""
    rng = np.random.RandomState(0)
    upstream = np.linspace(0.70, 0.82, models) + rng.uniform(-0.004, 0.004, models)
    name = dict(names or {})
    cells = pd.DataFrame(
        {
            "setting": setting,
            "model": name.get(f"model {i}", f"model {i}"),
            "family": f"family {i % 4}",
            "dataset": name.get(f"data {j}", f"data {j}"),
            "metric": "top-1",
            "upstream_accuracy": upstream[i],
            "log_odds": logit(upstream[i]) + 0.5 * s + 0.3 * j + rng.normal(0, 0.1),
        }
        for s, setting in enumerate(settings)
        for i in range(models)
        for j in range(datasets)
    )
    by = cells.groupby(["setting", "dataset"])["log_odds"]
    cells = cells.assign(
        accuracy=expit(cells["log_odds"]),
        residual=cells["log_odds"] - by.transform("mean"),
        best=by.transform("max") == cells["log_odds"],
        not_different=(by.transform("max") - cells["log_odds"]) < 0.1,
    )
    seen = embeddings([name.get(f"model {i}", f"model {i}") for i in range(models)], datasets)
    return {"cells": cells, **summaries(cells), **studies(settings, datasets), **seen}


def embeddings(models: list[str], classes: int) -> dict[str, pd.DataFrame]:
    """Tables of embeddings: four images per class, for each network."""
    rng = np.random.RandomState(0)
    points = pd.DataFrame(
        {"model": model, "position": i, "image": image, "class": f"class {image % classes}",
         "x": rng.normal(), "y": rng.normal()}
        for i, model in enumerate(models) for image in range(4 * classes)
    )  # fmt: skip
    separation = pd.DataFrame(
        {"model": model, "position": i, "features": 64, "neighbours": 5, "silhouette": 0.1 * i,
         "neighbour_accuracy": 0.75, "variance_ratio": 2.0}
        for i, model in enumerate(models)
    )  # fmt: skip
    return {"embedding": points, "separation": separation}


def summaries(cells: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Tables that sum cells up."""
    keys = ["setting", "model", "family", "upstream_accuracy"]
    means = cells.groupby(keys, sort=False, as_index=False)["log_odds"].mean()
    means = means.rename(columns={"log_odds": "mean"}).assign(se=0.03, error_bars="morey")
    means = means.assign(low=means["mean"] - 0.06, high=means["mean"] + 0.06)
    top = means.groupby("setting")["mean"].transform("max")
    means = means.assign(best=means["mean"] == top, not_different=means["mean"] > top - 0.05)
    rank = means.groupby("setting")["mean"].rank(ascending=False)
    ranks = means[["setting", "model", "family", "mean"]].assign(
        rank=rank, low=(rank - 1).clip(lower=1), high=rank + 1
    )
    ends = cells["upstream_accuracy"].min(), cells["upstream_accuracy"].max()
    groups = [
        {"setting": setting, "group": group}
        for setting in dict.fromkeys(cells["setting"])
        for group in ("all", *dict.fromkeys(cells["dataset"]))
    ]
    lines = pd.DataFrame(
        {**group, "upstream_accuracy": x, "log_odds": y, "low": y - 0.05, "high": y + 0.05}
        for group in groups
        for x, y in zip(ends, (1.0, 2.0), strict=True)
    )
    correlations = pd.DataFrame(
        {**group, "statistic": statistic, "estimate": r, "low": r - 0.1, "high": r + 0.05}
        for group in groups
        for statistic, r in (("pearson_logit", 0.875), ("spearman", 0.5))
    )
    return {"model_means": means, "ranks": ranks, "lines": lines, "correlations": correlations}


def studies(settings: tuple[str, ...], datasets: int) -> dict[str, pd.DataFrame]:
    """Tables of the further studies."""
    ablation = pd.DataFrame(
        {"setting": setting, "model": model, "configuration": f"+dropout {p} -label smoothing",
         "position": p, "mean": 1.0 + 0.1 * p, "se": np.nan, "upstream_accuracy": 0.8 - 0.01 * p,
         "n_datasets": 1}
        for setting in settings for model in ("a", "b") for p in range(4)
    )  # fmt: skip
    convergence = pd.DataFrame(
        {"setting": setting, "model": "a", "steps": steps, "mean": np.log(steps) / (s + 1),
         "se": 0.1, "low": np.log(steps) / (s + 1) - 0.2, "high": np.log(steps) / (s + 1) + 0.2,
         "n_datasets": 3}
        for s, setting in enumerate(settings) for steps in (100, 1000, 10_000)
    )  # fmt: skip
    size = pd.DataFrame(
        {"setting": setting, "model": "a", "dataset": f"data {j}", "examples_per_class": 2**e,
         "mean": 0.4 * e - 2, "se": 0.1, "n_seeds": 3}
        for setting in settings for j in range(datasets) for e in range(7)
    )  # fmt: skip
    # Two datasets each: their geometric mean is marked, and what never left chance is not in it.
    reached = pd.DataFrame(
        {"setting": setting, "model": "a", "dataset": f"data {j}", "steps": steps,
         "epochs": np.nan, "at_first": False, "at_last": False, "learned": steps > 0}
        for s, setting in enumerate(settings)
        for j, steps in enumerate((1000 * (s + 1), 4000 * (s + 1), np.nan))
    )  # fmt: skip
    return {"ablation": ablation, "convergence": convergence, "dataset_size": size,
            "reached": reached}  # fmt: skip


@pytest.fixture(scope="session")
def tables() -> dict[str, pd.DataFrame]:
    """Five models, three datasets, three settings: not to be changed."""
    return make_tables()


@pytest.fixture(scope="session")
def drawn(tables):
    """Each figure of these tables, drawn once: by name, not to be changed."""
    return cache(lambda name: draw(name, tables))


@pytest.fixture(scope="session")
def make():
    """The maker of tables."""
    return make_tables
