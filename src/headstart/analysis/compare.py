"""Settings against each other."""

from itertools import permutations
from typing import Any

import numpy as np

from headstart.analysis.cells import Matrix, unconnected
from headstart.analysis.options import Options
from headstart.stats import crossed_mean

__all__ = ["compare_settings", "shared"]


def compare_settings(
    matrices: dict[str, Matrix], options: Options
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Rows of the table `settings` (every ordered pair of settings), and what is not given and why.

    `wins` of `cells` counts the models and datasets for which the first has the higher accuracy,
    of all that both were measured on; `difference` is the mean difference in log odds over these
    cells, in which every model and every dataset weighs the same. Its interval is for other models
    and other datasets (`headstart.stats.crossed_mean`); of which there is one, that one is held
    fixed, and with one of each there is none.
    """
    rows, notes = [], []
    for setting, other in permutations(matrices, 2):
        row, why = _compare(setting, other, matrices, options)
        rows += [row] if row else []
        notes += [(f"mean difference of {setting} and {other}", why)] if why else []
    return rows, notes


def _compare(
    setting: str, other: str, matrices: dict[str, Matrix], options: Options
) -> tuple[dict[str, Any], str]:
    first, second = shared(matrices[setting], matrices[other])
    part = first._replace(scores=first.scores - second.scores).measured()
    difference, both = part.scores, np.isfinite(part.scores)
    if not both.any():
        return {}, ""
    why = unconnected(part)
    found = crossed_mean([] if why else difference, options.level)
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
    return row, why


def shared(first: Matrix, second: Matrix) -> tuple[Matrix, Matrix]:
    """Take the models and datasets that both have, in the same order."""
    models, datasets = set(second.models), set(second.datasets)
    names = [m for m in first.models if m in models], [d for d in first.datasets if d in datasets]
    return first.only(*names), second.only(*names)
