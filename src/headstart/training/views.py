"""What a network is given: views of images, for training drawn anew at every step."""

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
    """Crop and flip at random, resize, normalise.

    A view depends on the image, the hyperparameters's seed, the step and the place in the batch.

    Parameters
    ----------
    batch
        Images.
    input_spec
        What the network takes.
    hyperparameters
        Ranges of crops, whether to flip, and the seed.
    step
        From 0.
    first
        Place of the first image, for a batch that comes in parts.

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
    """Resize the whole of each image, or its central 87.5 %, to a square; normalise.

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
    """Make three channels of one, and give each its mean and standard deviation."""
    values = values.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
    mean, std = torch.tensor(input_spec.mean), torch.tensor(input_spec.std)
    # Whole lines of the image: along three channels alone a processor would go three by three.
    scale = (1 / (LEVELS * std)).repeat(input_spec.side).to(values.device, non_blocking=True)
    shift = (-mean / std).repeat(input_spec.side).to(values.device, non_blocking=True)
    lines = values.permute(0, 2, 3, 1).view(len(values), input_spec.side, 3 * input_spec.side)
    lines.mul_(scale).add_(shift)
    return values
