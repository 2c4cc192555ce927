"""The race: models are measured on more and more images until they cannot be the best any more.

Level by level all models that are left are measured on the same images, twice as many as before
(nested, so that no feature is computed twice); those that are significantly worse than another one
are dropped (`elimination`). Time to test one is set aside. Of what is left of the budget the first
level may spend half, and each that follows an equal part, down to the last one that the two best
can be measured on for it. Where a level does not fit its part, the more promising half goes on.
Models that do not fit are parked, the least promising first, and follow in the end if there is
time; none is measured on more images than the most promising one. What a measured model promises
is its accuracy, moved towards what networks of its cost reach (`elimination.shrunken`): on few
images the most accurate of many is above all lucky. What is dropped, and what leads in the end, is
decided by measured accuracies alone.

It knows no image: `measure` does, and may be a simulation.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import log
from statistics import median
from threading import Lock
from typing import Protocol

import numpy as np

from headstart.ranking.elimination import Level, Rights, difference, shrunken

__all__ = ["BUDGET", "Budget", "Measure", "Race", "Racer", "StepOutcome"]

# Time of a cross-validation grows by a power of the number of images: by the first one unless it
# grew faster so far, by the second one at most.
PROBE_POWER, MOST_POWER = 1.3, 1.8
# Of the time of a cross-validation on all images, that of the final path and its refit (measured:
# docs/decisions/0033-a-race-of-backbones.md).
FINAL_SHARE = 0.5
FINAL_SECONDS = 3.0
# What is set aside for the test is more than is expected: the machine may become busier.
SAFETY = 1.5
# Of the time that is free, the first level may spend this part.
SHARE = 0.5
# The reason of a model that was measured no further as there was no time.
BUDGET = "budget"
# Of a level's models, these are measured where the budget allows it, whatever the level's share.
FEWEST = 2


@dataclass(frozen=True)
class StepOutcome:
    """What measuring a model on a level gave.

    `measured` is None where it was not measured: `reason` says why. `seconds` are all time of the
    step, as it counts for the budget; `once` is what of them the first step of a process alone
    takes. `seconds_per_image` is of its features once the network is loaded, `overhead` what of it
    does not grow with the network (decoding above all), `load_seconds` the time to load it.
    `probe_seconds` is the time of the cross-validation, or what it was expected to take where it
    was given up. `needed` is what the step would have taken, as far as is known, where it was not
    begun, or not ended, because it did not fit. `recalled` is whether an earlier run measured it.
    """

    measured: Rights | None
    seconds: float
    seconds_per_image: float = 0.0
    probe_seconds: float = 0.0
    load_seconds: float = 0.0
    reason: str = ""
    needed: float | None = None
    recalled: bool = False
    once: float = 0.0
    overhead: float = 0.0


class Measure(Protocol):
    """Measures a model; several may be measured at the same time, in threads of their own."""

    def __call__(self, racer: "Racer", level: int, allowed: float, limit: float) -> StepOutcome:
        """Measure a model on the images of a level.

        It is not begun if the features of the level and those that are needed in the end take more
        than `allowed` seconds, and given up if all of it takes more than `limit` seconds.
        """
        ...


class Budget:
    """Seconds that a race may take; what earlier runs measured counts as it did then."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self._clock = seconds, clock
        self._start, self._credit = clock(), 0.0

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return self._clock() - self._start + self._credit

    @property
    def left(self) -> float:
        """Seconds that are left, negative if it is overdrawn."""
        return self.seconds - self.spent

    def recall(self, seconds: float) -> None:
        """Count what an earlier run spent."""
        self._credit += seconds


@dataclass
class Racer:
    """A model in the race.

    `position` is its position among the candidates. `prior` is what is expected of it, higher is
    better; `cost` are multiply-adds per image, or another number that its time is proportional to;
    `width` is the number of its features. `steps` are what it reached, one per level, and
    `probe_seconds` what each cross-validation took. `status` is ``"racing"``, ``"dropped"``
    (significantly worse) or ``"left out"`` (it cannot be measured), `reason` why it is not racing,
    or was not measured further. `attempted` and `attempted_probe` are the seconds that its next
    step takes, and its cross-validation, as an attempt has shown that did not fit; else 0.
    """

    name: str
    position: int
    prior: float | None = None
    cost: float | None = None
    width: int = 1
    steps: list[Rights] = field(default_factory=list)
    status: str = "racing"
    reason: str = ""
    seconds: float = 0.0
    seconds_per_image: float | None = None
    probe_seconds: list[float] = field(default_factory=list)
    load_seconds: float = 0.0
    needed: float | None = None
    attempted: float = 0.0
    attempted_probe: float = 0.0
    overhead: float = 0.0

    @property
    def level(self) -> int:
        """The largest level that it was measured on, -1 for none."""
        return len(self.steps) - 1


