"""Feature extraction with torch: folded batch norms, channels-last, cast, on its device."""

import ctypes
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from headstart.devices import out_of_memory
from headstart.errors import DeviceError
from headstart.features.runtime import Runtime
from headstart.spec import Model
from headstart.spec.setting import Precision

if TYPE_CHECKING:
    from headstart.models.network import Network

__all__ = ["Extractor", "fold_batch_norms", "keep_freed_memory"]

# On a CPU larger batches are not faster and need more memory.
BATCH_SIZE = {"cpu": 16, "cuda": 256}
DTYPE = {"fp32": torch.float32, "bf16": torch.bfloat16}


def keep_freed_memory() -> None:
    """Make glibc keep large freed blocks for reuse by the next batch.

    glibc returns blocks over 32 MB to the kernel at once, and the kernel zeroes them again for
    each layer of each batch. This makes a float32 forward pass of EfficientNet-Lite0 take 1.6 times
    as long. Without glibc this function does nothing.
    """
    trim_threshold, mmap_threshold = -1, -3  # mallopt's names for them, from malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, 1 << 30)


class Extractor:
    """Penultimate features of uint8 pixels by torch: a `FeatureRuntime` for every network.

    Parameters
    ----------
    network
        The float32 network in evaluation mode; it is modified and must not be used elsewhere.
    model
        Its description, for the normalization.
    precision
        Precision of the network's arithmetic; features are returned as float32.
    device
        Device to compute on.
    """

    name: Runtime = "torch"

    def __init__(
        self, network: "Network", model: Model, precision: Precision, device: torch.device
    ) -> None:
        self.version = str(torch.__version__)
        size = (2, 3, model.input_size, model.input_size)
        network = fold_batch_norms(network, size)
        self.dtype = DTYPE[precision]
        self.network = network.to(device, self.dtype).to(memory_format=torch.channels_last)
        # (pixel / 255 - mean) / std as one multiplication and one addition.
        self._scale = 1 / (255 * torch.tensor(model.std, device=device))
        self._shift = -torch.tensor(model.mean, device=device) / torch.tensor(
            model.std, device=device
        )
        if device.type == "cpu":
            keep_freed_memory()
        self.device = device
        self.batch_size = BATCH_SIZE[device.type]

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return (n, feature_dim) float32 features of (n, size, size, 1 or 3) uint8 pixels.

        On out-of-memory, the batch is split in halves.
        """
        try:
            return self._forward(pixels)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            half = len(pixels) // 2
            if not half:
                instead = "a smaller network" if self.device.type == "cpu" else "--device cpu"
                raise DeviceError(
                    f"the memory of '{self.device}' does not hold one image: use {instead}"
                ) from error
        return np.concatenate([self(pixels[:half]), self(pixels[half:])])

    @torch.inference_mode()
    def _forward(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        images = self.normalised(torch.from_numpy(pixels).to(self.device, non_blocking=True))
        # No TF32: it rounds float32 to 10 bits.
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            features = self.network.penultimate(images)
        values: npt.NDArray[np.float32] = features.float().cpu().numpy()
        return values

    def normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (n, 3, size, size) network input for (n, size, size, 1 or 3) uint8 pixels."""
        # Broadcasting expands grey to three channels. (n, size, size, 3) in memory is torch's
        # channels-last layout of (n, 3, size, size).
        images = torch.addcmul(self._shift, pixels.float(), self._scale).to(self.dtype)
        return images.permute(0, 3, 1, 2)


def fold_batch_norms(network: "Network", input_shape: tuple[int, ...]) -> "Network":
    """Fold each batch norm into the convolution before it, and check that outputs stay the same.

    The order of submodules decides which norm follows which convolution. This holds for the usual
    networks, but is not guaranteed. So outputs on random input are compared; if they differ by
    more than rounding, the network is restored.
    """
    before = dict(network.named_modules())
    random = torch.randn(input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network.penultimate(random)
        replaced = _fold_children(network)
        folded = network.penultimate(random)
    # Written so that NaN counts as a difference.
    if not (folded - expected).abs().max() <= 1e-4 * expected.abs().max():
        for name in replaced:
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, before[name])
    return network


def _fold_children(module: nn.Module, prefix: str = "") -> list[str]:
    """Fold in `module` and its submodules; return the names of replaced modules."""
    replaced = []
    children = list(module.named_children())
    for (conv_name, conv), (norm_name, norm) in pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
            # Keep the activation that timm's norms may include.
            setattr(module, norm_name, getattr(norm, "act", nn.Identity()))
            replaced += [prefix + conv_name, prefix + norm_name]
    for name, child in module.named_children():
        replaced += _fold_children(child, f"{prefix}{name}.")
    return replaced
