"""A network made ready to give features fast: folded, laid out, cast, on its device."""

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

# On a CPU larger batches are not faster, they only take memory.
BATCH_SIZE = {"cpu": 16, "cuda": 256}
DTYPE = {"fp32": torch.float32, "bf16": torch.bfloat16}


def keep_freed_memory() -> None:
    """Have the C library keep large blocks that are freed, to be used again by the next batch.

    glibc gives blocks over 32 MB back at once, and the kernel zeroes them anew for each layer of
    each batch: 1.6 times the time of a float32 forward pass of EfficientNet-Lite0. Where there is
    no glibc nothing happens.
    """
    trim_threshold, mmap_threshold = -1, -3  # mallopt's names for them, from malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, 1 << 30)


class Extractor:
    """Penultimate features of uint8 pixels by torch: the `FeatureRuntime` that does it all.

    Parameters
    ----------
    network
        The float32 network in evaluation mode; it is changed and must not be used elsewhere.
    model
        What is known of it: its normalisation.
    precision
        Of the network's arithmetic; features come back as float32.
    device
        Where to compute.
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
        """(n, size, size, 1 or 3) uint8 -> (n, feature_dim) float32.

        A batch that does not fit into the device's memory is done in halves.
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
        # TF32 rounds to 10 bits: not what fp32 promises.
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            features = self.network.penultimate(images)
        values: npt.NDArray[np.float32] = features.float().cpu().numpy()
        return values

    def normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """(n, size, size, 1 or 3) uint8 -> (n, 3, size, size), what the network takes."""
        # Grey becomes three channels by broadcasting. (n, size, size, 3) in memory is what torch
        # calls channels-last (n, 3, size, size).
        images = torch.addcmul(self._shift, pixels.float(), self._scale).to(self.dtype)
        return images.permute(0, 3, 1, 2)


def fold_batch_norms(network: "Network", input_shape: tuple[int, ...]) -> "Network":
    """Fold each batch norm that follows a convolution into it; the function stays the same.

    Which norm follows which convolution is read off the order of submodules, which holds for the
    usual networks and is no law. So the outcome is compared with the network on random input:
    where they differ by more than rounding, the network stays as it was.
    """
    before = dict(network.named_modules())
    random = torch.randn(input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network.penultimate(random)
        replaced = _fold_children(network)
        folded = network.penultimate(random)
    # Also true where a feature is NaN, so that such a network is left alone.
    if not (folded - expected).abs().max() <= 1e-4 * expected.abs().max():
        for name in replaced:
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, before[name])
    return network


def _fold_children(module: nn.Module, prefix: str = "") -> list[str]:
    """Fold in `module` and below; give the names of what was replaced."""
    replaced = []
    children = list(module.named_children())
    for (conv_name, conv), (norm_name, norm) in pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
            # timm's norms may carry an activation, which stays.
            setattr(module, norm_name, getattr(norm, "act", nn.Identity()))
            replaced += [prefix + conv_name, prefix + norm_name]
    for name, child in module.named_children():
        replaced += _fold_children(child, f"{prefix}{name}.")
    return replaced
