r"""Certified fits for many lambdas, coarse to fine, with starting points by extrapolation.

Solutions change smoothly with :math:`\log\lambda`. Every second lambda is solved in decreasing
order, starting from a line through the two previous solutions. The others lie between solved
lambdas. There, a polynomial through the nearest solutions is usually within the tolerance, and only
needs a certificate. Many small problems are solved together, as one wide matrix product.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headstart.devices import fast_bfloat16
from headstart.errors import ProbeError
from headstart.probe.axes import Axes, Exact, Source, is_double, packed
from headstart.probe.certificate import Certificate, Fit, Weights, certify, columns, sum_up
from headstart.probe.hessian import Curvature, Factors
from headstart.probe.inputs import features, path_of
from headstart.probe.losses import Binary, Softmax
from headstart.probe.newton import Goal, Looked, ProblemBatch, minimise
from headstart.threads import sharing_cpus

__all__ = ["MAX_PASSES", "fit_path"]

MAX_PASSES = 3000
# The first sweep solves every COARSE-th lambda.
COARSE = 2
# Numbers of solutions at larger and smaller lambdas to interpolate, and to extrapolate by a line.
# Extrapolating by a parabola fails where classes become separable at small lambdas: on features of
# Fashion-MNIST and `flowers` (docs/probe.md) it took 55 to 80 % more passes, and saved 6 % once.
LARGER, SMALLER, LINE = 3, 2, 2
# Longest step of log(lambda) to extrapolate over. Longer steps get waypoints: extra lambdas, solved
# to this relative gap, or within this number of passes.
STRIDE = math.log(10)
WAYPOINT = Goal(tolerance=1e-3, max_passes=100)
# Columns (classes times lambdas) that saturate the CPU. Their logits may take a sixteenth of the
# features' memory; an eighth in float64, during certification.
WIDE = 256
# Size of a product, in multiplications, up to which float64 is hardly slower. It then avoids the
# limits of float32 at small lambdas.
QUICK = 1 << 22
NARROW = ROOMY = 16
# Number of logits that is allowed regardless of the size of the features.
FEW = 1 << 20


@torch.inference_mode()
def fit_path(
    X: Source,
    loss: Softmax | Binary,
    lambdas: Sequence[float],
    tolerance: float = 1e-4,
    *,
    max_passes: int = MAX_PASSES,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    go_on: Callable[[Weights, Weights], bool] | None = None,
) -> Iterator[Fit]:
    """Minimize ``sum_i loss_i + (lambda/2) ||W||^2``, bias unpenalized, for each lambda.

    Yields certified fits: every second lambda in decreasing order, then the others.

    Parameters
    ----------
    X
        (n, d) finite features, float32 or float64, in memory, memory-mapped, or on a GPU.
    loss
        The loss, with its labels.
    lambdas, tolerance
        Penalties, from 1e-20 to 1e20, and relative gap at which a fit counts as converged.
    max_passes
        Limit on passes over the features per lambda, including waypoints before it.
    device, dtype
        Of products; by default the CPU and the precision of X. Certificates are in float64.
    go_on
        Called with the (K, d) weights and (K,) bias of every second lambda in decreasing order;
        False stops at this lambda.

    Raises
    ------
    ProbeError
        Features, labels or lambdas are invalid.
    """
    lambdas = path_of(lambdas)
    # Not around a yield: what the caller does in between keeps its threads.
    with sharing_cpus():
        solver = _Solver(features(X), loss, Goal(tolerance, max_passes), device, dtype)
    coarse = sorted({*lambdas[::COARSE], lambdas[-1]}, reverse=True)
    fine = [lam for lam in lambdas if lam not in coarse]
    wanted, waiting = True, list[float]()
    while wanted and coarse:
        lam = coarse.pop(0)
        solver.descend_to(lam)
        wanted = go_on is None or go_on(*solver.weights(lam))
        waiting.append(lam)
        if len(waiting) >= solver.together:
            yield from solver.certify(waiting)
            waiting = []
    fine = [other for other in fine if other > lam]
    # Many lambdas share the products of a certificate: the last of the first sweep wait for others.
    while waiting or fine:
        room = solver.together - len(waiting)
        now, fine = waiting + fine[:room], fine[room:]
        yield from solver.certify(now)
        waiting = []
        solver.forget(fine)


@dataclass(frozen=True)
class _Solution:
    """Solution of G problems for one lambda.

    (G, C, r) weights, (G, C) bias, (G,) passes and objectives.
    """

    W: Tensor
    bias: Tensor
    passes: Tensor
    objective: Tensor


class _Solver:
    """The problem and all solutions so far."""

    def __init__(
        self,
        X: Source,
        loss: Softmax | Binary,
        goal: Goal,
        device: torch.device | None,
        dtype: torch.dtype | None,
    ) -> None:
        device = device or torch.device("cpu")
        if dtype is None:
            double = is_double(X) or X.shape[0] * X.shape[1] * loss.start.numel() <= QUICK
            dtype = torch.float64 if double else torch.float32
        if loss.n_examples != len(X):
            raise ProbeError(
                f"{loss.n_examples} labels for {len(X)} examples: expected as many labels as "
                "examples",
                code="probe.labels_count",
                labels=loss.n_examples,
                examples=len(X),
            )
        self._axes = axes = Axes.of(X, device, dtype)
        self._loss, self._goal = loss.to(device), goal
        start = self._loss.start
        low = dtype == torch.float32 and fast_bfloat16(device)
        self._fast, self._exact = packed(axes.Z), Exact(axes)
        rough = packed(axes.Z.bfloat16()) if low else self._fast
        self._rough = Curvature(rough, axes.variance, self._fast)
        self._factors = Factors(axes.Z, axes.variance)
        self._nothing = _Solution(
            torch.zeros(*start.shape, axes.Z.shape[1], dtype=dtype, device=device),
            start.to(dtype),
            torch.zeros(len(start), dtype=torch.int64, device=device),
            torch.full((len(start),), torch.inf, dtype=torch.float64, device=device),
        )
        self._solved: dict[float, _Solution] = {}

    @property
    def together(self) -> int:
        """Number of lambdas to certify together."""
        return self._at_once(max(self._axes.X.shape[1] // ROOMY, self._few // 2))

    @property
    def _wide(self) -> int:
        """Number of lambdas to solve together."""
        return self._at_once(min(WIDE, max(self._axes.X.shape[1] // NARROW, self._few)))

    @property
    def _few(self) -> int:
        """Number of columns of logits that is allowed in any case."""
        return FEW // len(self._axes.X)

    def _at_once(self, columns: int) -> int:
        return max(1, columns // self._nothing.bias.numel())

    @sharing_cpus()
    def descend_to(self, lam: float) -> None:
        """Solve for the next smaller lambda, through waypoints if it is far from the last."""
        spent = self._nothing.passes
        for waypoint in self._waypoints(lam):
            self._descend([waypoint], WAYPOINT)
            spent = spent + self._solved[waypoint].passes
        self._solved[lam] = replace(self._predict(lam), passes=spent)
        self._descend([lam], self._goal)

    def weights(self, lam: float) -> tuple[Weights, Weights]:
        """Return the current (K, d) weights and (K,) bias."""
        solution = self._solved[lam]
        coef, bias = self._axes.to_features(solution.W, solution.bias)
        return columns(coef), columns(bias)

    def forget(self, coming: Sequence[float]) -> None:
        """Drop solutions that no remaining lambda needs for interpolation."""
        near = [other for other in self._solved if coming and other > coming[0]]
        for lam in set(self._solved if not coming else sorted(near)[LARGER:]):
            del self._solved[lam]

    @sharing_cpus()
    def certify(self, lambdas: Sequence[float]) -> list[Fit]:
        """Certify in float64 on the features as given; refine fits above the tolerance.

        Lambdas between solved ones are solved first, starting from the interpolation.
        """
        new = [lam for lam in lambdas if lam not in self._solved]
        for first in range(0, len(new), self._wide):
            self._descend(new[first : first + self._wide], self._goal)
        batch = self._batch(lambdas, torch.float64)
        self._keep(lambdas, replace(batch, passes=batch.passes + 1))
        fits = self._judge(lambdas, batch)
        return [fit if fit.converged else self._refine(fit) for fit in fits]

    def _refine(self, fit: Fit) -> Fit:
        """Continue in float64 where the fast arithmetic has reached its precision."""
        batch = self._batch([fit.lam], torch.float64)
        for products in (self._fast, self._exact):
            if fit.converged or fit.passes >= self._goal.max_passes:
                break
            curvature = Curvature(products, self._axes.variance)
            batch = minimise(batch, self._exact, curvature, self._factors, self._goal, certify=True)
            self._keep([fit.lam], batch)
            (again,) = self._judge([fit.lam], batch)
            better = not again.relative_gap >= fit.relative_gap
            fit = again if better else replace(fit, passes=again.passes)
        return fit

    def _judge(self, lambdas: Sequence[float], batch: ProblemBatch) -> list[Fit]:
        """Certify a batch with the problems of these lambdas."""
        coef, bias = self._axes.to_features(batch.W, batch.bias)
        proof = certify(self._axes.X, self._axes.mean, batch.loss, batch.lam, coef, bias)
        groups, fits = len(self._nothing.bias), []
        for i, lam in enumerate(lambdas):
            mine = slice(i * groups, (i + 1) * groups)
            own = Certificate(proof.objective[mine], proof.gap[mine], proof.bias[mine])
            passes = int(self._solved[lam].passes.max())
            fits.append(sum_up(lam, coef[mine], own.bias, own, passes, self._goal.tolerance))
        return fits

    def _waypoints(self, lam: float) -> list[float]:
        """Return waypoints from the last lambda, or from one with a solution of nearly 0."""
        largest = float(self._axes.variance.max())
        start = min(self._solved, default=max(largest, lam))
        steps = math.ceil((math.log(start) - math.log(lam)) / STRIDE - 1e-9)
        first = 1 if self._solved else 0
        return [start * (lam / start) ** (i / steps) for i in range(first, steps)]

    def _descend(self, lambdas: Sequence[float], goal: Goal) -> None:
        """Minimize in the fast arithmetic."""
        self._solved |= {lam: self._predict(lam) for lam in lambdas if lam not in self._solved}
        # A little below the tolerance, so that rounding does not fail the certificate.
        goal = replace(goal, tolerance=0.9 * goal.tolerance)
        batch, start = self._start(lambdas)
        found = minimise(
            batch, self._fast, self._rough, self._factors, goal, certify=False, start=start
        )
        self._keep(lambdas, found)

    def _start(self, lambdas: Sequence[float]) -> tuple[ProblemBatch, tuple[Tensor, Looked]]:
        """Return a batch at its starting points, its (B, C, n) logits, and a look at them.

        A start is the extrapolation, or the previous solution if its objective is lower: one
        outlier among the examples can make the extrapolation useless.
        """
        batch, products = self._batch(lambdas, self._fast.dtype), self._fast
        logits = products.forward(batch.W).add_(batch.bias[:, :, None])
        looked = batch.loss.look(logits)
        larger = [[other for other in self._solved if other > lam] for lam in lambdas]
        if not all(larger):
            return batch, (logits, looked)
        before = [min(others) for others in larger]
        last = self._batch(before, self._fast.dtype)
        # The previous solution needs no product: its objective is known but for the penalty.
        old = last.objective - (last.lam - batch.lam) / 2 * products.penalty(last.W)
        new = looked[0] + batch.lam / 2 * products.penalty(batch.W)
        better = ~(new <= old)
        if better.any():
            W, bias = (
                torch.where(better.view(-1, *[1] * (past.ndim - 1)), past, ahead)
                for past, ahead in ((last.W, batch.W), (last.bias, batch.bias))
            )
            batch = replace(batch, W=W, bias=bias)
            logits = products.forward(W).add_(bias[:, :, None])
            looked = batch.loss.look(logits)
        return batch, (logits, looked)

    def _predict(self, lam: float) -> _Solution:
        """Return the value at `lam` of the polynomial in log(lambda) through the nearest."""
        smaller = sorted((other for other in self._solved if other < lam), reverse=True)[:SMALLER]
        through = LARGER if smaller else LINE
        larger = sorted(other for other in self._solved if other > lam)[:through]
        if not larger:
            return self._nothing
        at, places = math.log(lam), [math.log(other) for other in (*larger, *smaller)]
        if not smaller and len(places) > 1:
            # At most twice the last step: extrapolation is not reliable beyond.
            at = max(at, 3 * places[0] - 2 * places[1])
        W, bias = torch.zeros_like(self._nothing.W), torch.zeros_like(self._nothing.bias)
        for weight, other in zip(_lagrange(at, places), (*larger, *smaller), strict=True):
            W += weight * self._solved[other].W
            bias += weight * self._solved[other].bias
        return replace(self._nothing, W=W, bias=bias)

    def _batch(self, lambdas: Sequence[float], dtype: torch.dtype) -> ProblemBatch:
        """Stack the solutions for some lambdas into one batch."""
        solutions = [self._solved[lam] for lam in lambdas]
        groups, device = len(self._nothing.bias), self._axes.Z.device
        which = torch.arange(groups, device=device).repeat(len(lambdas))
        lam = torch.tensor(lambdas, dtype=torch.float64, device=device)
        return ProblemBatch(
            loss=self._loss.take(which),
            lam=lam.repeat_interleave(groups),
            W=torch.cat([solution.W for solution in solutions]).to(dtype),
            bias=torch.cat([solution.bias for solution in solutions]).to(dtype),
            passes=torch.cat([solution.passes for solution in solutions]),
            objective=torch.cat([solution.objective for solution in solutions]),
        )

    def _keep(self, lambdas: Sequence[float], batch: ProblemBatch) -> None:
        groups, dtype = len(self._nothing.bias), self._fast.dtype
        whole = (batch.W.to(dtype), batch.bias.to(dtype), batch.passes, batch.objective)
        parts = (torch.split(part, groups) for part in whole)
        for lam, *solution in zip(lambdas, *parts, strict=True):
            self._solved[lam] = _Solution(*(part.clone() for part in solution))


def _lagrange(at: float, places: Sequence[float]) -> list[float]:
    """Return the Lagrange weights of nodes `places` for interpolation at `at`."""
    return [
        math.prod((at - other) / (place - other) for other in places if other != place)
        for place in places
    ]
