r"""Hessian-vector products, and approximate inverses of the Hessian.

Along the principal axes the Hessian by W is :math:`\sum_i (z_i z_i^T) \otimes S_i + \lambda I`,
with :math:`S_i = \mathrm{diag}(p_i) - p_i p_i^T` for a softmax. Replacing each :math:`S_i` by the
mean :math:`\bar S` gives :math:`Z^T Z \otimes \bar S + \lambda I`. The first factor is diagonal in
these axes, and :math:`\bar S = U \,\mathrm{diag}(a)\, U^T` is only K x K. Its inverse is exact and
cheap for every lambda:

.. math:: G \mapsto U \left( \frac{U^T G}{a_k v_j + \lambda} \right).

On axes where :math:`a_k v_j` is small compared with lambda for all k, this inverse is close to the
true one and is used in its place. Products then need only the leading axes.

When few examples are left that the fit does not explain, those few carry the curvature. Then the
mean is far from the Hessian :math:`\sum_i \tilde z_i \tilde z_i^T \otimes S_i + \lambda I` with
:math:`\tilde z = (z, 1)`, and for small lambdas conjugate gradients need thousands of steps.

With few features and classes, the Hessian is formed in full. Its Cholesky factor gives the exact
Newton step.

With more, the largest m of its parts of rank one are kept as they are, and the rest is replaced by
a multiple of its own mean. For a softmax the parts are exact: :math:`S_i = \sum_{k < l} p_{ik}
p_{il} (e_k - e_l)(e_k - e_l)^T`. With B the m kept parts and D the diagonal of penalty and rest,

.. math:: (D + B^T B)^{-1} = D^{-1} - D^{-1} B^T (I + B D^{-1} B^T)^{-1} B D^{-1}

(Woodbury 1950) needs a Cholesky factor of m x m only. It is a preconditioner.

A factor made at one point is a good preconditioner near it, also for other lambdas.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from headstart.probe.axes import Fast, Products
from headstart.probe.losses import Batched, Loss

__all__ = [
    "CholeskyFactor",
    "Curvature",
    "Factor",
    "Factors",
    "LowRankFactor",
    "Preconditioner",
    "common_part",
]

# Smallest eigenvalue of the mean Hessian by the logits, relative to the largest.
LEAST = 1e-13
# If the curvature of the losses is below this fraction of lambda, the mean Hessian is used.
FAINT = 0.03
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


class Curvature:
    """The Hessian of a batch by W, at a point, the bias being the best for each change of W.

    It is the Schur complement of the Hessian by W and bias, with the penalty. Conjugate gradients
    that see the bias too take a sixth more steps.

    Parameters
    ----------
    products
        Products with the features; bfloat16 is accurate enough for a Newton step.
    variance
        (r,) float64 sums of squares of the columns of Z.
    precise
        Products for a preconditioner that is much closer to the Hessian than bfloat16 is.
    """

    def __init__(
        self, products: Products, variance: Tensor, precise: Products | None = None
    ) -> None:
        self._products, self._variance, self.dtype = products, variance, products.dtype
        self._precise = precise

    def precise(self) -> "Curvature":
        """Return the Hessian by the precise products, if there are others."""
        return Curvature(self._precise, self._variance) if self._precise else self

    def __call__(
        self, loss: Loss, p: Tensor, lam: Tensor, D: Tensor, mean: "Preconditioner"
    ) -> tuple[Tensor, Tensor]:
        """Return the product with a change of W, (B, C, r), and that change's (B, C) best bias."""
        along = self._products.forward(D)
        d = mean.by_bias(loss.curve(p, along).sum(2)).neg_()
        by_W = self.of_logits(loss, p, along.add_(d[:, :, None]))
        return by_W.add_(lam.to(D.dtype)[:, None, None] * D), d

    def of_logits(self, loss: Loss, p: Tensor, along: Tensor) -> Tensor:
        """Return by how much the gradient by W changes with the logits, the penalty apart."""
        return self._products.back(loss.curve(p, along))

    def n_leading(self, inverse: "Preconditioner", lam: Tensor) -> int:
        """Return how many axes need products: all, or far fewer if those suffice."""
        n_axes = len(self._variance)
        if not isinstance(self._products, Fast):
            return n_axes
        curved = ((inverse.along_W - lam[:, None, None]) > FAINT * lam[:, None, None]).any(0).any(0)
        last = int((curved * torch.arange(1, n_axes + 1, device=lam.device)).max())
        return max(1, last) if last <= n_axes // 2 else n_axes

    def leading(self, n_axes: int) -> "Curvature":
        """Return the restriction to the first axes."""
        if n_axes == len(self._variance) or not isinstance(self._products, Fast):
            return self
        return Curvature(self._products.leading(n_axes), self._variance[:n_axes])

    def inverse(self, loss: Loss, p: Tensor, lam: Tensor) -> "Preconditioner":
        """Return an approximate inverse at a point."""
        total = loss.column_curvature(p)
        total += total.diagonal(dim1=1, dim2=2).amax(1)[:, None, None] * common_part(loss, total)
        # On the CPU: a GPU is slower for a batch of small eigenproblems, transfers included.
        a, U = (part.to(p.device) for part in torch.linalg.eigh(total.cpu()))
        a = torch.maximum(a, LEAST * a[:, -1:]).clamp(min=torch.finfo(torch.float32).tiny)
        a = a[:, :, None]
        along_W = a * (self._variance / p.shape[2]) + lam[:, None, None]
        return Preconditioner(*(part.to(self.dtype) for part in (U, along_W, a)))


