"""Network inputs: random views of images for training, fixed ones for evaluation."""

import numpy as np
import torch

from headstart.training.crops import DRAWS, central_boxes, full_boxes, random_boxes
from headstart.training.draws import uniforms
from headstart.training.hyperparameters import Crop, Hyperparameters, Input
from headstart.training.pixels import Batch
from headstart.training.resample import resample

__all__ = ["evaluation_views", "training_views"]

LEVELS = 255
EVALUATION = {"full": full_boxes, "central": central_boxes}


def training_views(
    batch: Batch, input_spec: Input, hyperparameters: Hyperparameters, step: int, first: int = 0
) -> torch.Tensor:
    """Return randomly cropped and flipped, resized and normalized images.

    A view depends on the image, the seed, the step and the position in the batch.

    Parameters
    ----------
    batch
        Images.
    input_spec
        Input size and normalization.
    hyperparameters
        Ranges of crops, whether to flip, and the seed.
    step
        Step, from 0.
    first
        Position of the first image, if `batch` is a part of the step's batch.

    Returns
    -------
    (B, 3, side, side) float32, channels last.
    """
    sizes, last = batch.sizes, first + len(batch.sizes)
    draws = uniforms(hyperparameters.seed, step, "crop", (last, DRAWS))[first:]
    boxes = random_boxes(sizes, draws, hyperparameters.crop_area, hyperparameters.crop_aspect)
    flips = uniforms(hyperparameters.seed, step, "flip", (last,))[first:] < (
        0.5 if hyperparameters.flip else 0
    )
    return _normalised(
        resample(batch.pixels, boxes, flips, input_spec.side, input_spec.interpolation), input_spec
    )


def evaluation_views(batch: Batch, input_spec: Input, crop: Crop) -> torch.Tensor:
    """Return whole images, or their central 87.5 %, resized to a square and normalized.

    Returns
    -------
    (B, 3, side, side) float32, channels last.
    """
    boxes = EVALUATION[crop](batch.sizes)
    unmirrored = np.zeros(len(boxes), np.bool_)
    return _normalised(
        resample(batch.pixels, boxes, unmirrored, input_spec.side, input_spec.interpolation),
        input_spec,
    )


def _normalised(values: torch.Tensor, input_spec: Input) -> torch.Tensor:
    """Expand grey images to three channels and normalize each channel."""
    values = values.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
    mean, std = torch.tensor(input_spec.mean), torch.tensor(input_spec.std)
    # Whole lines of an image: a CPU does not vectorize over three channels.
    scale = (1 / (LEVELS * std)).repeat(input_spec.side).to(values.device, non_blocking=True)
    shift = (-mean / std).repeat(input_spec.side).to(values.device, non_blocking=True)
    lines = values.permute(0, 2, 3, 1).view(len(values), input_spec.side, 3 * input_spec.side)
    lines.mul_(scale).add_(shift)
    return values
