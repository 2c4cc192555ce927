r"""Inverses of Hessians at small lambdas, where few examples carry the curvature.

When few examples are left that the fit does not explain, those few carry the curvature. Then the
mean, :math:`Z^T Z \otimes \bar S + \lambda I` (`headstart.probe.hessian`), is far from the Hessian
:math:`\sum_i \tilde z_i \tilde z_i^T \otimes S_i + \lambda I` with :math:`\tilde z = (z, 1)`, and
for small lambdas conjugate gradients need thousands of steps.

With few features and classes, the Hessian is formed in full. Its Cholesky factor gives the exact
Newton step.

With more, the largest m of its parts of rank one are kept as they are, and the rest is replaced by
a multiple of its own mean. For a softmax the parts are exact: :math:`S_i = \sum_{k < l} p_{ik}
p_{il} (e_k - e_l)(e_k - e_l)^T`. With B the m kept parts and D the diagonal of penalty and rest,

.. math:: (D + B^T B)^{-1} = D^{-1} - D^{-1} B^T (I + B D^{-1} B^T)^{-1} B D^{-1}

(Woodbury 1950) needs a Cholesky factor of m x m only. It is a preconditioner.

A factor made at one point is a good preconditioner near it, also for other lambdas.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from headstart.probe.hessian import common_part
from headstart.probe.losses import Loss

__all__ = ["CholeskyFactor", "Factor", "Factors", "LowRankFactor"]

# Largest number of entries of a batch's factors: 128 MB.
LARGEST = 4096**2
# Most parts of rank one that a factor keeps of a Hessian.
MOST_PARTS = 1024
# Fraction of the curvature that they must have to help.
MOSTLY = 0.8
# Parts whose largest curvature is below this fraction of lambda are left to the rest.
SLIGHT = 0.01
# Least curvature by the bias, relative to that of all examples: the bias has no penalty.
LEAST_BIAS = 1e-9
# Entries of weighted features in memory at a time.
WEIGHTED = 1 << 21
# Overhead of a step or a product, in floating-point operations.
OVERHEAD = 5e6
# Conjugate-gradient steps before a factor is made: its cost in steps, within these limits.
FEWEST, MOST = 20, 1000
# A factor is reused for lambdas that differ by up to this ratio.
NEAR = 32.0
# If rounding makes a matrix indefinite, this fraction of its diagonal is added, then a hundred
# times as much, and so on.
JITTER, ATTEMPTS = 1e-14, 8


@dataclass(frozen=True)
class CholeskyFactor:
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
    exact: ClassVar[bool] = True

    def __call__(self, G: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Solve for gradients by W, (B, C, r), and by the bias, (B, C)."""
        whole = torch.cat([G, g[:, :, None].to(G.dtype)], dim=2).double()
        solved = _solved(self.L, self.scale, whole.flatten(1)).view_as(whole).to(G.dtype)
        return solved[:, :, :-1].contiguous(), solved[:, :, -1]

    def by_W(self, G: Tensor) -> Tensor:
        """Solve for a gradient by W, (B, C, r), the bias being the best."""
        return self(G, torch.zeros_like(G[:, :, 0]))[0]

    def take(self, problems: Tensor) -> "CholeskyFactor":
        """Return a selection of the batch's problems."""
        return CholeskyFactor(self.L[problems], self.scale[problems], self.lam[problems])


