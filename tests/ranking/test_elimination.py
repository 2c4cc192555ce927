"""Which models cannot be the best any more: formulas by hand, and error rates by simulation."""

import numpy as np
import pytest
from scipy.stats import norm

from headstart.ranking.elimination import (
    Level,
    Rights,
    against_others,
    critical_values,
    difference,
    interval,
    shrunken,
)
from headstart.ranking.race import Budget, Race, Racer, StepOutcome
from headstart.stats import wilson_interval

FOLDS = 5


def level(n: int, critical: float = 2.0, folds: int = FOLDS, **more) -> Level:
    fields = {"weights": np.ones(n), "clusters": np.arange(n), **more}
    return Level(folds=folds, critical=critical, **fields)


def rights(text: str) -> Rights:
    return np.array([[c == "1" for c in line] for line in text.split()])


def test_the_variance_is_that_of_single_repeats_with_the_folds_correction():
    first, second = rights("1101 1111"), rights("1001 0111")
    d = np.array([[0, 1, 0, 0], [1, 0, 0, 0]])
    squares = ((d - d.mean(axis=1, keepdims=True)) ** 2).sum() / 2
    # One more image that only the first, and one that only the second gets right; K / (K - 1).
    expected = np.sqrt(5 / 4 * (squares + 2) / (4 + 2) / 4)
    found = difference(first, second, level(4))
    assert found.mean == pytest.approx(0.25)
    assert found.se == pytest.approx(expected)


def test_images_of_a_cluster_vary_together():
    first, second = rights("11110000"), rights("00000000")
    alone = difference(first, second, level(8)).se
    pairs = difference(first, second, level(8, clusters=np.repeat(np.arange(4), 2))).se
    assert pairs > alone


def test_weights_make_mean_per_class_accuracy():
    labels = np.array([0, 0, 0, 1])
    weights = 4 / (2 * np.bincount(labels)[labels])
    assert level(4, weights=weights).accuracy(rights("1110")) == pytest.approx(0.5)


def test_a_critical_value_is_bonferronis_over_looks_and_other_models():
    found = critical_values(3, 11, 0.05)
    spent = norm.sf(found) * 10
    assert spent.sum() == pytest.approx(0.05)
    assert spent[1:] / spent[:-1] == pytest.approx([2.0, 2.0])


def test_the_interval_of_independent_images_is_wilsons():
    # Of many folds nothing is left of the correction; as many repeats as one.
    model = np.arange(200)[None] < 150
    low, high = interval(model, level(200, folds=10**9))
    expected = wilson_interval(0.75, 200)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-3)
    assert interval(model, level(200))[0] < low


@pytest.mark.parametrize("right", [0, 1])
def test_the_interval_of_none_or_all_right_is_no_point(right):
    low, high = interval(np.full((2, 40), right, bool), level(40))
    assert 0 <= low < high <= 1
    assert high - low > 0.1


def test_the_upper_end_is_0_where_a_model_is_significantly_worse():
    random = np.random.default_rng(0)
    good = random.uniform(size=(2, 500)) < 0.9
    near = random.uniform(size=(2, 500)) < 0.89
    poor = random.uniform(size=(2, 500)) < 0.6
    assert against_others(poor, [good, near], level(500))[1] == 0
    low, high = against_others(near, [good, poor], level(500))
    assert low < 0 < high


def of_accuracy(true, n: int, random: np.random.Generator) -> list[Rights]:
    """Models of known accuracy; images are as hard for one as for another."""
    hard = random.uniform(size=n)
    own = random.uniform(size=(len(true), n))
    return [
        np.stack([np.where(rare < 0.5, hard, rare * 2 - 1) < value] * 2)
        for value, rare in zip(true, own, strict=True)
    ]


@pytest.mark.parametrize("spread", [0.0, 0.03, 0.2])
def test_accuracies_moved_towards_their_line_over_the_cost_are_nearer_the_truth(spread):
    """Where the cost explains nothing, too, and they are hardly moved."""
    random = np.random.default_rng(0)
    costs = np.geomspace(1e8, 1e10, 20)
    squares, moved = [], []
    for _ in range(40):
        true = 0.6 + 0.05 * np.log10(costs / 1e9) * (spread < 0.1)
        true = np.clip(true + spread * random.normal(size=20), 0.1, 0.9)
        steps = of_accuracy(true, 100, random)
        raw = np.array([level(100).accuracy(one) for one in steps])
        better = shrunken(steps, costs, level(100))
        errors = np.stack([raw, better]) - true
        # What all have in common on these images does not matter for their order.
        squares.append(np.square(errors - errors.mean(axis=1, keepdims=True)).mean(axis=1))
        moved.append(np.abs(better - raw).mean())
    of_raw, of_better = np.mean(squares, axis=0)
    assert of_better < {0.0: 0.3, 0.03: 0.7, 0.2: 1.0}[spread] * of_raw
    assert (np.mean(moved) < 0.01) == (spread == 0.2)


