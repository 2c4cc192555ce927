"""The optimal bias for given weights: at it, residuals sum to zero over examples."""

import torch
from torch import Tensor

from headstart.probe.losses import Loss, parts

__all__ = ["BALANCE", "balance", "imbalance"]

# Largest sum of residuals that counts as zero, relative to the sum of positive residuals.
BALANCE = 1e-7
NEWTON_STEPS = 100


def imbalance(residual: Tensor) -> tuple[Tensor, Tensor]:
    """Return (B, C) sums of residuals over examples, and the (B,) largest relative one.

    It is relative to the sum of positive residuals.
    """
    # Part by part, since torch's sum in float64 makes a float64 copy.
    excess = torch.zeros(residual.shape[:2], dtype=torch.float64, device=residual.device)
    left = torch.zeros_like(excess[:, 0])
    for part in parts(residual):
        some = residual[..., part]
        excess += some.sum(2, dtype=torch.float64)
        left += some.clamp(min=0).sum((1, 2), dtype=torch.float64)
    return excess, excess.abs().amax(1) / left.clamp(min=torch.finfo(torch.float64).tiny)


def balance(loss: Loss, scores: Tensor, bias: Tensor) -> Tensor:
    """Minimize the losses over the (B, C) bias for given (B, C, n) scores; return the bias.

    It uses Newton's method. If a step does not reduce the loss (saturated logits), it takes a step
    of iterative scaling instead, which always does.
    """
    sums = loss.sums(scores, bias)
    for _ in range(NEWTON_STEPS):
        todo = sums.uneven > BALANCE / 10
        if not todo.any():
            break
        # Adding a constant to all biases changes nothing; the pseudo-inverse excludes it.
        inverse = torch.linalg.pinv(sums.curvature, rtol=1e-12, hermitian=True)
        newton = torch.where(todo[:, None], (inverse @ -sums.excess[:, :, None])[:, :, 0], 0)
        after = loss.sums(scores, bias + newton)
        # On saturated logits a step may be zero and improve neither losses nor balance.
        even = (after.values <= sums.values) & (after.uneven < sums.uneven)
        worse = todo & ~(even | (after.values < sums.values))
        if worse.any():
            newton = torch.where(worse[:, None], loss.rescale(sums.excess), newton)
            after = loss.sums(scores, bias + newton)
        bias, sums = bias + newton, after
    return bias
