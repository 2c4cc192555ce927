r"""The two losses of a linear probe, on batches of problems that share their examples.

Arrays are laid out (problems, columns, examples): a sum over classes then runs along memory, and
many problems (lambdas, labels) make one wide matrix product.

On separable data nearly all of the objective is rounding error if it is computed the usual way, so
losses and residuals are computed from what the other classes get, not from one minus what the
label gets.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from headstart.errors import ProbeError

__all__ = ["BALANCE", "Binary", "Loss", "Softmax", "balance", "imbalance"]

# How far from zero the residuals' sums may be, relative to the sum of what is left to explain.
BALANCE = 1e-7
NEWTON_STEPS = 100
# A class that gets nothing, as far as the sum of the residuals can tell.
FULL = -1 + 2.0**-40


class Loss(Protocol):
    """What the solver asks of a loss. A is (B, C, n) logits of B problems with C columns each."""

    def values(self, A: Tensor) -> Tensor:
        """(B,) float64 sums of the losses over examples."""
        ...

    def look(self, A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give (B,) values, (B, C, n) residuals, and what `curve` wants to know as (B, C, n)."""
        ...

    def curve(self, p: Tensor, D: Tensor) -> Tensor:
        """Multiply a change D of the logits, (B, C, n), by the Hessian where `look` gave p."""
        ...

    def centre(self, G: Tensor) -> Tensor:
        """Take from a gradient (B, C, ...) what it cannot have but for rounding error."""
        ...

    def column_curvature(self, p: Tensor) -> Tensor:
        """(B, C, C) sums over examples of the Hessian by the logits."""
        ...

    def rescale(self, excess: Tensor) -> Tensor:
        """(B, C) change of the bias by one step of iterative scaling; never raises the loss.

        `excess` (B, C) is the sum of the residuals (Darroch & Ratcliff 1972).
        """
        ...

    def take(self, problems: Tensor) -> "Loss":
        """Keep some of the batch's problems."""
        ...

    def to(self, device: torch.device) -> "Loss":
        """Move to a device."""
        ...


