"""Two sets of weights of the same networks: does upstream accuracy go as far with either?"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import logit

from headstart.analysis.cells import Matrix, matrix, unconnected
from headstart.analysis.compare import shared
from headstart.analysis.correlations import FEWEST_MODELS
from headstart.analysis.options import Options
from headstart.errors import AnalysisError
from headstart.stats import correlation_difference, correlation_interval

__all__ = ["compare_model_sets"]

Floats = npt.NDArray[np.float64]


def compare_model_sets(
    cells: pd.DataFrame, others: pd.DataFrame, names: tuple[str, str], options: Options
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Rows of the table `model_sets`, and what is not given and why.

    For each setting that both have: Pearson's r of mean log odds of transfer with upstream log odds
    in each set, over the models, datasets and so the means that both share, and its difference
    (first less other). The intervals are for other models, each with its numbers in both sets
    (`headstart.stats.correlation_difference`): what makes a network easy to transfer is in both,
    and leaves the difference. There is no p-value: to exchange a model's two sets would test that
    they are alike in everything, accuracies included, and not that r is the same.

    Parameters
    ----------
    cells, others
        Tables `cells` of the two sets, matched by the names of settings, models and datasets
        (`headstart.analysis.source.align` gives them the same names).
    names
        What the two are called.

    Raises
    ------
    AnalysisError
        They share no setting, model or dataset, or everywhere fewer than three models with an
        upstream accuracy in both.
    """
    for kind in ("setting", "model", "dataset"):
        _check_shared(kind, cells, others, names)
    rows: list[dict[str, Any]] = []
    notes, found = [], []
    for setting in pd.unique(cells["setting"]):
        if not (others["setting"] == setting).any():
            continue
        first, second = _common(*(matrix(one, setting) for one in (cells, others)))
        if why := unconnected(first):
            notes.append((f"the two model sets ({setting})", why))
            continue
        found.append(len(first.models))
        if len(first.models) >= FEWEST_MODELS:
            rows.append(_row(setting, first, second, names, options))
    if not rows:
        raise AnalysisError(
            f"{names[0]} against {names[1]}: expected at least {FEWEST_MODELS} models with an "
            f"upstream accuracy and a shared dataset in both, found {max(found, default=0)}",
            code="analysis.few_models", expected=FEWEST_MODELS, found=max(found, default=0),
        )  # fmt: skip
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
    """Take the models with an upstream accuracy in both, and of them the cells that both have."""
    first, second = shared(first, second)
    known = np.isfinite(first.upstream) & np.isfinite(second.upstream)
    missing = ~(np.isfinite(first.scores) & np.isfinite(second.scores))
    parts = [
        one._replace(scores=np.where(missing, np.nan, one.scores))
        .take(np.flatnonzero(known), range(len(one.datasets)))
        .measured()
        for one in (first, second)
    ]
    return parts[0], parts[1]


def _row(
    setting: str, first: Matrix, second: Matrix, names: tuple[str, str], options: Options
) -> dict[str, Any]:
    pair = [(logit(one.upstream), one.means()[0]) for one in (first, second)]
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
