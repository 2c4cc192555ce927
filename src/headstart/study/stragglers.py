"""Which trials take far longer than their like: a worker may hang, or share its machine."""

import time
from collections.abc import Callable
from threading import Lock

from headstart.spec import Trial

__all__ = ["Stragglers"]

# Longer than so many times the longest of its setting, of which so many are known, and so long at
# least.
FACTOR, KNOWN, SECONDS = 2.0, 3, 60.0


class Stragglers:
    """Looks at how long trials take; each that takes too long is named once.

    Parameters
    ----------
    note
        Informs the user in one line.
    now
        Seconds of any clock.
    """

    def __init__(
        self, note: Callable[[str], None], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._note, self._now, self._lock = note, now, Lock()
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
            now, late = self._now(), list[tuple[Trial, float, float]]()
            for key, (trial, began) in list(self._begun.items()):
                n, longest = self._known.get(trial.setting.name, (0, 0.0))
                if n < KNOWN or now - began < max(SECONDS, FACTOR * longest):
                    continue
                # Named once; its own time is no measure of others.
                del self._begun[key]
                late.append((trial, now - began, longest))
        for trial, elapsed, longest in late:
            self._note(
                f"{trial.title}: under way for {elapsed / 60:,.0f} minutes; the longest of setting "
                f"{trial.setting.name} before took {longest / 60:,.1f}"
            )
