r"""Products of the features with weights and residuals, and with a matrix.

oneDNN multiplies float32 matrices faster than torch's default (MKL on an AMD processor has half its
speed), and thin ones by far, if the features lie in its own layout. Torch's compiler uses it with
undocumented operators when it freezes layers. If they are missing or fail, products are plain ones.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["LARGEST_PACKED", "Fast", "Packed", "Products", "multiply", "packed"]

# Largest number of entries to pack: the layouts take 256 MiB in float32, as much in bfloat16.
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
        part = self._Z[:, :n_axes]
        # float32 is worth a copy, which `multiply` needs.
        return Fast(part.contiguous() if part.dtype == torch.float32 else part)

    def forward(self, W: Tensor) -> Tensor:
        return self._times(W, self._Z)

    def back(self, residual: Tensor) -> Tensor:
        return self._times(residual, self._Z.T)

    def gradient(self, residual: Tensor, W: Tensor, lam: Tensor) -> tuple[Tensor, Tensor]:
        gradient = self.back(residual) + lam.to(W.dtype)[:, None, None] * W
        return gradient, gradient.double().square().sum((1, 2))

    def penalty(self, W: Tensor) -> Tensor:
        return W.double().square().sum((1, 2))

    def _times(self, A: Tensor, B: Tensor) -> Tensor:
        """Multiply (B, C, p) by the transpose of (q, p) as one matrix product."""
        product = multiply(A.to(self._Z.dtype).flatten(0, 1), B)
        return product.view(*A.shape[:2], -1).to(self.dtype)


class Packed(Fast):
    """Products with contiguous (n, r) float32 or bfloat16 features on a CPU, with packed copies.

    Raises
    ------
    AttributeError, RuntimeError
        Unsupported by this release of torch or this CPU.
    """

    def __init__(self, Z: Tensor) -> None:
        super().__init__(Z)
        reorder = torch.ops.mkldnn._reorder_linear_weight
        self._forward = reorder(Z, USUAL)
        # float32 needs no layout of its own for this direction.
        plain = Z.dtype == torch.float32
        self._back = Z.T if plain else reorder(Z.T.contiguous(), USUAL)
        # A test product, so that an unsupported CPU fails here and not in the middle of a path.
        _linear(Z[:1], self._forward)

    def forward(self, W: Tensor) -> Tensor:
        return self._times(W, self._forward)

    def back(self, residual: Tensor) -> Tensor:
        return self._times(residual, self._back)

    def _times(self, A: Tensor, B: Tensor) -> Tensor:
        product = _linear(A.to(self._Z.dtype).flatten(0, 1).contiguous(), B)
        return product.view(*A.shape[:2], -1).to(self.dtype)


def packed(Z: Tensor) -> Fast:
    """Return products with Z, packed if supported."""
    if Z.device.type == "cpu" and Z.dtype != torch.float64 and Z.numel() <= LARGEST_PACKED:
        try:
            return Packed(Z)
        except (AttributeError, RuntimeError):
            pass
    return Fast(Z)


def multiply(A: Tensor, B: Tensor) -> Tensor:
    """Return A (p, k) times the transpose of B (m, k)."""
    # Of other strides oneDNN has nothing but a reference implementation, a thousand times slower.
    dense = B.is_contiguous() or B.T.is_contiguous()
    if dense and A.device.type == "cpu" and A.dtype == torch.float32:
        try:
            return _linear(A.contiguous(), B)
        except (AttributeError, RuntimeError):
            pass
    return A @ B.T


def _linear(A: Tensor, B: Tensor) -> Tensor:
    """Return (p, k) times the transpose of an (m, k) matrix, possibly packed."""
    linear: Callable[..., Tensor] = torch.ops.mkldnn._linear_pointwise
    return linear(A, B, None, "none", [], "")
