"""Products of thin matrices with features that are prepacked in oneDNN's layout.

A product with few columns is limited by memory bandwidth, and a plain one copies the features into
the kernel's layout each time. oneDNN can do this copy once, separately. Torch's compiler does so
when it freezes layers, with undocumented operators. If they are missing or fail, products are
plain ones.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from headstart.probe.axes import Fast

__all__ = ["Packed", "packed"]

# Above this number of columns packing gains little.
THIN = 64
# Largest number of entries to pack: two layouts in float32 take 512 MiB.
LARGEST = 1 << 26
# Number of columns that the layout is optimized for; any number works.
USUAL = 16


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


def packed(Z: Tensor, n_columns: int) -> Fast:
    """Return products with Z, packed if supported and faster for this number of columns."""
    thin = n_columns <= THIN and Z.numel() <= LARGEST
    if thin and Z.device.type == "cpu" and Z.dtype != torch.float64:
        try:
            return Packed(Z)
        except (AttributeError, RuntimeError):
            pass
    return Fast(Z)


def _linear(A: Tensor, layout: Tensor) -> Tensor:
    """Return (p, q) times the transpose of the packed (m, q) matrix."""
    linear: Callable[..., Tensor] = torch.ops.mkldnn._linear_pointwise
    return linear(A, layout, None, "none", [], "")
