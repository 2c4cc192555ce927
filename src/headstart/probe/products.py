r"""Products of the features with weights and residuals: fast, exact, or in a packed layout.

A product with few columns is limited by memory bandwidth, and a plain one copies the features into
the kernel's layout each time. oneDNN can do this copy once, separately. Torch's compiler does so
when it freezes layers, with undocumented operators. If they are missing or fail, products are
plain ones.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from headstart.probe.axes import Axes, pull, scores

__all__ = ["LARGEST_PACKED", "THIN", "Exact", "Fast", "Packed", "Products", "packed"]

# Above this number of columns packing gains little.
THIN = 64
# Largest number of entries to pack: two layouts in float32 take 512 MiB.
LARGEST_PACKED = 1 << 26
# Number of columns that the layout is optimized for; any number works.
USUAL = 16


class Products(Protocol):
    """Products with the features along the axes, for B problems, C columns and r axes.

    `dtype` is that of results; the two products themselves may be in a lower precision.
    """

    dtype: torch.dtype

    def forward(self, W: Tensor) -> Tensor:
        """(B, C, r) weights -> (B, C, n) logits without bias."""
        ...

    def back(self, residual: Tensor) -> Tensor:
        """(B, C, n) residuals -> (B, C, r) sums over examples."""
        ...

    def gradient(self, residual: Tensor, W: Tensor, lam: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient of the objective by W, (B, C, r), and its (B,) squared norm."""
        ...

    def penalty(self, W: Tensor) -> Tensor:
        """(B,) float64 squared norms of the weights."""
        ...


class Fast:
    """Products with Z in Z's precision, possibly bfloat16; results are at least float32."""

    def __init__(self, Z: Tensor) -> None:
        self._Z, self.dtype = Z, torch.promote_types(Z.dtype, torch.float32)

    def leading(self, n_axes: int) -> "Fast":
        """Return products with the first axes only."""
        return Fast(self._Z[:, :n_axes])

    def forward(self, W: Tensor) -> Tensor:
        return _times(W.to(self._Z.dtype), self._Z.T).to(self.dtype)

    def back(self, residual: Tensor) -> Tensor:
        return _times(residual.to(self._Z.dtype), self._Z).to(self.dtype)

    def gradient(self, residual: Tensor, W: Tensor, lam: Tensor) -> tuple[Tensor, Tensor]:
        gradient = self.back(residual) + lam.to(W.dtype)[:, None, None] * W
        return gradient, gradient.double().square().sum((1, 2))

    def penalty(self, W: Tensor) -> Tensor:
        return W.double().square().sum((1, 2))


class Packed(Fast):
    """Products with (n, r) float32 or bfloat16 features on a CPU, with two packed copies.

    Raises
    ------
    AttributeError, RuntimeError
        Unsupported by this release of torch or this CPU.
    """

    def __init__(self, Z: Tensor) -> None:
        super().__init__(Z)
        reorder = torch.ops.mkldnn._reorder_linear_weight
        self._forward, self._back = reorder(Z, USUAL), reorder(Z.T.contiguous(), USUAL)
        # A test product, so that an unsupported CPU fails here and not in the middle of a path.
        _linear(Z[:1], self._forward)

    def forward(self, W: Tensor) -> Tensor:
        return self._times(W, self._forward)

    def back(self, residual: Tensor) -> Tensor:
        return self._times(residual, self._back)

    def _times(self, A: Tensor, layout: Tensor) -> Tensor:
        product = _linear(A.to(self._Z.dtype).flatten(0, 1).contiguous(), layout)
        return product.view(*A.shape[:2], -1).to(self.dtype)


class Exact:
    """Products with the features as given, in float64, block by block."""

    dtype = torch.float64

    def __init__(self, axes: Axes) -> None:
        self._axes = axes

    def forward(self, W: Tensor) -> Tensor:
        axes = self._axes
        coef = W @ axes.axes.T
        return scores(axes.X, coef, -(coef @ axes.mean))

    def back(self, residual: Tensor) -> Tensor:
        return pull(self._axes.X, residual, self._axes.mean) @ self._axes.axes

    def gradient(self, residual: Tensor, W: Tensor, lam: Tensor) -> tuple[Tensor, Tensor]:
        # In all d directions, including those outside the span of the examples.
        axes = self._axes
        gradient = lam[:, None, None] * (W @ axes.axes.T)
        gradient += pull(axes.X, residual, axes.mean)
        return gradient @ axes.axes, gradient.square().sum((1, 2))

    def penalty(self, W: Tensor) -> Tensor:
        return (W @ self._axes.axes.T).square().sum((1, 2))


def packed(Z: Tensor, n_columns: int) -> Fast:
    """Return products with Z, packed if supported and faster for this number of columns."""
    thin = n_columns <= THIN and Z.numel() <= LARGEST_PACKED
    if thin and Z.device.type == "cpu" and Z.dtype != torch.float64:
        try:
            return Packed(Z)
        except (AttributeError, RuntimeError):
            pass
    return Fast(Z)


def _times(A: Tensor, B: Tensor) -> Tensor:
    """Multiply (B, C, p) by (p, q) as one matrix product."""
    product = torch.mm(A.flatten(0, 1), B)
    return product.view(*A.shape[:2], -1)


def _linear(A: Tensor, layout: Tensor) -> Tensor:
    """Return (p, q) times the transpose of the packed (m, q) matrix."""
    linear: Callable[..., Tensor] = torch.ops.mkldnn._linear_pointwise
    return linear(A, layout, None, "none", [], "")
