"""What a network says of images."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from headstart.training.hyperparameters import Crop, Input
from headstart.training.modes import exact_float32, in_mode, multiplying
from headstart.training.pixels import Pixels
from headstart.training.views import evaluation_views

__all__ = ["decision_values"]


def decision_values(
    network: nn.Module,
    pixels: Pixels,
    rows: npt.NDArray[np.int64],
    taken: Input,
    crop: Crop,
    *,
    device: torch.device,
    precision: Literal["fp32", "bf16"] = "fp32",
    batch_size: int = 256,
) -> npt.NDArray[np.float32]:
    """(n, K) float32 logits of n images, in the order of `rows`.

    The network computes in evaluation mode, without dropout and with batch norm's running
    statistics, and is afterwards in the mode in which it was. It is moved to the device.

    Parameters
    ----------
    rows
        (n,) which images of `pixels`, one or more.
    taken, crop
        What the network takes of each image.
    precision
        ``"bf16"`` multiplies in bfloat16 where that is safe (autocast).
    batch_size
        Images at once; changes nothing but rounding.
    """
    network.to(device).to(memory_format=torch.channels_last)
    plan = (rows[i : i + batch_size] for i in range(0, len(rows), batch_size))
    # Not around the move: parameters made in inference mode could never be trained again.
    with (
        torch.inference_mode(),
        in_mode(network, training=False),
        exact_float32(device),
        multiplying(device, precision),
    ):
        values = [
            network(evaluation_views(batch, taken, crop)).float() for batch in pixels.batches(plan)
        ]
    found: npt.NDArray[np.float32] = torch.cat(values).cpu().numpy()
    return found