class Race:
    """Races models against each other within a budget.

    `levels` are what models are compared on, smallest first. The winner's features are needed of
    `n_final` images in the end, beside those of the last level; `workers` models are measured at
    the same time. `fitted` says whether a model's level was measured before within such a budget:
    then it fits.
    """

    def __init__(
        self,
        racers: Sequence[Racer],
        levels: Sequence[Level],
        measure: Measure,
        budget: Budget,
        *,
        n_final: int = 0,
        workers: int = 1,
        fitted: Callable[[Racer, int], bool] = lambda _racer, _level: False,
    ) -> None:
        self.racers, self.levels, self.budget = list(racers), list(levels), budget
        self.sizes = [len(level.weights) for level in levels]
        self._measure, self._n_final, self.workers = measure, n_final, workers
        self._fitted = fitted
        self._lock, self._startup = Lock(), list[float]()

    def run(self) -> None:
        """Race until all levels are measured, or the budget does not allow another step."""
        for level in range(len(self.levels)):
            waiting = [one for one in self._ordered() if one.level == level - 1]
            # None goes further than the most promising one: cheap ones would, and lead for that.
            if level and waiting and not self._fits(waiting[0], self.budget.seconds):
                break
            self._advance(self._half(waiting, level), self.budget.spent + self._share(level))
            self._drop()
        while waiting := self._behind():
            if not any(
                self._advance(waiting[first : first + self.workers], self.budget.seconds)
                for first in range(0, len(waiting), self.workers)
            ):
                break
            self._drop()
        # Also of those that the better half left behind, or that ended on equally few images.
        for one in self.racers:
            if one.status == "racing" and one.level < len(self.levels) - 1:
                one.reason = one.reason or BUDGET

    def _half(self, waiting: list[Racer], level: int) -> list[Racer]:
        """Return the first half of models, where a level does not fit its part of the time.

        The time goes to more images of fewer models.
        """
        needed = sum(self.predicted(one, level) for one in waiting)
        if not level or needed <= self._share(level):
            return waiting
        return waiting[: max(FEWEST, (len(waiting) + 1) // 2)]

    def _behind(self) -> list[Racer]:
        """Return the models that others have left behind, the deepest and most accurate first.

        What is compared with the best on as many images decides.
        """
        deepest = max((one.level for one in self.racers if one.status == "racing"), default=-1)
        behind = [one for one in self._ordered() if one.level < max(deepest, 0)]
        return sorted(behind, key=lambda one: -one.level)

    def leaders(self) -> list[Racer]:
        """Return the measured models that may be the best, the most accurate first.

        Those that were measured on most images come first.
        """
        measured = [one for one in self.racers if one.status == "racing" and one.steps]
        return sorted(measured, key=lambda one: (-one.level, -self._accuracy(one), one.position))

    def predicted(self, racer: Racer, level: int) -> float:
        """Return the seconds that a step will take; 0 where nothing is known yet."""
        before = self.sizes[level - 1] if level else 0
        images = (self.sizes[level] - before) * self._per_image(racer)
        startup = racer.load_seconds if racer.steps else median(self._startup or [0.0])
        return max(float(images + startup + self.probe(racer, level)), racer.attempted)

    def probe(self, racer: Racer, level: int) -> float:
        """Return the seconds that a cross-validation will take; 0 where nothing is known yet.

        They are what other models took on as many images, or what the racer itself took on its
        largest level and as it grew: whichever is more. They are in proportion to the width.
        """
        known = [each for each in self.racers if each.steps and each is not racer]
        there = [
            each.probe_seconds[level] * racer.width / each.width
            for each in known
            if each.level >= level
        ]
        expected = median(there or [0.0])
        nearest = [racer] if racer.steps else [] if there else known
        grown = [
            each.probe_seconds[-1]
            * racer.width
            / each.width
            * max(1.0, self.sizes[level] / self.sizes[each.level]) ** self._power(each)
            for each in nearest
        ]
        return float(max(expected, median(grown or [0.0])))

    def _power(self, racer: Racer) -> float:
        """Return the power of the number of images that its cross-validation grows by."""
        if not racer.level or not min(racer.probe_seconds[-2:]):
            return PROBE_POWER
        before, last = racer.probe_seconds[-2:]
        growth = log(self.sizes[racer.level] / self.sizes[racer.level - 1])
        return min(max(log(last / before) / growth, PROBE_POWER), MOST_POWER)

    def reserve(self, advancing: Racer | None = None, level: int | None = None) -> float:
        """Return the seconds to keep for the test of the most expensive model that may win.

        `advancing` is a model that is measured on its next level before, and may win; the best are
        taken to `level` before.
        """
        seconds = [FINAL_SECONDS]
        for one in {
            id(each): each for each in [*self.leaders()[:FEWEST], advancing] if each
        }.values():
            place = max(level if level is not None else -1, one.level + (one is advancing))
            seconds.append(self.final(one, place))
        return max(seconds)

    def final(self, racer: Racer, level: int) -> float:
        """Return the seconds to allow for the test of a model that was measured up to a level."""
        images = self.n_remaining(level) * self._per_image(racer)
        fits = FINAL_SHARE * self.probe(racer, len(self.levels) - 1)
        # The network is loaded for its features, and to be kept.
        return FINAL_SECONDS + 2 * racer.load_seconds + SAFETY * (images + fits)

    def learn(self) -> list[Racer]:
        """Return the racing models of known speed; if there is none, measure the first one's.

        The budget is no limit: what would fit can be said then.
        """
        for one in [] if any(each.seconds_per_image for each in self.racers) else self._ordered():
            self._take(one, self._measure(one, 0, 0.0, 0.0))
            if one.status == "racing":
                break
        return [one for one in self._ordered() if one.seconds_per_image]

    def fits(self, racer: Racer, guess: Callable[[int], float]) -> float:
        """Return the seconds that a model's first level and its test take, if no other one races.

        They are more than is expected, as what is set aside for a test is.

        Where nothing is known of a cross-validation, `guess` gives its seconds from the number of
        images.
        """
        first, last = self.sizes[0], self.sizes[-1]
        seen = self.probe(racer, 0) or racer.attempted_probe
        top = seen * (last / first) ** PROBE_POWER or guess(last)
        images = (first + self.n_remaining(0)) * self._per_image(racer)
        seconds = images + (seen or guess(first)) + FINAL_SHARE * top
        return FINAL_SECONDS + 3 * racer.load_seconds + SAFETY * seconds

    def n_remaining(self, level: int) -> int:
        """Return the number of images whose features a winner of this level lacks."""
        return self._n_final + self.sizes[-1] - (self.sizes[level] if level >= 0 else 0)

    def _share(self, level: int) -> float:
        """Return the seconds that a level may spend: an equal part of what is left.

        The levels that share it end at the largest one that the best two can be measured on for
        that part. The first one, which all models are measured on, may spend half.
        """
        if not level:
            return SHARE * max(0.0, self.budget.left - self.reserve(level=len(self.levels) - 1))
        for last in reversed(range(level, len(self.levels))):
            share = (self.budget.left - self.reserve(level=last)) / (last - level + 1)
            best = self.leaders()[:FEWEST]
            if last == level or share >= sum(self.predicted(one, last) for one in best):
                break
        return max(0.0, share)

    def _per_image(self, racer: Racer) -> float:
        if racer.seconds_per_image is not None:
            return racer.seconds_per_image
        rates = [
            ((one.seconds_per_image - one.overhead) / one.cost, one.overhead)
            for one in self.racers
            if one.seconds_per_image is not None and one.cost
        ]
        if not rates or not racer.cost:
            return 0.0
        of_networks, overheads = zip(*rates, strict=True)
        return float(median(of_networks)) * racer.cost + float(median(overheads))

    def _accuracy(self, racer: Racer) -> float:
        return self.levels[racer.level].accuracy(racer.steps[-1])

    def _ordered(self) -> list[Racer]:
        """Return the models that race on, the most promising first; those measured come first.

        Of these, the promise is the accuracy, moved towards what the cost lets expect; of the
        others the rank of the prior plus that of the cost, so that cheap and good ones begin.
        """
        racing = [one for one in self.racers if one.status == "racing"]
        new = [one for one in racing if not one.steps]
        leaders, expected = self.leaders(), dict[int, float]()
        for level in {one.level for one in leaders}:
            expected |= self._expected(level)
        measured = sorted(leaders, key=lambda one: (-one.level, -expected[one.position]))

        def rank(value: float | None, known: Sequence[float]) -> float:
            middle = len(new) / 2
            return middle if value is None else float(sum(other < value for other in known))

        costs = [one.cost for one in new if one.cost is not None]
        priors = [-one.prior for one in new if one.prior is not None]

        def promise(one: Racer) -> tuple[float, float, int]:
            prior = None if one.prior is None else -one.prior
            together = rank(one.cost, costs) + rank(prior, priors)
            return together, one.cost or 0.0, one.position

        return [*measured, *sorted(new, key=promise)]

    def _expected(self, level: int) -> dict[int, float]:
        """Return the accuracy to expect of each model that is at a level, by its position.

        All that were measured there tell what a cost lets expect, also those that went on or were
        dropped. Of an unknown cost, the usual one is taken.
        """
        there = [one for one in self.racers if one.level >= level]
        known = [one.cost for one in there if one.cost]
        usual = float(np.exp(np.log(known).mean())) if known else 1.0
        steps = [one.steps[level] for one in there]
        values = shrunken(steps, [one.cost or usual for one in there], self.levels[level])
        return {one.position: float(value) for one, value in zip(there, values, strict=True)
                if one.level == level}  # fmt: skip

    def _fits(self, racer: Racer, share: float) -> bool:
        """Whether a model's next step ends before `share` is spent, and leaves time for a test."""
        if self._fitted(racer, racer.level + 1):
            return True
        allowed = min(self.budget.seconds - self.reserve(racer), share) - self.budget.spent
        return self.predicted(racer, racer.level + 1) <= allowed and allowed > 0

    def _advance(self, waiting: Sequence[Racer], share: float) -> bool:
        """Measure models on their next level, as long as they fit `share`; return if any was."""
        begun, progress = 0, False

        def run(racer: Racer) -> None:
            nonlocal begun, progress
            with self._lock:
                if not self._fits(racer, share if begun >= FEWEST else self.budget.seconds):
                    racer.needed = self.predicted(racer, racer.level + 1)
                    racer.reason = BUDGET
                    return
                begun += 1
                left = self.budget.left
                # Where nothing is measured yet, there is nothing to be tested instead.
                limit = left - (self.reserve() if self.leaders() else FINAL_SECONDS)
            outcome = self._measure(racer, racer.level + 1, left - FINAL_SECONDS, limit)
            with self._lock:
                self._take(racer, outcome)
                progress |= outcome.measured is not None or racer.status != "racing"

        if self.workers == 1:
            for one in waiting:
                run(one)
        else:
            self._together(run, waiting)
        return progress

    def _together(self, run: Callable[[Racer], None], waiting: Sequence[Racer]) -> None:
        """Run as many as there are workers; Ctrl-C and errors do not wait for the others."""
        pool = ThreadPoolExecutor(self.workers)
        try:
            for future in [pool.submit(run, one) for one in waiting]:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()

    def _take(self, racer: Racer, outcome: StepOutcome) -> None:
        if outcome.recalled:
            self.budget.recall(outcome.seconds / self.workers)
        racer.seconds += outcome.seconds
        if outcome.seconds_per_image:
            racer.seconds_per_image, racer.overhead = outcome.seconds_per_image, outcome.overhead
        racer.load_seconds = outcome.load_seconds or racer.load_seconds
        if outcome.measured is None:
            racer.needed, racer.reason = outcome.needed, outcome.reason
            racer.attempted = outcome.needed or 0.0
            racer.attempted_probe = outcome.probe_seconds
            if outcome.needed is None:
                racer.status = "left out"
            return
        if not racer.steps:
            spent = self.sizes[0] * outcome.seconds_per_image + outcome.probe_seconds + outcome.once
            self._startup.append(max(0.0, outcome.seconds - spent))
        racer.steps.append(outcome.measured)
        racer.probe_seconds.append(outcome.probe_seconds)
        racer.reason, racer.needed, racer.attempted = "", None, 0.0
        racer.attempted_probe = 0.0

    def _drop(self) -> None:
        """Drop the models that are significantly worse than another one."""
        for one in [each for each in self.racers if each.status == "racing"]:
            for level in range(one.level + 1):
                best = max(
                    (other for other in self.racers if other.level >= level and other is not one),
                    key=lambda other: self.levels[level].accuracy(other.steps[level]),
                    default=None,
                )
                if best and (gap := self._significant_gap(one, best, level)):
                    one.status = "dropped"
                    one.reason = (
                        f"{100 * gap:.1f} points worse than {best.name} on "
                        f"{self.sizes[level]:,} images"
                    )
                    break

    def _significant_gap(self, one: Racer, other: Racer, level: int) -> float:
        """Return by how much a model is significantly worse, even if the gap goes on closing, or 0.

        With more images to come the gap may become smaller: by as much as from the level before (a
        learning curve flattens: each doubling gains at most half of the last one, in all no more
        than it), or on the first level by half.
        """
        now, before = (
            difference(one.steps[place], other.steps[place], self.levels[place])
            for place in (level, max(level - 1, 0))
        )
        gap, closing = -now.mean, 0.0
        if level < len(self.levels) - 1:
            closing = max(0.0, -before.mean - gap) if level else gap / 2
        return gap if gap - closing > self.levels[level].critical * now.se else 0.0