def test_what_remains_of_a_distance_to_the_line_is_its_own_part_of_the_variance():
    random = np.random.default_rng(1)
    costs = np.geomspace(1, 100, 9)
    steps = of_accuracy(random.uniform(0.4, 0.8, size=9), 60, random)
    right = np.stack([one[0] for one in steps])
    raw = right.mean(axis=1)
    fitted = np.polynomial.Polynomial.fit(np.log(costs), raw, 1)(np.log(costs))
    sampling = FOLDS / (FOLDS - 1) * np.var(right - right.mean(axis=0), axis=1).mean() / 60
    own = ((raw - fitted) ** 2).sum() / 7 - sampling
    assert own > 0
    expected = fitted + own / (own + sampling) * (raw - fitted)
    np.testing.assert_allclose(shrunken(steps, costs, level(60)), expected)
    # In any unit of the cost; of models that cost the same, to their mean.
    np.testing.assert_allclose(shrunken(steps, 7 * costs, level(60)), expected)
    for cost in (1.0, 3e8):  # the mean of seven logarithms of 3e8 is not their value
        same = shrunken(steps[:7], np.full(7, cost), level(60))
        assert same.mean() == pytest.approx(raw[:7].mean())
        assert same.std() < raw[:7].std()
    np.testing.assert_array_equal(shrunken(steps[:3], costs[:3], level(60)), raw[:3])


def cross_validated(X, y, n_classes: int, random: np.random.Generator) -> Rights:
    """Two times five folds of ridge regression on indicators, in closed form."""
    n, d = X.shape
    out, target = np.empty((2, n), bool), np.eye(n_classes)[y] - 1 / n_classes
    for repeat in range(2):
        order = random.permutation(n)
        fold = np.empty(n, int)
        fold[order[np.argsort(y[order], kind="stable")]] = np.arange(n) % FOLDS
        for held in range(FOLDS):
            train = fold != held
            mean = X[train].mean(axis=0)
            A = X[train] - mean
            W = np.linalg.solve(A.T @ A + np.eye(d), A.T @ target[train])
            out[repeat, ~train] = ((X[~train] - mean) @ W).argmax(axis=1) == y[~train]
    return out


def raced(seed: int, noises: list[float], sizes=(80, 160, 320)) -> Race:
    """Race models that see the same 10 classes of images through noise of these sizes."""
    random = np.random.default_rng(seed)
    n, centres = sizes[-1], random.normal(size=(10, 8)) * 1.13
    y = np.arange(n) % 10
    Z = centres[y] + random.normal(size=(n, 8))
    seen = [
        Z @ random.normal(size=(8, 30)) / np.sqrt(8) + noise * random.normal(size=(n, 30))
        for noise in noises
    ]
    critical = critical_values(len(sizes), len(noises), 0.05)
    levels = [level(m, c) for m, c in zip(sizes, critical, strict=True)]

    def measure(racer: Racer, place: int, allowed: float, limit: float) -> StepOutcome:
        m = sizes[place]
        found = cross_validated(seen[racer.position][:m], y[:m], 10, random)
        return StepOutcome(found, 1.0, 1e-3, 0.1)

    racers = [Racer(str(i), i) for i in range(len(noises))]
    race = Race(racers, levels, measure, Budget(1e9))
    race.run()
    return race


@pytest.mark.parametrize("runs", [40, pytest.param(600, marks=pytest.mark.slow)])
def test_the_best_is_dropped_in_at_most_5_percent_of_races(runs):
    """All models are equally good, the hardest case: the first one stands for the best."""
    dropped = sum(raced(seed, [1.0] * 6).racers[0].status == "dropped" for seed in range(runs))
    # 5 % of the runs, and two standard errors of a simulation of this size.
    assert dropped <= 0.05 * runs + 2 * np.sqrt(0.05 * 0.95 * runs)
    assert dropped <= 0.05 * runs or runs < 100


def test_worse_models_are_dropped_early():
    races = [raced(seed, [1.0, 1.1, 3.0, 4.0]) for seed in range(10)]
    assert [race.racers[0].status for race in races].count("racing") == 10
    of_poor = [one for race in races for one in race.racers[2:]]
    assert sum(one.status == "dropped" for one in of_poor) >= 18
    assert np.mean([one.level < 2 for one in of_poor]) > 0.5


@pytest.mark.parametrize("n", [160, pytest.param(320, marks=pytest.mark.slow)])
def test_the_standard_error_is_a_little_larger_than_the_truth(n):
    """Of equal models on images that are drawn anew: the mean difference is 0."""
    found, averaged = [], []
    for seed in range(150):
        random = np.random.default_rng(seed)
        y, centres = np.arange(n) % 10, random.normal(size=(10, 8)) * 1.13
        Z = centres[y] + random.normal(size=(n, 8))
        first, second = (
            cross_validated(
                Z @ random.normal(size=(8, 30)) / np.sqrt(8) + random.normal(size=(n, 30)),
                y, 10, random,
            )
            for _ in range(2)
        )  # fmt: skip
        found.append(difference(first, second, level(n)))
        d = first.mean(axis=0) - second.mean(axis=0)
        averaged.append(d.std() / np.sqrt(n))
    means, errors = np.array(found).T
    assert 0.8 < means.std() / errors.mean() < 1.0
    # What the averaged repeats vary by is too little.
    assert means.std() / np.mean(averaged) > 1.05
