r"""Truncated Newton on a batch of problems that share their features.

Each step solves the Newton system by preconditioned conjugate gradients, only as far as it pays,
and goes along it as far as the objective falls; a line search needs no product with the features,
since logits are linear in the step. A problem leaves the batch as soon as its duality gap,

.. math:: P - D = \frac{1}{2\lambda} \| \nabla_W P \|_F^2,

is small enough; `headstart.probe.certificate` derives it.
"""

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor

from headstart.probe.axes import Products
from headstart.probe.balance import BALANCE, balance, imbalance
from headstart.probe.curvature import Curvature, Preconditioner
from headstart.probe.factor import Factor, Factors
from headstart.probe.losses import Loss

__all__ = ["Batch", "Goal", "Point", "look", "minimise"]

# A Newton step is solved until its residual is this part of the gradient.
FORCING = 0.2
# Or until the gap that it leaves would be this part of the tolerance.
BELOW_TOLERANCE = 0.25
MAX_CONJUGATE_STEPS = 300
MAX_HALVINGS = 30
SUFFICIENT = 1e-4
# Rounding error of an objective, in units of its precision.
NOISE = 64
TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class Goal:
    """When to stop.

    Parameters
    ----------
    tolerance
        Gap divided by the objective.
    max_passes
        Passes over the features that one problem may take.
    """

    tolerance: float
    max_passes: int


@dataclass(frozen=True)
class Batch:
    """B problems: a lambda and a loss each, and where each is.

    Parameters
    ----------
    loss
        Of all of them.
    lam
        (B,) float64.
    W, bias
        (B, C, r) and (B, C), in the dtype of the products.
    passes
        (B,) int64: multiplications by the features and by their transpose, spent so far.
    objective
        (B,) float64: where each was last looked at; infinite before.
    """

    loss: Loss
    lam: Tensor
    W: Tensor
    bias: Tensor
    passes: Tensor
    objective: Tensor

    def take(self, problems: Tensor) -> "Batch":
        """Keep some of the problems."""
        rest = {f.name: getattr(self, f.name)[problems] for f in fields(self) if f.name != "loss"}
        return Batch(self.loss.take(problems), **rest)


class Point(NamedTuple):
    """What is known of a batch where it stands.

    `objective` and `gap` are (B,) float64; a gap is infinite where residuals do not balance.
    """

    objective: Tensor
    gap: Tensor
    gradient: Tensor
    by_bias: Tensor
    p: Tensor


class _System(NamedTuple):
    """How a Newton system is solved.

    By `factor` where there is one, which is `exact` at the point where it was made; otherwise the
    mean Hessian is the preconditioner. It is left after `patience` steps.
    """

    curvature: Curvature
    goal: Goal
    factor: Factor | None
    exact: bool
    patience: int


def minimise(
    batch: Batch,
    products: Products,
    curvature: Curvature,
    factors: Factors,
    goal: Goal,
    *,
    certify: bool,
    logits: Tensor | None = None,
) -> Batch:
    """Bring each problem to the goal, or as near as the arithmetic allows.

    With `certify` the bias is made the best one for W before each look, so that the gap is a
    bound; otherwise a bias whose residuals nearly balance will do. `logits`, (B, C, n), are those
    of the batch where they are known; they are overwritten.

    Returns the batch where it came to; whether that is near enough a certificate has to say.
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
        # Where a step no longer helps, rounding error is all that is left to remove.
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
        # Logits and what is as large as they are take memory: none is kept longer than needed.
        del point


def look(batch: Batch, logits: Tensor, products: Products, balanced: float) -> Point:
    """Compute objective, gradient and gap; products with the features' transpose alone."""
    values, residual, p = batch.loss.look(logits)
    objective = values + batch.lam / 2 * products.penalty(batch.W)
    excess, uneven = imbalance(residual)
    gradient, square = products.gradient(residual, batch.W, batch.lam)
    gap = torch.where(uneven <= balanced, square / (2 * batch.lam), torch.inf)
    return Point(objective, gap, gradient, excess, p)


