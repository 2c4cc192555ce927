"""Which trials take far longer than their like: a worker may hang, or share its machine."""

import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from threading import Lock

from headstart.errors import StudyError
from headstart.spec import Trial

__all__ = ["Stragglers", "is_late", "least_seconds"]

# Longer than so many times the longest of its setting, of which so many are known, and so long at
# least.
FACTOR, KNOWN, SECONDS = 2.0, 3, 60.0


class Stragglers:
    """Looks at how long trials take; each that takes too long is named once.

    Parameters
    ----------
    note
        Informs the user in one line.
    places
        Returns where the work of a trial, by its key, runs now; None where that is not known.
    now
        Seconds of any clock.
    """

    def __init__(
        self,
        note: Callable[[str], None],
        places: Callable[[str], Sequence[str]] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._note, self._places, self._now, self._lock = note, places, now, Lock()
        self._least = least_seconds()
        self._begun: dict[str, tuple[Trial, float]] = {}
        # By setting: the number of trials, and the seconds of the longest.
        self._known: dict[str, tuple[int, float]] = {}

    def began(self, trial: Trial) -> None:
        """Note that a trial is measured from now on."""
        with self._lock:
            self._begun[trial.key] = trial, self._now()

    def ended(self, trial: Trial) -> None:
        """Note that a trial is over."""
        with self._lock:
            if found := self._begun.pop(trial.key, None):
                n, longest = self._known.get(trial.setting.name, (0, 0.0))
                self._known[trial.setting.name] = n + 1, max(longest, self._now() - found[1])

    def look(self) -> None:
        """Name those that take too long by now."""
        with self._lock:
            now, late = self._now(), list[tuple[Trial, float, int, float]]()
            for key, (trial, began) in list(self._begun.items()):
                n, longest = self._known.get(trial.setting.name, (0, 0.0))
                if is_late(now - began, n, longest, self._least):
                    # Named once; its own time is no measure of others.
                    del self._begun[key]
                    late.append((trial, now - began, n, longest))
        for trial, elapsed, n, longest in late:
            since = datetime.now(UTC) - timedelta(seconds=elapsed)
            self._note(
                f"slow: {trial.title}: under way for {_minutes(elapsed)} minutes, since "
                f"{since:%Y-%m-%d %H:%M:%S} UTC{self._where(trial)}; {n} trials of setting "
                f"{trial.setting.name} took {_minutes(longest)} at most"
            )

    def _where(self, trial: Trial) -> str:
        if self._places is None:
            return ""
        found = self._places(trial.key)
        return f", on {' and '.join(found)}" if found else ", and no worker runs a part of it now"


def is_late(elapsed: float, n_known: int, longest: float, least: float = SECONDS) -> bool:
    """Return whether a trial takes far longer than those of its setting.

    Parameters
    ----------
    elapsed
        Seconds since it began.
    n_known, longest
        Number of trials of its setting that are done, and the seconds of the longest.
    least
        Seconds that any trial may take.
    """
    return n_known >= KNOWN and elapsed >= max(least, FACTOR * longest)


def least_seconds() -> float:
    """Return the seconds that any trial may take: 60, or $HEADSTART_SLOW_SECONDS.

    Raises
    ------
    StudyError
        The variable is not a number of seconds.
    """
    given = os.environ.get("HEADSTART_SLOW_SECONDS", "")
    try:
        seconds = float(given or SECONDS)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise StudyError(
            f"invalid HEADSTART_SLOW_SECONDS '{given}': expected a number of seconds, for example "
            "60",
            code="study.slow_seconds",
            found=given,
        )
    return seconds


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:,.1f}"
