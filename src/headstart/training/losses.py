"""Training losses, as sums over images, and a check of labels."""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional

from headstart.errors import TrainingError
from headstart.training.hyperparameters import Hyperparameters

__all__ = ["binary", "check_labels", "loss_of", "softmax"]


def softmax(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the softmax cross-entropy, summed over images.

    Parameters
    ----------
    logits
        (B, K) float32.
    labels
        (B,) int64, class of each image.
    smoothing
        The target is ``1 - smoothing`` at that class plus ``smoothing / K`` at every class
        (Szegedy et al. 2016, section 7).
    """
    return functional.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)


def binary(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the logistic loss, summed over images and over classes that are not ignored.

    It is a sum over classes, not a mean: each class gets the same gradient as a separate
    regression would give, regardless of the number of classes.

    Parameters
    ----------
    logits
        (B, K) float32.
    labels
        (B, K) int64: 1 present, -1 absent, 0 ignored (no loss, no gradient).
    """
    return functional.binary_cross_entropy_with_logits(
        logits,
        (labels > 0).to(logits.dtype),
        weight=(labels != 0).to(logits.dtype),
        reduction="sum",
    )


def loss_of(hyperparameters: Hyperparameters) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss function of (logits, labels)."""
    if hyperparameters.loss == "binary":
        return binary
    return partial(softmax, smoothing=hyperparameters.label_smoothing)


def check_labels(labels: npt.NDArray[np.int64], loss: str, n_images: int, n_outputs: int) -> None:
    """Check labels against the data and the head.

    Parameters
    ----------
    labels
        (n,) for softmax loss, (n, K) for binary loss.
    n_images, n_outputs
        Number of images, and of outputs of the network.

    Raises
    ------
    TrainingError
        Labels have another shape, or values outside the head's range.
    """
    expected = f"({n_images},)" if loss == "softmax" else f"({n_images}, {n_outputs})"
    shape = str(tuple(labels.shape))
    if shape != expected:
        raise TrainingError(
            f"labels: expected shape {expected} for {loss} loss, {n_images} images and a head of "
            f"{n_outputs} outputs, found {shape}"
        )
    if loss == "softmax":
        invalid, allowed = (labels < 0) | (labels >= n_outputs), f"0 to {n_outputs - 1}"
    else:
        invalid, allowed = ~np.isin(labels, (-1, 0, 1)), "1, 0 (left out) or -1"
    places = np.argwhere(invalid)
    if len(places):
        raise TrainingError(
            f"labels: expected {allowed} for a head of {n_outputs} outputs, found "
            f"{labels[tuple(places[0])]} at image {places[0][0]}"
        )
