"""The race: order, budget, parking, what earlier runs measured; by a simulated clock."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from headstart.ranking.elimination import Level, critical_values
from headstart.ranking.race import BUDGET, Budget, Race, Racer, StepOutcome

SIZES = (100, 200, 400)


class Simulated:
    """Models with an accuracy and seconds per image, measured on a clock of their own."""

    def __init__(self, models, *, recalled=frozenset(), startup=1.0, probe=0.01, power=1.0):
        self.models, self.recalled = models, recalled
        self.startup, self.probe, self.power = startup, probe, power
        self.now, self.begun = 0.0, []
        # What an earlier run with such a budget measured.
        self.fitted = lambda racer, level: (racer.name, level) in recalled

    def probed(self, level: int) -> float:
        return self.probe * SIZES[0] * (SIZES[level] / SIZES[0]) ** self.power

    def tested(self, racer: Racer, n_final: int) -> float:
        """What the test takes: features that are lacking, and a part of a cross-validation."""
        lacking = SIZES[-1] + n_final - SIZES[racer.level]
        return 3 + lacking * self.models[racer.name][1] + 0.5 * self.probed(len(SIZES) - 1)

    def clock(self) -> float:
        return self.now

    def __call__(
        self, racer: Racer, level: int, allowed: float, limit: float = np.inf
    ) -> StepOutcome:
        accuracy, per_image = self.models[racer.name]
        before = SIZES[level - 1] if level else 0
        probe = self.probed(level)
        seconds = (SIZES[level] - before) * per_image + probe + (0 if level else self.startup)
        recalled = (racer.name, level) in self.recalled
        if not recalled:
            self.now += seconds
            self.begun.append((racer.name, level))
        random = np.random.default_rng(racer.position)
        right = random.uniform(size=(2, SIZES[-1]))[:, : SIZES[level]] < accuracy
        return StepOutcome(right, seconds, per_image, probe, recalled=recalled)


def levels_of(n_models: int) -> list[Level]:
    critical = critical_values(len(SIZES), n_models, 0.05)
    return [
        Level(np.ones(n), np.arange(n), 5, float(c)) for n, c in zip(SIZES, critical, strict=True)
    ]


def prepared(world, budget=1e6, priors=None, kind=Race, **options) -> Race:
    """A race of a world's models that has not begun."""
    racers = [
        Racer(name, place, (priors or {}).get(name), per_image * 1e9)
        for place, (name, (_, per_image)) in enumerate(world.models.items())
    ]
    return kind(racers, levels_of(len(racers)), world, Budget(budget, world.clock), **options)


def race_of(
    models, budget=1e6, priors=None, workers=1, n_final=0, is_same_budget=False, **more
) -> tuple[Race, Simulated]:
    world = Simulated(models, **more)
    options = {"fitted": world.fitted} if is_same_budget else {}
    race = prepared(world, budget, priors, n_final=n_final, workers=workers, **options)
    race.run()
    return race, world


def test_what_is_worse_is_not_measured_further():
    race, world = race_of({"good": (0.9, 0.01), "poor": (0.3, 0.01)})
    assert [one.status for one in race.racers] == ["racing", "dropped"]
    assert ("poor", 1) not in world.begun
    assert race.racers[1].reason.endswith("points worse than good on 100 images")


def test_cheap_and_promising_ones_begin():
    models = {"large": (0.9, 0.1), "small": (0.9, 0.01), "poor": (0.9, 0.02)}
    priors = {"large": 0.8, "small": 0.79, "poor": 0.5}
    _, world = race_of(models, priors=priors)
    assert world.begun[0] == ("small", 0)


@pytest.mark.parametrize("power", [1.0, 1.7])
@pytest.mark.parametrize("budget", [24.0, 60.0, 150.0, 400.0])
def test_the_budget_is_kept(budget, power):
    """The test of the winner included, even where fits take longer than small levels tell."""
    models = {f"m{i}": (0.7 + 0.01 * i, 0.02 * (i + 1)) for i in range(8)}
    race, world = race_of(models, budget, n_final=50, power=power)
    winner = race.leaders()[0]
    assert world.now + world.tested(winner, 50) <= budget


def test_time_for_the_test_is_of_the_largest_level_that_was_measured():
    """A race ends early where a cross-validation took long: a test that is cheaper still fits."""
    models = {f"m{i}": (0.8, 0.01) for i in range(6)}
    quick, slow = (race_of(models, 120.0, probe=probe)[0] for probe in (0.001, 0.05))
    depth = [sum(one.level for one in race.racers) for race in (quick, slow)]
    assert depth[0] > depth[1]
    for race in (quick, slow):
        one = race.leaders()[0]
        images = race.n_remaining(one.level) * one.seconds_per_image
        top = race.probe(one, len(SIZES) - 1)
        assert race.final(one, one.level) >= images + 0.5 * top
        # It is in proportion to the number of features, and no less than what others took.
        wide = Racer("wide", 9, width=2 * one.width)
        assert race.probe(wide, 0) == pytest.approx(2 * one.probe_seconds[0])


