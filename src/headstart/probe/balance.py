"""The bias that is best for given weights: the residuals then sum to zero over examples."""

import torch
from torch import Tensor

from headstart.probe.losses import Loss, parts

__all__ = ["BALANCE", "balance", "imbalance"]

# How far from zero the residuals' sums may be, relative to the sum of what is left to explain.
BALANCE = 1e-7
NEWTON_STEPS = 100


def imbalance(residual: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C) sums of the residuals over examples, and (B,) the largest relative to what is left."""
    # Part by part: torch makes a float64 copy of what it sums in float64.
    excess = torch.zeros(residual.shape[:2], dtype=torch.float64, device=residual.device)
    left = torch.zeros_like(excess[:, 0])
    for part in parts(residual):
        some = residual[..., part]
        excess += some.sum(2, dtype=torch.float64)
        left += some.clamp(min=0).sum((1, 2), dtype=torch.float64)
    return excess, excess.abs().amax(1) / left.clamp(min=torch.finfo(torch.float64).tiny)


def balance(loss: Loss, scores: Tensor, bias: Tensor) -> Tensor:
    """Minimise the losses over the (B, C) bias, scores (B, C, n) given.

    Newton's method; where its step does not lower the losses, as on saturated logits, a step of
    iterative scaling, which always does.
    """
    sums = loss.sums(scores, bias)
    for _ in range(NEWTON_STEPS):
        todo = sums.uneven > BALANCE / 10
        if not todo.any():
            break
        # Adding one constant to all biases changes nothing: the pseudo-inverse leaves it out.
        inverse = torch.linalg.pinv(sums.curvature, rtol=1e-12, hermitian=True)
        newton = torch.where(todo[:, None], (inverse @ -sums.excess[:, :, None])[:, :, 0], 0)
        after = loss.sums(scores, bias + newton)
        # On saturated logits a step may be nothing: then it helps neither losses nor balance.
        even = (after.values <= sums.values) & (after.uneven < sums.uneven)
        worse = todo & ~(even | (after.values < sums.values))
        if worse.any():
            newton = torch.where(worse[:, None], loss.rescale(sums.excess), newton)
            after = loss.sums(scores, bias + newton)
        bias, sums = bias + newton, after
    return bias
