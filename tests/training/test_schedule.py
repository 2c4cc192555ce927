import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from headstart.training.loop import batch_norm_momentum, cosine
from training_runs import run, small_network


def test_cosine_falls_from_the_peak_to_zero_after_the_last_step():
    steps = 20000
    rates = np.array([cosine(0.1, step, steps) for step in range(steps)])
    np.testing.assert_allclose(rates, 0.05 * (1 + np.cos(np.pi * np.arange(steps) / steps)))
    assert rates[0] == 0.1
    assert rates[steps // 2] == pytest.approx(0.05)
    assert cosine(0.1, steps, steps) == 0
    assert np.all(np.diff(rates) < 0)


@pytest.mark.parametrize(("window", "steps_per_epoch", "kept"), [
    (10, 5, 0.9),
    (10, 100, 0.9),
    (10, 200, 0.95),
    (10, 20000 / 256, 0.9),
    (10, 295.9, 1 - 10 / 295.9),
])  # fmt: skip
def test_batch_norm_keeps_what_the_paper_says(window, steps_per_epoch, kept):
    assert 1 - batch_norm_momentum(window, steps_per_epoch) == pytest.approx(kept)
    assert kept == pytest.approx(max(1 - window / steps_per_epoch, 0.9))


def test_the_optimizer_has_this_learning_rate_at_every_step():
    seen = []

    def look(optimizer: torch.optim.Optimizer, *_: object) -> None:
        seen.append([group["lr"] for group in optimizer.param_groups])

    handle = register_optimizer_step_pre_hook(look)
    try:
        run(small_network())
    finally:
        handle.remove()
    expected = 0.05 * (1 + np.cos(np.pi * np.arange(12) / 12))
    np.testing.assert_allclose(seen, np.stack([expected, expected], axis=1))
