"""What a stored trial tried on validation, and how one is named."""

from collections.abc import Sequence
from dataclasses import dataclass

from headstart.errors import StoreError
from headstart.spec import Result, Trial, Value
from headstart.store.database import ResultStore

__all__ = ["Tried", "tried", "under_way"]

SHOWN, DIGITS = 5, 12
RATE, CROP, STEPS = "learning_rate", "crop", "steps"


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
            f"no trial of {store.path} is '{asked}': give the beginning of a key, or words of a "
            "title; `headstart results --csv` has the keys",
            code="store.trial_unknown",
            name=asked,
        )
    listed = ", ".join(f"{one.key[:DIGITS]} ({one.title})" for one in found[:SHOWN])
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    raise StoreError(
        f"{len(found)} trials of {store.path} are '{asked}': give the beginning of a key: "
        f"{listed}{more}",
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
