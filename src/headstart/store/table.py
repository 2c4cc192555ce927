"""Stored results as one tidy table, one row per result."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.spec import Result
from headstart.store.database import ResultStore

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "data_warnings", "left_out", "result_row", "results", "results_table"]

COLUMNS = (
    "model",
    "weights",
    "upstream_accuracy",
    "dataset",
    "content",
    "setting",
    "protocol",
    "metric",
    "accuracy",
    "log_loss",
    "calibration_error",
    "n_test",
    "seed",
    "limit",
    "configuration",
    "steps",
    "batch_size",
    "examples_per_class",
    "precision",
    "lambda",
    "learning_rate",
    "weight_decay",
    "crop",
    "on_edge",
    "relative_gap",
    "unconverged",
    "skipped_images",
    "seconds",
    "key",
)
CONTENT_DIGITS = 8


def result_row(result: Result) -> dict[str, Any]:
    """Flatten a complete result to `COLUMNS`, and what its method selected on validation.

    `content` is the start of the digest of the dataset: what is measured under one name may change;
    it is None where each seed draws the splits anew. `weights` is ``random``, their tag, or the
    start of their digest. Accuracies are proportions. `configuration` is how the upstream model was
    trained, where its name says so. `on_edge` names the choices at the end of what was tried.
    `relative_gap` certifies the final fit; `unconverged` counts the fits of the selection and the
    refit whose gap stayed over the tolerance.
    """
    trial, selection = result.trial, result.selection
    refit = result.provenance.get("refit", {})
    curve = selection.validation_curve if selection else ()
    chosen = selection.chosen if selection else {}
    return {
        "model": trial.model.name,
        "weights": trial.model.weights_name,
        "upstream_accuracy": trial.model.upstream_accuracy,
        "dataset": trial.dataset.name,
        "content": None
        if trial.dataset.splits_by_seed
        else trial.dataset.revision[:CONTENT_DIGITS],
        "setting": trial.setting.name,
        "protocol": trial.setting.protocol,
        "metric": trial.dataset.metric,
        "accuracy": result.accuracy,
        "log_loss": result.metrics.get("log-loss"),
        "calibration_error": result.metrics.get("calibration-error"),
        "n_test": result.n_test,
        "seed": trial.seed,
        "limit": trial.dataset.limit,
        "configuration": trial.model.tags.get("configuration"),
        "steps": None,
        "batch_size": None,
        **trial.setting.columns,
        "examples_per_class": trial.dataset.examples_per_class,
        "precision": trial.setting.precision,
        **dict.fromkeys(("lambda", "learning_rate", "weight_decay", "crop")),
        **chosen,
        "on_edge": " ".join(selection.on_edge) if selection else "",
        "relative_gap": _finite(refit.get("relative_gap")),
        "unconverged": sum(not fit.get("converged", True) for fit in (*curve, refit)),
        "skipped_images": len(result.provenance.get("skipped_images", ())),
        "seconds": round(sum(result.seconds.values()), 2),
        "key": trial.key,
    }


def left_out(results: Iterable[Result]) -> set[tuple[str, str]]:
    """Return the images that were left out since they are broken: (dataset's revision, image).

    One that several trials left out counts once.
    """
    return {
        (result.trial.dataset.revision, image)
        for result in results
        for image in result.provenance.get("skipped_images", ())
    }


def data_warnings(results: Iterable[Result]) -> dict[str, dict[str, str]]:
    """Return what was warned of about the data, each once: dataset -> text -> code.

    Results from before warnings were stored have none.
    """
    found: dict[str, dict[str, str]] = {}
    for result in results:
        for warning in result.provenance.get("data_warnings", ()):
            texts = found.setdefault(result.trial.dataset.name, {})
            texts[warning["text"]] = warning["code"]
    return found


def _finite(value: float | None) -> float | None:
    """Leave out what JSON and most readers of CSV have no number for: nothing is certified."""
    return value if value is not None and math.isfinite(value) else None


def results(store: Path | str) -> "pd.DataFrame":
    """Read all results of a store as a DataFrame with `COLUMNS`, one row per result.

    Raises
    ------
    StoreError
        No store there, or not one that can be read.
    """
    return results_table(ResultStore(store).results())


def results_table(rows: Iterable[Result]) -> "pd.DataFrame":
    """Make a DataFrame with `COLUMNS`, one row per result, in the order given.

    Hyperparameters that only some methods select have columns behind those.
    """
    import pandas as pd

    found = [result_row(result) for result in rows]
    names = dict.fromkeys((*COLUMNS, *(name for row in found for name in row)))
    table = pd.DataFrame(found, columns=list(names))
    whole = ("limit", "steps", "batch_size", "examples_per_class")
    return table.astype(dict.fromkeys(whole, "Int64"))
