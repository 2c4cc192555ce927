"""OpenVINO as the runtime: float32 on the processor, 1.2 to 1.7 times torch's speed on AVX2.

Each image is a request of its own, computed by one thread, as many at a time as torch would use
threads. Threads that share one image wait for each other at every layer; these do not, and leave
the processor to the decoder whenever they are done. What is more, a feature then depends neither on
the batch nor on the number of threads.
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

# How far features may be from torch's, relative to each image's.
TOLERANCE = 1e-4
# Requests per thread in a call: the threads that wait for the last one wait seldom.
REQUESTS_PER_THREAD = 32
# Per thread, requests that are under way or ready: a thread that is done finds the next image
# without waiting for Python, whose lock the decoder holds as well.
READY_PER_THREAD = 2


class ConversionError(Exception):
    """OpenVINO cannot take this network, or gives other features; the text says what it did."""


class OpenVino:
    """Penultimate features of uint8 pixels, one image a request.

    Parameters
    ----------
    graph
        An ``openvino.Model`` from (1, size, size, 1 or 3) uint8 pixels to features.
    model
        What is known of the network.
    threads
        How many images are computed at a time.
    """

    name: Runtime = "openvino"

    def __init__(self, graph: Any, model: Model, threads: int) -> None:
        self.version = version("openvino")
        self.batch_size = REQUESTS_PER_THREAD * threads
        self._graph, self._model, self._threads = graph, model, threads
        self._queues: dict[int, Any] = {}

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """(n, size, size, 1 or 3) uint8 -> (n, feature_dim) float32."""
        values = np.empty((len(pixels), self._model.feature_dim), np.float32)

        def keep(request: Any, row: int) -> None:
            values[row] = request.get_output_tensor().data[0]

        queue = self._queue(pixels.shape[3])
        queue.set_callback(keep)
        for row in range(len(pixels)):
            # Not copied: the pixels are there until all are done.
            queue.start_async({0: pixels[row : row + 1]}, row, share_inputs=True)
        queue.wait_all()
        return values

    def _queue(self, channels: int) -> Any:
        """Compile the graph for grey or coloured pixels, once."""
        if channels not in self._queues:
            openvino = _import_openvino()
            self._graph.reshape([1, self._model.input_size, self._model.input_size, channels])
            options = {
                # Else it takes bfloat16 where the processor has it: not what fp32 promises.
                "INFERENCE_PRECISION_HINT": "f32",
                "INFERENCE_NUM_THREADS": self._threads,
                "NUM_STREAMS": self._threads,
                # Pinned to cores, they would wait for the decoder and for other processes there.
                "ENABLE_CPU_PINNING": False,
            }
            compiled = openvino.Core().compile_model(self._graph, "CPU", options)
            self._queues[channels] = openvino.AsyncInferQueue(
                compiled, READY_PER_THREAD * self._threads
            )
        return self._queues[channels]


class _Pixels(nn.Module):
    """A network that takes pixels: normalisation becomes part of the graph."""

    def __init__(self, extractor: "Extractor") -> None:
        super().__init__()
        self.extractor = extractor
        self.network = extractor.network

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(1, size, size, 1 or 3) uint8 -> (1, feature_dim)."""
        return self.network.penultimate(self.extractor.normalised(pixels))


def converted(extractor: "Extractor", model: Model) -> OpenVino:
    """Convert a float32 network that torch has ready on the processor, and try it.

    Raises
    ------
    ConversionError
        It does not convert, or its features of random pixels differ by more than `TOLERANCE`.
    """
    size = model.input_size
    # One of each: they are compiled apart.
    samples = [
        np.random.RandomState(0).randint(0, 256, (1, size, size, channels)).astype(np.uint8)
        for channels in (1, 3)
    ]
    try:
        runtime = OpenVino(_graph(extractor, samples[1]), model, torch.get_num_threads())
        found = np.concatenate([runtime(sample) for sample in samples])
    # Whatever OpenVINO, or torch while it is traced, may raise: torch can still do it.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConversionError(f"does not take the network ({reason})") from error
    expected = np.concatenate([extractor(sample) for sample in samples])
    # Features may be all zero, of a network that was never trained.
    size_of = np.maximum(np.linalg.norm(expected, axis=1), np.finfo(np.float32).tiny)
    difference = np.linalg.norm(found - expected, axis=1) / size_of
    # Written so that NaN is a difference.
    if not difference.max() <= TOLERANCE:
        raise ConversionError(
            f"gives other features (relative difference {difference.max():.1e}, "
            f"allowed {TOLERANCE:.0e})"
        )
    return runtime


def _graph(extractor: "Extractor", pixels: npt.NDArray[np.uint8]) -> Any:
    """Trace the network on one image's pixels and hand it to OpenVINO."""
    openvino = _import_openvino()
    with warnings.catch_warnings(), torch.inference_mode():
        # What OpenVINO reads is a trace by torch.jit, which newer releases of torch deprecate.
        warnings.filterwarnings("ignore", message=".*torch.jit.*is deprecated")
        # A network that looks at its input's shape in Python: the shape stays the same here.
        # Tracing looks at every attribute; transformers warns of those that it has renamed.
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        example = torch.from_numpy(pixels)
        # Unchecked: `converted` compares what becomes of it.
        module = _Pixels(extractor).eval()
        trace = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
        return openvino.convert_model(trace, example_input=example)


def _import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which otherwise reports each import to its makers."""
    # None makes importing it fail, upon which OpenVINO takes the empty stub that it brings along.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
