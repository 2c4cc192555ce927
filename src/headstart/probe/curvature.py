r"""Products with the Hessian of the losses, and its approximate inverse.

Along the principal axes the Hessian by W is :math:`\sum_i (z_i z_i^T) \otimes S_i + \lambda I`,
with :math:`S_i = \mathrm{diag}(p_i) - p_i p_i^T` for a softmax. With the mean :math:`\bar S` in
the place of each :math:`S_i` it becomes :math:`Z^T Z \otimes \bar S + \lambda I`. The first factor
is diagonal in these axes and :math:`\bar S = U \,\mathrm{diag}(a)\, U^T` is only K x K, so its
inverse is exact and cheap for every lambda:

.. math:: G \mapsto U \left( \frac{U^T G}{a_k v_j + \lambda} \right).

On axes where :math:`a_k v_j` is small beside lambda for all k, that inverse is near the true one:
there it is taken for it, and the products are with the leading axes alone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.probe.axes import Fast, Products
from headstart.probe.losses import Loss

__all__ = ["Curvature", "Preconditioner"]

# Least eigenvalue of the mean Hessian by the logits, relative to its largest.
LEAST = 1e-6
# Where the losses curve less than this part of lambda, their mean Hessian is near enough.
FAINT = 0.03


class Curvature:
    """The Hessian of a batch at a point: ``(D, d) -> (by W, by bias)``, the penalty included.

    Parameters
    ----------
    products
        With the features; bfloat16 will do, since a Newton step may be rough.
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
        """How many axes need products: all, unless far fewer will do and are cheaper."""
        n_axes = len(self._variance)
        if not isinstance(self._products, Fast):
            return n_axes
        curved = ((inverse.by_W - lam[:, None, None]) > FAINT * lam[:, None, None]).any(0).any(0)
        last = int((curved * torch.arange(1, n_axes + 1, device=lam.device)).max())
        return max(1, last) if last <= n_axes // 2 else n_axes

    def leading(self, n_axes: int) -> "Curvature":
        """Restrict it to the first axes."""
        if n_axes == len(self._variance) or not isinstance(self._products, Fast):
            return self
        return Curvature(self._products.leading(n_axes), self._variance[:n_axes])

    def inverse(self, loss: Loss, p: Tensor, lam: Tensor) -> "Preconditioner":
        """Invert it approximately at a point."""
        total = loss.column_curvature(p)
        # A GPU takes longer for a batch of small eigenproblems than the way to the CPU and back.
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
        """Restrict it to the first axes."""
        return Preconditioner(self.U, self.by_W[:, :, :n_axes].contiguous(), self.by_bias)

    def take(self, problems: Tensor) -> "Preconditioner":
        """Keep some of the batch's problems."""
        return Preconditioner(self.U[problems], self.by_W[problems], self.by_bias[problems])
