"""Where arrays live: the processor or a GPU of this machine."""

import os

import torch

from headstart.errors import DeviceError
from headstart.workspace import Device

__all__ = ["BFLOAT16", "fast_bfloat16", "out_of_memory", "require_fast", "resolve_device"]


# This environment variable set to "off" computes as on a processor without bfloat16: to measure
# what others will see, and to reproduce their results.
BFLOAT16 = "HEADSTART_BFLOAT16"


def fast_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware, and may."""
    if os.environ.get(BFLOAT16, "").lower() == "off":
        return False
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Older releases of torch do not tell.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def require_fast(precision: str, device: torch.device) -> None:
    """Raise DeviceError where the device would have to imitate this precision.

    A processor without bfloat16 takes thirty times as long for it as for float32.
    """
    if precision == "bf16" and not fast_bfloat16(device):
        what = "GPU" if device.type == "cuda" else "processor"
        raise DeviceError(
            f"precision 'bf16' was asked for and this {what} has no fast bfloat16, which would "
            "make it many times slower: use --precision fp32"
        )


def out_of_memory(error: RuntimeError) -> bool:
    """Whether memory is short: a class of errors for GPUs, and words alone for processors."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def resolve_device(device: Device) -> torch.device:
    """Name the device that `device` means on this machine; DeviceError if there is none."""
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise DeviceError(
            "device 'cuda' was asked for and this machine has no usable NVIDIA GPU: "
            "use --device cpu or --device auto"
        )
    return torch.device("cuda" if available and device != "cpu" else "cpu")
