"""Decision values of a network on images."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from headstart.devices import out_of_memory
from headstart.errors import TrainingError
from headstart.spec import Crop
from headstart.training.augmentation import InputSpec, evaluation_views
from headstart.training.modes import exact_float32, in_mode, multiplying
from headstart.training.pixels import Batch, Pixels

__all__ = ["decision_values"]


def decision_values(
    network: nn.Module,
    pixels: Pixels,
    rows: npt.NDArray[np.int64],
    input_spec: InputSpec,
    crop: Crop,
    *,
    device: torch.device,
    precision: Literal["fp32", "bf16"] = "fp32",
    batch_size: int = 256,
) -> npt.NDArray[np.float32]:
    """Return (n, K) float32 logits of n images, in the order of `rows`.

    The network is moved to the device and computes in evaluation mode; its modes are restored.

    Parameters
    ----------
    rows
        (n,) image indices into `pixels`, at least one.
    input_spec, crop
        Input of the network, and which part of each image it sees.
    precision
        ``"bf16"`` uses autocast to bfloat16.
    batch_size
        Images per forward pass, halved on out-of-memory; changes rounding only.

    Raises
    ------
    TrainingError
        Out of memory with a single image.
    """
    network.to(device).to(memory_format=torch.channels_last)
    plan = (rows[i : i + batch_size] for i in range(0, len(rows), batch_size))
    # After the move: parameters created in inference mode could not be trained again.
    with (
        torch.inference_mode(),
        in_mode(network, training=False),
        exact_float32(device),
        multiplying(device, precision),
    ):
        values = [_logits(network, batch, input_spec, crop) for batch in pixels.batches(plan)]
    found: npt.NDArray[np.float32] = torch.cat(values).cpu().numpy()
    return found


def _logits(network: nn.Module, batch: Batch, input_spec: InputSpec, crop: Crop) -> Tensor:
    """Return (B, K) float32 logits; on out-of-memory, split the batch in halves."""
    n = len(batch.sizes)
    try:
        logits: Tensor = network(evaluation_views(batch, input_spec, crop)).float()
        return logits
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        if n == 1:
            raise TrainingError(
                f"the memory of '{batch.pixels.device}' does not hold one image of "
                f"{input_spec.side} pixels: use a smaller network, or fewer pixels "
                "(MODEL?size=...)",
                code="training.out_of_memory",
                batch_size=1,
            ) from error
    # Outside of the handler: the exception keeps the memory in use.
    halves = (
        Batch(batch.pixels[half], batch.sizes[half]) for half in (slice(n // 2), slice(n // 2, n))
    )
    return torch.cat([_logits(network, half, input_spec, crop) for half in halves])
