r"""Truncated Newton's method for a batch of problems that share their features.

Each step solves the Newton system approximately, by preconditioned conjugate gradients, followed by
a line search. The line search needs no product with the features, since logits are linear in the
step. A problem leaves the batch as soon as its duality gap,

.. math:: P - D = \frac{1}{2\lambda} \| \nabla_W P \|_F^2,

is small enough (derived in `headstart.probe.certificate`).
"""

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor

from headstart.probe.certificate import BALANCE, balance, imbalance
from headstart.probe.hessian import Curvature, Factor, Factors, Preconditioner
from headstart.probe.losses import Loss
from headstart.probe.products import Products

__all__ = ["Goal", "Point", "ProblemBatch", "look", "minimise"]

# Conjugate gradients stop when the residual is this fraction of the gradient,
FORCING = 0.2
# or when the remaining gap would be this fraction of the tolerance.
BELOW_TOLERANCE = 0.25
MAX_CONJUGATE_STEPS = 300
MAX_HALVINGS = 30
SUFFICIENT = 1e-4
# Rounding error of an objective, in units of machine epsilon.
NOISE = 64
TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class Goal:
    """Stopping criteria.

    Parameters
    ----------
    tolerance
        Relative duality gap: gap divided by objective.
    max_passes
        Limit on passes over the features per problem.
    """

    tolerance: float
    max_passes: int


@dataclass(frozen=True)
class ProblemBatch:
    """B problems, each with a lambda, and their current iterates.

    Parameters
    ----------
    loss
        Loss of all problems.
    lam
        (B,) float64.
    W, bias
        (B, C, r) and (B, C), in the dtype of the products.
    passes
        (B,) int64 products with the features and their transpose so far.
    objective
        (B,) float64 at the last evaluation; infinite before the first.
    """

    loss: Loss
    lam: Tensor
    W: Tensor
    bias: Tensor
    passes: Tensor
    objective: Tensor

    def take(self, problems: Tensor) -> "ProblemBatch":
        """Return a selection of the problems."""
        rest = {f.name: getattr(self, f.name)[problems] for f in fields(self) if f.name != "loss"}
        return ProblemBatch(self.loss.take(problems), **rest)


class Point(NamedTuple):
    """Values of a batch at its current iterates.

    `objective` and `gap` are (B,) float64; a gap is infinite if residuals do not sum to zero.
    """

    objective: Tensor
    gap: Tensor
    gradient: Tensor
    by_bias: Tensor
    p: Tensor


class _System(NamedTuple):
    """How to solve a Newton system.

    The preconditioner is `factor` if given, which is `exact` at the point where it was made;
    otherwise the mean Hessian. Conjugate gradients stop after `patience` steps.
    """

    curvature: Curvature
    goal: Goal
    factor: Factor | None
    exact: bool
    patience: int


def minimise(
    batch: ProblemBatch,
    products: Products,
    curvature: Curvature,
    factors: Factors,
    goal: Goal,
    *,
    certify: bool,
    logits: Tensor | None = None,
) -> ProblemBatch:
    """Minimize each problem up to the goal, or to the precision of the arithmetic.

    With `certify`, the bias is optimized for W before each evaluation, so that the gap is a bound.
    Otherwise residuals need only sum to nearly zero. `logits`, (B, C, n), are those of the batch if
    known; they are overwritten.

    Return the final batch. Whether it has converged is for a certificate to decide.
    """
    n_problems = len(batch.lam)
    parts = {f.name: getattr(batch, f.name).clone() for f in fields(batch) if f.name != "loss"}
    found = replace(batch, **parts)
    active = torch.arange(n_problems, device=batch.lam.device)
    if logits is None:
        logits = products.forward(batch.W).add_(batch.bias[:, :, None])
    last_gap = torch.full_like(batch.lam, torch.inf)
    factor, begun = factors.recall(batch.lam), batch.passes
    stuck = torch.zeros(n_problems, dtype=torch.bool, device=batch.lam.device)
    while True:
        if certify:
            change = balance(batch.loss, logits, torch.zeros_like(batch.bias))
            logits += change[:, :, None]
            batch = replace(batch, bias=batch.bias + change)
        batch = replace(batch, passes=batch.passes + 1)
        point = look(batch, logits, products, BALANCE if certify else 1e-3)
        # A problem without progress has reached the precision of the arithmetic.
        done = (point.gap <= goal.tolerance * point.objective) | (batch.passes >= goal.max_passes)
        done |= stuck & ~(point.gap < last_gap / 2)
        found.W[active], found.bias[active] = batch.W, batch.bias
        found.passes[active], found.objective[active] = batch.passes, point.objective
        rest = (~done).nonzero()[:, 0]
        if not len(rest):
            return found
        if len(rest) < len(active):
            active, logits, batch = active[rest], logits[rest], batch.take(rest)
            point = Point(*(part[rest] for part in point))
            begun, factor = begun[rest], factor.take(rest) if factor else None
        last_gap = point.gap
        patience = _patience(batch, factors, begun)
        if fresh := patience <= 0:
            factor = factors.make(batch.loss, point.p, batch.lam)
            batch = replace(batch, passes=batch.passes + point.p.shape[1])
            begun = batch.passes
        system = _System(curvature, goal, factor, fresh, patience)
        batch, logits, stuck = _step(batch, logits, point, products, system)
        # Arrays as large as the logits dominate the memory: free them early.
        del point


