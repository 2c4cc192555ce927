r"""Cholesky factors of the full Hessian of small problems, as a preconditioner.

When few examples are left that the fit does not explain, those few carry the curvature. Then
:math:`Z^T Z \otimes \bar S + \lambda I` is far from the Hessian
:math:`\sum_i \tilde z_i \tilde z_i^T \otimes S_i + \lambda I`, and for small lambdas conjugate
gradients need thousands of steps. With few features and classes, the Hessian can be formed in full,
including the bias (:math:`\tilde z = (z, 1)`). Its Cholesky factor gives the exact Newton step. A
factor made at one point is a good preconditioner near it, also for other lambdas.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.probe.losses import Loss

__all__ = ["Factor", "Factors"]

# Largest number of entries of a batch's Hessians: 128 MB.
LARGEST = 4096**2
# Entries of weighted features in memory at a time.
WEIGHTED = 1 << 21
# Overhead of a step or a product, in floating-point operations.
OVERHEAD = 5e6
# Conjugate-gradient steps before a factor is made: its cost in steps, within these limits.
FEWEST, MOST = 20, 1000
# A factor is reused for lambdas that differ by up to this ratio.
NEAR = 10.0
# If rounding makes a Hessian indefinite, this fraction of its diagonal is added, then a hundred
# times as much, and so on.
JITTER, ATTEMPTS = 1e-14, 8


@dataclass(frozen=True)
class Factor:
    """Inverses of a batch's Hessians at the point where they were factored.

    Parameters
    ----------
    L
        (B, N, N) float64 Cholesky factors of the Hessians scaled to a unit diagonal, N = C (r + 1).
    scale
        (B, N) float64 inverse square roots of their diagonals.
    lam
        (B,) float64.
    """

    L: Tensor
    scale: Tensor
    lam: Tensor

    def __call__(self, G: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Solve for gradients by W, (B, C, r), and by the bias, (B, C)."""
        whole = torch.cat([G, g[:, :, None].to(G.dtype)], dim=2).double()
        flat = (whole.flatten(1) * self.scale)[:, :, None]
        # `cholesky_solve` copies its matrix and takes ten times as long.
        half = torch.linalg.solve_triangular(self.L, flat, upper=False)
        solved = torch.linalg.solve_triangular(self.L.mT, half, upper=True)[:, :, 0] * self.scale
        by_W, by_bias = solved.view_as(whole).to(G.dtype).split([G.shape[2], 1], dim=2)
        return by_W.contiguous(), by_bias[:, :, 0]

    def take(self, problems: Tensor) -> "Factor":
        """Return a selection of the batch's problems."""
        return Factor(self.L[problems], self.scale[problems], self.lam[problems])


class Factors:
    """Makes factors and keeps the last one.

    Parameters
    ----------
    Z
        (n, r) features along the axes.
    """

    def __init__(self, Z: Tensor) -> None:
        self._Z = Z
        self._last: Factor | None = None

    def fit(self, n_problems: int, n_columns: int) -> bool:
        """Return whether the Hessians of this many problems are small enough."""
        return n_problems * (n_columns * (self._Z.shape[1] + 1)) ** 2 <= LARGEST

    def price(self, n_columns: int) -> int:
        """Return how many conjugate-gradient steps cost as much as a factor, within limits.

        Making a factor after that many steps costs at most twice the optimum (ski rental).
        """
        n, r = self._Z.shape
        size = n_columns * (r + 1)
        # In float64, at twice the cost of float32.
        cost = 2 * (2 * n * size**2 + size**3 / 3) + OVERHEAD
        return int(min(max(cost / (4 * n * r * n_columns + OVERHEAD), FEWEST), MOST))

    def recall(self, lam: Tensor) -> Factor | None:
        """Return the last factor if it was made for as many problems and nearby lambdas."""
        last = self._last
        if last is None or len(last.lam) != len(lam):
            return None
        ratio = lam / last.lam
        return last if bool(((ratio < NEAR) & (ratio > 1 / NEAR)).all()) else None

    def make(self, loss: Loss, p: Tensor, lam: Tensor) -> Factor:
        """Form the full Hessians at (B, C, n) probabilities, and factor them."""
        hessian = self._hessian(loss, p.double())
        n_problems, n_columns, width = hessian.shape[:3]
        ridge = lam[:, None].repeat(1, width)
        # A bias common to all classes changes neither probabilities nor penalty: its curvature is
        # arbitrary.
        ridge[:, -1] = 0
        hessian.diagonal(dim1=1, dim2=3).diagonal(dim1=1, dim2=2).add_(ridge[:, None, :])
        own = torch.eye(n_columns, dtype=torch.float64, device=p.device)[None]
        common = own - loss.centre(own)
        top = hessian[:, :, -1, :, -1].diagonal(dim1=1, dim2=2).amax(1)
        hessian[:, :, -1, :, -1] += top[:, None, None] * common
        size = n_columns * width
        self._last = factor = _factor(hessian.view(n_problems, size, size), lam)
        return factor

    def _hessian(self, loss: Loss, p: Tensor) -> Tensor:
        """Return the (B, C, r + 1, C, r + 1) Hessian without the penalty."""
        n_problems, n_columns, n = p.shape
        width = self._Z.shape[1] + 1
        hessian = p.new_zeros(n_problems, n_columns, width, n_columns, width)
        rows = max(1, WEIGHTED // (n_problems * n_columns * width))
        for first in range(0, n, rows):
            part = slice(first, first + rows)
            block = self._Z[part].double()
            block = torch.cat([block, block.new_ones(len(block), 1)], dim=1)
            hessian += loss.hessian(p[..., part], block)
        return hessian


def _factor(hessian: Tensor, lam: Tensor) -> Factor:
    """Factor (B, N, N) matrices, adding as little to their diagonals as necessary."""
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    scale = diagonal.clamp(min=torch.finfo(torch.float64).tiny).rsqrt()
    hessian.mul_(scale[:, :, None]).mul_(scale[:, None, :])
    hessian.diagonal(dim1=1, dim2=2).fill_(1)
    for i in range(ATTEMPTS):
        L, failed = torch.linalg.cholesky_ex(hessian)
        if not failed.any():
            break
        hessian.diagonal(dim1=1, dim2=2).add_(JITTER * 100**i)
    return Factor(L, scale, lam)
