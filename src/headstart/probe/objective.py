r"""The objective of multinomial logistic regression, and how far a solution is from its least.

With logits :math:`A = Z W + b` and labels :math:`y`,

.. math:: P(W, b) = \sum_i \log \sum_k e^{A_{ik} - A_{i y_i}} + \frac{\lambda}{2} \|W\|_F^2.

Let :math:`\alpha_i = e_{y_i} - p_i` be the residuals. If the bias is the best one for this W, they
sum to zero over examples, and are feasible for the Lagrange dual (Boyd & Vandenberghe, Convex
Optimization, 5.1), which with the entropy :math:`H` reads

.. math:: D(\alpha) = \sum_i H(p_i) - \frac{1}{2\lambda} \| Z^T \alpha \|_F^2 \le \min P.

The gap :math:`P - D` bounds how far P is from its least. With :math:`\log p_{ik} = A_{ik} -
\log \sum_l e^{A_{il}}` the entropies and the losses cancel but for :math:`-\langle Z^T \alpha, W
\rangle`, and what remains is a square:

.. math:: P - D = \frac{1}{2\lambda} \| \lambda W - Z^T \alpha \|_F^2
               = \frac{1}{2\lambda} \| \nabla_W P \|_F^2,

which is computed without cancellation and never negative. On separable data nearly all of P is
rounding error if it is computed the usual way, so losses and residuals are computed from what the
other classes get, not from one minus what the label gets.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Certificate", "Labels", "Matrix", "certify", "objective_and_gradient"]

Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

# How far from zero the residuals' sums may be, relative to the sum of what is left to explain.
BALANCE = 1e-7
NEWTON_STEPS = 100


def objective_and_gradient(
    Z: Matrix, labels: Labels, W: Matrix, bias: Matrix, lam: float
) -> tuple[float, Matrix, Matrix]:
    """Compute the objective P and its gradients by W and bias.

    Parameters
    ----------
    Z
        (n, d) float64.
    labels
        (n,) int64 in 0..K-1.
    W, bias
        (d, K) and (K,) float64.
    lam
        Weight of ``||W||^2 / 2``.
    """
    losses, residual = _losses_and_residual(Z @ W + bias, labels)
    value = float(losses.sum() + lam / 2 * np.vdot(W, W))
    return value, Z.T @ residual + lam * W, residual.sum(axis=0)


@dataclass(frozen=True)
class Certificate:
    """How far a solution is from the optimum: at most `gap` (in units of the objective).

    `gap` is infinite where the residuals do not sum to zero, so that nothing is known.
    """

    objective: float
    gap: float
    bias: Matrix

    @property
    def relative_gap(self) -> float:
        """The gap divided by the objective."""
        return self.gap / self.objective


def certify(Z: Matrix, labels: Labels, W: Matrix, bias: Matrix, lam: float) -> Certificate:
    """Bound the distance of W to the optimum, with the bias that is best for this W.

    Parameters are those of `objective_and_gradient`.
    """
    bias = _best_bias(Z @ W, labels, bias)
    losses, residual = _losses_and_residual(Z @ W + bias, labels)
    objective = float(losses.sum() + lam / 2 * np.vdot(W, W))
    gap = float(np.square(Z.T @ residual + lam * W).sum() / (2 * lam))
    return Certificate(objective, gap if _imbalance(residual) <= BALANCE else np.inf, bias)


def _losses_and_residual(logits: Matrix, labels: Labels) -> tuple[Matrix, Matrix]:
    """Give (n,) losses and (n, K) residuals p - e_y, both to full relative precision."""
    rows = np.arange(len(labels))
    margins = logits - logits[rows, labels][:, None]
    margins[rows, labels] = -np.inf
    top = np.maximum(margins.max(axis=1), 0.0)
    margins -= top[:, None]
    others = np.exp(margins, out=margins)
    sum_others = others.sum(axis=1)
    total = sum_others + np.exp(-top)
    losses = np.where(top > 0, top + np.log(total), np.log1p(sum_others))
    residual = np.divide(others, total[:, None], out=others)
    residual[rows, labels] = -sum_others / total
    return losses, residual


def _imbalance(residual: Matrix) -> float:
    """Largest sum over a class, relative to all that the other classes get."""
    others = float(residual.clip(min=0).sum())
    return float(np.abs(residual.sum(axis=0)).max()) / others if others else 0.0


def _best_bias(scores: Matrix, labels: Labels, bias: Matrix) -> Matrix:
    """Minimise the losses over the bias, so that the residuals sum to zero for each class.

    Newton's method; where its step does not lower the losses, as on saturated logits, a step of
    iterative scaling, which always does (Darroch & Ratcliff 1972: ``log(wanted / found)``).
    """
    rows = np.arange(len(labels))
    counts = np.bincount(labels, minlength=scores.shape[1])
    losses, residual = _losses_and_residual(scores + bias, labels)
    for _ in range(NEWTON_STEPS):
        if _imbalance(residual) <= BALANCE / 10:
            break
        probabilities = residual.copy()
        probabilities[rows, labels] += 1
        # The Hessian's rows sum to zero, so its diagonal follows from what is beside it.
        beside = probabilities.T @ probabilities
        np.fill_diagonal(beside, 0)
        hessian = np.diag(beside.sum(axis=1)) - beside
        # Adding one constant to all biases changes nothing: least squares leaves it out.
        candidate = bias - np.linalg.lstsq(hessian, residual.sum(axis=0), rcond=1e-12)[0]
        after = _losses_and_residual(scores + candidate, labels)
        if not after[0].sum() <= losses.sum():
            candidate = bias - np.log1p(residual.sum(axis=0) / counts)
            after = _losses_and_residual(scores + candidate, labels)
        bias, (losses, residual) = candidate, after
    return bias