def look(batch: ProblemBatch, logits: Tensor, products: Products, balanced: float) -> Point:
    """Compute objective, gradient and gap; needs one product, with the features' transpose."""
    values, residual, p = batch.loss.look(logits)
    objective = values + batch.lam / 2 * products.penalty(batch.W)
    excess, uneven = imbalance(residual)
    gradient, square = products.gradient(residual, batch.W, batch.lam)
    gap = torch.where(uneven <= balanced, square / (2 * batch.lam), torch.inf)
    return Point(objective, gap, gradient, excess, p)


def _patience(batch: ProblemBatch, factors: Factors, begun: Tensor) -> int:
    """Return the number of conjugate-gradient steps before a factor is made (if it fits)."""
    n_problems, n_columns, _ = batch.W.shape
    if not factors.fit(n_problems, n_columns):
        return MAX_CONJUGATE_STEPS
    return factors.price(n_columns) - int((batch.passes - begun).max())


def _step(
    batch: ProblemBatch,
    logits: Tensor,
    point: Point,
    products: Products,
    system: _System,
) -> tuple[ProblemBatch, Tensor, Tensor]:
    """Take a Newton step; return the batch, its logits, and which problems are stuck."""
    S, s, spent = _conjugate_gradients(batch, point, system)
    along = products.forward(S) + s[:, :, None]
    slope = _dot(point.gradient, S) + (point.by_bias * s).sum(1)
    noise = NOISE * torch.finfo(products.dtype).eps * point.objective
    squares = [products.penalty(V) for V in (batch.W, S, batch.W + S)]
    cross = (squares[2] - squares[0] - squares[1]) / 2
    size = torch.ones_like(batch.lam)
    moved = logits + along
    for _ in range(MAX_HALVINGS):
        penalty = squares[0] + 2 * size * cross + size**2 * squares[1]
        value = batch.loss.values(moved) + batch.lam / 2 * penalty
        allowed = point.objective + noise + SUFFICIENT * size * slope
        # A decrease below rounding error is not visible in the objective, but in the gradient: take
        # the full step, unless the objective visibly increases.
        unseen = (slope.abs() <= noise) & (value <= point.objective + 16 * noise)
        too_far = ~((value <= allowed) | unseen)
        if not too_far.any():
            break
        size = torch.where(too_far, size / 2, size)
        torch.addcmul(logits, along, _like(size.to(along.dtype), along), out=moved)
    stuck = (slope.abs() <= 16 * noise) | too_far
    # Take no step if none was short enough, also if the direction overflowed.
    moved[too_far] = logits[too_far]
    S, s = (torch.where(_like(too_far, part), 0, part) for part in (S, s))
    size = size.to(logits.dtype)[:, None]
    W, bias = batch.W + size[:, :, None] * S, batch.bias + size * s
    return replace(batch, W=W, bias=bias, passes=batch.passes + spent), moved, stuck


