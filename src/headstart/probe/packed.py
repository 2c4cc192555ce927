"""Products of thin matrices with the features, laid out once as the processor's kernels want them.

A product with a few columns is bound by reading the features, and a general one first copies them
into its kernels' layout, each time. oneDNN keeps that copy apart from the product; torch's compiler
freezes layers with it, by operators that are documented nowhere. Where they are missing, or refuse,
products are plain ones.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from headstart.probe.axes import Fast

__all__ = ["Packed", "packed"]

# Beyond so many columns plain products lose little.
THIN = 64
# Entries of the largest features that are packed: two layouts of them in float32 are 512 MiB.
LARGEST = 1 << 26
# Columns that the layout is chosen for; it takes any number.
USUAL = 16


class Packed(Fast):
    """Products with (n, r) features on the CPU in float32 or bfloat16, in two layouts beside them.

    Raises AttributeError or RuntimeError where torch, or the processor, cannot.
    """

    def __init__(self, Z: Tensor) -> None:
        super().__init__(Z)
        reorder = torch.ops.mkldnn._reorder_linear_weight
        self._forward, self._back = reorder(Z, USUAL), reorder(Z.T.contiguous(), USUAL)
        # Whoever cannot multiply says so here, not in the middle of a path.
        _linear(Z[:1], self._forward)

    def forward(self, W: Tensor) -> Tensor:
        return self._times(W, self._forward)

    def back(self, residual: Tensor) -> Tensor:
        return self._times(residual, self._back)

    def _times(self, A: Tensor, layout: Tensor) -> Tensor:
        product = _linear(A.to(self._Z.dtype).flatten(0, 1).contiguous(), layout)
        return product.view(*A.shape[:2], -1).to(self.dtype)


def packed(Z: Tensor, n_columns: int) -> Fast:
    """Give products with Z, packed where that can be done and pays for so many columns."""
    thin = n_columns <= THIN and Z.numel() <= LARGEST
    if thin and Z.device.type == "cpu" and Z.dtype != torch.float64:
        try:
            return Packed(Z)
        except (AttributeError, RuntimeError):
            pass
    return Fast(Z)


def _linear(A: Tensor, layout: Tensor) -> Tensor:
    """(p, q) times the transpose of what was laid out, (m, q)."""
    linear: Callable[..., Tensor] = torch.ops.mkldnn._linear_pointwise
    return linear(A, layout, None, "none", [], "")
