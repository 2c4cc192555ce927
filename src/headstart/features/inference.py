"""Penultimate features of uint8 pixels: by torch on every device, and by OpenVINO on a processor.

Both give the same features to within 1e-4. For OpenVINO each image is one request, computed by one
thread, with as many requests in parallel as torch would use threads. Threads that share an image
synchronize at every layer; these do not: for float32 it is 1.2 to 1.7 times as fast as torch on
AVX2. Its features depend neither on the batch size nor on the number of threads.
"""

import ctypes
import sys
import warnings
from contextlib import nullcontext
from functools import cache, cached_property
from importlib.metadata import version
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from headstart.devices import out_of_memory
from headstart.errors import DeviceError
from headstart.features.runtime import Runtime
from headstart.interrupts import interrupts_wait
from headstart.shown_text import first_line
from headstart.spec import Model
from headstart.spec.setting import Precision
from headstart.threads import OF_LONG_OPERATIONS, crowded, map_single_threaded, sharing_cpus

if TYPE_CHECKING:
    from headstart.models.network import Network

__all__ = ["ConversionError", "Extractor", "converted", "fold_batch_norms"]


# Images of a forward pass. On a CPU more are not faster and need more memory.
BATCH_SIZE = {"cpu": 16, "cuda": 256}

# Images of a call per thread of a CPU: many, since threads that compute an image or a few each wait
# for the last one of a call.
CALL_PER_THREAD = 32

# Images of a forward pass by one of several threads that compute one each.
PART_SIZE = 4

# Multiply-adds of an image from which on they do so: below, they wait for Python's lock instead of
# each other.
PARTS_ARITHMETIC = 200e6

# Networks of these packages keep nothing of an image in their modules, at most what all images of
# its size share: several forward passes may run at a time.
STATELESS = ("headstart", "timm", "torch", "torchvision")

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
        self.device, self._size = device, model.input_size
        self._pass_size = BATCH_SIZE[device.type]
        self.batch_size = self._pass_size
        if device.type == "cpu":
            self.batch_size = CALL_PER_THREAD * torch.get_num_threads()

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return (n, feature_dim) float32 features of (n, size, size, 1 or 3) uint8 pixels.

        On out-of-memory, the batch is split in halves.
        """
        try:
            # No TF32: it rounds float32 to 10 bits.
            with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
                return self._features(pixels)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            half = len(pixels) // 2
            if not half:
                instead = "a smaller network" if self.device.type == "cpu" else "--device cpu"
                raise DeviceError(
                    f"the memory of '{self.device}' does not hold one image: use {instead}",
                    code="device.memory",
                    device=str(self.device),
                ) from error
        return np.concatenate([self(pixels[:half]), self(pixels[half:])])

    def _features(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        with sharing_cpus(OF_LONG_OPERATIONS):
            # Beside other processes, threads that share an operation wait for each other.
            alone = len(pixels) > PART_SIZE and crowded() and self._takes_parts
            size = PART_SIZE if alone else self._pass_size
            starts = range(0, max(1, len(pixels)), size)
            parts = [pixels[start : start + size] for start in starts]
            if alone:
                return np.concatenate(map_single_threaded(self._forward_alone, parts))
            return np.concatenate([self._forward(part) for part in parts])

    @cached_property
    def _takes_parts(self) -> bool:
        """Whether several threads may compute an image or a few each, and are faster so."""
        if self.device.type != "cpu" or not _stateless(self.network):
            return False
        pixels = torch.zeros(1, self._size, self._size, 3, dtype=torch.uint8)
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            self.network.penultimate(self.normalised(pixels))
        # torch counts a multiplication and an addition as two.
        return bool(counter.get_total_flops() // 2 >= PARTS_ARITHMETIC)

    def _forward_alone(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        with _SameConvolutions() if self.dtype == torch.float32 else nullcontext():
            return self._forward(pixels)

    @torch.inference_mode()
    def _forward(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        images = self.normalised(torch.from_numpy(pixels).to(self.device, non_blocking=True))
        values: npt.NDArray[np.float32] = self.network.penultimate(images).float().cpu().numpy()
        return values

    def normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (n, 3, size, size) network input for (n, size, size, 1 or 3) uint8 pixels."""
        # Broadcasting expands grey to three channels. (n, size, size, 3) in memory is torch's
        # channels-last layout of (n, 3, size, size).
        images = torch.addcmul(self._shift, pixels.float(), self._scale).to(self.dtype)
        return images.permute(0, 3, 1, 2)


