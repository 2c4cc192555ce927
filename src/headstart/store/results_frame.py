"""Stored results as a DataFrame, one row per result; and what each trial tried on validation."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.errors import StoreError
from headstart.spec import Result, Trial, Value
from headstart.spec.formatting import first_few
from headstart.store.database import ResultStore

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COLUMNS",
    "Tried",
    "data_warnings",
    "finite",
    "left_out",
    "result_row",
    "results",
    "results_table",
    "tried",
    "under_way",
]

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
SHOWN, DIGITS = 5, 12
RATE, CROP, STEPS = "learning_rate", "crop", "steps"


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
        "relative_gap": finite(refit.get("relative_gap")),
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


def finite(value: Value | None) -> Value | None:
    """Leave out what JSON and most readers of CSV have no number for: nothing is certified."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


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


@dataclass(frozen=True)
class Tried:
    """A trial with a result, or one that is only partly measured.

    Parameters
    ----------
    key
        Of the trial.
    trial
        None if all that is known of it are its measurements: an older version began it.
    result
        None of a trial that is under way, or was interrupted.
    curve
        What was tried on validation, one row per evaluation.
    n_measured
        Candidates that were measured.
    """

    key: str
    trial: Trial | None
    result: Result | None
    curve: tuple[dict[str, Value], ...]
    n_measured: int = 0

    @property
    def title(self) -> str:
        """For a person."""
        return self.trial.title if self.trial else "partly measured"

    @property
    def chosen(self) -> dict[str, Value]:
        """What was chosen; nothing where there is no result."""
        selection = self.result.selection if self.result else None
        return selection.chosen if selection else {}

    @property
    def on_edge(self) -> tuple[str, ...]:
        """Which of these numbers are at the end of what was tried."""
        selection = self.result.selection if self.result else None
        return selection.on_edge if selection else ()

    def is_chosen(self, row: dict[str, Value]) -> bool:
        """Whether a row of the curve is the one that was chosen: of several runs the longest."""
        fits = [r for r in self.curve if self.chosen and self.chosen.items() <= r.items()]
        return bool(fits) and row == max(fits, key=lambda r: float(r.get(STEPS, 0)))

    @staticmethod
    def diverged(row: dict[str, Value]) -> bool:
        """Whether training with these values came to nothing, so that nothing was evaluated."""
        return RATE in row and CROP not in row


def tried(store: ResultStore, named: Sequence[str] = ()) -> list[Tried]:
    """Return the trials of a store: all, or the one that is named; those without a result last.

    Parameters
    ----------
    store
        Where they are.
    named
        The key of one or its beginning; or words of its title, each whole or in part.

    Raises
    ------
    StoreError
        None has that name, or several have.
    """
    every = [
        Tried(result.trial.key, result.trial, result, result.selection.validation_curve)
        for result in store.results()
        if result.selection
    ]
    every += under_way(store)
    if not named:
        return every
    asked = " ".join(named)
    found = _named(every, asked)
    if len(found) == 1:
        return found
    if not found:
        raise StoreError(
            f"no trial of {store.name} matches '{asked}': give the beginning of a key, or words of "
            "a title; `headstart results --csv` has the keys",
            code="store.trial_unknown",
            name=asked,
        )
    listed = first_few([f"{one.key[:DIGITS]} ({one.title})" for one in found], SHOWN)
    raise StoreError(
        f"{len(found)} trials of {store.name} match '{asked}': give the beginning of a key: "
        f"{listed}",
        code="store.trial_ambiguous",
        name=asked,
        found=[one.key for one in found],
    )


def under_way(store: ResultStore) -> list[Tried]:
    """Return the trials of a store that have measurements, and no result yet."""
    found = []
    for key in store.partly_measured():
        measured = store.measurements(key)
        rows = tuple(row for measurement in measured for row in measurement.curve)
        found.append(Tried(key, store.trial(key), None, rows, len(measured)))
    return found


def _named(every: Sequence[Tried], asked: str) -> list[Tried]:
    """Find by key, else by words; of those that have all words, those that have them whole."""
    if by_key := [one for one in every if one.key.startswith(asked.lower())]:
        return by_key
    words = _words(asked)
    by_words = [one for one in every if all(word in one.title.lower() for word in words)]
    whole = [one for one in by_words if words <= _words(one.title)]
    return whole or by_words


def _words(text: str) -> set[str]:
    return set(text.lower().replace(",", " ").split())
