r"""The whole Hessian of small problems, factored: a preconditioner where the mean one is too rough.

On data that few examples still resist, those few carry the curvature, and
:math:`Z^T Z \otimes \bar S + \lambda I` is far from the Hessian
:math:`\sum_i \tilde z_i \tilde z_i^T \otimes S_i + \lambda I`: with small lambdas conjugate
gradients then take thousands of steps. With few features and classes it can be written out, the
bias too (:math:`\tilde z = (z, 1)`), and its Cholesky factor gives the Newton step itself. Made at
one point, the factor is a good preconditioner near it, for other lambdas too.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.probe.losses import Loss

__all__ = ["Factor", "Factors"]

# Entries that the Hessians of a batch may have: 128 MB.
LARGEST = 4096**2
# Entries of the weighted features that are held at once.
WEIGHTED = 1 << 21
# What a step or a product costs beside its arithmetic, in floating-point operations.
OVERHEAD = 5e6
# Conjugate-gradient steps after which a factor is made: its own price, within these limits.
FEWEST, MOST = 20, 1000
# A factor serves lambdas up to so many times as large, or as small.
NEAR = 10.0
# Where rounding leaves a Hessian without a factor, this part of its diagonal is added, then a
# hundred times as much.
JITTER, ATTEMPTS = 1e-14, 8


@dataclass(frozen=True)
class Factor:
    """Inverses of the Hessians of a batch at the point where they were made.

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
        """Solve for a gradient by W (B, C, r) and by the bias (B, C)."""
        whole = torch.cat([G, g[:, :, None].to(G.dtype)], dim=2).double()
        flat = (whole.flatten(1) * self.scale)[:, :, None]
        # `cholesky_solve` copies its matrix, which takes ten times as long.
        half = torch.linalg.solve_triangular(self.L, flat, upper=False)
        solved = torch.linalg.solve_triangular(self.L.mT, half, upper=True)[:, :, 0] * self.scale
        by_W, by_bias = solved.view_as(whole).to(G.dtype).split([G.shape[2], 1], dim=2)
        return by_W.contiguous(), by_bias[:, :, 0]

    def take(self, problems: Tensor) -> "Factor":
        """Keep some of the batch's problems."""
        return Factor(self.L[problems], self.scale[problems], self.lam[problems])


class Factors:
    """Makes factors, and keeps the last.

    Parameters
    ----------
    Z
        (n, r) features along the axes.
    """

    def __init__(self, Z: Tensor) -> None:
        self._Z = Z
        self._last: Factor | None = None

    def fit(self, n_problems: int, n_columns: int) -> bool:
        """Whether the Hessians of so many problems are small enough."""
        return n_problems * (n_columns * (self._Z.shape[1] + 1)) ** 2 <= LARGEST

    def price(self, n_columns: int) -> int:
        """Conjugate-gradient steps that cost what a factor costs, within limits.

        Who makes a factor once so many were taken pays at most twice the least possible.
        """
        n, r = self._Z.shape
        size = n_columns * (r + 1)
        # In float64, which costs twice float32.
        cost = 2 * (2 * n * size**2 + size**3 / 3) + OVERHEAD
        return int(min(max(cost / (4 * n * r * n_columns + OVERHEAD), FEWEST), MOST))

    def recall(self, lam: Tensor) -> Factor | None:
        """Give the last factor if it was made for a whole batch like this, of lambdas near."""
        last = self._last
        if last is None or len(last.lam) != len(lam):
            return None
        ratio = lam / last.lam
        return last if bool(((ratio < NEAR) & (ratio > 1 / NEAR)).all()) else None

    def make(self, loss: Loss, p: Tensor, lam: Tensor) -> Factor:
        """Write the Hessians of (B, C, n) probabilities out, and factor them."""
        hessian = self._hessian(loss, p.double())
        n_problems, n_columns, width = hessian.shape[:3]
        ridge = lam[:, None].repeat(1, width)
        # What is common to all classes changes no probability, and of the bias no penalty: any
        # curvature will do there.
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
        """(B, C, r + 1, C, r + 1) curvature of the losses alone."""
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
    """Factor (B, N, N) matrices, each with as little added to its diagonal as that takes."""
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
