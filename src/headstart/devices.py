"""Where arrays live: the processor or a GPU of this machine."""

import torch

from headstart.errors import DeviceError
from headstart.workspace import Device

__all__ = ["resolve_device"]


def resolve_device(device: Device) -> torch.device:
    """Name the device that `device` means on this machine; DeviceError if there is none."""
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise DeviceError(
            "device 'cuda' was asked for and this machine has no usable NVIDIA GPU: "
            "use --device cpu or --device auto"
        )
    return torch.device("cuda" if available and device != "cpu" else "cpu")
