r"""The objective of multinomial logistic regression, and how far a solution is from its least.

With logits :math:`A = Z W + b` and labels :math:`y`,

.. math:: P(W, b) = \sum_i \log \sum_k e^{A_{ik}} - A_{i y_i} + \frac{\lambda}{2} \|W\|_F^2.

Its Lagrange dual (Boyd & Vandenberghe, Convex Optimization, 5.1; for this loss e.g. Jaakkola &
Haussler 1999) is, over residuals :math:`\alpha_i = e_{y_i} - p_i` with :math:`p_i` in the simplex
and :math:`\sum_i \alpha_i = 0` (the bias is free),

.. math:: D(\alpha) = \sum_i H(p_i) - \frac{1}{2\lambda} \| Z^T \alpha \|_F^2,

with the entropy :math:`H`. Every such :math:`D` is at most the least :math:`P`, so
:math:`P - D` bounds how far a solution is from the optimum.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import entr, logsumexp, softmax

__all__ = ["Certificate", "Matrix", "certify", "objective_and_gradient"]

Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


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
    logits = Z @ W + bias
    logits -= logits.max(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    at_label = logits[rows, labels].sum()
    probabilities = np.exp(logits, out=logits)
    total = probabilities.sum(axis=1, keepdims=True)
    value = float(np.log(total).sum() - at_label + lam / 2 * np.vdot(W, W))
    residual = np.divide(probabilities, total, out=probabilities)
    residual[rows, labels] -= 1
    return value, Z.T @ residual + lam * W, residual.sum(axis=0)


@dataclass(frozen=True)
class Certificate:
    """How far a solution is from the optimum: at most `gap` (in units of the objective)."""

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
    scores = Z @ W
    bias = _best_bias(scores, labels, bias)
    logits = scores + bias
    rows = np.arange(len(labels))
    objective = float(
        (logsumexp(logits, axis=1) - logits[rows, labels]).sum() + lam / 2 * np.vdot(W, W)
    )
    probabilities = softmax(logits, axis=1)
    residual = -probabilities
    residual[rows, labels] += 1
    dual = entr(probabilities).sum() - np.square(Z.T @ residual).sum() / (2 * lam)
    return Certificate(objective, objective - float(dual), bias)


def _best_bias(scores: Matrix, labels: Labels, bias: Matrix) -> Matrix:
    """Minimise over the bias by Newton's method, so that the residuals sum to zero per class."""
    counts = np.bincount(labels, minlength=scores.shape[1])
    rows = np.arange(len(labels))
    for _ in range(50):
        probabilities = softmax(scores + bias, axis=1)
        gradient = probabilities.sum(axis=0) - counts
        # Relative to what is left to explain, which on separable data is next to nothing.
        left = (1 - probabilities[rows, labels]).sum()
        if np.abs(gradient).max() <= 1e-9 * left:
            break
        hessian = np.diag(probabilities.sum(axis=0)) - probabilities.T @ probabilities
        # Adding one constant to all biases changes nothing: the least-squares step leaves it out.
        bias = bias - np.linalg.lstsq(hessian, gradient, rcond=1e-12)[0]
    return bias