def test_a_larger_budget_is_used():
    models = {f"m{i}": (0.8, 0.02 * (i + 1)) for i in range(8)}
    small, large = (race_of(models, budget)[0] for budget in (60.0, 400.0))
    depth = [sum(one.level for one in race.racers) for race in (small, large)]
    assert depth[0] < depth[1]
    assert all(one.level == 2 for one in large.leaders())


def test_none_is_measured_on_more_images_than_the_most_accurate_one():
    """A cheap model that goes further would lead for that."""
    models = {"large": (0.97, 0.3), "small": (0.87, 0.001), "tiny": (0.82, 0.001)}

    class Untested(Race):
        def reserve(self, advancing=None, level=None):
            return 0.0

    for budget, depth in ((110.0, 1), (400.0, 2)):
        race = prepared(Simulated(models), budget, kind=Untested)
        race.run()
        assert race.racers[0].level == depth
        assert max(one.level for one in race.racers) == depth


def test_all_are_measured_on_the_first_images_where_half_of_the_budget_allows_it():
    models = {f"m{i}": (0.7 + 0.01 * i, 0.02 * (i + 1)) for i in range(8)}
    race, world = race_of(models, 2.2 * sum(100 * cost + 2 for _, cost in models.values()))
    assert world.begun[:8] == [(f"m{i}", 0) for i in range(8)]
    # The two most promising ones go on, whatever they cost. On 100 images m3, which costs less, is
    # as accurate as m6.
    accuracy = [one.steps[0].mean() for one in race.racers]
    assert accuracy[7] > accuracy[3] >= accuracy[6]
    assert world.begun[8:10] == [("m7", 1), ("m6", 1)]


def test_the_better_half_goes_on_where_a_level_does_not_fit_its_part():
    """Not before: with 120 seconds there is time for all on the second level, not on the third."""
    models = {f"m{i}": (0.8, 0.02) for i in range(8)}
    for budget, on_the_second_level in ((70.0, 4), (120.0, 8), (400.0, 8)):
        race, world = race_of(models, budget)
        first = sorted(race.racers, key=lambda one: (-one.steps[0].mean(), one.position))
        begun = [name for name, level in world.begun if level == 1]
        assert begun[:on_the_second_level] == [one.name for one in first][:on_the_second_level]
        assert len(begun) == on_the_second_level


def test_a_model_that_does_not_fit_is_not_begun():
    race, world = race_of({"fast": (0.8, 0.01), "slow": (0.99, 10.0)}, 60.0)
    assert {name for name, _ in world.begun} == {"fast"}
    slow = race.racers[1]
    assert (slow.status, slow.reason) == ("racing", "budget")
    assert slow.needed == pytest.approx(1000, rel=0.2)


def test_a_step_that_was_given_up_is_not_tried_again():
    """Fits may take longer than smaller levels let expect: the test of the winner still fits."""

    class Slow(Simulated):
        def __call__(self, racer, level, allowed, limit=np.inf):
            if (racer.name, level) != ("m3", 2):
                return super().__call__(racer, level, allowed, limit)
            self.begun.append((racer.name, level))
            self.now += min(limit, 20)
            return StepOutcome(None, 20, 0.01, reason="budget", needed=5000)

    models = {f"m{i}": (0.7 + 0.05 * i, 0.01) for i in range(4)}
    for budget in (60.0, 2000.0):
        world = Slow(models)
        race = prepared(world, budget)
        race.run()
        assert world.begun.count(("m3", 2)) == 1
        assert (race.racers[3].reason, race.racers[3].needed) == ("budget", 5000)
        assert world.now + 3 <= budget


def test_what_was_measured_no_further_says_that_the_budget_ended():
    """Also of the worse half, which may not have been tried again, and of those that all end."""
    models = {f"m{i}": (0.7 + 0.02 * i, 0.02) for i in range(8)}
    levels = set()
    for budget in (40.0, 60.0, 70.0, 100.0, 1e6):
        race, _ = race_of(models, budget)
        for one in race.racers:
            if one.status == "racing":
                levels.add(one.level)
                assert (one.reason == BUDGET) == (one.level < 2)
    assert levels == {-1, 0, 1, 2}


