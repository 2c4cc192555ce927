"""What is minimised, as sums over images; and whether labels fit it."""

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
    """Sum over images of the cross-entropy of the softmax over classes.

    Parameters
    ----------
    logits
        (B, K) float32.
    labels
        (B,) int64, the class of each image.
    smoothing
        The target is ``1 - smoothing`` at that class plus ``smoothing / K`` at every class
        (Szegedy et al. 2016, section 7).
    """
    return functional.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)


def binary(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum over images, and over the classes that count, of the logistic losses.

    Not the mean over classes: a class gets the gradient that it would get alone, however many
    others there are, as twenty regressions of their own would.

    Parameters
    ----------
    logits
        (B, K) float32.
    labels
        (B, K) int64: 1 present, -1 absent, 0 left out; that one has no loss and no gradient.
    """
    return functional.binary_cross_entropy_with_logits(
        logits,
        (labels > 0).to(logits.dtype),
        weight=(labels != 0).to(logits.dtype),
        reduction="sum",
    )


def loss_of(hyperparameters: Hyperparameters) -> Callable[[Tensor, Tensor], Tensor]:
    """Give what is minimised of (logits, labels)."""
    if hyperparameters.loss == "binary":
        return binary
    return partial(softmax, smoothing=hyperparameters.label_smoothing)


def check_labels(labels: npt.NDArray[np.int64], loss: str, n_images: int, n_outputs: int) -> None:
    """Raise TrainingError where labels are not those of these images, or no head has them.

    Parameters
    ----------
    labels
        (n,) for the softmax, (n, K) for binary losses.
    n_images, n_outputs
        Of the data, and of the network's classifier.
    """
    expected = f"({n_images},)" if loss == "softmax" else f"({n_images}, {n_outputs})"
    shape = str(tuple(labels.shape))
    if shape != expected:
        raise TrainingError(
            f"labels: expected shape {expected} for {loss} loss, {n_images} images and a head of "
            f"{n_outputs} outputs, found {shape}"
        )
    if loss == "softmax":
        strange, allowed = (labels < 0) | (labels >= n_outputs), f"0 to {n_outputs - 1}"
    else:
        strange, allowed = ~np.isin(labels, (-1, 0, 1)), "1, 0 (left out) or -1"
    places = np.argwhere(strange)
    if len(places):
        raise TrainingError(
            f"labels: expected {allowed} for a head of {n_outputs} outputs, found "
            f"{labels[tuple(places[0])]} at image {places[0][0]}"
        )
