"""What an analysis could not give, and why."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from headstart.analysis.cells import Matrix
from headstart.analysis.compare import FEWEST_FOR_PREDICTION
from headstart.analysis.correlations import FEWEST_FOR_INTERVAL, FEWEST_MODELS
from headstart.analysis.source import Source

__all__ = ["notes_on"]

Note = tuple[str, str]


def notes_on(
    tables: Mapping[str, pd.DataFrame], full: Mapping[str, Matrix], source: Source
) -> list[Note]:
    """Say of each part that is not there, or not for all, what it would need."""
    notes = _on_cells(source)
    notes += _on_upstream(tables["cells"])
    for setting, one in full.items():
        notes += _on_setting(setting, one)
    if len(full) < 2:
        notes.append(("settings", "there is one setting: comparing needs two"))
    elif tables["settings"].empty:
        notes.append(("settings", "no model was measured on one dataset in two settings"))
    if not tables["pairwise"]["dataset"].ne("all").any():
        notes.append(("pairwise tests per dataset", _why_no_examples(source)))
    return list(dict.fromkeys(notes))


def _on_cells(source: Source) -> list[Note]:
    return [
        (
            f"{fact['without_accuracy']} rows of {fact['name']}",
            "they have no accuracy: those cells are missing",
        )
        for fact in source.facts
        if fact.get("without_accuracy")
    ]


def _on_upstream(cells: pd.DataFrame) -> list[Note]:
    of_model = cells.groupby("model", sort=False)["upstream_accuracy"].first()
    unknown = list(of_model[of_model.isna()].index)
    if len(unknown) == len(of_model):
        why = (
            "no upstream accuracy is known: add a column upstream_accuracy (for another name: "
            "--columns upstream_accuracy=NAME)"
        )
        return [(what, why) for what in ("correlations", "mixed model", "prediction")]
    if unknown:
        why = "no upstream accuracy is known for: " + ", ".join(unknown)
        return [("some models in correlations, mixed model and prediction", why)]
    return []


def _on_setting(setting: str, one: Matrix) -> list[Note]:
    notes = []
    if len(one.models) < 2:
        notes.append((f"comparisons of models ({setting})", "there is one model"))
    if len(one.datasets) < 2:
        why = "there is one dataset: standard errors, tests and ranks over datasets need two"
        notes.append((f"error bars over datasets ({setting})", why))
    known = one.upstream[np.isfinite(one.upstream)]
    if not len(known):
        return notes
    if len(known) < FEWEST_MODELS:
        why = f"{len(known)} models have an upstream accuracy: at least {FEWEST_MODELS} are needed"
        notes.append((f"correlations ({setting})", why))
    elif np.ptp(known) == 0:
        why = "the upstream accuracy is the same for all models"
        notes += [(f"{what} ({setting})", why) for what in ("correlations", "prediction")]
    elif len(known) < FEWEST_FOR_INTERVAL:
        why = f"{len(known)} models: a bootstrap interval needs at least {FEWEST_FOR_INTERVAL}"
        notes.append((f"intervals of correlations ({setting})", why))
    if len(known) < FEWEST_FOR_PREDICTION:
        why = f"{len(known)} models: a prediction interval needs at least {FEWEST_FOR_PREDICTION}"
        notes.append(("prediction", why))
    return notes + _on_families(setting, one) + _on_constant_scores(setting, one)


def _on_families(setting: str, one: Matrix) -> list[Note]:
    families = len(np.unique(one.family[np.isfinite(one.upstream)]))
    if families >= FEWEST_FOR_INTERVAL:
        return []
    why = f"{families} families of models: a bootstrap needs at least {FEWEST_FOR_INTERVAL}"
    return [(f"family-clustered intervals ({setting})", why)]


def _on_constant_scores(setting: str, one: Matrix) -> list[Note]:
    return [
        (f"correlation on {name} ({setting})", "all models have the same accuracy")
        for name, scores in zip(one.datasets, one.scores.T, strict=True)
        if len(scores) > 1 and np.isfinite(scores).all() and np.ptp(scores) == 0
    ]


def _why_no_examples(source: Source) -> str:
    if source.predictions:
        return "no two models were tested on the same images of a dataset in one setting"
    return "the table has no per-example predictions: analyse a results store"