@dataclass(frozen=True)
class LowRankFactor:
    """Approximate inverses of a batch's Hessians: m parts of rank one, and a diagonal.

    Parameters
    ----------
    L, scale
        (B, m, m) and (B, m) float64, as in `CholeskyFactor`, of ``I + B D^-1 B^T``.
    directions
        (B, m, C) float64 factors of the parts by the logits.
    examples
        (B, m, r) float64 features of their examples.
    by_weights, by_bias
        (B, 1, r) and (B, 1) float64 diagonal D.
    lam
        (B,) float64.
    """

    L: Tensor
    scale: Tensor
    directions: Tensor
    examples: Tensor
    by_weights: Tensor
    by_bias: Tensor
    lam: Tensor
    exact: ClassVar[bool] = False

    def __call__(self, G: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Solve for gradients by W, (B, C, r), and by the bias, (B, C)."""
        # In float64: along the parts the two terms cancel but for a small difference.
        S, s = G.double() / self.by_weights, g.double() / self.by_bias
        along = torch.bmm(self.examples, S.mT) + s[:, None, :]
        parts = _solved(self.L, self.scale, (along * self.directions).sum(2))
        taken = parts[:, :, None] * self.directions
        S -= torch.bmm(taken.mT, self.examples) / self.by_weights
        s -= taken.sum(1) / self.by_bias
        return S.to(G.dtype), s.to(G.dtype)

    def by_W(self, G: Tensor) -> Tensor:
        """Solve for a gradient by W, (B, C, r), the bias being the best."""
        return self(G, torch.zeros_like(G[:, :, 0]))[0]

    def take(self, problems: Tensor) -> "LowRankFactor":
        """Return a selection of the batch's problems."""
        return LowRankFactor(*(part[problems] for part in vars(self).values()))


Factor = CholeskyFactor | LowRankFactor


class Factors:
    """Makes factors and keeps the last one.

    Parameters
    ----------
    Z
        (n, r) features along the axes.
    variance
        (r,) float64 sums of squares of their columns.
    """

    def __init__(self, Z: Tensor, variance: Tensor) -> None:
        self._Z, self._variance = Z, variance
        # (n,) squared norms of the examples, the constant feature of the bias included.
        self._size = 1 + Z.square().sum(1, dtype=torch.float64)
        self._last: Factor | None = None

    def whole(self, n_problems: int, n_columns: int) -> bool:
        """Return whether the Hessians of this many problems are small enough to be formed."""
        return n_problems * (n_columns * (self._Z.shape[1] + 1)) ** 2 <= LARGEST

    def n_parts(self, n_problems: int) -> int:
        """Return how many parts of rank one of each problem's Hessian may be kept."""
        r = self._Z.shape[1]
        # Of B (m^2 + m r) entries.
        room = (r * r / 4 + LARGEST / n_problems) ** 0.5 - r / 2
        return max(1, min(MOST_PARTS, int(room)))

    def price(self, n_problems: int, n_columns: int) -> int:
        """Return how many conjugate-gradient steps cost as much as a factor, within limits.

        Making a factor after that many steps costs at most twice the optimum (ski rental).
        """
        n, r = self._Z.shape
        if self.whole(n_problems, n_columns):
            size = n_columns * (r + 1)
            # In float64, at twice the cost of float32.
            cost = 2 * (2 * n * size**2 + size**3 / 3)
        else:
            size = self.n_parts(n_problems)
            # Twice as much again: steps with it take longer.
            cost = 4 * (2 * r * size**2 + size**3 / 3)
        steps = (cost + OVERHEAD) / (4 * n * r * n_columns + OVERHEAD)
        return int(min(max(steps, FEWEST), MOST))

    def recall(self, lam: Tensor) -> Factor | None:
        """Return the last factor if it was made for as many problems and nearby lambdas."""
        last = self._last
        if last is None or len(last.lam) != len(lam):
            return None
        ratio = lam / last.lam
        return last if bool(((ratio < NEAR) & (ratio > 1 / NEAR)).all()) else None

    def help(self, loss: Loss, p: Tensor) -> bool:
        """Return whether factors at (B, C, n) probabilities are better than the mean Hessians."""
        if self.whole(*p.shape[:2]):
            return True
        _, directions = loss.largest_parts(p, self._size, self.n_parts(len(p)))
        total = loss.column_curvature(p).diagonal(dim1=1, dim2=2).sum(1)
        return bool((directions.square().sum((1, 2)) >= MOSTLY * total).all())

    def make(self, loss: Loss, p: Tensor, lam: Tensor) -> Factor:
        """Factor the Hessians at (B, C, n) probabilities."""
        make = self._cholesky if self.whole(*p.shape[:2]) else self._low_rank
        self._last = factor = make(loss, p.double(), lam)
        return factor

    def _cholesky(self, loss: Loss, p: Tensor, lam: Tensor) -> CholeskyFactor:
        """Form the full Hessians, and factor them."""
        hessian = self._hessian(loss, p)
        n_problems, n_columns, width = hessian.shape[:3]
        ridge = lam[:, None].repeat(1, width)
        ridge[:, -1] = 0
        hessian.diagonal(dim1=1, dim2=3).diagonal(dim1=1, dim2=2).add_(ridge[:, None, :])
        by_bias = hessian[:, :, -1, :, -1]
        top = by_bias.diagonal(dim1=1, dim2=2).amax(1)
        by_bias += top[:, None, None] * common_part(loss, by_bias)
        size = n_columns * width
        return CholeskyFactor(*_factored(hessian.view(n_problems, size, size)), lam)

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

    def _low_rank(self, loss: Loss, p: Tensor, lam: Tensor) -> LowRankFactor:
        """Keep the largest parts of rank one of the Hessians, and factor what that takes."""
        rows, directions = loss.largest_parts(p, self._size, self.n_parts(len(p)))
        square = directions.square().sum(2)
        needed = int((square * self._size[rows] > SLIGHT * lam[:, None]).sum(1).max())
        rows, directions, square = (
            part[:, : max(1, needed)] for part in (rows, directions, square)
        )
        total = loss.column_curvature(p).diagonal(dim1=1, dim2=2).sum(1)
        rest = (total - square.sum(1)).clamp(min=0) / p.shape[1]
        by_bias = torch.maximum(rest, LEAST_BIAS * total)[:, None]
        by_weights = (rest[:, None] * (self._variance / p.shape[2]) + lam[:, None])[:, None, :]
        examples = self._Z[rows].double()
        gram = torch.bmm(examples / by_weights, examples.mT) + 1 / by_bias[:, :, None]
        gram *= torch.bmm(directions, directions.mT)
        gram.diagonal(dim1=1, dim2=2).add_(1)
        return LowRankFactor(*_factored(gram), directions, examples, by_weights, by_bias, lam)


def _factored(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Factor (B, N, N) matrices, which are overwritten, adding as little as necessary.

    Return the Cholesky factors of the matrices scaled to a unit diagonal, and the (B, N) scale.
    """
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    scale = diagonal.clamp(min=torch.finfo(torch.float64).tiny).rsqrt()
    matrix.mul_(scale[:, :, None]).mul_(scale[:, None, :])
    matrix.diagonal(dim1=1, dim2=2).fill_(1)
    for i in range(ATTEMPTS):
        L, failed = torch.linalg.cholesky_ex(matrix)
        if not failed.any():
            break
        matrix.diagonal(dim1=1, dim2=2).add_(JITTER * 100**i)
    return L, scale


def _solved(L: Tensor, scale: Tensor, right: Tensor) -> Tensor:
    """Solve for (B, N) right-hand sides by scaled Cholesky factors."""
    flat = (right * scale)[:, :, None]
    # `cholesky_solve` copies its matrix and takes ten times as long.
    half = torch.linalg.solve_triangular(L, flat, upper=False)
    solved: Tensor = torch.linalg.solve_triangular(L.mT, half, upper=True)
    return solved[:, :, 0] * scale
