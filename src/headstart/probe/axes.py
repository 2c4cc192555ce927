r"""Principal axes of the features, and products of the features along them.

The penalty is invariant under rotation, and a solution lies in the span of the centred features.
So the solver works along their principal axes. There :math:`Z^T Z` is diagonal, and one
preconditioner serves every lambda (see `headstart.probe.newton`).

oneDNN multiplies float32 matrices faster than torch's default (MKL on an AMD processor has half its
speed), and thin ones by far, if the features lie in its own layout. Torch's compiler uses it with
undocumented operators when it freezes layers. If they are missing or fail, products are plain ones.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = [
    "LARGEST_PACKED",
    "Axes",
    "Exact",
    "Fast",
    "Packed",
    "Products",
    "Source",
    "eigenvectors",
    "feature_mean",
    "is_double",
    "multiply",
    "packed",
    "pull",
    "scores",
]

Source = npt.NDArray[np.floating] | Tensor

# Entries of X per copied block, by type of device: few enough for a cache of the CPU.
BLOCK = {"cpu": 1 << 18, "cuda": 1 << 26}
# Up to this number of features float64 costs next to nothing.
SMALL = 512
# Ratio of standard deviations, of features that vary, at which float32 would lose the smaller ones.
UNEVEN = 1e3
# Eigenvalues, over the largest: below the first is rounding error, and above the second the axes of
# a product of float32 features with itself are orthonormal in float32.
NOTHING, FAINTEST = 1e-14, 1e-10
# Stripes of a symmetric product: with 4 five eighths of the work are left.
STRIPS = 4
NUMPY = {torch.float32: np.float32, torch.float64: np.float64}
# Largest number of entries to pack: the layouts take 256 MiB in float32, as much in bfloat16.
LARGEST_PACKED = 1 << 26
# Number of columns that the layout is optimized for; any number works.
USUAL = 16


def blocks(X: Source, device: torch.device, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Yield (n, d) features in blocks of rows, each on the device in `dtype`."""
    rows = max(1, BLOCK[device.type] // max(1, X.shape[1]))
    for first in range(0, len(X), rows):
        part = slice(first, min(first + rows, len(X)))
        if isinstance(X, Tensor):
            yield part, X[part].to(device, dtype)
        else:
            # A copy if it is read-only, as a memory-mapped file may be: torch does not share those.
            copied = not X.flags.writeable or min(X.strides) < 0
            rows_of = np.array(X[part], NUMPY[dtype], copy=copied or None)
            yield part, torch.from_numpy(rows_of).to(device)


@dataclass(frozen=True)
class Axes:
    """Features along their principal axes: ``X = mean + Z @ axes.T``.

    `X` are (n, d) features as given, `mean` is (d,) float64. `axes` are (d, r) float64 orthonormal
    columns to the precision of Z, r at most n and d; `Z` is (n, r) float32 or float64; `variance`
    are (r,) float64 sums of squares of its columns.
    """

    X: Source
    mean: Tensor
    axes: Tensor
    Z: Tensor
    variance: Tensor

    @classmethod
    def of(cls, X: Source, device: torch.device, dtype: torch.dtype) -> "Axes":
        """Find the principal axes of (n, d) features."""
        n, d = X.shape
        mean = feature_mean(X, device)
        if n > d:
            # Rounded to `dtype`, so that subtraction is exact; the bias takes the remainder.
            mean = mean.to(dtype)
            axes, Z = _tall(X, mean, device, dtype)
        else:
            axes, Z = _wide(X, mean, device, dtype)
        parts = torch.split(Z, max(1, BLOCK[device.type] // d))
        variance = torch.stack([part.double().square().sum(0) for part in parts]).sum(0)
        return cls(X, mean.double(), axes.double(), Z, variance)

    def to_features(self, W: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Convert (B, C, r) weights and (B, C) bias to float64 ones on X: (B, C, d) and (B, C)."""
        coef = W.double() @ self.axes.T
        return coef, bias.double() - coef @ self.mean


def feature_mean(X: Source, device: torch.device) -> Tensor:
    """Return the (d,) float64 mean over examples."""
    total = torch.zeros(X.shape[1], dtype=torch.float64, device=device)
    for _, block in blocks(X, device, torch.float64):
        total += block.sum(0)
    return total / len(X)


def is_double(X: Source) -> bool:
    """Return whether features are in float64."""
    return X.dtype == torch.float64 if isinstance(X, Tensor) else X.dtype.itemsize == 8


def eigenvectors(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the eigenvalues, in increasing order, and eigenvectors of a symmetric matrix.

    Of the matrix only the lower triangle is read.

    LAPACK's divide and conquer, which is fast, fails to converge on some matrices of low rank
    (features of many identical images); QR iteration in float64 takes over there.
    """
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        import scipy.linalg

        found = scipy.linalg.eigh(matrix.double().cpu().numpy(), driver="ev")
        values, vectors = (torch.from_numpy(part).to(matrix) for part in found)
    return values, vectors


def _tall(
    X: Source, mean: Tensor, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return axes and Z for n > d: eigenvectors of the covariance matrix.

    All of them are kept. Rounding makes the small ones inaccurate, but they still form a basis. A
    poor preconditioner costs steps; a missing direction would cost the solution.
    """
    n, d = X.shape
    work = torch.float64 if d <= SMALL else dtype
    gram = _gram(X, mean, work)
    if work != torch.float64:
        squares = gram.diagonal().double()
        vary = squares[squares > 0]
        if len(vary) and vary.max() > UNEVEN**2 * vary.min():
            work = torch.float64
            gram = _gram(X, mean, work)
    axes = eigenvectors(gram)[1].flip(1).contiguous()
    Z = torch.empty(n, d, dtype=dtype, device=device)
    for part, block in blocks(X, device, work):
        Z[part] = multiply(block - mean, axes.T)
    return axes, Z


def _gram(X: Source, mean: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the (d, d) products of centred features, of which `eigenvectors` needs one half."""
    gram = torch.zeros(X.shape[1], X.shape[1], dtype=dtype, device=mean.device)
    for _, block in blocks(X, mean.device, dtype):
        gram += _own_products((block - mean).T.contiguous())
    return gram


def _own_products(A: Tensor) -> Tensor:
    """Return A times its transpose: the lower triangle, and a part of the rest."""
    found = A.new_zeros(len(A), len(A))
    step = -(-len(A) // STRIPS)
    for first in range(0, len(A), step):
        rows = A[first : first + step]
        found[first : first + step, : first + step] = multiply(rows, A[: first + step])
    return found


def _wide(
    X: Source, mean: Tensor, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return axes and Z for n <= d: an orthonormal basis of the span, rotated to its axes.

    The eigenvectors of the examples' products give them in float64, two thirds of the work of a QR
    factorization. If there is a direction so small that its axis would be less accurate than
    float32, or for float64, the factorization finds them.
    """
    centred = torch.empty(*X.shape, dtype=torch.float64, device=device)
    for part, block in blocks(X, device, torch.float64):
        torch.sub(block, mean, out=centred[part])
    if dtype == torch.float32:
        squares, turn = eigenvectors(_own_products(centred))
        size = squares / squares[-1].clamp(min=torch.finfo(torch.float64).tiny)
        # Centred examples have a direction that is nothing but rounding error; so have doubles.
        kept = size > NOTHING
        if kept.any() and bool((size[kept] > FAINTEST).all()):
            turn = turn[:, kept].flip(1)
            Z = turn * squares[kept].flip(0).sqrt()
            return (centred.T @ turn).div_(squares[kept].flip(0).sqrt()), Z.to(dtype)
    span, triangle = torch.linalg.qr(centred.T)
    del centred
    turn = eigenvectors(triangle @ triangle.T)[1].flip(1)
    return span @ turn, (triangle.T @ turn).to(dtype).contiguous()


def scores(X: Source, coef: Tensor, bias: Tensor) -> Tensor:
    """Return (B, C, n) float64 logits of (n, d) features, for (B, C, d) and (B, C) float64."""
    flat = coef.flatten(0, 1)
    logits = flat.new_empty(len(flat), len(X))
    for part, block in blocks(X, coef.device, torch.float64):
        torch.addmm(bias.flatten()[:, None], flat, block.T, out=logits[:, part])
    return logits.view(*coef.shape[:2], -1)


def pull(X: Source, residual: Tensor, mean: Tensor) -> Tensor:
    """Return (B, C, n) float64 residuals times (n, d) centred features: (B, C, d)."""
    flat = residual.flatten(0, 1)
    total = -torch.outer(flat.sum(1), mean)
    for part, block in blocks(X, residual.device, torch.float64):
        total.addmm_(flat[:, part], block)
    return total.view(*residual.shape[:2], -1)


class Fast:
    """Products with Z in Z's precision, possibly bfloat16, for B problems, C columns and r axes.

    `dtype`, at least float32, is that of results.
    """

    def __init__(self, Z: Tensor) -> None:
        self._Z, self.dtype = Z, torch.promote_types(Z.dtype, torch.float32)

    def leading(self, n_axes: int) -> "Fast":
        """Return products with the first axes only."""
        part = self._Z[:, :n_axes]
        # float32 is worth a copy, which `multiply` needs.
        return Fast(part.contiguous() if part.dtype == torch.float32 else part)

    def forward(self, W: Tensor) -> Tensor:
        """(B, C, r) weights -> (B, C, n) logits without bias."""
        return self._times(W, self._Z)

    def back(self, residual: Tensor) -> Tensor:
        """(B, C, n) residuals -> (B, C, r) sums over examples."""
        return self._times(residual, self._Z.T)

    def gradient(self, residual: Tensor, W: Tensor, lam: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient of the objective by W, (B, C, r), and its (B,) squared norm."""
        gradient = self.back(residual) + lam.to(W.dtype)[:, None, None] * W
        return gradient, gradient.double().square().sum((1, 2))

    def penalty(self, W: Tensor) -> Tensor:
        """(B,) float64 squared norms of the weights."""
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


class Exact:
    """The products of `Fast` with the features as given, in float64, block by block."""

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


Products = Fast | Exact


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