def _conjugate_gradients(
    batch: ProblemBatch,
    point: Point,
    system: _System,
) -> tuple[Tensor, Tensor, Tensor]:
    """Solve ``H S = -gradient`` approximately: (B, C, r) and (B, C) steps, (B,) passes."""
    curvature, goal = system.curvature, system.goal
    dtype, work = batch.W.dtype, curvature.dtype
    spent = torch.zeros_like(batch.passes)
    live = torch.arange(len(batch.lam), device=batch.lam.device)
    loss, lam, p = batch.loss, batch.lam, point.p.to(work)
    inverse = system.factor or curvature.inverse(loss, p, lam)
    # Solved for a gradient of unit length: a small one could underflow in float32.
    square = point.gradient.double().square().sum((1, 2))
    unit = (square + point.by_bias.square().sum(1)).sqrt().clamp(min=TINY)
    r = (-loss.centre(point.gradient.double()) / unit[:, None, None]).to(work)
    rb = (-loss.centre(point.by_bias) / unit[:, None]).to(work)
    enough = goal.tolerance * BELOW_TOLERANCE * 2 * lam * point.objective
    target = torch.maximum(enough, FORCING**2 * square) / unit**2
    room = goal.max_passes - batch.passes
    D, d = inverse(r, rb)
    n_leading = D.shape[2]
    if isinstance(inverse, Preconditioner):
        # On faint axes the preconditioner gives the step; solve for the others.
        n_leading = curvature.n_leading(inverse, lam)
        curvature, inverse = curvature.leading(n_leading), inverse.leading(n_leading)
    faint = D[:, :, n_leading:].to(dtype)
    r, D = r[:, :, :n_leading], D[:, :, :n_leading]
    found, found_b = torch.zeros_like(D, dtype=dtype), torch.zeros_like(batch.bias)
    # Steps of the problems that are still being solved.
    S, s = (D.to(dtype), d.to(dtype)) if system.exact else (found, found_b)
    rz, step = _dot(r, D) + (rb * d).sum(1), 0
    for step in range(1, 0 if system.exact else 1 + min(MAX_CONJUGATE_STEPS, system.patience)):
        bent, bent_b = curvature(loss, p, lam, D, d)
        bend = _dot(D, bent) + (d * bent_b).sum(1)
        # Rounding can make the curvature zero or negative: keep the step so far.
        length = torch.where(bend > 0, rz / bend, 0).to(work)[:, None]
        S, s = S + length[:, :, None] * D, s + length * d
        r = r - length[:, :, None] * loss.centre(bent)
        rb = rb - length * loss.centre(bent_b)
        # The residual of the bias affects the gap through the mean of the features.
        short = _dot(r, r) + curvature.spread / p.shape[2] * rb.double().square().sum(1)
        on = (short > target) & (bend > 0) & (room > step)
        if not on.any():
            break
        if not on.all():
            found[live], found_b[live], spent[live] = S, s, step
            kept = on.nonzero()[:, 0]
            live, target, room, lam, p, S, s, r, rb, D, d, rz = (
                part[kept] for part in (live, target, room, lam, p, S, s, r, rb, D, d, rz)
            )
            loss, inverse = loss.take(kept), inverse.take(kept)
        Y, y = inverse(r, rb)
        rz, last = _dot(r, Y) + (rb * y).sum(1), rz
        turn = (rz / last).to(work)[:, None]
        D, d = Y + turn[:, :, None] * D, y + turn * d
    found[live], found_b[live], spent[live] = S, s, step
    # The preconditioner amplifies rounding error in directions that change no probability.
    S, s = batch.loss.centre(torch.cat([found, faint], dim=2)), batch.loss.centre(found_b)
    return (S * unit[:, None, None]).to(dtype), (s * unit[:, None]).to(dtype), spent


def _like(problems: Tensor, part: Tensor) -> Tensor:
    """Reshape (B,) to (B, 1, ...) for broadcasting to `part`."""
    return problems.view(-1, *[1] * (part.ndim - 1))


def _dot(A: Tensor, B: Tensor) -> Tensor:
    """Return (B,) float64 inner products of (B, C, r) and (B, C, r)."""
    return (A * B).sum((1, 2), dtype=torch.float64)
