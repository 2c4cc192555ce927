r"""Hessian-vector products, and an approximate inverse of the Hessian.

Along the principal axes the Hessian by W is :math:`\sum_i (z_i z_i^T) \otimes S_i + \lambda I`,
with :math:`S_i = \mathrm{diag}(p_i) - p_i p_i^T` for a softmax. Replacing each :math:`S_i` by the
mean :math:`\bar S` gives :math:`Z^T Z \otimes \bar S + \lambda I`. The first factor is diagonal in
these axes, and :math:`\bar S = U \,\mathrm{diag}(a)\, U^T` is only K x K. Its inverse is exact and
cheap for every lambda:

.. math:: G \mapsto U \left( \frac{U^T G}{a_k v_j + \lambda} \right).

On axes where :math:`a_k v_j` is small compared with lambda for all k, this inverse is close to the
true one and is used in its place. Products then need only the leading axes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.probe.axes import Fast, Products
from headstart.probe.losses import Loss

__all__ = ["Curvature", "Preconditioner"]

# Smallest eigenvalue of the mean Hessian by the logits, relative to the largest.
LEAST = 1e-6
# If the curvature of the losses is below this fraction of lambda, the mean Hessian is used.
FAINT = 0.03


class Curvature:
    """The Hessian of a batch at a point, as ``(D, d) -> (by W, by bias)``, with the penalty.

    Parameters
    ----------
    products
        Products with the features; bfloat16 is accurate enough for a Newton step.
    variance
        (r,) float64 sums of squares of the columns of Z.
    """

    def __init__(self, products: Products, variance: Tensor) -> None:
        self._products, self._variance, self.dtype = products, variance, products.dtype
        self.spread = variance.max()

    def __call__(
        self, loss: Loss, p: Tensor, lam: Tensor, D: Tensor, d: Tensor
    ) -> tuple[Tensor, Tensor]:
        curved = loss.curve(p, self._products.forward(D).add_(d[:, :, None]))
        by_W = self._products.back(curved)
        return by_W.add_(lam.to(D.dtype)[:, None, None] * D), curved.sum(2)

    def n_leading(self, inverse: "Preconditioner", lam: Tensor) -> int:
        """Return how many axes need products: all, or far fewer if those suffice."""
        n_axes = len(self._variance)
        if not isinstance(self._products, Fast):
            return n_axes
        curved = ((inverse.by_W - lam[:, None, None]) > FAINT * lam[:, None, None]).any(0).any(0)
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
        # On the CPU: a GPU is slower for a batch of small eigenproblems, transfers included.
        a, U = (part.to(p.device) for part in torch.linalg.eigh(total.cpu()))
        a = torch.maximum(a, LEAST * a[:, -1:]).clamp(min=torch.finfo(torch.float32).tiny)
        by_W = a[:, :, None] * (self._variance / p.shape[2]) + lam[:, None, None]
        return Preconditioner(U.to(self.dtype), by_W.to(self.dtype), a.to(self.dtype))


@dataclass(frozen=True)
class Preconditioner:
    """An approximate inverse of the Hessian for each problem of a batch.

    Parameters
    ----------
    U
        (B, C, C) eigenvectors of the mean Hessian by the logits.
    by_W, by_bias
        (B, C, r) and (B, C) curvatures along them.
    """

    U: Tensor
    by_W: Tensor
    by_bias: Tensor

    def __call__(self, G: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        by_W = torch.bmm(self.U, torch.bmm(self.U.mT, G).div_(self.by_W))
        by_bias = torch.bmm(self.U, torch.bmm(self.U.mT, g[:, :, None]) / self.by_bias[:, :, None])
        return by_W, by_bias[:, :, 0]

    def leading(self, n_axes: int) -> "Preconditioner":
        """Return the restriction to the first axes."""
        return Preconditioner(self.U, self.by_W[:, :, :n_axes].contiguous(), self.by_bias)

    def take(self, problems: Tensor) -> "Preconditioner":
        """Return a selection of the batch's problems."""
        return Preconditioner(self.U[problems], self.by_W[problems], self.by_bias[problems])
