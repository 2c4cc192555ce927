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

from headstart.probe.axes import Products
from headstart.probe.certificate import BALANCE, balance, imbalance
from headstart.probe.hessian import Curvature, Factor, Factors, Preconditioner
from headstart.probe.losses import Batched, Loss
from headstart.threads import look_again

__all__ = ["Goal", "Looked", "Point", "ProblemBatch", "minimise"]

# Conjugate gradients stop when the residual is this fraction of the gradient,
FORCING = 0.2
# or when the remaining gap would be this fraction of the tolerance.
BELOW_TOLERANCE = 0.25
MAX_CONJUGATE_STEPS = 300
# Passes after which to look whether a factor would help.
LOOK_AFTER = 10
MAX_HALVINGS = 30
SUFFICIENT = 1e-4
# Rounding error of an objective, in units of machine epsilon.
NOISE = 64
TINY = torch.finfo(torch.float64).tiny
# Imbalance of residuals up to which a gap in the fast arithmetic counts.
EVEN = 1e-3

# (B,) losses, (B, C, n) residuals, and state for `Loss.curve`.
Looked = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Goal:
    """Stopping criteria.

    `tolerance` is a relative duality gap (gap divided by objective), `max_passes` a limit on passes
    over the features per problem.
    """

    tolerance: float
    max_passes: int


@dataclass(frozen=True)
class ProblemBatch(Batched):
    """B problems, each with a lambda, and their current iterates.

    `lam` is (B,) float64; `W` and `bias` are (B, C, r) and (B, C), in the dtype of the products;
    `passes` (B,) int64 counts products with the features and their transpose so far; `objective` is
    (B,) float64 at the last evaluation, infinite before the first.
    """

    loss: Loss
    lam: Tensor
    W: Tensor
    bias: Tensor
    passes: Tensor
    objective: Tensor


@dataclass(frozen=True)
class Point(Batched):
    """Values of a batch at its current iterates.

    All of B problems: `objective`, `uneven` (the imbalance of the residuals), `gain` (how fast the
    objective falls along `towards`) and `gap` are (B,) float64; `towards` is the (B, C) float64
    Newton step of the bias alone; `gradient` is that by W, (B, C, r). Gradient and gap are those
    after this step to first order; the gap is a bound where the imbalance is small. `p` is the (B,
    C, n) state for the curvature, `mean` approximate inverses of the Hessians.
    """

    objective: Tensor
    uneven: Tensor
    towards: Tensor
    gain: Tensor
    gradient: Tensor
    gap: Tensor
    p: Tensor
    mean: Preconditioner


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


class _Preconditioning:
    """Chooses what preconditions the next step of a batch, and how long to go on with it.

    A factor is made after as many passes as it costs, unless the mean Hessian is as good.
    """

    def __init__(self, factors: Factors, batch: ProblemBatch) -> None:
        self._factors, self._factor = factors, factors.recall(batch.lam)
        # (B,) passes when the last factor was made.
        self._begun = batch.passes
        # To look whether a factor helps costs as much as some passes: it is done now and then.
        self._helps, self._next_look = True, LOOK_AFTER

    def take(self, problems: Tensor) -> None:
        """Go on with a selection of the problems."""
        self._begun = self._begun[problems]
        self._factor = self._factor.take(problems) if self._factor else None

    def __call__(
        self, batch: ProblemBatch, p: Tensor, curvature: Curvature, goal: Goal
    ) -> tuple[ProblemBatch, _System]:
        """Return the batch, with the passes spent, and how to solve its Newton system at p."""
        spent = int((batch.passes - self._begun).max())
        price = self._factors.price(*batch.bias.shape)
        if spent >= self._next_look:
            self._helps = self._factors.help(batch.loss, p)
            self._next_look = spent + LOOK_AFTER
        exact, patience = False, price - spent if self._helps else MAX_CONJUGATE_STEPS
        if patience <= 0:
            self._factor = self._factors.make(batch.loss, p, batch.lam)
            batch = replace(batch, passes=batch.passes + p.shape[1])
            self._begun, self._next_look = batch.passes, LOOK_AFTER
            exact, patience = self._factor.exact, price
        return batch, _System(curvature, goal, self._factor, exact, patience)


@dataclass(frozen=True)
class _At(Batched):
    """What makes the Hessians of a batch at a point, and approximate inverses of them."""

    loss: Loss
    p: Tensor
    lam: Tensor
    mean: Preconditioner
    inverse: Factor | Preconditioner


