"""Settings against each other, and what upstream accuracy predicts."""

from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import logit, stdtrit

from headstart.analysis.cells import Dropped, Matrix, complete
from headstart.analysis.options import Options
from headstart.stats import accuracy_of, crossed_mean

__all__ = ["compare_settings", "predict_datasets", "prediction_lines", "shared"]

Floats = npt.NDArray[np.float64]
# A line, its spread, and one model to leave out.
FEWEST_FOR_PREDICTION = 4
NO_LINE = 1e-9


def compare_settings(
    matrices: dict[str, Matrix], options: Options
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the tables `settings` (every ordered pair of settings) and `dropped`.

    `wins` of `cells` counts the models and datasets for which the first has the higher accuracy,
    of all that both were measured on; `difference` is the mean difference in log odds over the
    complete sub-table of these. Its interval is for other models and other datasets
    (`headstart.stats.crossed_mean`); of which there is one, that one is held fixed, and with one of
    each there is none.
    """
    rows, dropped = [], []
    for setting, other in permutations(matrices, 2):
        row, left_out = _compare(setting, other, matrices, options)
        rows += [row] if row else []
        dropped += [
            {"setting": setting, "table": f"settings: {other}", **one._asdict()} for one in left_out
        ]
    return rows, dropped


def _compare(
    setting: str, other: str, matrices: dict[str, Matrix], options: Options
) -> tuple[dict[str, Any], list[Dropped]]:
    first, second = shared(matrices[setting], matrices[other])
    difference = first.scores - second.scores
    both = np.isfinite(difference)
    if not both.any():
        return {}, []
    part, dropped = complete(first._replace(scores=difference))
    found = crossed_mean(part.scores, options.level)
    row = {
        "setting": setting,
        "other": other,
        "wins": int((difference[both] > 0).sum()),
        "ties": int((difference[both] == 0).sum()),
        "cells": int(both.sum()),
        "difference": found.mean,
        "low": found.low,
        "high": found.high,
        "n_models": len(part.models),
        "n_datasets": len(part.datasets),
    }
    return row, dropped


def shared(first: Matrix, second: Matrix) -> tuple[Matrix, Matrix]:
    """Take the models and datasets that both have, in the same order."""
    models = [m for m in first.models if m in second.models]
    datasets = [d for d in first.datasets if d in second.datasets]
    return first.only(models, datasets), second.only(models, datasets)


def prediction_lines(full: Matrix, setting: str, options: Options) -> list[dict[str, Any]]:
    """Rows of the table `prediction`: a line a dataset, checked by leaving each model out.

    A model left out is covered if its log odds lie in the prediction interval of the line through
    the others: exactly when its externally studentised residual is within Student's quantile of
    M - 3 degrees of freedom.
    """
    rows = []
    for j, dataset in enumerate(full.datasets):
        use = np.isfinite(full.scores[:, j]) & np.isfinite(full.upstream)
        x, y = logit(full.upstream[use]), full.scores[use, j]
        n = len(x)
        if n < FEWEST_FOR_PREDICTION or np.ptp(x) == 0:
            continue
        centre, sxx = x.mean(), ((x - x.mean()) ** 2).sum()
        slope = ((x - centre) * y).sum() / sxx
        residual = y - y.mean() - slope * (x - centre)
        sse = (residual**2).sum()
        left = 1 - 1 / n - (x - centre) ** 2 / sxx
        # Without a model that alone differs in upstream accuracy there is no line to hold it to.
        residual, left = residual[left > NO_LINE], left[left > NO_LINE]
        without = np.maximum(sse - residual**2 / left, 0) / (n - 3)
        covered = residual**2 <= stdtrit(n - 3, (1 + options.level) / 2) ** 2 * without * left
        rows.append(
            {
                "setting": setting,
                "dataset": dataset,
                "slope": slope,
                "intercept": y.mean() - slope * centre,
                "residual_sd": np.sqrt(sse / (n - 2)),
                "centre": centre,
                "sum_of_squares": sxx,
                "n_models": n,
                "covered": int(covered.sum()),
                "cells": len(covered),
                "coverage": covered.mean() if len(covered) else np.nan,
                "level": options.level,
            }
        )
    return rows


def predict_datasets(prediction: pd.DataFrame, upstream_accuracy: float) -> pd.DataFrame:
    """Predict the accuracy of a model of known upstream accuracy on each dataset.

    Parameters
    ----------
    prediction
        The table of `prediction_lines`.
    upstream_accuracy
        A proportion in (0, 1).

    Returns
    -------
    pandas.DataFrame
        setting, dataset, upstream_accuracy, accuracy, low, high (prediction interval), coverage
        (of such intervals when each model was left out), n_models.
    """
    x = logit(upstream_accuracy)
    n = prediction["n_models"].to_numpy(dtype=np.float64)
    level = prediction["level"].to_numpy(dtype=np.float64)
    centre = prediction["slope"] * x + prediction["intercept"]
    spread = prediction["residual_sd"] * np.sqrt(
        1 + 1 / n + (x - prediction["centre"]) ** 2 / prediction["sum_of_squares"]
    )
    half = stdtrit(n - 2, (1 + level) / 2) * spread
    return pd.DataFrame(
        {
            "setting": prediction["setting"],
            "dataset": prediction["dataset"],
            "upstream_accuracy": upstream_accuracy,
            "accuracy": accuracy_of(centre),
            "low": accuracy_of(centre - half),
            "high": accuracy_of(centre + half),
            "coverage": prediction["coverage"],
            "n_models": prediction["n_models"],
        }
    )
