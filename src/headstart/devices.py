"""Devices: the CPU, or one NVIDIA GPU of this machine. Does not import torch until it is used."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from headstart.errors import DeviceError

if TYPE_CHECKING:
    import torch

__all__ = [
    "BFLOAT16",
    "Device",
    "fast_bfloat16",
    "memory_of",
    "out_of_memory",
    "require_fast",
    "resolve_device",
]

# What a user may ask for; `resolve_device` makes a torch.device of it.
Device = Literal["auto", "cpu", "cuda"]
# If this environment variable is "off", bfloat16 counts as unsupported. This reproduces results of
# machines without it.
BFLOAT16 = "HEADSTART_BFLOAT16"
# Memory limit of a container: missing outside one, "max" if there is no limit.
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


def fast_bfloat16(device: "torch.device") -> bool:
    """Return whether the device multiplies bfloat16 matrices in hardware (and BFLOAT16 is on)."""
    import torch

    if os.environ.get(BFLOAT16, "").lower() == "off":
        return False
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Older releases of torch have no such function.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def require_fast(precision: str, device: "torch.device") -> None:
    """Raise DeviceError if the device would have to emulate this precision.

    A CPU without bfloat16 takes thirty times as long for it as for float32.
    """
    if precision == "bf16" and not fast_bfloat16(device):
        what = "GPU" if device.type == "cuda" else "CPU"
        raise DeviceError(
            f"precision 'bf16' is unsupported: this {what} has no fast bfloat16 and would be many "
            "times slower: use --precision fp32",
            code="device.bfloat16_slow",
        )


def out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error means out of memory: torch has a class for GPUs, none for CPUs."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def resolve_device(device: Device) -> "torch.device":
    """Return the torch device that `device` means here; "auto" is the GPU if there is one.

    Raises
    ------
    DeviceError
        ``"cuda"`` without a usable NVIDIA GPU.
    """
    import torch

    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise DeviceError(
            "device 'cuda' is missing: this machine has no usable NVIDIA GPU: use "
            "--device cpu or --device auto",
            code="device.missing",
        )
    return torch.device("cuda" if available and device != "cpu" else "cpu")


def memory_of(device: "torch.device") -> int:
    """Return a GPU's free memory, or a CPU's total memory within a container's limit, in bytes."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = CONTAINER_LIMIT.read_text().strip() if CONTAINER_LIMIT.exists() else "max"
    return min(memory, int(limit)) if limit.isdigit() else memory
