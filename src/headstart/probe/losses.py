r"""The two losses of a linear probe, for batches of problems that share their examples.

Arrays have the layout (problems, columns, examples): sums over classes then vectorize, and many
problems (lambdas, labels) make one wide matrix product.

On separable data the usual formulas lose nearly all digits of the objective. So losses and
residuals are computed from the probabilities of the other classes, not from one minus the
probability of the label.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from headstart.errors import ProbeError

__all__ = ["Batched", "Binary", "Loss", "Softmax", "Sums", "parts"]

# Classes of each example, its likeliest, whose pairs have parts of the Hessian of their own.
PAIRED = 5
# Logits to process at a time, by type of device.
PART = {"cpu": 1 << 18, "cuda": 1 << 28}
# Smallest relative excess in iterative scaling: -1 would be a class without any probability.
FULL = -1 + 2.0**-40


@dataclass(frozen=True)
class Batched:
    """What belongs to B problems: tensors with B as their first axis, and other such things."""

    def take(self, problems: Tensor) -> Self:
        """Return a selection of the problems."""
        parts = vars(self).values()
        return type(self)(
            *(part[problems] if isinstance(part, Tensor) else part.take(problems) for part in parts)
        )


class Sums(NamedTuple):
    """Sums over all examples, for B problems.

    `values` are (B,) losses, `excess` (B, C) residuals, `left` (B,) positive residuals, `curvature`
    (B, C, C) Hessians by the logits, all float64.
    """

    values: Tensor
    excess: Tensor
    left: Tensor
    curvature: Tensor

    @property
    def uneven(self) -> Tensor:
        """(B,) largest excess relative to `left`; at 0, residuals are dual feasible."""
        return self.excess.abs().amax(1) / self.left.clamp(min=torch.finfo(torch.float64).tiny)


class Loss(ABC):
    """Interface of a loss. A denotes (B, C, n) logits of B problems with C columns.

    Examples are processed in parts that fit the CPU's cache, so intermediate arrays stay small.
    """

    def look(self, A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return values, (B, C, n) residuals, and (B, C, n) state for `curve`.

        Values are the (B,) float64 losses, summed over examples.
        """
        if len(slices := parts(A)) == 1:
            return self.look_at(A)
        residual, p, values = torch.empty_like(A), torch.empty_like(A), []
        for part in slices:
            value, residual[..., part], p[..., part] = self._some(part).look_at(A[..., part])
            values.append(value)
        return torch.stack(values).sum(0), residual, p

    def curve(self, p: Tensor, D: Tensor) -> Tensor:
        """Return the Hessian, at the state p from `look`, times a change D of the logits."""
        if len(slices := parts(D)) == 1:
            return self.bend(p, D)
        bent = torch.empty_like(D)
        for part in slices:
            bent[..., part] = self._some(part).bend(p[..., part], D[..., part])
        return bent

    def sums(self, A: Tensor, bias: Tensor) -> Sums:
        """Return the sums at logits A plus a (B, C) bias."""
        found = []
        for part in parts(A):
            some = self._some(part)
            value, residual, p = some.look_at(A[..., part] + bias[:, :, None])
            excess = residual.sum(2, dtype=torch.float64)
            left = residual.clamp_(min=0).sum((1, 2), dtype=torch.float64)
            found.append(Sums(value, excess, left, some.column_curvature(p)))
        return Sums(*(torch.stack(terms).sum(0) for terms in zip(*found, strict=True)))

    def to_residuals_(self, A: Tensor) -> Tensor:
        """Overwrite logits by residuals; return the (B,) values."""
        values = []
        for part in parts(A):
            value, A[..., part], _ = self._some(part).look_at(A[..., part])
            values.append(value)
        return torch.stack(values).sum(0)

    @property
    @abstractmethod
    def n_examples(self) -> int:
        """Number of examples."""

    @abstractmethod
    def centre(self, G: Tensor) -> Tensor:
        """Remove from a gradient (B, C, ...) the part that is zero but for rounding error."""

    @abstractmethod
    def column_curvature(self, p: Tensor) -> Tensor:
        """Return the (B, C, C) Hessian by the logits, summed over examples."""

    @abstractmethod
    def hessian(self, p: Tensor, Z: Tensor) -> Tensor:
        """Return the (B, C, w, C, w) Hessian by weights on (n, w) features, summed."""

    @abstractmethod
    def largest_parts(self, p: Tensor, weights: Tensor, n_parts: int) -> tuple[Tensor, Tensor]:
        """Return the largest parts of rank one of the Hessian by the logits, largest first.

        `weights` (n,) multiply the parts of each example. Return the (B, m) rows of the parts'
        examples and the (B, m, C) vectors u of the parts ``u u^T``; m is at most `n_parts`.
        """

    @abstractmethod
    def rescale(self, excess: Tensor) -> Tensor:
        """Return the (B, C) bias step of iterative scaling, which never increases the loss.

        `excess` (B, C) is the sum of the residuals (Darroch & Ratcliff 1972).
        """

    @abstractmethod
    def take(self, problems: Tensor) -> "Loss":
        """Return a selection of the batch's problems."""

    def to(self, device: torch.device) -> Self:
        """Return a copy on a device."""
        return type(self)(*(part.to(device) for part in vars(self).values()))

    @abstractmethod
    def look_at(self, A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return `look` of one part of the examples."""

    @abstractmethod
    def bend(self, p: Tensor, D: Tensor) -> Tensor:
        """Return `curve` of one part of the examples."""

    @abstractmethod
    def _some(self, examples: slice) -> "Loss":
        """Return the loss on a selection of the examples."""


def parts(A: Tensor) -> list[slice]:
    """Return slices of the examples of (B, C, n) that fit the cache."""
    size = max(1, PART[A.device.type] // max(1, A.shape[0] * A.shape[1]))
    return [slice(first, first + size) for first in range(0, max(1, A.shape[2]), size)]


@dataclass(frozen=True)
class Softmax(Loss):
    """Multinomial logistic loss, one label per example: ``log sum_k exp(A_k - A_y)``.

    Parameters
    ----------
    labels
        (n,) int64 in 0..K-1; shared by all problems of a batch.
    counts
        (K,) float64 number of examples per class, all positive.
    """

    labels: Tensor
    counts: Tensor

    @classmethod
    def of(cls, labels: Tensor, n_classes: int) -> "Softmax":
        """Return the loss for (n,) int64 labels.

        Raises
        ------
        ProbeError
            A class of 0..n_classes-1 has no example, or a label is outside this range.
        """
        counts = torch.bincount(labels, minlength=n_classes).double()
        if len(counts) != n_classes or n_classes < 2 or not counts.all():
            empty = [k for k, count in enumerate(counts.tolist()) if not count]
            found = f"class {empty[0]} has no example" if empty else f"{len(counts)} classes"
            raise ProbeError(
                f"{found}: expected labels 0..{n_classes - 1} of at least 2 classes, each with an "
                "example; leave out classes that do not occur",
                code="probe.classes_invalid",
                empty=empty,
            )
        return cls(labels, counts)

    @property
    def start(self) -> Tensor:
        """(1, K) optimal bias for zero weights."""
        return torch.log(self.counts / self.counts.sum())[None]

    @property
    def n_examples(self) -> int:
        return len(self.labels)

    def look_at(self, A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        values, others, sum_others, of_label = self._others(A)
        total = sum_others + of_label
        residual = others.div_(total[:, None])
        p = residual.clone()
        self._set_label(residual, (sum_others / total).neg_())
        self._set_label(p, of_label.div_(total))
        return values, residual, p

    def bend(self, p: Tensor, D: Tensor) -> Tensor:
        # Relative to the label's logit: the differences are small for well-fitted examples.
        T = p * (D - self._of_label(D)[:, None])
        return T.addcmul_(p, T.sum(1, keepdim=True), value=-1)

    def centre(self, G: Tensor) -> Tensor:
        # The loss is constant along the common part of all classes: for a small lambda, rounding
        # error in that direction would cause large steps.
        return G - G.mean(1, keepdim=True)

    def column_curvature(self, p: Tensor) -> Tensor:
        # Rows of diag(p) - p p' sum to zero: the diagonal follows from the other entries.
        beside = torch.bmm(p, p.transpose(1, 2)).double()
        diagonal = beside.diagonal(dim1=1, dim2=2)
        diagonal.zero_()
        diagonal.copy_(-beside.sum(2))
        return -beside

    def hessian(self, p: Tensor, Z: Tensor) -> Tensor:
        # As in `column_curvature`, which is the case of one constant feature.
        weighted = (p[:, :, None] * Z.T).flatten(1, 2)
        beside = torch.bmm(weighted, weighted.mT).neg_()
        beside = beside.view(*p.shape[:2], Z.shape[1], p.shape[1], -1)
        diagonal = beside.diagonal(dim1=1, dim2=3)
        diagonal.zero_()
        diagonal.copy_(-beside.sum(3).permute(0, 2, 3, 1))
        return beside

    def largest_parts(self, p: Tensor, weights: Tensor, n_parts: int) -> tuple[Tensor, Tensor]:
        # diag(p) - p p' is the sum of p_j p_k (e_j - e_k) (e_j - e_k)' over pairs of classes.
        likeliest, classes = p.topk(min(PAIRED, p.shape[1]), dim=1)
        paired = likeliest.shape[1]
        first, second = torch.triu_indices(paired, paired, offset=1, device=p.device)
        products = (likeliest[:, first] * likeliest[:, second]).flatten(1)
        rows = torch.arange(p.shape[2], device=p.device).repeat(len(first))
        top = (products * weights[rows]).topk(min(n_parts, len(rows)), dim=1).indices
        size = products.gather(1, top).sqrt()
        vectors = p.new_zeros(*top.shape, p.shape[1])
        for ends, sign in ((first, 1), (second, -1)):
            which = classes[:, ends].flatten(1).gather(1, top)
            vectors.scatter_(2, which[:, :, None], sign * size[:, :, None])
        return rows[top], vectors

    def rescale(self, excess: Tensor) -> Tensor:
        return -torch.log1p((excess / self.counts).clamp(min=FULL))

    def take(self, problems: Tensor) -> "Softmax":  # noqa: ARG002  all problems share the labels
        return self

    def _some(self, examples: slice) -> "Softmax":
        return Softmax(self.labels[examples], self.counts)

    def _of_label(self, A: Tensor) -> Tensor:
        return A.gather(1, self._index(A))[:, 0]

    def _set_label(self, A: Tensor, values: Tensor) -> None:
        A.scatter_(1, self._index(A), values[:, None])

    def _index(self, A: Tensor) -> Tensor:
        return self.labels.expand(len(A), 1, -1)

    def _others(self, A: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return losses, and scaled probabilities of other classes, their sum, and the label."""
        margins = A - self._of_label(A)[:, None]
        margins.scatter_(1, self._index(A), -torch.inf)
        top = margins.amax(1).clamp_(min=0)
        others = margins.sub_(top[:, None]).exp_()
        sum_others, of_label = others.sum(1), torch.exp(-top)
        # The largest class counts 1: the label, or if that is another, one of `sum_others`.
        beside = torch.where(top > 0, (sum_others - 1).add_(of_label), sum_others)
        losses = torch.log1p(beside).add_(top)
        return losses.sum(1, dtype=torch.float64), others, sum_others, of_label


@dataclass(frozen=True)
class Binary(Loss):
    """Logistic loss of independent binary labels: ``log(1 + exp(-sign A))``, one problem each.

    Each problem may ignore examples: these have no loss.

    Parameters
    ----------
    signs
        (B, 1, n) float32: +1 present, -1 absent, 0 ignored.
    counts
        (B, 1, 2) float64 number of examples without and with the label, all positive.
    """

    signs: Tensor
    counts: Tensor

    @classmethod
    def of(cls, labels: Tensor) -> "Binary":
        """Return the loss for labels (n, K) of {1 present, 0 ignored, -1 absent}: K problems.

        Raises
        ------
        ProbeError
            A value is not 1, 0 or -1, or a label is never present or never absent.
        """
        signs = labels.T[:, None].float().contiguous()
        if (invalid := ~torch.isin(signs, signs.new_tensor([-1, 0, 1]))).any():
            column, _, row = invalid.nonzero()[0].tolist()
            raise ProbeError(
                f"label {labels[row, column].item()} in row {row}, column {column}: expected "
                "1 (present), -1 (absent) or 0 (left out)",
                code="probe.labels_invalid",
                row=row,
                column=column,
            )
        counts = torch.cat([(signs == s).sum(2, keepdim=True) for s in (-1, 1)], dim=2).double()
        if not counts.all():
            column = int((counts[:, 0] == 0).any(1).nonzero()[0])
            found = "no" if counts[column, 0, 1] == 0 else "every"
            of_those = "" if signs[column].all() else " of those that count"
            raise ProbeError(
                f"label {column} is present in {found} example{of_those}: expected examples with "
                "and without each label; leave it out",
                code="probe.label_constant",
                column=column,
                present=found,
            )
        return cls(signs, counts)

    @property
    def start(self) -> Tensor:
        """(K, 1) optimal bias for zero weights."""
        return torch.log(self.counts[..., 1] / self.counts[..., 0])

    @property
    def n_examples(self) -> int:
        return self.signs.shape[2]

    def look_at(self, A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        margins = self.signs * A
        losses = torch.log1p(torch.exp(-margins.abs())) - margins.clamp(max=0)
        values = losses.mul_(self.signs.abs()).sum((1, 2), dtype=torch.float64)
        residual = -self.signs * torch.sigmoid(-margins)
        # p (1 - p), and 0 for ignored examples.
        return values, residual, residual.abs().mul_(torch.sigmoid(margins))

    def bend(self, p: Tensor, D: Tensor) -> Tensor:
        return p * D

    def centre(self, G: Tensor) -> Tensor:
        return G

    def column_curvature(self, p: Tensor) -> Tensor:
        return p.sum(2, keepdim=True, dtype=torch.float64)

    def hessian(self, p: Tensor, Z: Tensor) -> Tensor:
        return ((p * Z.T) @ Z)[:, None, :, None]

    def largest_parts(self, p: Tensor, weights: Tensor, n_parts: int) -> tuple[Tensor, Tensor]:
        rows = (p[:, 0] * weights).topk(min(n_parts, p.shape[2]), dim=1).indices
        return rows, p[:, 0].gather(1, rows).sqrt()[:, :, None]

    def rescale(self, excess: Tensor) -> Tensor:
        without, with_ = self.counts[..., 0], self.counts[..., 1]
        down, up = (-excess / without).clamp(min=FULL), (excess / with_).clamp(min=FULL)
        return torch.log1p(down) - torch.log1p(up)

    def take(self, problems: Tensor) -> "Binary":
        return Binary(self.signs[problems], self.counts[problems])

    def _some(self, examples: slice) -> "Binary":
        return Binary(self.signs[..., examples], self.counts)
