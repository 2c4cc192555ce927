r"""How far any solution is from the optimum, proven in float64.

With the best bias for this W, the residuals :math:`\alpha_i = e_{y_i} - p_i` sum to zero over
examples and are feasible for the Lagrange dual (Boyd & Vandenberghe, Convex Optimization, 5.1),
which with the entropy :math:`H` reads

.. math:: D(\alpha) = \sum_i H(p_i) - \frac{1}{2\lambda} \| \alpha^T X \|_F^2 \le \min P.

The gap :math:`P - D` bounds how far P is from its least. With :math:`\log p_{ik} = A_{ik} -
\log \sum_l e^{A_{il}}` entropies and losses cancel but for :math:`-\langle \alpha^T X, W
\rangle`, and what remains is a square,

.. math:: P - D = \frac{1}{2\lambda} \| \lambda W - \alpha^T X \|_F^2
               = \frac{1}{2\lambda} \| \nabla_W P \|_F^2,

which is computed without cancellation and never negative. Examples that a problem leaves out have
neither loss nor residual: the sums are over those that count.

The residuals balance to 1e-7 of what is left to explain, not exactly. At the best bias the gap does
not change with the bias to first order, so that is felt in its eighth digit.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.probe.axes import Source, pull, scores
from headstart.probe.balance import BALANCE, balance, imbalance
from headstart.probe.losses import Loss

__all__ = ["Certificate", "certify"]


@dataclass(frozen=True)
class Certificate:
    """How far B solutions are from their optima: at most `gap`, in units of the objective.

    Parameters
    ----------
    objective, gap
        (B,) float64; a gap is infinite where residuals do not sum to zero, so that nothing is
        known.
    bias
        (B, C) float64: the best for the weights.
    """

    objective: Tensor
    gap: Tensor
    bias: Tensor


@torch.no_grad()
def certify(
    X: Source, mean: Tensor, loss: Loss, lam: Tensor, coef: Tensor, bias: Tensor
) -> Certificate:
    """Bound the distance of solutions to their optima, each with the bias that is best for it.

    Parameters
    ----------
    X
        (n, d) features.
    mean
        (d,) float64, near their mean.
    loss
        Of B problems.
    lam, coef, bias
        (B,), (B, C, d) and (B, C) float64.
    """
    A = scores(X, coef, bias)
    objective, balanced = torch.empty_like(lam), torch.empty_like(lam).bool()
    bias = bias.clone()
    # One problem at a time, in place: logits of many are what takes the memory here.
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
