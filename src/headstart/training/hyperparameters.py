"""Hyperparameters of a training run, and the input that a network expects."""

from dataclasses import dataclass
from typing import Literal

from headstart.errors import TrainingError

__all__ = ["Crop", "Decayed", "Hyperparameters", "Input"]

Crop = Literal["full", "central"]
Decayed = Literal["weights", "all"]


@dataclass(frozen=True)
class Input:
    """Input specification of a network.

    Parameters
    ----------
    side
        Side of the square input, in pixels.
    mean, std
        Normalization of each RGB channel, for pixels in [0, 1].
    interpolation
        Filter of antialiased resizing.
    """

    side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"]


@dataclass(frozen=True)
class Hyperparameters:
    """One run of stochastic gradient descent with momentum and a cosine schedule.

    Parameters
    ----------
    steps, batch_size
        Number of updates, and of images per update.
    learning_rate
        Learning rate of the first step; a half-cosine schedule takes it to zero.
    weight_decay
        Coefficient of ``||w||^2 / 2`` in the objective, as in torch's SGD.
    decayed
        ``"weights"``: weight decay for weights of layers only; ``"all"``: also for biases and batch
        norms.
    momentum, nesterov
        Momentum of SGD, and whether it is Nesterov's.
    batch_norm_window
        Momentum of batch norm's running statistics: they keep
        ``max(1 - window / steps_per_epoch, 0.9)`` of their value at each step (Kornblith et al.
        2019: 10). None keeps the network's momentum.
    loss
        ``"softmax"`` over classes, or ``"binary"`` per class, without labels marked difficult.
    label_smoothing
        Probability spread evenly over all classes; softmax loss only (Szegedy et al. 2016,
        section 7).
    auxiliary_weight
        Weight of the loss of each auxiliary classifier; 0 does not train them.
    crop_area, crop_aspect
        Ranges of area fraction and aspect ratio of random crops, as in torchvision's
        ``RandomResizedCrop``. An area of (1, 1) takes the whole image.
    flip
        Whether to mirror each image with probability 1/2.
    micro_batch
        Images per forward pass, for gradient accumulation. Batch norm then uses micro-batch
        statistics. None passes the whole batch at once.
    allow_repeats
        Whether a batch may be larger than the data. It then repeats images, each with its own
        crop.
    precision
        ``"bf16"`` uses autocast to bfloat16; weights stay float32.
    seed
        Seed of image order, crops, flips and dropout.
    """

    steps: int
    learning_rate: float
    weight_decay: float = 0.0
    batch_size: int = 256
    decayed: Decayed = "weights"
    momentum: float = 0.9
    nesterov: bool = True
    batch_norm_window: float | None = 10.0
    loss: Literal["softmax", "binary"] = "softmax"
    label_smoothing: float = 0.0
    auxiliary_weight: float = 0.0
    crop_area: tuple[float, float] = (0.08, 1.0)
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = True
    micro_batch: int | None = None
    allow_repeats: bool = False
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "micro_batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise TrainingError(f"{name}: expected 1 or more, found {value}")
        if not self.learning_rate > 0 or self.weight_decay < 0:
            raise TrainingError(
                "expected a learning rate above 0 and a weight decay of 0 or more, found "
                f"{self.learning_rate:g} and {self.weight_decay:g}"
            )
        if not 0 <= self.label_smoothing < 1:
            raise TrainingError(
                "label_smoothing: expected 0 or more and less than 1, found "
                f"{self.label_smoothing:g}"
            )
        if self.label_smoothing and self.loss != "softmax":
            raise TrainingError(
                f"label_smoothing: expected 0 for {self.loss} loss, which has no distribution over "
                f"classes to smooth, found {self.label_smoothing:g}"
            )
        if not self.auxiliary_weight >= 0:
            raise TrainingError(
                f"auxiliary_weight: expected 0 or more, found {self.auxiliary_weight:g}"
            )