def test_decoding_does_not_grow_with_the_network():
    """A large network has ten times the arithmetic of a small one, and the same images."""

    class Decoding(Simulated):
        def __call__(self, racer, level, allowed, limit=np.inf):
            found = super().__call__(racer, level, allowed, limit)
            self.now += 0.05 * SIZES[0]
            rate = found.seconds_per_image + 0.05
            return replace(found, seconds_per_image=rate, overhead=0.05)

    models = {"small": (0.8, 0.002), "large": (0.9, 0.02)}
    world = Decoding(models, startup=0.0)
    race = prepared(world)
    small, large = race.racers
    race._take(small, world(small, 0, np.inf))
    known, unknown = race.predicted(small, 1), race.predicted(large, 0)
    assert unknown - known == pytest.approx(100 * 0.018, abs=1.5)


@pytest.mark.parametrize("given_up", [False, True])
def test_what_fits_is_known_after_one_look(given_up):
    """Of the first model only, where the budget allowed nothing; by its fits where it had begun."""
    seen = []

    def measure(racer, level, allowed, limit):
        seen.append((racer.name, allowed))
        if racer.name == "broken":
            return StepOutcome(None, 0.1, reason="weights damaged")
        return StepOutcome(None, 2.0, 0.1, 4.0 * given_up, 1.0, reason=BUDGET, needed=12.0)

    racers = [Racer("broken", 0, cost=1.0), Racer("a", 1, cost=2.0), Racer("b", 2, cost=3.0)]
    race = Race(racers, levels_of(2), measure, Budget(0.0), n_final=50)
    race.run()
    assert seen == []
    (known,) = race.learn()
    assert (known.name, seen) == ("a", [("broken", 0.0), ("a", 0.0)])
    assert race.learn() == [known]
    fits = race.fits(known, lambda n: 0.01 * n)
    # All 450 images, the first cross-validation, half of one on all; the network is loaded thrice.
    first, top = (4.0, 4.0 * 4**1.3) if given_up else (1.0, 4.0)
    assert fits == pytest.approx(3 + 3 * 1.0 + 1.5 * (45 + first + 0.5 * top))


def test_what_was_measured_before_counts_as_it_did_then():
    models = {f"m{i}": (0.8, 0.05) for i in range(4)}
    first, world = race_of(models, 80.0)
    again, second = race_of(models, 80.0, recalled=frozenset(world.begun))
    assert second.begun == []
    assert [one.level for one in again.racers] == [one.level for one in first.racers]
    assert again.budget.spent == pytest.approx(first.budget.spent)


def test_what_workers_measured_within_a_budget_fits_it_again():
    """Beside each other they began with as much time left; one after the other, the last do not."""
    models = {"a": (0.8, 0.3), "b": (0.8, 0.3), "c": (0.8, 0.3)}
    measured = frozenset((name, 0) for name in models)
    options = {"budget": 100.0, "workers": 3, "recalled": measured}
    assert min(one.level for one in race_of(models, **options)[0].racers) < 0
    again, world = race_of(models, is_same_budget=True, **options)
    assert min(one.level for one in again.racers) == 0
    assert not measured & set(world.begun)


def test_a_model_that_cannot_be_measured_is_left_out():
    class Broken(Simulated):
        def __call__(self, racer, level, allowed, limit=np.inf):
            if racer.name == "broken":
                return StepOutcome(None, 0.1, reason="weights damaged")
            return super().__call__(racer, level, allowed)

    race = prepared(Broken({"good": (0.9, 0.01), "broken": (0.9, 0.01)}))
    race.run()
    assert [(one.status, one.reason) for one in race.racers] == [
        ("racing", ""), ("left out", "weights damaged"),
    ]  # fmt: skip


def test_workers_measure_together_and_give_the_same():
    models = {f"m{i}": (0.6 + 0.04 * i, 0.01) for i in range(6)}
    alone, together = (race_of(models, workers=n)[0] for n in (1, 3))
    assert [(one.status, one.level) for one in alone.racers] == [
        (one.status, one.level) for one in together.racers
    ]


def test_an_error_in_a_worker_ends_the_race():
    release = threading.Event()

    def measure(racer, level, allowed, limit):
        if racer.name == "a":
            raise RuntimeError("boom")
        release.wait(5)
        return StepOutcome(np.ones((2, 10), bool), 0.1)

    levels = [Level(np.ones(10), np.arange(10), 5, 2.0)]
    race = Race([Racer("a", 0), Racer("b", 1)], levels, measure, Budget(1e6), workers=2)
    with pytest.raises(RuntimeError, match="boom"):
        race.run()
    release.set()