def minimise(
    batch: ProblemBatch,
    products: Products,
    curvature: Curvature,
    factors: Factors,
    goal: Goal,
    *,
    certify: bool,
    start: tuple[Tensor, Looked] | None = None,
) -> ProblemBatch:
    """Minimize each problem up to the goal, or to the precision of the arithmetic.

    With `certify`, the bias is optimized for W before each evaluation, so that the gap is a bound.
    Otherwise residuals need only sum to nearly zero. `start` is the (B, C, n) logits of the batch,
    which are overwritten, and a look at them, if known.

    Return the final batch. Whether it has converged is for a certificate to decide.
    """
    n_problems = len(batch.lam)
    parts = {f.name: getattr(batch, f.name).clone() for f in fields(batch) if f.name != "loss"}
    found = replace(batch, **parts)
    active = torch.arange(n_problems, device=batch.lam.device)
    logits, looked = start or (products.forward(batch.W).add_(batch.bias[:, :, None]), None)
    last_gap = torch.full_like(batch.lam, torch.inf)
    preconditioning = _Preconditioning(factors, batch)
    even = BALANCE if certify else EVEN
    stuck = torch.zeros(n_problems, dtype=torch.bool, device=batch.lam.device)
    while True:
        look_again()
        if certify:
            change = balance(batch.loss, logits, torch.zeros_like(batch.bias))
            logits += change[:, :, None]
            batch, looked = replace(batch, bias=batch.bias + change), None
        batch = replace(batch, passes=batch.passes + 1)
        point = _look(batch, logits, products, curvature, looked)
        looked = None
        done = _within_goal(batch, point, goal, even) | (batch.passes >= goal.max_passes)
        # A problem without progress has reached the precision of the arithmetic.
        done |= stuck & ~(point.gap < last_gap / 2)
        found.W[active], found.bias[active] = batch.W, batch.bias + point.towards.to(batch.W.dtype)
        found.passes[active], found.objective[active] = batch.passes, point.objective
        rest = (~done).nonzero()[:, 0]
        if not len(rest):
            return found
        if len(rest) < len(active):
            active, logits, batch = active[rest], logits[rest], batch.take(rest)
            point = point.take(rest)
            preconditioning.take(rest)
        last_gap = point.gap
        batch, system = preconditioning(batch, point.p, curvature, goal)
        before = batch.passes
        batch, logits, stuck, looked = _step(batch, logits, point, products, system)
        # Steps that were cut short say nothing about the precision.
        if system.patience < MAX_CONJUGATE_STEPS:
            stuck &= batch.passes - before < system.patience
        # Arrays as large as the logits dominate the memory: free them early.
        del point


def _within_goal(batch: ProblemBatch, point: Point, goal: Goal, even: float) -> Tensor:
    """Return which problems have reached the goal, with residuals this even: (B,) bool."""
    good = (point.gap <= goal.tolerance * point.objective) & (point.uneven <= even)
    # For large lambdas and few examples weights of zero are within the tolerance, but tell no
    # classes apart: they take one step at least, unless zero is the optimum.
    return good & (batch.W.flatten(1).any(1) | (point.gap <= TINY))


def _look(
    batch: ProblemBatch,
    logits: Tensor,
    products: Products,
    curvature: Curvature,
    looked: Looked | None,
) -> Point:
    """Compute objective, gradient and gap; needs one product, with the features' transpose."""
    loss, lam = batch.loss, batch.lam
    values, residual, p = looked or loss.look(logits)
    objective = values + lam / 2 * products.penalty(batch.W)
    excess, uneven = imbalance(residual)
    mean = curvature.inverse(loss, p, lam)
    towards = loss.centre(mean.by_bias(excess)).neg_()
    residual += loss.curve(p, towards.to(p.dtype)[:, :, None].expand_as(p))
    gradient, square = products.gradient(residual, batch.W, lam)
    gain = (excess * towards).sum(1)
    return Point(objective, uneven, towards, gain, gradient, square / (2 * lam), p, mean)


def _step(
    batch: ProblemBatch,
    logits: Tensor,
    point: Point,
    products: Products,
    system: _System,
) -> tuple[ProblemBatch, Tensor, Tensor, Looked]:
    """Take a Newton step; return the batch, its logits, which are stuck, and a look at all."""
    S, s, spent = _newton_step(batch, point, system)
    along = products.forward(S) + s[:, :, None]
    # That of the two steps in turn: their products with the mixed Hessian cancel.
    slope = _dot(point.gradient, S) + point.gain
    noise = NOISE * torch.finfo(products.dtype).eps * point.objective
    squares = [products.penalty(V) for V in (batch.W, S, batch.W + S)]
    cross = (squares[2] - squares[0] - squares[1]) / 2
    size = torch.ones_like(batch.lam)
    moved = logits + along
    for _ in range(MAX_HALVINGS):
        penalty = squares[0] + 2 * size * cross + size**2 * squares[1]
        looked = batch.loss.look(moved)
        value = looked[0] + batch.lam / 2 * penalty
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
    if too_far.any():
        # Take no step if none was short enough, also if the direction overflowed.
        moved[too_far] = logits[too_far]
        S, s = (torch.where(_like(too_far, part), 0, part) for part in (S, s))
        looked = batch.loss.look(moved)
    size = size.to(logits.dtype)[:, None]
    W, bias = batch.W + size[:, :, None] * S, batch.bias + size * s
    return replace(batch, W=W, bias=bias, passes=batch.passes + spent), moved, stuck, looked


