"""Forward passes: modes of a network, its logits in training, its decision values on images.

Modes are context managers; each restores the previous state.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from headstart.devices import out_of_memory
from headstart.errors import TrainingError
from headstart.spec import Crop
from headstart.training.augmentation import InputSpec, evaluation_views
from headstart.training.pixels import Batch, Pixels

__all__ = [
    "MultiHeadLogits",
    "decision_values",
    "exact_float32",
    "in_mode",
    "multiplying",
    "own_randomness",
    "seed_torch",
    "with_batch_norm_momentum",
]


@contextmanager
def in_mode(network: nn.Module, *, training: bool) -> Iterator[None]:
    """Set all modules to training or evaluation mode; restore each module's mode afterwards."""
    before = [(module, module.training) for module in network.modules()]
    network.train(training)
    try:
        yield
    finally:
        for module, was in before:
            module.training = was


@contextmanager
def with_batch_norm_momentum(network: nn.Module, momentum: float | None) -> Iterator[None]:
    """Set the momentum of all batch norms, in torch's convention; None changes nothing."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [norm.momentum for norm in norms]
    try:
        if momentum is not None:
            for norm in norms:
                norm.momentum = momentum
        yield
    finally:
        for norm, was in zip(norms, before, strict=True):
            norm.momentum = was


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Restore torch's random generators afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed the generators that `own_randomness` restores, and no other GPU's."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """Disable TF32 (it rounds float32 to 10 bits) and enable cuDNN's autotuner on a GPU."""
    if device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
        yield


def multiplying(device: torch.device, precision: str) -> torch.autocast:
    """Return autocast to bfloat16, disabled unless `precision` is ``"bf16"``.

    Enter it again after each update: autocast caches bfloat16 copies of the weights.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


class MultiHeadLogits(nn.Module):
    """Logits of a network's classifier, followed by those of its auxiliary classifiers.

    Parameters
    ----------
    network
        Images -> logits. Its method `all_logits` returns these and the auxiliary ones.
    auxiliary
        Whether auxiliary classifiers have a loss.

    Raises
    ------
    TrainingError
        `auxiliary` is set, but the network has no `all_logits` (raised at once) or no auxiliary
        classifier (raised by the first forward pass).
    """

    def __init__(self, network: nn.Module, *, auxiliary: bool) -> None:
        super().__init__()
        self.network, self.auxiliary = network, auxiliary
        if auxiliary and not callable(getattr(network, "all_logits", None)):
            raise TrainingError(
                "auxiliary_weight: expected a network that gives logits of auxiliary classifiers "
                f"(all_logits), found {type(network).__name__}: set it to 0",
                code="training.no_auxiliary",
                network=type(network).__name__,
            )

    def forward(self, views: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, side, side) float32 -> (B, K) logits of the classifier, then of auxiliary ones."""
        if self.auxiliary:
            every: tuple[Tensor, ...] = self.network.all_logits(views)  # type: ignore[operator]
            if len(every) < 2:
                raise TrainingError(
                    "auxiliary_weight: expected auxiliary classifiers, found none in "
                    f"{type(self.network).__name__}: set it to 0",
                    code="training.no_auxiliary",
                    network=type(self.network).__name__,
                )
            return every
        return (self.network(views),)


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
