"""What a solver gives for one lambda."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from headstart.probe.axes import Source, scores
from headstart.probe.certificate import Certificate

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
        Certified bound on (objective - optimum) / objective; of independent labels the largest.
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
        """(n, d) features -> (n, K) float32 decision values, computed in float64."""
        return decision_values(X, self.coef, self.bias).astype(np.float32)


def decision_values(X: Source, coef: Weights, bias: Weights) -> Weights:
    """(n, d) features, wherever they are, (K, d) and (K,) -> (n, K) logits."""
    X = X.detach() if isinstance(X, Tensor) else X
    device = X.device if isinstance(X, Tensor) else torch.device("cpu")
    W, b = (torch.from_numpy(part).to(device)[None] for part in (coef, bias))
    return np.ascontiguousarray(scores(X, W, b)[0].T.cpu().numpy())


def sum_up(
    lam: float, coef: Tensor, bias: Tensor, proof: Certificate, passes: int, tolerance: float
) -> Fit:
    """Make one fit of the problems of one lambda: (G, C, d) weights on X and (G, C) bias."""
    objective = float(proof.objective.sum())
    # Of independent labels each is within this part of its own optimum.
    relative = float((proof.gap / proof.objective).max())
    return Fit(
        lam, columns(coef), columns(bias), objective, relative, passes, relative <= tolerance
    )


def columns(part: Tensor) -> Weights:
    """(G, C, ...) -> (K, ...) in NumPy: a problem has all columns of a lambda, or one."""
    return np.asarray(part.flatten(0, 1).cpu().numpy())
