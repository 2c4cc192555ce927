r"""Certificates: a proven bound, in float64, on the distance of a solution to the optimum.

With the best bias for this W, the residuals :math:`\alpha_i = e_{y_i} - p_i` sum to zero over
examples and are feasible for the Lagrange dual (Boyd & Vandenberghe, Convex Optimization, 5.1),
which with the entropy :math:`H` reads

.. math:: D(\alpha) = \sum_i H(p_i) - \frac{1}{2\lambda} \| \alpha^T X \|_F^2 \le \min P.

The gap :math:`P - D` bounds how far P is from its least. With :math:`\log p_{ik} = A_{ik} -
\log \sum_l e^{A_{il}}` entropies and losses cancel but for :math:`-\langle \alpha^T X, W
\rangle`, and what remains is a square,

.. math:: P - D = \frac{1}{2\lambda} \| \lambda W - \alpha^T X \|_F^2
               = \frac{1}{2\lambda} \| \nabla_W P \|_F^2,

which is computed without cancellation and never negative. Examples that a problem ignores have no
loss and no residual.

Residuals sum to zero only up to 1e-7 of their positive part. To first order the gap does not
depend on the bias at the optimal bias, so this affects its eighth digit.

A `Fit` is the solution for one lambda with what its certificate says.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from headstart.probe.axes import Source, pull, scores
from headstart.probe.losses import Loss, parts
from headstart.threads import sharing_cpus

__all__ = [
    "BALANCE",
    "Certificate",
    "Fit",
    "Weights",
    "balance",
    "certify",
    "columns",
    "decision_values",
    "imbalance",
    "sum_up",
]

# Largest sum of residuals that counts as zero, relative to the sum of positive residuals.
BALANCE = 1e-7
NEWTON_STEPS = 100

Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Certificate:
    """Bounds on the distance of B solutions to their optima.

    Parameters
    ----------
    objective, gap
        (B,) float64. The optimum is at least ``objective - gap``. A gap is infinite if residuals
        do not sum to zero: nothing is known then.
    bias
        (B, C) float64, optimal for the weights.
    """

    objective: Tensor
    gap: Tensor
    bias: Tensor


@torch.no_grad()
def certify(
    X: Source, mean: Tensor, loss: Loss, lam: Tensor, coef: Tensor, bias: Tensor
) -> Certificate:
    """Bound the distance of solutions to their optima, each with its optimal bias.

    Parameters
    ----------
    X
        (n, d) features.
    mean
        (d,) float64, close to the mean of X.
    loss
        Loss of B problems.
    lam, coef, bias
        (B,), (B, C, d) and (B, C) float64.
    """
    A = scores(X, coef, bias)
    objective, balanced = torch.empty_like(lam), torch.empty_like(lam).bool()
    bias = bias.clone()
    # One problem at a time, in place: logits of many problems dominate the memory.
    for i in range(len(lam)):
        mine = slice(i, i + 1)
        own = loss.take(torch.arange(i, i + 1, device=lam.device))
        change = balance(own, A[mine], torch.zeros_like(bias[mine]))
        A[mine] += change[:, :, None]
        bias[mine] += change
        objective[mine] = own.to_residuals_(A[mine])
        objective[mine] += lam[mine] / 2 * coef[mine].square().sum((1, 2))
        balanced[mine] = imbalance(A[mine])[1] <= BALANCE
    gradient = pull(X, A, mean).add_(lam[:, None, None] * coef)
    gap = gradient.square_().sum((1, 2)) / (2 * lam)
    return Certificate(objective, torch.where(balanced, gap, torch.inf), bias)


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


@dataclass(frozen=True)
class Fit:
    """The solution for one lambda.

    Parameters
    ----------
    lam
        Weight of ``||W||^2 / 2``; scikit-learn's C is its inverse.
    coef, bias
        (K, d) and (K,) float64.
    objective
        Sum of losses plus penalty.
    relative_gap
        Certified bound on (objective - optimum) / objective; the largest of independent labels.
    passes
        Multiplications by the features and by their transpose.
    converged
        Whether `relative_gap` is within the tolerance.
    """

    lam: float
    coef: Weights
    bias: Weights
    objective: float
    relative_gap: float
    passes: int
    converged: bool

    def scores(self, X: Source) -> npt.NDArray[np.float32]:
        """Return (n, K) float32 decision values of (n, d) features, computed in float64."""
        return decision_values(X, self.coef, self.bias).astype(np.float32)


def decision_values(X: Source, coef: Weights, bias: Weights) -> Weights:
    """Return (n, K) float64 logits of (n, d) features on any device, for (K, d) and (K,)."""
    X = X.detach() if isinstance(X, Tensor) else X
    device = X.device if isinstance(X, Tensor) else torch.device("cpu")
    W, b = (torch.from_numpy(part).to(device)[None] for part in (coef, bias))
    with sharing_cpus():
        found = scores(X, W, b)[0]
    return np.ascontiguousarray(found.T.cpu().numpy())


def sum_up(
    lam: float, coef: Tensor, bias: Tensor, proof: Certificate, passes: int, tolerance: float
) -> Fit:
    """Combine the G problems of one lambda: (G, C, d) weights on X and (G, C) bias."""
    objective = float(proof.objective.sum())
    # The largest bound over independent labels, each relative to its own objective.
    relative = float((proof.gap / proof.objective).max())
    return Fit(
        lam, columns(coef), columns(bias), objective, relative, passes, relative <= tolerance
    )


def columns(part: Tensor) -> Weights:
    """Reshape (G, C, ...) to (K, ...) in NumPy: one problem of K columns, or K of one column."""
    return np.asarray(part.flatten(0, 1).cpu().numpy())
