"""The OpenVINO runtime: float32 on a CPU, 1.2 to 1.7 times as fast as torch on AVX2.

Each image is one request, computed by one thread, with as many requests in parallel as torch would
use threads. Threads that share an image synchronize at every layer; these do not. And features
depend neither on the batch size nor on the number of threads.
"""

import sys
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from headstart.features.runtime import Runtime
from headstart.spec import Model

if TYPE_CHECKING:
    from headstart.features.forward import Extractor

__all__ = ["TOLERANCE", "ConversionError", "OpenVino", "converted"]

# Largest relative difference to torch's features, per image.
TOLERANCE = 1e-4
# Requests per thread and call: many, since threads wait for the last one of a call.
REQUESTS_PER_THREAD = 32
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
        self.batch_size = REQUESTS_PER_THREAD * threads
        self._graph, self._model, self._threads = graph, model, threads
        self._queues: dict[int, Any] = {}

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return (n, feature_dim) float32 features of (n, size, size, 1 or 3) uint8 pixels."""
        values = np.empty((len(pixels), self._model.feature_dim), np.float32)

        def keep(request: Any, row: int) -> None:
            values[row] = request.get_output_tensor().data[0]

        queue = self._queue(pixels.shape[3])
        queue.set_callback(keep)
        for row in range(len(pixels)):
            # No copy: `pixels` outlives the requests.
            queue.start_async({0: pixels[row : row + 1]}, row, share_inputs=True)
        queue.wait_all()
        return values

    def _queue(self, channels: int) -> Any:
        """Return the request queue for 1 or 3 channels; compile the graph on first use."""
        if channels not in self._queues:
            openvino = _import_openvino()
            self._graph.reshape([1, self._model.input_size, self._model.input_size, channels])
            options = {
                # By default it uses bfloat16 if the CPU supports it.
                "INFERENCE_PRECISION_HINT": "f32",
                "INFERENCE_NUM_THREADS": self._threads,
                "NUM_STREAMS": self._threads,
                # Pinned threads would wait for the decoder and other processes on their cores.
                "ENABLE_CPU_PINNING": False,
            }
            compiled = openvino.Core().compile_model(self._graph, "CPU", options)
            self._queues[channels] = openvino.AsyncInferQueue(
                compiled, READY_PER_THREAD * self._threads
            )
        return self._queues[channels]


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
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConversionError(f"does not take the network ({reason})") from error
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
        return openvino.convert_model(trace, example_input=example)


def _import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which would report each import."""
    # None makes that import fail; OpenVINO then uses its own empty stub.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
