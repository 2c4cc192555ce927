r"""Hessian-vector products, an approximate inverse of the Hessian, and its Cholesky factor.

Along the principal axes the Hessian by W is :math:`\sum_i (z_i z_i^T) \otimes S_i + \lambda I`,
with :math:`S_i = \mathrm{diag}(p_i) - p_i p_i^T` for a softmax. Replacing each :math:`S_i` by the
mean :math:`\bar S` gives :math:`Z^T Z \otimes \bar S + \lambda I`. The first factor is diagonal in
these axes, and :math:`\bar S = U \,\mathrm{diag}(a)\, U^T` is only K x K. Its inverse is exact and
cheap for every lambda:

.. math:: G \mapsto U \left( \frac{U^T G}{a_k v_j + \lambda} \right).

On axes where :math:`a_k v_j` is small compared with lambda for all k, this inverse is close to the
true one and is used in its place. Products then need only the leading axes.

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
from headstart.probe.products import Fast, Products

__all__ = ["Curvature", "Factor", "Factors", "Preconditioner"]

# Smallest eigenvalue of the mean Hessian by the logits, relative to the largest.
LEAST = 1e-13
# If the curvature of the losses is below this fraction of lambda, the mean Hessian is used.
FAINT = 0.03
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
    """

    def __init__(self, products: Products, variance: Tensor) -> None:
        self._products, self._variance, self.dtype = products, variance, products.dtype

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
        total += total.diagonal(dim1=1, dim2=2).amax(1)[:, None, None] * _common(loss, total)
        # On the CPU: a GPU is slower for a batch of small eigenproblems, transfers included.
        a, U = (part.to(p.device) for part in torch.linalg.eigh(total.cpu()))
        a = torch.maximum(a, LEAST * a[:, -1:]).clamp(min=torch.finfo(torch.float32).tiny)
        a = a[:, :, None]
        along_W = a * (self._variance / p.shape[2]) + lam[:, None, None]
        return Preconditioner(*(part.to(self.dtype) for part in (U, along_W, a)))


@dataclass(frozen=True)
class Preconditioner:
    """An approximate inverse of the Hessian for each problem of a batch.

    Parameters
    ----------
    U
        (B, C, C) eigenvectors of the mean Hessian by the logits.
    along_W, along_bias
        (B, C, r) and (B, C, 1) curvatures along them.
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

    def take(self, problems: Tensor) -> "Preconditioner":
        """Return a selection of the batch's problems."""
        return Preconditioner(self.U[problems], self.along_W[problems], self.along_bias[problems])


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

    def by_W(self, G: Tensor) -> Tensor:
        """Solve for a gradient by W, (B, C, r), the bias being the best."""
        return self(G, torch.zeros_like(G[:, :, 0]))[0]

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
        ridge[:, -1] = 0
        hessian.diagonal(dim1=1, dim2=3).diagonal(dim1=1, dim2=2).add_(ridge[:, None, :])
        by_bias = hessian[:, :, -1, :, -1]
        top = by_bias.diagonal(dim1=1, dim2=2).amax(1)
        by_bias += top[:, None, None] * _common(loss, by_bias)
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


def _common(loss: Loss, like: Tensor) -> Tensor:
    """Return the (1, C, C) projection on what all classes share, which changes no probability.

    Its curvature is zero; times any positive number it makes a matrix regular.
    """
    own = torch.eye(like.shape[1], dtype=like.dtype, device=like.device)[None]
    return own - loss.centre(own)


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
