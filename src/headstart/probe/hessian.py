r"""Hessian-vector products, and an approximate inverse of the Hessian.

Along the principal axes the Hessian by W is :math:`\sum_i (z_i z_i^T) \otimes S_i + \lambda I`,
with :math:`S_i = \mathrm{diag}(p_i) - p_i p_i^T` for a softmax. Replacing each :math:`S_i` by the
mean :math:`\bar S` gives :math:`Z^T Z \otimes \bar S + \lambda I`. The first factor is diagonal in
these axes, and :math:`\bar S = U \,\mathrm{diag}(a)\, U^T` is only K x K. Its inverse is exact and
cheap for every lambda:

.. math:: G \mapsto U \left( \frac{U^T G}{a_k v_j + \lambda} \right).

On axes where :math:`a_k v_j` is small compared with lambda for all k, this inverse is close to the
true one and is used in its place. Products then need only the leading axes.

Where few examples carry the curvature, `headstart.probe.factors` has better inverses.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.probe.losses import Loss
from headstart.probe.products import Fast, Products

__all__ = ["Curvature", "Preconditioner", "common_part"]

# Smallest eigenvalue of the mean Hessian by the logits, relative to the largest.
LEAST = 1e-13
# If the curvature of the losses is below this fraction of lambda, the mean Hessian is used.
FAINT = 0.03


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


def common_part(loss: Loss, like: Tensor) -> Tensor:
    """Return the (1, C, C) projection on what all classes share, which changes no probability.

    Its curvature is zero; times any positive number it makes a matrix regular.
    """
    own = torch.eye(like.shape[1], dtype=like.dtype, device=like.device)[None]
    return own - loss.centre(own)
