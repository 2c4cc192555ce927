"""The basis in which the problem is easy: the principal axes of the features.

The penalty does not change under rotation, and a solution has no part outside the span of the
centred features. So W is sought in the coordinates of their right singular vectors: at most
min(n, d) of them, and there the Hessian's diagonal, known in closed form, is a good scale.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import qr, svd

from headstart.probe.objective import Matrix

__all__ = ["Basis", "principal_basis"]


@dataclass(frozen=True)
class Basis:
    """Features in their principal axes: ``X = mean + Z @ axes``.

    Parameters
    ----------
    Z
        (n, r) float64, r <= min(n, d) columns that are orthogonal to each other.
    axes
        (r, d) float64, orthonormal rows.
    mean
        (d,) float64.
    """

    Z: Matrix
    axes: Matrix
    mean: Matrix

    def to_features(self, W: Matrix, bias: Matrix) -> tuple[Matrix, Matrix]:
        """Take (r, K) weights and (K,) bias on Z to (K, d) weights and (K,) bias on X."""
        coef = W.T @ self.axes
        return coef, bias - coef @ self.mean


def principal_basis(X: npt.NDArray[np.floating]) -> Basis:
    """Find the principal axes of (n, d) features, those without variance left out."""
    centred = X.astype(np.float64)
    mean = centred.mean(axis=0)
    centred -= mean
    n, d = centred.shape
    # A tall matrix has the singular values and axes of its small triangular factor.
    small = qr(centred, mode="r")[0][:d] if n > 2 * d else centred
    _, scale, axes = svd(small, full_matrices=False)
    axes = axes[scale > 1e-13 * max(scale[0], np.finfo(np.float64).tiny)]
    return Basis(centred @ axes.T, axes, mean)
