"""Losses, the optimizer and its schedule."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from headstart.errors import TrainingError
from headstart.spec import TrainingConfig

__all__ = [
    "batch_norm_momentum",
    "binary",
    "check_labels",
    "cosine",
    "decaying",
    "loss_of",
    "make_optimizer",
    "softmax",
    "trainable",
]

# Largest momentum of batch norm: running statistics keep at least 0.9 of their value per step.
MOST_REPLACED = 0.1


def cosine(peak: float, step: int, steps: int) -> float:
    """Return the learning rate of update `step` (from 0) of `steps`: half a cosine.

    ``peak / 2 (1 + cos(pi step / steps))``: the first update has `peak`, and the one after the last
    would have zero (Loshchilov & Hutter 2017, without restarts).
    """
    return peak / 2 * (1 + math.cos(math.pi * step / steps))


def batch_norm_momentum(window: float, steps_per_epoch: float) -> float:
    """Return batch norm's `momentum` in torch's convention: the fraction that a batch replaces.

    Running statistics keep ``max(1 - window / steps_per_epoch, 0.9)`` of their value (Kornblith et
    al. 2019, with a window of 10), so they average over about ``1 / window`` of an epoch.
    """
    return min(window / steps_per_epoch, MOST_REPLACED)


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


def loss_of(config: TrainingConfig) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss function of (logits, labels)."""
    if config.loss == "binary":
        return binary
    return partial(softmax, smoothing=config.label_smoothing)


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
            f"{n_outputs} outputs, found {shape}",
            code="training.labels_shape",
            expected=expected,
            found=shape,
        )
    if loss == "softmax":
        invalid, allowed = (labels < 0) | (labels >= n_outputs), f"0 to {n_outputs - 1}"
    else:
        invalid, allowed = ~np.isin(labels, (-1, 0, 1)), "1, 0 (left out) or -1"
    places = np.argwhere(invalid)
    if len(places):
        raise TrainingError(
            f"labels: expected {allowed} for a head of {n_outputs} outputs, found "
            f"{labels[tuple(places[0])]} at image {places[0][0]}",
            code="training.labels_range",
            found=int(labels[tuple(places[0])]),
            image=int(places[0][0]),
        )


def trainable(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return all parameters that are not frozen, by name, each once.

    Raises
    ------
    TrainingError
        All parameters are frozen.
    """
    found = {name: p for name, p in network.named_parameters() if p.requires_grad}
    if not found:
        raise TrainingError(
            f"{type(network).__name__} has no trainable parameters: expected a network with some "
            "that are not frozen (requires_grad)",
            code="training.all_frozen",
        )
    return found


def decaying(parameters: dict[str, nn.Parameter], decayed: Literal["weights", "all"]) -> set[str]:
    """Return the names of parameters with weight decay.

    ``"weights"`` selects weights of convolutions and linear layers: parameters named ``weight``
    with two dimensions or more. It excludes biases, scales and offsets of batch norms, layer
    scales, position embeddings and tokens.
    """
    if decayed == "all":
        return set(parameters)
    return {name for name, p in parameters.items() if name.endswith("weight") and p.ndim > 1}


def make_optimizer(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Return the optimizer; the training loop sets its learning rate at each step.

    It is torch's fused SGD. On a CPU it gives the same bits as the plain one in less than half
    the time.
    """
    parameters, chosen = trainable(network), config.optimizer
    shrinking = decaying(parameters, chosen.decayed)
    groups = [
        {"params": [p for name, p in parameters.items() if name in shrinking],
         "weight_decay": chosen.weight_decay},
        {"params": [p for name, p in parameters.items() if name not in shrinking],
         "weight_decay": 0.0},
    ]  # fmt: skip
    return torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        momentum=chosen.momentum,
        # Torch raises an error for Nesterov's momentum of 0.
        nesterov=chosen.nesterov and chosen.momentum > 0,
        fused=True,
    )
