import numpy as np
import pytest
from scipy import stats

from headstart.training.augmentation import derived_seed, permutation, rows_of_step, uniforms


def test_the_draws_of_this_seed_stay_what_they_are():
    # Stored results depend on them; Philox's words are the same on every machine.
    assert derived_seed(3, "dropout", 7) == 2543324464360243171
    assert permutation(3, 1, 6).tolist() == [0, 5, 4, 1, 3, 2]
    np.testing.assert_allclose(uniforms(3, 1, "crop", (2,)), [0.7789398, 0.5836739], atol=1e-6)


def test_draws_repeat_and_differ_in_everything_that_they_are_for():
    first = uniforms(0, 0, "crop", (4, 3))
    np.testing.assert_array_equal(first, uniforms(0, 0, "crop", (4, 3)))
    for other in [(1, 0, "crop"), (0, 1, "crop"), (0, 0, "flip")]:
        assert not np.isin(uniforms(*other, (4, 3)), first).any()


@pytest.mark.parametrize("batch", [1, 2, 31, 256])
def test_a_place_has_its_draw_in_a_batch_of_any_size(batch):
    large = uniforms(5, 9, "crop", (300, 22))
    np.testing.assert_array_equal(uniforms(5, 9, "crop", (batch, 22)), large[:batch])


def test_draws_are_uniform_and_independent_from_place_to_place():
    drawn = np.concatenate([uniforms(0, step, "crop", (64, 22)) for step in range(40)])
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > 1e-3
    # Of independent columns, correlations are 0 +- 0.02.
    correlation = np.corrcoef(drawn.T) - np.eye(22)
    assert np.abs(correlation).max() < 0.1
    # The same place at successive steps.
    series = np.array([uniforms(0, step, "flip", (1,))[0] for step in range(2000)])
    assert stats.kstest(series, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(series[1:], series[:-1])[0, 1]) < 0.1


def test_every_epoch_is_a_permutation_of_its_own():
    orders = [permutation(seed, epoch, 50) for seed in (0, 1) for epoch in range(3)]
    for order in orders:
        assert order.dtype == np.int64
        np.testing.assert_array_equal(np.sort(order), np.arange(50))
    assert len({tuple(order) for order in orders}) == len(orders)


def test_every_image_is_as_often_at_every_place():
    places = np.array([permutation(0, epoch, 10) for epoch in range(2000)])
    counts = np.array([np.bincount(column, minlength=10) for column in places.T])
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3


def test_an_order_that_is_kept_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        permutation(0, 0, 5)[0] = 3


@pytest.mark.parametrize(("batch_size", "n"), [(4, 12), (5, 12), (12, 12), (7, 3), (1, 1)])
def test_steps_go_through_epoch_after_epoch(batch_size, n):
    steps = 3 * n
    rows = np.concatenate([rows_of_step(2, step, batch_size, n) for step in range(steps)])
    assert len(rows) == steps * batch_size
    assert rows.dtype == np.int64
    for epoch, order in enumerate(np.split(rows, len(rows) // n)):
        np.testing.assert_array_equal(order, permutation(2, epoch, n))


def test_a_seed_for_a_purpose_is_one_that_torch_takes():
    seeds = {derived_seed(seed, *what) for seed in range(20) for what in [(), ("a",), ("a", 1)]}
    assert len(seeds) == 60
    assert all(0 <= seed < 2**63 for seed in seeds)
    # Words are not run together.
    assert derived_seed(0, "a", "b") != derived_seed(0, "ab")
    assert derived_seed(0, 1) != derived_seed(0, "1")
