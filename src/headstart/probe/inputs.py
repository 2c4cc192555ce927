"""Checks and conversion of features, lambdas and labels."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d
from torch import Tensor

from headstart.errors import ProbeError
from headstart.probe.axes import Source, blocks, is_double

# Range of lambda: beyond it, products with lambda overflow or vanish in float32.
SMALLEST, LARGEST = 1e-20, 1e20

__all__ = ["array", "classes", "features", "path_of", "targets"]


def features(X: Source, n_features: int | None = None) -> Source:
    """Check that features are (n, d), float32 or float64, and finite; return them uncopied."""
    known = X.dtype in (torch.float32, torch.float64, np.float32, np.float64)
    if X.ndim != 2 or not known or not all(X.shape):
        raise ProbeError(
            f"X is {tuple(X.shape)} {X.dtype}: expected (n, d) float32 or float64",
            code="probe.features_shape",
            shape=tuple(X.shape),
            dtype=str(X.dtype),
        )
    if isinstance(X, Tensor) and X.device.type not in ("cpu", "cuda"):
        raise ProbeError(
            f"X is on {X.device}: expected it on a CPU or an NVIDIA GPU",
            code="probe.features_device",
            device=str(X.device),
        )
    if n_features is not None and X.shape[1] != n_features:
        raise ProbeError(
            f"X has {X.shape[1]} features: expected the {n_features} features of fit()",
            code="probe.features_count",
            expected=n_features,
            found=X.shape[1],
        )
    X = X.detach() if isinstance(X, Tensor) else X
    device = X.device if isinstance(X, Tensor) else torch.device("cpu")
    dtype = torch.float64 if is_double(X) else torch.float32
    for part, block in blocks(X, device, dtype):
        # The sum is finite unless a value is not (or it overflows): a cheap first test.
        if not block.sum().isfinite() and not (finite := block.isfinite()).all():
            row, column = (~finite).nonzero()[0].tolist()
            raise ProbeError(
                f"X has NaN or infinity at row {part.start + row}, column {column}: correct the "
                "value or leave the row out",
                code="probe.features_not_finite",
                row=part.start + row,
                column=column,
            )
    return X


def path_of(lambdas: Any) -> list[float]:
    """Check lambdas; return them without duplicates in decreasing order."""
    given = np.atleast_1d(np.asarray(lambdas, dtype=np.float64)).tolist()
    if not given or not all(SMALLEST <= lam <= LARGEST for lam in given):
        raise ProbeError(
            f"invalid lambdas {lambdas}: expected at least one, from {SMALLEST:g} to {LARGEST:g}",
            code="probe.lambdas_invalid",
            lambdas=lambdas,
        )
    return sorted(set(given), reverse=True)


def classes(y: Any, *, multilabel: bool) -> npt.NDArray[Any]:
    """Return the (K,) sorted classes of labels, or column numbers 0..K-1 with `multilabel`."""
    if multilabel:
        return np.arange(_table(y).shape[1])
    found = np.unique(_column(y))
    if len(found) < 2:
        raise ProbeError(
            f"labels are of 1 class, {found.tolist()}: expected at least 2 classes",
            code="probe.one_class",
        )
    return found


def targets(y: Any, n_examples: int, known: npt.NDArray[Any], *, multilabel: bool) -> Tensor:
    """Return (n,) class indices, or (n, K) zeros and ones with `multilabel`: int64."""
    labels = _table(y) if multilabel else _column(y)
    if len(labels) != n_examples:
        raise ProbeError(
            f"{len(labels)} labels for {n_examples} examples: expected as many labels as examples",
            code="probe.labels_count",
            labels=len(labels),
            examples=n_examples,
        )
    if multilabel:
        if labels.shape[1] != len(known):
            raise ProbeError(
                f"{labels.shape[1]} labels per row: expected {len(known)}",
                code="probe.labels_shape",
                shape=labels.shape,
            )
        return torch.from_numpy(labels.astype(np.int64))
    if len(unknown := np.setdiff1d(labels, known)):
        raise ProbeError(
            f"unknown labels {unknown[:3].tolist()}: expected the {len(known)} classes of fit()",
            code="probe.labels_unknown",
            labels=unknown[:3].tolist(),
        )
    return torch.from_numpy(np.searchsorted(known, labels).astype(np.int64))


def _column(y: Any) -> npt.NDArray[Any]:
    labels = column_or_1d(array(y), warn=True)
    check_classification_targets(labels)
    return np.asarray(labels)


def _table(y: Any) -> npt.NDArray[Any]:
    labels = array(y)
    if labels.ndim != 2 or not labels.shape[1]:
        raise ProbeError(
            f"labels are {labels.shape}: expected (n, K) zeros and ones with multilabel=True",
            code="probe.labels_shape",
            shape=labels.shape,
        )
    if not (known := np.isin(labels, (0, 1))).all():
        raise ProbeError(
            f"label {labels[~known][0]} in row {np.argwhere(~known)[0][0]}: expected zeros and "
            "ones with multilabel=True",
            code="probe.labels_invalid",
            row=int(np.argwhere(~known)[0][0]),
        )
    return labels


def array(y: Any) -> npt.NDArray[Any]:
    """Return labels as a NumPy array, from any device."""
    if y is None:
        raise ProbeError(
            "fit() requires y to be passed, but the target y is None", code="probe.labels_missing"
        )
    return y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
