"""Networks run bare by other runtimes, on pixels that are in memory already: rivals of features."""

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from headstart import models
from headstart.features.inference import _import_openvino
from headstart.models.network import Network
from headstart.spec import Model

__all__ = ["BATCH", "MODELS", "RIVALS", "network_of"]

# Speed does not depend on the weights, so timm's networks have random ones.
NAMES = {
    "efficientnet_lite0": "efficientnet_lite0",
    "resnet50": "resnet50?weights=random",
    "mobilenetv2_100": "mobilenet_v2?weights=random",
}
MODELS = {
    name: models.find(found).model_copy(update={"name": name}) for name, found in NAMES.items()
}
BATCH = 16

Bare = Callable[[int], None]


def network_of(model: Model) -> Network:
    """Build the network, in evaluation mode."""
    return models.load(model)


class Penultimate(nn.Module):
    """The part that is measured, as a module."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, size, size) -> (n, feature_dim)."""
        return self.network.penultimate(images)


def some_batch(model: Model, n: int = BATCH) -> torch.Tensor:
    """Draw normalised images."""
    size = (n, 3, model.input_size, model.input_size)
    return torch.randn(size, generator=torch.Generator().manual_seed(0))


def by_torch(
    model: Model, device: torch.device, layout: torch.memory_format, *, compiled: bool
) -> Bare:
    """Return the network as torch runs it, features brought to the processor."""
    module: Callable[[torch.Tensor], torch.Tensor] = (
        Penultimate(network_of(model)).to(device).to(memory_format=layout)
    )
    batch = some_batch(model).to(device).to(memory_format=layout)
    if compiled:
        module = torch.compile(module)

    def run(n_images: int) -> None:
        # Set here, since it holds for the thread.
        with torch.no_grad():
            for _ in range(n_images // BATCH):
                module(batch).cpu()

    return run


def eager(model: Model, device: torch.device) -> Bare:
    """Plain torch."""
    return by_torch(model, device, torch.contiguous_format, compiled=False)


def channels_last(model: Model, device: torch.device) -> Bare:
    """Plain torch in the layout that convolutions like better."""
    return by_torch(model, device, torch.channels_last, compiled=False)


def torch_compile(model: Model, device: torch.device) -> Bare:
    """torch.compile on top of that."""
    return by_torch(model, device, torch.channels_last, compiled=True)


def onnxruntime(model: Model, device: torch.device) -> Bare | None:
    """Run by onnxruntime on the processor; None where it is not installed."""
    if device.type != "cpu" or not (find_spec("onnxruntime") and find_spec("onnx")):
        return None
    import onnxruntime as ort

    batch = some_batch(model)
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = f"{folder}/network.onnx"
        torch.onnx.export(Penultimate(network_of(model)), (batch,), file, dynamo=False)
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: batch.numpy()}

    def run(n_images: int) -> None:
        for _ in range(n_images // BATCH):
            session.run(None, feed)

    return run


def openvino_batches(model: Model, device: torch.device) -> Bare | None:
    """OpenVINO, all threads on one batch."""
    compiled = _openvino(model, device, BATCH, streams=1)
    if compiled is None:
        return None
    request, batch = compiled.create_infer_request(), some_batch(model).numpy()

    def run(n_images: int) -> None:
        for _ in range(n_images // BATCH):
            request.infer({0: batch})

    return run


def openvino_streams(model: Model, device: torch.device) -> Bare | None:
    """OpenVINO, an image a thread."""
    threads = torch.get_num_threads()
    compiled = _openvino(model, device, 1, streams=threads)
    if compiled is None:
        return None
    queue, image = (
        _import_openvino().AsyncInferQueue(compiled, threads),
        some_batch(model, 1).numpy(),
    )

    def run(n_images: int) -> None:
        for _ in range(n_images):
            queue.start_async({0: image})
        queue.wait_all()

    return run


def _openvino(model: Model, device: torch.device, batch: int, streams: int) -> Any:
    if device.type != "cpu" or not find_spec("openvino"):
        return None
    openvino = _import_openvino()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = openvino.convert_model(
            Penultimate(network_of(model)), example_input=some_batch(model, batch)
        )
    graph.reshape(list(some_batch(model, batch).shape))
    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": streams,
    }
    return openvino.Core().compile_model(graph, "CPU", options)


RIVALS: dict[str, Callable[[Model, torch.device], Bare | None]] = {
    "eager": eager,
    "channels-last": channels_last,
    "torch.compile": torch_compile,
    "onnxruntime": onnxruntime,
    "openvino bare, batches": openvino_batches,
    "openvino bare, streams": openvino_streams,
}
