"""Reference solver: scipy's L-BFGS on the centred features in float64, as in the paper.

It is simple and slow on purpose. It shares only the loss and the certificate with the solver that
it checks.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from threadpoolctl import ThreadpoolController

from headstart.probe.axes import Source, blocks, feature_mean
from headstart.probe.certificate import Fit, certify, sum_up
from headstart.probe.inputs import features, path_of
from headstart.probe.losses import Binary, Softmax

__all__ = ["lbfgs_path"]

Vector = npt.NDArray[np.float64]

# Tolerance on the largest gradient entry before the first check of the gap; divided by TIGHTEN
# while the gap is too large.
FIRST_GRADIENT = 1e-2
TIGHTEN = 10.0
MEMORY = 20


@torch.no_grad()
def lbfgs_path(
    X: Source,
    loss: Softmax | Binary,
    lambdas: Sequence[float],
    tolerance: float = 1e-4,
    *,
    max_passes: int,
) -> Iterator[Fit]:
    """Yield fits in order of decreasing lambda, each started from the previous solution.

    Parameters are as in `headstart.probe.path.fit_path`. A pass is one evaluation of the objective
    and its gradient.
    """
    cpu = torch.device("cpu")
    lambdas, X = path_of(lambdas), features(X)
    mean = feature_mean(X, cpu)
    centred = torch.empty(*X.shape, dtype=torch.float64)
    for part, block in blocks(X, cpu, torch.float64):
        torch.sub(block, mean, out=centred[part])
    coef = torch.zeros(*loss.start.shape, X.shape[1], dtype=torch.float64)
    bias = loss.start.clone()
    for lam in lambdas:
        passes, gradient = 0, FIRST_GRADIENT
        lams = torch.full((len(coef),), lam, dtype=torch.float64)
        while True:
            spent, coef, bias = _descend(
                centred, loss, lam, coef, bias, gradient, max_passes - passes
            )
            passes += spent
            proof = certify(centred, torch.zeros_like(mean), loss, lams, coef, bias)
            bias = proof.bias
            fit = sum_up(lam, coef, bias - coef @ mean, proof, passes, tolerance)
            # Weights of zero are within the tolerance for large lambdas, and tell no classes apart.
            weighted = coef.flatten(1).any(1).all() or fit.relative_gap == 0
            settled = fit.converged and bool(weighted)
            # Below 1e-300 the precision of float64 is exhausted.
            if settled or passes >= max_passes or gradient < 1e-300:
                break
            gradient /= TIGHTEN
        yield fit


def _descend(
    Z: torch.Tensor,
    loss: Softmax | Binary,
    lam: float,
    coef: torch.Tensor,
    bias: torch.Tensor,
    gradient: float,
    budget: int,
) -> tuple[int, torch.Tensor, torch.Tensor]:
    """Run L-BFGS until no gradient entry exceeds `gradient`; return passes, weights, bias."""

    def unpack(vector: Vector) -> tuple[torch.Tensor, torch.Tensor]:
        parts = torch.from_numpy(vector)
        return parts[: coef.numel()].view_as(coef), parts[coef.numel() :].view_as(bias)

    def evaluate(vector: Vector) -> tuple[float, Vector]:
        W, b = unpack(vector)
        values, residual, _ = loss.look(W @ Z.T + b[:, :, None])
        by_W, by_bias = residual @ Z + lam * W, residual.sum(2)
        value = float(values.sum() + lam / 2 * W.square().sum())
        return value, torch.cat([by_W.flatten(), by_bias.flatten()]).numpy()

    # SciPy's BLAS and torch's threads would compete for the cores. One thread suffices for the
    # short vectors of L-BFGS.
    with _SCIPY_BLAS.limit(limits=1):
        result = minimize(
            evaluate,
            torch.cat([coef.flatten(), bias.flatten()]).numpy(),
            jac=True,
            method="L-BFGS-B",
            options={
                "maxcor": MEMORY,
                "maxiter": budget,
                "maxfun": budget,
                "ftol": 0.0,
                "gtol": gradient,
            },
        )
    return int(result.nfev), *unpack(result.x.copy())


_BLAS = ThreadpoolController()
_SCIPY_BLAS = _BLAS.select(
    filepath=[
        library["filepath"] for library in _BLAS.info() if "scipy.libs" in library["filepath"]
    ]
)