@dataclass(frozen=True)
class Preconditioner(Batched):
    """An approximate inverse of the Hessian for each problem of a batch.

    `U` are (B, C, C) eigenvectors of the mean Hessian by the logits, `along_W` (B, C, r) and
    `along_bias` (B, C, 1) curvatures along them.
    """

    U: Tensor
    along_W: Tensor
    along_bias: Tensor

    def by_W(self, G: Tensor) -> Tensor:
        """Solve for a gradient by W, (B, C, r)."""
        return torch.bmm(self.U, torch.bmm(self.U.mT, G).div_(self.along_W))

    def by_bias(self, g: Tensor) -> Tensor:
        """Solve for a gradient by the bias, (B, C); exact but for rounding."""
        U = self.U.to(g.dtype)
        return torch.bmm(U, torch.bmm(U.mT, g[:, :, None]).div_(self.along_bias))[:, :, 0]

    def leading(self, n_axes: int) -> "Preconditioner":
        """Return the restriction to the first axes."""
        return Preconditioner(self.U, self.along_W[:, :, :n_axes].contiguous(), self.along_bias)


def common_part(loss: Loss, like: Tensor) -> Tensor:
    """Return the (1, C, C) projection on what all classes share, which changes no probability.

    Its curvature is zero; times any positive number it makes a matrix regular.
    """
    own = torch.eye(like.shape[1], dtype=like.dtype, device=like.device)[None]
    return own - loss.centre(own)


class Factor(Batched, ABC):
    """Inverses of a batch's Hessians near the point where they were factored, for (B,) `lam`."""

    # Whether they are the inverses at that point.
    exact: ClassVar[bool]
    lam: Tensor

    @abstractmethod
    def __call__(self, G: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Solve for gradients by W, (B, C, r), and by the bias, (B, C)."""

    def by_W(self, G: Tensor) -> Tensor:
        """Solve for a gradient by W, (B, C, r), the bias being the best."""
        return self(G, torch.zeros_like(G[:, :, 0]))[0]


@dataclass(frozen=True)
class CholeskyFactor(Factor):
    """Inverses of a batch's Hessians at the point where they were factored.

    `L` are (B, N, N) float64 Cholesky factors of the Hessians scaled to a unit diagonal, N = C (r +
    1); `scale` are (B, N) float64 inverse square roots of their diagonals.
    """

    L: Tensor
    scale: Tensor
    lam: Tensor
    exact = True

    def __call__(self, G: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        whole = torch.cat([G, g[:, :, None].to(G.dtype)], dim=2).double()
        solved = _solved(self.L, self.scale, whole.flatten(1)).view_as(whole).to(G.dtype)
        return solved[:, :, :-1].contiguous(), solved[:, :, -1]


@dataclass(frozen=True)
class LowRankFactor(Factor):
    """Approximate inverses of a batch's Hessians: m parts of rank one, and a diagonal.

    `L` and `scale` are (B, m, m) and (B, m) float64, as in `CholeskyFactor`, of ``I + B D^-1 B^T``;
    `directions` (B, m, C) float64 are factors of the parts by the logits, `examples` (B, m, r)
    float64 the features of their examples; `by_weights` (B, 1, r) and `by_bias` (B, 1) float64 are
    the diagonal D.
    """

    L: Tensor
    scale: Tensor
    directions: Tensor
    examples: Tensor
    by_weights: Tensor
    by_bias: Tensor
    lam: Tensor
    exact = False

    def __call__(self, G: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        # In float64: along the parts the two terms cancel but for a small difference.
        S, s = G.double() / self.by_weights, g.double() / self.by_bias
        along = torch.bmm(self.examples, S.mT) + s[:, None, :]
        parts = _solved(self.L, self.scale, (along * self.directions).sum(2))
        taken = parts[:, :, None] * self.directions
        S -= torch.bmm(taken.mT, self.examples) / self.by_weights
        s -= taken.sum(1) / self.by_bias
        return S.to(G.dtype), s.to(G.dtype)


class Factors:
    """Makes factors and keeps the last one.

    `Z` are (n, r) features along the axes, `variance` (r,) float64 sums of squares of their
    columns.
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