def _patience(batch: Batch, factors: Factors, begun: Tensor) -> int:
    """Conjugate-gradient steps that pay before a factor does; none is made of large Hessians."""
    n_problems, n_columns, _ = batch.W.shape
    if not factors.fit(n_problems, n_columns):
        return MAX_CONJUGATE_STEPS
    return factors.price(n_columns) - int((batch.passes - begun).max())


def _step(
    batch: Batch,
    logits: Tensor,
    point: Point,
    products: Products,
    system: _System,
) -> tuple[Batch, Tensor, Tensor]:
    """Move along the Newton direction; say too which problems it hardly moved any more."""
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
        # A step that promises less than can be seen is taken whole: the gradient sees it. But not
        # one that is seen to do harm: rounding may have led it far astray.
        unseen = (slope.abs() <= noise) & (value <= point.objective + 16 * noise)
        too_far = ~((value <= allowed) | unseen)
        if not too_far.any():
            break
        size = torch.where(too_far, size / 2, size)
        torch.addcmul(logits, along, _like(size.to(along.dtype), along), out=moved)
    stuck = (slope.abs() <= 16 * noise) | too_far
    # Where no step was short enough, none is taken: also not in a direction that overflowed.
    moved[too_far] = logits[too_far]
    S, s = (torch.where(_like(too_far, part), 0, part) for part in (S, s))
    size = size.to(logits.dtype)[:, None]
    W, bias = batch.W + size[:, :, None] * S, batch.bias + size * s
    return replace(batch, W=W, bias=bias, passes=batch.passes + spent), moved, stuck


def _conjugate_gradients(
    batch: Batch,
    point: Point,
    system: _System,
) -> tuple[Tensor, Tensor, Tensor]:
    """Solve ``H S = -gradient`` loosely: (B, C, r) and (B, C) steps, (B,) passes spent."""
    curvature, goal = system.curvature, system.goal
    dtype, work = batch.W.dtype, curvature.dtype
    spent = torch.zeros_like(batch.passes)
    live = torch.arange(len(batch.lam), device=batch.lam.device)
    loss, lam, p = batch.loss, batch.lam, point.p.to(work)
    inverse = system.factor or curvature.inverse(loss, p, lam)
    # Rounded to float32 a small gradient could vanish: it is solved for at unit length.
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
        # On the faint axes this is the step; the others are left to solve for.
        n_leading = curvature.n_leading(inverse, lam)
        curvature, inverse = curvature.leading(n_leading), inverse.leading(n_leading)
    faint = D[:, :, n_leading:].to(dtype)
    r, D = r[:, :, :n_leading], D[:, :, :n_leading]
    found, found_b = torch.zeros_like(D, dtype=dtype), torch.zeros_like(batch.bias)
    # The steps of those that are still on their way.
    S, s = (D.to(dtype), d.to(dtype)) if system.exact else (found, found_b)
    rz, step = _dot(r, D) + (rb * d).sum(1), 0
    for step in range(1, 0 if system.exact else 1 + min(MAX_CONJUGATE_STEPS, system.patience)):
        bent, bent_b = curvature(loss, p, lam, D, d)
        bend = _dot(D, bent) + (d * bent_b).sum(1)
        # Rounding can make the curvature vanish, or worse: what was found so far is kept.
        length = torch.where(bend > 0, rz / bend, 0).to(work)[:, None]
        S, s = S + length[:, :, None] * D, s + length * d
        r = r - length[:, :, None] * loss.centre(bent)
        rb = rb - length * loss.centre(bent_b)
        # What the bias is short of comes back through the mean of the features when balanced.
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
    # The preconditioner blows up what rounding leaves in directions that change no probability.
    S, s = batch.loss.centre(torch.cat([found, faint], dim=2)), batch.loss.centre(found_b)
    return (S * unit[:, None, None]).to(dtype), (s * unit[:, None]).to(dtype), spent


def _like(problems: Tensor, part: Tensor) -> Tensor:
    """(B,) -> (B, 1, ...), to go with a part of that many dimensions."""
    return problems.view(-1, *[1] * (part.ndim - 1))


def _dot(A: Tensor, B: Tensor) -> Tensor:
    """(B, C, r) and (B, C, r) -> (B,) float64 inner products."""
    return (A * B).sum((1, 2), dtype=torch.float64)
