"""Other solvers of the probe's objective, each as one would use it, brought to a certified gap.

All minimise ``sum_i loss_i + (lambda/2) ||W||^2`` with an unpenalised bias, divided by n: their
tolerances then mean nearly the same, a largest entry of the gradient. A rival knows no duality gap,
so its tolerance is lowered again and again: `race.py` does that.
"""

import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Protocol

import numpy as np
import torch
from scipy.optimize import OptimizeResult, minimize
from torch.nn.functional import cross_entropy

__all__ = ["RIVALS", "Rival"]

MOST_ITERATIONS = 100_000
FIRST_ITERATIONS = 20
HISTORY = 20


class Rival(Protocol):
    """A solver that goes on from its last solution."""

    name: str

    def start(self, X: np.ndarray, y: np.ndarray) -> None:
        """Convert (n, d) float32 features and (n,) labels; start from nothing."""
        ...

    def step(self, lam: float, tolerance: float, iterations: int) -> int:
        """Go on for so many iterations, or until the tolerance is met; tell how many it took."""
        ...

    def run(self, lam: float, tolerance: float, seconds: float) -> bool:
        """Go on until the tolerance is met: True; or until about so many seconds are over."""
        ...

    def solution(self) -> tuple[np.ndarray, np.ndarray]:
        """(K, d) weights and (K,) bias."""
        ...


class Pace:
    """Runs in pieces of so many iterations that they end at about a given time."""

    def __init__(self, most: int) -> None:
        self._most, self._per_iteration = most, 0.0

    def run(self, step: Callable[[int], int], seconds: float) -> bool:
        """Call `step(iterations) -> iterations done`; True if it ended by its own rule."""
        end = time.perf_counter() + seconds
        while True:
            before = time.perf_counter()
            limit = self._limit(end - before)
            done = step(limit)
            now = time.perf_counter()
            self._per_iteration = max((now - before) / max(done, 1), self._per_iteration / 2)
            if done < limit:
                return True
            if now >= end:
                return False

    def _limit(self, seconds: float) -> int:
        if not self._per_iteration:
            return min(FIRST_ITERATIONS, self._most)
        return int(np.clip(seconds / self._per_iteration, 1, self._most))


class Sklearn:
    """LogisticRegression of scikit-learn, or of its Intel extension.

    Pieces are few for L-BFGS, which loses its history between them, and short for Newton-CG, which
    has none to lose and whose iterations differ in length.
    """

    def __init__(self, name: str, module: str, solver: str, dtype: type) -> None:
        self.name, self._solver, self._dtype = name, solver, dtype
        self._estimator = import_module(module).LogisticRegression

    def start(self, X: np.ndarray, y: np.ndarray) -> None:
        self._X: np.ndarray = X.astype(self._dtype)
        self._y = y
        self._pace = Pace(MOST_ITERATIONS if self._solver == "lbfgs" else 5)
        self._model = self._estimator(solver=self._solver, warm_start=True)

    def step(self, lam: float, tolerance: float, iterations: int) -> int:
        self._model.set_params(C=1 / lam, tol=tolerance, max_iter=iterations)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._model.fit(self._X, self._y)
        return int(self._model.n_iter_.max())

    def run(self, lam: float, tolerance: float, seconds: float) -> bool:
        return self._pace.run(partial(self.step, lam, tolerance), seconds)

    def solution(self) -> tuple[np.ndarray, np.ndarray]:
        return self._model.coef_, self._model.intercept_


class TorchLBFGS:
    """torch.optim.LBFGS with a strong Wolfe line search, in float32, on the features' device."""

    name = "torch lbfgs float32"

    def start(self, X: np.ndarray | torch.Tensor, y: np.ndarray) -> None:
        self._X = torch.as_tensor(X)
        self._y, n_classes = torch.from_numpy(y).to(self._X.device), int(y.max()) + 1
        device = self._X.device
        self._W = torch.zeros(n_classes, X.shape[1], device=device, requires_grad=True)
        self._bias = torch.zeros(n_classes, device=device, requires_grad=True)
        self._pace, self._lam = Pace(MOST_ITERATIONS), 0.0

    def step(self, lam: float, tolerance: float, iterations: int) -> int:
        if lam != self._lam:
            self._lam, self._optimizer = lam, self._new_optimizer()
        group, state = self._optimizer.param_groups[0], self._optimizer.state[self._W]
        group["tolerance_grad"] = tolerance
        group["max_iter"], group["max_eval"] = iterations, 10 * iterations
        before = state.get("n_iter", 0)
        self._optimizer.step(self._closure)  # type: ignore[no-untyped-call]
        return int(state["n_iter"] - before)

    def run(self, lam: float, tolerance: float, seconds: float) -> bool:
        ended = self._pace.run(partial(self.step, lam, tolerance), seconds)
        # A line search that fails would fail again with the same history.
        if ended and self._stuck(tolerance):
            self._optimizer = self._new_optimizer()
        return ended

    def solution(self) -> tuple[np.ndarray, np.ndarray]:
        return self._W.detach().cpu().numpy(), self._bias.detach().cpu().numpy()

    def _new_optimizer(self) -> torch.optim.LBFGS:
        # Ends when the objective stands still to the last bit, not earlier.
        return torch.optim.LBFGS(
            [self._W, self._bias],
            history_size=HISTORY,
            line_search_fn="strong_wolfe",
            tolerance_change=1e-20,
        )

    def _stuck(self, tolerance: float) -> bool:
        gradients = [part.grad for part in (self._W, self._bias) if part.grad is not None]
        return max(float(gradient.abs().max()) for gradient in gradients) > tolerance

    def _closure(self) -> torch.Tensor:
        self._optimizer.zero_grad()
        losses = cross_entropy(torch.addmm(self._bias, self._X, self._W.T), self._y)
        loss: torch.Tensor = losses + self._lam / (2 * len(self._X)) * self._W.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss


