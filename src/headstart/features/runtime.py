"""Runtimes of the forward pass, and the choice between them.

Two runtimes give the same features to within 1e-4: torch, which supports every network and device,
and OpenVINO, the fastest on common CPUs. The choice is made without importing either.
"""

import os
from importlib.util import find_spec
from typing import Literal, Protocol, cast, get_args

import numpy as np
import numpy.typing as npt

from headstart.errors import DeviceError
from headstart.spec.setting import Precision

__all__ = ["RUNTIME", "FeatureRuntime", "Runtime", "choose_runtime"]

Runtime = Literal["torch", "openvino"]

# This environment variable overrides the choice of the runtime.
RUNTIME = "HEADSTART_RUNTIME"


class FeatureRuntime(Protocol):
    """A network prepared for one runtime.

    `name` is the runtime, `version` that of its package, `batch_size` the number of images to pass
    per call.
    """

    name: Runtime
    version: str
    batch_size: int

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return (n, feature_dim) float32 features of (n, size, size, 1 or 3) uint8 pixels."""
        ...


def choose_runtime(device: str, precision: Precision) -> Runtime:
    """Return the runtime for this type of device, ``"cpu"`` or ``"cuda"``, and precision.

    It is OpenVINO for float32 on a CPU if it is installed, else torch. $HEADSTART_RUNTIME
    overrides it.

    Raises
    ------
    DeviceError
        The runtime in $HEADSTART_RUNTIME is unknown, not installed, or does not support this.
    """
    supported, installed = (device, precision) == ("cpu", "fp32"), find_spec("openvino") is not None
    requested = os.environ.get(RUNTIME, "").lower()
    if not requested:
        return "openvino" if supported and installed else "torch"
    if requested not in get_args(Runtime):
        raise DeviceError(
            f"{RUNTIME}='{requested}' is no runtime: set it to {' or '.join(get_args(Runtime))}, "
            "or unset it",
            code="device.runtime_unknown",
            runtime=requested,
        )
    if requested == "openvino" and not installed:
        raise DeviceError(
            f"{RUNTIME}=openvino: OpenVINO is not installed: "
            f"pip install 'headstart[openvino]', or unset {RUNTIME}",
            code="device.runtime_missing",
            runtime=requested,
        )
    if requested == "openvino" and not supported:
        raise DeviceError(
            f"{RUNTIME}=openvino supports fp32 on a CPU only, not {precision} on '{device}': "
            f"use --device cpu --precision fp32, or unset {RUNTIME}",
            code="device.runtime_unsupported",
            runtime=requested,
        )
    return cast(Runtime, requested)