def _newton_step(
    batch: ProblemBatch, point: Point, system: _System
) -> tuple[Tensor, Tensor, Tensor]:
    """Solve ``H S = -gradient`` approximately: (B, C, r) and (B, C) steps, (B,) passes."""
    curvature, goal, factor = system.curvature, system.goal, system.factor
    loss, lam, p = batch.loss, batch.lam, point.p.to(curvature.dtype)
    # Solved for a gradient of unit length: a small one could underflow in float32.
    square = point.gradient.double().square().sum((1, 2))
    unit = square.sqrt().clamp(min=TINY)
    r = (-loss.centre(point.gradient.double()) / unit[:, None, None]).to(p.dtype)
    if factor and system.exact:
        S, s = factor(r, torch.zeros_like(r[:, :, 0]))
        spent = torch.zeros_like(batch.passes)
    else:
        mean, n_leading, faint = point.mean, r.shape[2], r[:, :, :0]
        if factor:
            curvature = curvature.precise()
        else:
            # On faint axes the preconditioner gives the step; solve for the others.
            n_leading = curvature.n_leading(mean, lam)
            faint = mean.by_W(r)[:, :, n_leading:]
            curvature, mean = curvature.leading(n_leading), mean.leading(n_leading)
        enough = goal.tolerance * BELOW_TOLERANCE * 2 * lam * point.objective
        target = torch.maximum(enough, FORCING**2 * square) / unit**2
        room = (goal.max_passes - batch.passes).clamp(max=min(MAX_CONJUGATE_STEPS, system.patience))
        at = _At(loss, p, lam, mean, factor or mean)
        S, s, spent = _conjugate_gradients(curvature, at, r[:, :, :n_leading], target, room)
        S = torch.cat([S, faint], dim=2)
    # The preconditioner amplifies rounding error in directions that change no probability.
    S, s = (loss.centre(part.double()) * _like(unit, part) for part in (S, s))
    return S.to(batch.W.dtype), (s + point.towards).to(batch.W.dtype), spent


def _conjugate_gradients(
    curvature: Curvature, at: _At, r: Tensor, target: Tensor, room: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Solve for (B, C, r) residuals until their squares are below a (B,) target.

    `room` is the largest (B,) number of steps. Return W, (B, C, r), its best bias, (B, C), and the
    (B,) number of steps.
    """
    r = r.contiguous()
    D = at.inverse.by_W(r)
    found, found_b = torch.zeros_like(D), torch.zeros_like(D[:, :, 0])
    spent = torch.zeros_like(room)
    # Steps of the problems that are still being solved.
    live = torch.arange(len(r), device=r.device)
    S, s, rz, step = found.clone(), found_b.clone(), _dot(r, D), 0
    while (room > step).all():
        look_again()
        step += 1
        bent, d = curvature(at.loss, at.p, at.lam, D, at.mean)
        bend = _dot(D, bent)
        # Rounding can make the curvature zero or negative: keep the step so far.
        length = torch.where(bend > 0, rz / bend, 0).to(r.dtype)[:, None]
        S.addcmul_(length[:, :, None], D)
        s.addcmul_(length, d)
        r.addcmul_(length[:, :, None], bent, value=-1)
        on = (_dot(r, r) > target) & (bend > 0) & (room > step)
        if not on.all():
            found[live], found_b[live], spent[live] = S, s, step
            kept = on.nonzero()[:, 0]
            if not len(kept):
                break
            live, target, room, S, s, r, D, rz = (
                part[kept] for part in (live, target, room, S, s, r, D, rz)
            )
            at = at.take(kept)
        Y = at.inverse.by_W(r)
        rz, last = _dot(r, Y), rz
        D = torch.addcmul(Y, (rz / last).to(r.dtype)[:, None, None], D)
    return found, found_b, spent


def _like(problems: Tensor, part: Tensor) -> Tensor:
    """Reshape (B,) to (B, 1, ...) for broadcasting to `part`."""
    return problems.view(-1, *[1] * (part.ndim - 1))


def _dot(A: Tensor, B: Tensor) -> Tensor:
    """Return (B,) float64 inner products of (B, C, r) and (B, C, r)."""
    return (A * B).sum((1, 2), dtype=torch.float64)
