"""Which library computes a network's forward pass, and the choice between them.

Two runtimes give the same features to 1e-4: torch, which runs every network everywhere, and
OpenVINO, the fastest on the processors that people have. What is asked here before any work is
answered without importing either.
"""

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, Protocol, cast, get_args

import numpy as np
import numpy.typing as npt

from headstart.errors import DeviceError
from headstart.spec import Model
from headstart.spec.setting import Precision

if TYPE_CHECKING:
    import torch

    from headstart.models.network import Network

__all__ = ["RUNTIME", "FeatureRuntime", "Runtime", "choose_runtime", "make_runtime"]

Runtime = Literal["torch", "openvino"]

# This environment variable names the runtime by hand: to compare them, or to do without one.
RUNTIME = "HEADSTART_RUNTIME"


class FeatureRuntime(Protocol):
    """A network made ready by one runtime.

    `name` is the runtime, `version` its package's, `batch_size` how many images a call should
    bring.
    """

    name: Runtime
    version: str
    batch_size: int

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """(n, size, size, 1 or 3) uint8 -> (n, feature_dim) float32."""
        ...


def choose_runtime(device: str, precision: Precision) -> Runtime:
    """Say which runtime will compute features on this type of device, ``"cpu"`` or ``"cuda"``.

    OpenVINO where it is installed and may: float32 on the processor. $HEADSTART_RUNTIME overrules.

    Raises
    ------
    DeviceError
        The runtime asked for is unknown, not installed, or cannot do this.
    """
    may, installed = (device, precision) == ("cpu", "fp32"), find_spec("openvino") is not None
    asked = os.environ.get(RUNTIME, "").lower()
    if not asked:
        return "openvino" if may and installed else "torch"
    if asked not in get_args(Runtime):
        raise DeviceError(
            f"{RUNTIME}='{asked}' is no runtime: set it to {' or '.join(get_args(Runtime))}, "
            "or unset it"
        )
    if asked == "openvino" and not installed:
        raise DeviceError(
            f"{RUNTIME}=openvino was asked for and OpenVINO is not installed: "
            f"pip install 'headstart[openvino]', or unset {RUNTIME}"
        )
    if asked == "openvino" and not may:
        raise DeviceError(
            f"{RUNTIME}=openvino computes fp32 on the processor, not {precision} on '{device}': "
            f"use --device cpu --precision fp32, or unset {RUNTIME}"
        )
    return cast(Runtime, asked)


def make_runtime(
    runtime: Runtime,
    network: "Network",
    model: Model,
    precision: Precision,
    device: "torch.device",
    note: Callable[[str], None],
) -> FeatureRuntime:
    """Make a network ready; by torch, with a note, where OpenVINO does not get it right.

    The network is changed and must not be used elsewhere.
    """
    from headstart.features.forward import Extractor

    extractor = Extractor(network, model, precision, device)
    if runtime == "torch":
        return extractor
    from headstart.features.openvino import ConversionError, converted

    try:
        return converted(extractor, model)
    except ConversionError as error:
        note(f"features of '{model.name}' come from torch, since OpenVINO {error}")
        return extractor
