"""The result of a solver for one lambda."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from headstart.probe.axes import Source, scores
from headstart.probe.certificate import Certificate
from headstart.threads import sharing_cpus

__all__ = ["Fit", "Weights", "columns", "decision_values", "sum_up"]

Weights = npt.NDArray[np.float64]


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
