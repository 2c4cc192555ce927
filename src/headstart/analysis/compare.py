"""Settings against each other."""

from itertools import permutations
from typing import Any

import numpy as np

from headstart.analysis.cells import Dropped, Matrix, complete
from headstart.analysis.options import Options
from headstart.stats import crossed_mean

__all__ = ["compare_settings", "shared"]


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