@dataclass(frozen=True)
class Softmax:
    """Multinomial logistic loss, one label an example: ``log sum_k exp(A_k - A_y)``.

    Parameters
    ----------
    labels
        (n,) int64 in 0..K-1; shared by all problems of a batch.
    counts
        (K,) float64 examples of each class, all positive.
    """

    labels: Tensor
    counts: Tensor

    @classmethod
    def of(cls, labels: Tensor, n_classes: int) -> "Softmax":
        """From (n,) labels; ProbeError if a class of 0..n_classes-1 has no example."""
        counts = torch.bincount(labels, minlength=n_classes).double()
        if len(counts) != n_classes or n_classes < 2 or not counts.all():
            empty = [k for k, count in enumerate(counts.tolist()) if not count]
            raise ProbeError(
                f"expected labels 0..{n_classes - 1} of at least 2 classes, each with an example, "
                f"found {'none of class ' + str(empty[0]) if empty else f'{len(counts)} classes'}: "
                "leave out classes that do not occur"
            )
        return cls(labels, counts)

    @property
    def start(self) -> Tensor:
        """(1, K) bias that is best without features."""
        return torch.log(self.counts / self.counts.sum())[None]

    def values(self, A: Tensor) -> Tensor:
        return self._others(A)[0]

    def look(self, A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        values, others, sum_others, of_label = self._others(A)
        total = sum_others + of_label
        residual = others.div_(total[:, None])
        p = residual.clone()
        self._set_label(residual, -sum_others / total)
        self._set_label(p, of_label / total)
        return values, residual, p

    def curve(self, p: Tensor, D: Tensor) -> Tensor:
        # Only differences of logits count; to the label they are small where the fit is good.
        T = p * (D - self._of_label(D)[:, None])
        return T.sub_(p * T.sum(1, keepdim=True))

    def centre(self, G: Tensor) -> Tensor:
        # The same for all classes: no loss resists that direction, and with a small lambda
        # rounding error would be followed a long way.
        return G - G.mean(1, keepdim=True)

    def column_curvature(self, p: Tensor) -> Tensor:
        # diag(p) - p p', whose rows sum to zero: the diagonal follows from what is beside it.
        beside = torch.bmm(p, p.transpose(1, 2)).double()
        diagonal = beside.diagonal(dim1=1, dim2=2)
        diagonal.zero_()
        diagonal.copy_(-beside.sum(2))
        return -beside

    def rescale(self, excess: Tensor) -> Tensor:
        return -torch.log1p((excess / self.counts).clamp(min=FULL))

    def take(self, problems: Tensor) -> "Softmax":  # noqa: ARG002  all problems share the labels
        return self

    def to(self, device: torch.device) -> "Softmax":
        return Softmax(self.labels.to(device), self.counts.to(device))

    def _of_label(self, A: Tensor) -> Tensor:
        index = self.labels.expand(len(A), 1, -1)
        return A.gather(1, index)[:, 0]

    def _set_label(self, A: Tensor, values: Tensor) -> None:
        A.scatter_(1, self.labels.expand(len(A), 1, -1), values[:, None])

    def _others(self, A: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Losses, and what the other classes, their sum, and the label get, up to one factor."""
        margins = A - self._of_label(A)[:, None]
        self._set_label(margins, margins.new_full((), -torch.inf).expand(len(A), A.shape[2]))
        top = margins.amax(1).clamp_(min=0)
        others = margins.sub_(top[:, None]).exp_()
        sum_others, of_label = others.sum(1), torch.exp(-top)
        saturated = top + torch.log(sum_others + of_label)
        losses = torch.where(top > 0, saturated, torch.log1p(sum_others))
        return losses.sum(1, dtype=torch.float64), others, sum_others, of_label


@dataclass(frozen=True)
class Binary:
    """Logistic loss of independent yes/no labels: ``log(1 + exp(-sign A))``, one column each.

    Parameters
    ----------
    signs
        (B, 1, n) float32 of +1 and -1.
    counts
        (B, 1, 2) float64 examples without and with the label, all positive.
    """

    signs: Tensor
    counts: Tensor

    @classmethod
    def of(cls, targets: Tensor) -> "Binary":
        """From (n, K) of zeros and ones: K problems. ProbeError if a column is constant."""
        signs = (2 * targets.T[:, None].float() - 1).contiguous()
        positive = (signs > 0).sum(2, keepdim=True).double()
        counts = torch.cat([len(targets) - positive, positive], dim=2)
        if not counts.all():
            column = int((counts[:, 0] == 0).any(1).nonzero()[0])
            found = "no" if counts[column, 0, 1] == 0 else "every"
            raise ProbeError(
                f"expected examples with and without each label, found label {column} in {found} "
                "example: leave it out"
            )
        return cls(signs, counts)

    @property
    def start(self) -> Tensor:
        """(K, 1) bias that is best without features."""
        return torch.log(self.counts[..., 1] / self.counts[..., 0])

    def values(self, A: Tensor) -> Tensor:
        margins = self.signs * A
        losses = torch.log1p(torch.exp(-margins.abs())) - margins.clamp(max=0)
        return losses.sum((1, 2), dtype=torch.float64)

    def look(self, A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        residual = -self.signs * torch.sigmoid(-self.signs * A)
        return self.values(A), residual, torch.sigmoid(A).mul_(torch.sigmoid(-A))

    def curve(self, p: Tensor, D: Tensor) -> Tensor:
        return p * D

    def centre(self, G: Tensor) -> Tensor:
        return G

    def column_curvature(self, p: Tensor) -> Tensor:
        return p.sum(2, keepdim=True, dtype=torch.float64)

    def rescale(self, excess: Tensor) -> Tensor:
        without, with_ = self.counts[..., 0], self.counts[..., 1]
        down, up = (-excess / without).clamp(min=FULL), (excess / with_).clamp(min=FULL)
        return torch.log1p(down) - torch.log1p(up)

    def take(self, problems: Tensor) -> "Binary":
        return Binary(self.signs[problems], self.counts[problems])

    def to(self, device: torch.device) -> "Binary":
        return Binary(self.signs.to(device), self.counts.to(device))


def imbalance(residual: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C) sums of the residuals over examples, and (B,) the largest relative to what is left.

    The residuals are dual feasible where the sums vanish.
    """
    excess = residual.sum(2, dtype=torch.float64)
    left = residual.clamp(min=0).sum((1, 2), dtype=torch.float64)
    tiny = torch.finfo(torch.float64).tiny
    return excess, excess.abs().amax(1) / left.clamp(min=tiny)


def balance(loss: Loss, scores: Tensor, bias: Tensor) -> Tensor:
    """Minimise the losses over the (B, C) bias, scores (B, C, n) given, so that residuals balance.

    Newton's method; where its step does not lower the losses, as on saturated logits, a step of
    iterative scaling, which always does.
    """
    values, residual, p = loss.look(scores + bias[:, :, None])
    for _ in range(NEWTON_STEPS):
        excess, uneven = imbalance(residual)
        todo = uneven > BALANCE / 10
        if not todo.any():
            break
        # Adding one constant to all biases changes nothing: the pseudo-inverse leaves it out.
        inverse = torch.linalg.pinv(loss.column_curvature(p), rtol=1e-12, hermitian=True)
        newton = torch.where(todo[:, None], (inverse @ -excess[:, :, None])[:, :, 0], 0)
        worse = ~(loss.values(scores + (bias + newton)[:, :, None]) <= values)
        step = torch.where((worse & todo)[:, None], loss.rescale(excess), newton)
        bias = bias + step.to(bias.dtype)
        values, residual, p = loss.look(scores + bias[:, :, None])
    return bias