class CuML:
    """cuML's quasi-Newton LogisticRegression in float32: never run, no GPU was at hand.

    It starts from nothing for each lambda and tolerance.
    """

    name = "cuml qn float32"

    def __init__(self) -> None:
        self._estimator = import_module("cuml.linear_model").LogisticRegression

    def start(self, X: np.ndarray | torch.Tensor, y: np.ndarray) -> None:
        # A tensor on the GPU is read in place (__cuda_array_interface__).
        self._X, self._y = X, torch.from_numpy(y).to(torch.as_tensor(X).device).float()

    def run(self, lam: float, tolerance: float, seconds: float) -> bool:  # noqa: ARG002
        options = {"C": 1 / lam, "tol": tolerance, "max_iter": MOST_ITERATIONS}
        self._model = self._estimator(**options, output_type="numpy").fit(self._X, self._y)
        return True

    def solution(self) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(self._model.coef_), np.asarray(self._model.intercept_)


class ScipyLBFGS:
    """scipy's L-BFGS-B in float64 on the objective written plainly."""

    name = "scipy lbfgs float64"

    def start(self, X: np.ndarray, y: np.ndarray) -> None:
        self._X, self._y = X.astype(np.float64), y
        self._shape = (int(y.max()) + 1, X.shape[1] + 1)
        self._weights = np.zeros(self._shape)

    def step(self, lam: float, tolerance: float, iterations: int) -> int:
        return int(self._minimize(lam, tolerance, iterations, np.inf).nit)

    def run(self, lam: float, tolerance: float, seconds: float) -> bool:
        end = time.perf_counter() + seconds
        self._minimize(lam, tolerance, MOST_ITERATIONS, end)
        return time.perf_counter() <= end

    def _minimize(
        self, lam: float, tolerance: float, iterations: int, end: float
    ) -> OptimizeResult:
        def watch(intermediate_result: OptimizeResult) -> None:  # noqa: ARG001  scipy's name
            if time.perf_counter() > end:
                raise StopIteration

        options = {"maxcor": HISTORY, "maxiter": iterations, "maxfun": 10 * iterations}
        found = minimize(
            self._objective,
            self._weights.ravel(),
            args=(lam,),
            jac=True,
            method="L-BFGS-B",
            callback=watch,
            options={**options, "maxls": 50, "gtol": tolerance, "ftol": 0},
        )
        self._weights = found.x.reshape(self._shape)
        return found

    def solution(self) -> tuple[np.ndarray, np.ndarray]:
        return self._weights[:, :-1], self._weights[:, -1]

    def _objective(self, flat: np.ndarray, lam: float) -> tuple[float, np.ndarray]:
        weights = flat.reshape(self._shape)
        W, n, rows = weights[:, :-1], len(self._X), np.arange(len(self._X))
        A = self._X @ W.T + weights[:, -1]
        A -= A.max(axis=1, keepdims=True)
        of_label = A[rows, self._y].copy()
        np.exp(A, out=A)
        total = A.sum(axis=1)
        value = (np.log(total) - of_label).sum() + lam / 2 * np.square(W).sum()
        A /= total[:, None]
        A[rows, self._y] -= 1
        gradient = np.hstack([A.T @ self._X + lam * W, A.sum(axis=0)[:, None]])
        return value / n, gradient.ravel() / n


# Makers by name; one whose library is absent raises ImportError.
RIVALS: dict[str, Callable[[], Rival]] = {
    **{
        (name := f"{package} {solver} {dtype.__name__}"): partial(
            Sklearn, name, module, solver, dtype
        )
        for package, module, solver in (
            ("sklearn", "sklearn.linear_model", "lbfgs"),
            ("sklearn", "sklearn.linear_model", "newton-cg"),
            ("sklearnex", "sklearnex.linear_model", "lbfgs"),
        )
        for dtype in (np.float32, np.float64)
    },
    TorchLBFGS.name: TorchLBFGS,
    ScipyLBFGS.name: ScipyLBFGS,
}
