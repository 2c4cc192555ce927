"""What a training run is, but for the network and the images."""

from dataclasses import dataclass
from typing import Literal

from headstart.errors import TrainingError

__all__ = ["Crop", "Decayed", "Hyperparameters", "Input"]

Crop = Literal["full", "central"]
Decayed = Literal["weights", "all"]


@dataclass(frozen=True)
class Input:
    """What a network takes.

    Parameters
    ----------
    side
        Pixels of its square input.
    mean, std
        Of each RGB channel, for pixels in [0, 1].
    interpolation
        Of antialiased resizing.
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
        Numbers of updates, and of images each.
    learning_rate
        At the first step; it falls to zero along half a cosine, at every step.
    weight_decay
        Coefficient of ``||w||^2 / 2`` in the objective, as torch's SGD takes it.
    decayed
        ``"weights"``: of layers alone; ``"all"``: of biases and batch norms too.
    momentum, nesterov
        Of SGD.
    batch_norm_window
        Batch norm's running statistics keep ``max(1 - window / steps an epoch, 0.9)`` of
        themselves at each step (Kornblith et al. 2019: 10); None leaves the network's own.
    loss
        ``"softmax"`` over classes, or ``"binary"`` for each, without those that are difficult.
    label_smoothing
        Share of the target that is spread evenly over all classes, of the softmax loss alone
        (Szegedy et al. 2016, section 7).
    auxiliary_weight
        Weight of the loss of each auxiliary classifier; with 0 they are not trained.
    crop_area, crop_aspect
        Ranges of a random crop's share of the image's area and of its aspect ratio, both as in
        torchvision's ``RandomResizedCrop``; an area of (1, 1) takes the whole image.
    flip
        Whether half of the images are mirrored.
    micro_batch
        Images at once, for a batch that does not fit the memory; gradients add up. Batch norm then
        sees no more than these. None takes the batch whole.
    allow_repeats
        Whether a batch may be larger than the data: it then has images several times, each with a
        crop of its own.
    precision
        ``"bf16"`` multiplies in bfloat16 where that is safe (autocast); weights stay float32.
    seed
        Of the order of images, of crops and flips, of dropout.
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
