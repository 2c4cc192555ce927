"""Fits for a decreasing path of lambdas, each the start of the next, each certified.

scipy's L-BFGS in the principal axes, scaled by the square root of the Hessian's diagonal there.
It goes on until the duality gap, not a step size or an iteration count, says that it is done:
scikit-learn's default stopping rule, with a warm start, returns most small lambdas untouched.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import softmax
from threadpoolctl import ThreadpoolController

from headstart.probe.basis import principal_basis
from headstart.probe.objective import Certificate, Labels, Matrix, certify, objective_and_gradient

__all__ = ["Fit", "fit_path"]

MAX_EVALUATIONS = 5000
# Gradient norm, relative to sqrt(n), at which the gap is looked at first; divided by TIGHTEN
# as often as the gap is still too large.
FIRST_GRADIENT = 1e-2
TIGHTEN = 4.0
LEAST_CURVATURE = 1e-12


@dataclass(frozen=True)
class Fit:
    """The solution for one lambda.

    Parameters
    ----------
    lam
        Weight of ``||W||^2 / 2``; scikit-learn's C is its inverse.
    coef, bias
        (K, d) and (K,) float64.
    objective
        Sum of losses plus penalty.
    relative_gap
        Certified bound on (objective - optimum) / objective.
    evaluations
        Of the objective and its gradient.
    converged
        Whether `relative_gap` is within the tolerance.
    """

    lam: float
    coef: Matrix
    bias: Matrix
    objective: float
    relative_gap: float
    evaluations: int
    converged: bool

    def scores(self, X: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """(n, d) features -> (n, K) float32 decision values, computed in float64 block by block."""
        blocks = [X[i : i + 4096].astype(np.float64) for i in range(0, len(X), 4096)]
        parts = [(block @ self.coef.T + self.bias).astype(np.float32) for block in blocks]
        return np.concatenate(parts) if parts else np.empty((0, len(self.bias)), np.float32)


def fit_path(
    X: npt.NDArray[np.floating],
    labels: Labels,
    n_classes: int,
    lambdas: Sequence[float],
    tolerance: float = 1e-4,
) -> Iterator[Fit]:
    """Minimise ``sum_i loss_i + (lambda/2) ||W||^2``, bias unpenalised, for each lambda in turn.

    Parameters
    ----------
    X
        (n, d) finite features, any float type.
    labels
        (n,) integers in 0..n_classes-1, each class at least once.
    n_classes
        K >= 2.
    lambdas
        Positive, best in decreasing order: each solution is the next one's start.
    tolerance
        Relative duality gap at which a fit counts as converged.
    """
    basis = principal_basis(X)
    state = _State(basis.Z, labels, n_classes)
    for lam in lambdas:
        certificate, evaluations = _minimise(state, lam, tolerance)
        coef, bias = basis.to_features(state.W, state.bias)
        yield Fit(
            lam=lam,
            coef=coef,
            bias=bias,
            objective=certificate.objective,
            relative_gap=certificate.relative_gap,
            evaluations=evaluations,
            converged=certificate.relative_gap <= tolerance,
        )


class _State:
    """The problem and the solution so far, which is where the next lambda starts."""

    def __init__(self, Z: Matrix, labels: Labels, n_classes: int) -> None:
        self.Z, self.labels = Z, labels
        self.W = np.zeros((Z.shape[1], n_classes))
        share = np.bincount(labels, minlength=n_classes) / len(labels)
        self.bias = np.log(share)
        self.column_squares = np.square(Z).sum(axis=0)

    def scales(self, lam: float) -> tuple[Matrix, Matrix]:
        """Square roots of the Hessian's diagonal, approximately: (r, K) by W, (K,) by the bias.

        The diagonal is ``sum_i Z_ij^2 p_ik (1 - p_ik) + lambda``; the mean of p(1 - p) over
        examples stands in for each.
        """
        probabilities = softmax(self.Z @ self.W + self.bias, axis=1)
        curvature = np.maximum((probabilities * (1 - probabilities)).mean(axis=0), LEAST_CURVATURE)
        by_W = np.sqrt(np.outer(self.column_squares, curvature) + lam)
        return by_W, np.sqrt(len(self.labels) * curvature)


def _minimise(state: _State, lam: float, tolerance: float) -> tuple[Certificate, int]:
    """Move the state to the optimum for `lam`; give its certificate and the evaluations spent."""
    evaluations = 0
    # From norm to the largest entry, which is what scipy's gtol is about.
    gradient = FIRST_GRADIENT * np.sqrt(len(state.labels) / (state.W.size + len(state.bias)))
    while True:
        evaluations += _descend(state, lam, gradient, MAX_EVALUATIONS - evaluations)
        certificate = certify(state.Z, state.labels, state.W, state.bias, lam)
        state.bias = certificate.bias
        if certificate.relative_gap <= tolerance or evaluations >= MAX_EVALUATIONS:
            return certificate, evaluations
        gradient /= TIGHTEN


def _descend(state: _State, lam: float, gradient: float, budget: int) -> int:
    """Run L-BFGS on the problem scaled as it is at the state; move the state, count evaluations."""
    scale_W, scale_bias = state.scales(lam)
    shape, size = state.W.shape, state.W.size

    def unpack(vector: Matrix) -> tuple[Matrix, Matrix]:
        return vector[:size].reshape(shape) / scale_W, vector[size:] / scale_bias

    def scaled(vector: Matrix) -> tuple[float, Matrix]:
        W, bias = unpack(vector)
        value, by_W, by_bias = objective_and_gradient(state.Z, state.labels, W, bias, lam)
        return value, np.concatenate([(by_W / scale_W).ravel(), by_bias / scale_bias])

    start = np.concatenate([(state.W * scale_W).ravel(), state.bias * scale_bias])
    solution, spent = _lbfgs(scaled, start, gradient, budget)
    state.W, state.bias = unpack(solution)
    return spent


def _lbfgs(
    function: Callable[[Matrix], tuple[float, Matrix]],
    start: Matrix,
    gradient: float,
    budget: int,
) -> tuple[Matrix, int]:
    # scipy brings a BLAS of its own for L-BFGS' short vectors. Its threads and NumPy's fight for
    # the same cores, and the fit takes ten times as long; one thread is all that it needs.
    with _SCIPY_BLAS.limit(limits=1):
        result = minimize(
            function,
            start,
            jac=True,
            method="L-BFGS-B",
            options={
                "maxcor": 20,
                "maxiter": budget,
                "maxfun": budget,
                "ftol": 0.0,
                "gtol": gradient,
            },
        )
    return result.x, int(result.nfev)


_BLAS = ThreadpoolController()
_SCIPY_BLAS = _BLAS.select(
    filepath=[
        library["filepath"] for library in _BLAS.info() if "scipy.libs" in library["filepath"]
    ]
)