class _SameConvolutions(TorchFunctionMode):
    """In one thread, convolve as in several: so features are the same bits.

    For convolutions of 1 x 1 torch does not take oneDNN where it has one thread and fewer than 16
    images (`use_mkldnn` of its aten/src/ATen/native/Convolution.cpp).
    """

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call a function of torch."""
        return (_convolve if function is torch.conv2d else function)(*args, **(kwargs or {}))


def _convolve(
    images: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> torch.Tensor:
    if (
        weight.shape[2:] != (1, 1)
        or weight.dtype != torch.float32
        or isinstance(padding, str)
        or images.dim() != 4
        or not torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    ):
        return torch.conv2d(images, weight, bias, stride, padding, dilation, groups)
    padding, stride, dilation = (
        (value, value) if isinstance(value, int) else value for value in (padding, stride, dilation)
    )
    convolve: Any = torch.mkldnn_convolution
    result: torch.Tensor = convolve(images, weight, bias, padding, stride, dilation, groups)
    return result


def _stateless(network: nn.Module) -> bool:
    """Return whether forward passes may run at a time: no module keeps anything of an image."""
    return all(
        type(module).__module__.partition(".")[0] in STATELESS
        and not (module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))
        for module in network.modules()
    )


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


# Largest relative difference to torch's features, per image.
TOLERANCE = 1e-4

# Running or queued requests per thread: a thread that finishes gets the next image without waiting
# for Python, whose lock the decoder needs as well.
READY_PER_THREAD = 2


class ConversionError(Exception):
    """OpenVINO does not support this network, or its features differ; the text has the reason."""


class OpenVino:
    """Penultimate features of uint8 pixels, one image per request.

    Parameters
    ----------
    graph
        An ``openvino.Model`` from (1, size, size, 1 or 3) uint8 pixels to features.
    model
        Description of the network.
    threads
        Number of images to compute in parallel.
    """

    name: Runtime = "openvino"

    def __init__(self, graph: Any, model: Model, threads: int) -> None:
        self.version = version("openvino")
        self.batch_size = CALL_PER_THREAD * threads
        self._graph, self._model, self._threads = graph, model, threads
        self._requests: dict[int, list[Any]] = {}

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return (n, feature_dim) float32 features of (n, size, size, 1 or 3) uint8 pixels."""
        values = np.empty((len(pixels), self._model.feature_dim), np.float32)
        requests = self._requests_for(pixels.shape[3])
        ahead = len(requests)
        try:
            for row in range(len(pixels) + ahead):
                request = requests[row % ahead]
                if 0 <= row - ahead < len(pixels):
                    request.wait()
                    values[row - ahead] = request.get_output_tensor().data[0]
                if row < len(pixels):
                    request.start_async({0: pixels[row : row + 1]}, share_inputs=True)
        finally:
            # They read `pixels`, also where Ctrl-C ends the loop.
            for request in requests:
                request.wait()
        return values

    def _requests_for(self, channels: int) -> list[Any]:
        """Return requests for 1 or 3 channels; compile the graph on first use.

        They have no callbacks: a thread that waits for Python's lock to call one aborts a process
        that ends meanwhile.
        """
        if channels not in self._requests:
            self._graph.reshape([1, self._model.input_size, self._model.input_size, channels])
            options = {
                # By default it uses bfloat16 if the CPU supports it.
                "INFERENCE_PRECISION_HINT": "f32",
                "INFERENCE_NUM_THREADS": self._threads,
                "NUM_STREAMS": self._threads,
                # Pinned threads would wait for the decoder and other processes on their cores.
                "ENABLE_CPU_PINNING": False,
            }
            compiled = _core().compile_model(self._graph, "CPU", options)
            self._requests[channels] = [
                compiled.create_infer_request() for _ in range(READY_PER_THREAD * self._threads)
            ]
        return self._requests[channels]


class _Pixels(nn.Module):
    """A network on uint8 pixels: normalization becomes part of the graph."""

    def __init__(self, extractor: "Extractor") -> None:
        super().__init__()
        self.extractor = extractor
        self.network = extractor.network

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (1, feature_dim) features of (1, size, size, 1 or 3) uint8 pixels."""
        return self.network.penultimate(self.extractor.normalised(pixels))


def converted(extractor: "Extractor", model: Model) -> OpenVino:
    """Convert a float32 network on the CPU to OpenVINO, and compare its features with torch's.

    Raises
    ------
    ConversionError
        It cannot be converted, or features of random pixels differ by more than `TOLERANCE`.
    """
    size = model.input_size
    # Grey and colour are compiled separately.
    samples = [
        np.random.RandomState(0).randint(0, 256, (1, size, size, channels)).astype(np.uint8)
        for channels in (1, 3)
    ]
    try:
        runtime = OpenVino(_graph(extractor, samples[1]), model, torch.get_num_threads())
        found = np.concatenate([runtime(sample) for sample in samples])
    # OpenVINO, or torch's tracer, may raise anything: the torch runtime remains.
    except Exception as error:
        raise ConversionError(f"does not take the network ({first_line(error)})") from error
    expected = np.concatenate([extractor(sample) for sample in samples])
    # Features of an untrained network may be all zero.
    size_of = np.maximum(np.linalg.norm(expected, axis=1), np.finfo(np.float32).tiny)
    difference = np.linalg.norm(found - expected, axis=1) / size_of
    # Written so that NaN counts as a difference.
    if not difference.max() <= TOLERANCE:
        raise ConversionError(
            f"gives other features (relative difference {difference.max():.1e}, "
            f"allowed {TOLERANCE:.0e})"
        )
    return runtime


def _graph(extractor: "Extractor", pixels: npt.NDArray[np.uint8]) -> Any:
    """Trace the network on one image and convert it to OpenVINO."""
    openvino = _import_openvino()
    with warnings.catch_warnings(), torch.inference_mode():
        # OpenVINO reads torch.jit traces, which newer releases of torch deprecate.
        warnings.filterwarnings("ignore", message=".*torch.jit.*is deprecated")
        # Tracing accesses every attribute, and transformers warns about renamed ones. The tracer
        # warns about networks that read their input's shape in Python; here it is constant.
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        example = torch.from_numpy(pixels)
        # No check: `converted` compares the features.
        module = _Pixels(extractor).eval()
        trace = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
        # It asks Python for each part of the trace, and takes Ctrl-C there for an operator that it
        # lacks.
        with interrupts_wait():
            return openvino.convert_model(trace, example_input=example)


@cache
def _core() -> Any:
    """Return OpenVINO's core, which has to live as long as the process.

    Its processor plug-in gives this thread a stack for signals, and frees it when the last network
    of the last core goes: a Ctrl-C after that would be a segmentation fault.
    """
    return _import_openvino().Core()


def _import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which would report each import."""
    # None makes that import fail; OpenVINO then uses its own empty stub.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
