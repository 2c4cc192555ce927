"""What runs a classifier: a network in torch, an ONNX file in onnxruntime, a torch program."""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.special import expit, softmax

from headstart.datasets.images import first_line
from headstart.deploy.final_network import FinalNetwork
from headstart.errors import ExportError
from headstart.features.preprocess import NetworkInput
from headstart.files import storage_errors

__all__ = [
    "NetworkRunner",
    "OnnxRunner",
    "Probabilities",
    "ProgramRunner",
    "Runner",
    "lacking_operators",
    "require_packages",
]

Probabilities = npt.NDArray[np.float32]


class Runner(Protocol):
    """Decoded images -> probabilities."""

    def __call__(self, images: Sequence[Image.Image]) -> Probabilities:
        """Return (n, K) float32 probabilities of n images of mode L or RGB."""
        ...


class NetworkRunner:
    """A network in torch, with the code that measured it.

    Parameters
    ----------
    final
        The network; it is changed, and must not be used elsewhere.
    device
        As `RunContext.device`.
    """

    def __init__(self, final: FinalNetwork, device: Any = "auto") -> None:
        from headstart.devices import resolve_device

        self._final, self._device = final, resolve_device(device)
        self._extract: Any = None
        if final.preprocessing.side is None:
            from headstart.features.inference import Extractor

            self._extract = Extractor(final.network, final.model, "fp32", self._device)

    def __call__(self, images: Sequence[Image.Image]) -> Probabilities:
        scores = self.scores(images)
        shares = expit(scores) if self._final.several else softmax(scores, axis=1)
        return np.asarray(shares, dtype=np.float32)

    def scores(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """Return (n, K) float32 decision values."""
        import torch

        preprocessing, network = self._final.preprocessing, self._final.network
        if self._extract is None:
            return self._of_training(images)
        fit = NetworkInput(preprocessing.size, preprocessing.interpolation, preprocessing.view)
        features = self._extract(fit.stack([fit(image) for image in images]))
        with torch.inference_mode():
            scores = network.classifier(torch.from_numpy(features).to(self._device))
        values: npt.NDArray[np.float32] = scores.cpu().numpy()
        return values

    def _of_training(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        from headstart.datasets.image_cache import fit_side
        from headstart.methods.training_images import input_of
        from headstart.training import decision_values, load_pixels

        preprocessing = self._final.preprocessing
        side = preprocessing.side or preprocessing.size
        rows = _Rows([fit_side(image, side) for image in images])
        return decision_values(
            self._final.network,
            load_pixels(rows, self._device),
            np.arange(len(rows)),
            input_of(self._final.model),
            "central" if preprocessing.view == "central" else "full",
            device=self._device,
        )


class _Rows(list[npt.NDArray[np.uint8]]):
    """Decoded images, as `headstart.training.pixels.PixelRows`."""

    def pixels(self, row: int) -> npt.NDArray[np.uint8]:
        """Return an image, (height, width, 1 or 3) uint8."""
        return self[row]


class OnnxRunner:
    """An exported ONNX file in onnxruntime, on the CPU; images one by one, each of its own size."""

    def __init__(self, file: Path) -> None:
        require_packages("onnxruntime")
        import onnxruntime

        with storage_errors(file, reading=True):
            file.stat()
        options = onnxruntime.SessionOptions()
        # Warnings of its optimizer are no news of the network.
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(file), options, providers=["CPUExecutionProvider"]
            )
        # What onnxruntime raises derives from RuntimeError and from Exception, by version.
        except Exception as error:
            raise _not_loaded(file, error) from error

    def __call__(self, images: Sequence[Image.Image]) -> Probabilities:
        found = [self.run(_rgb(image)) for image in images]
        return np.concatenate(found)

    def run(self, pixels: npt.NDArray[np.uint8]) -> Probabilities:
        """Return (n, K) float32 probabilities of (n, height, width, 3) uint8 pixels."""
        try:
            (found,) = self._session.run(None, {"pixels": pixels})
        # An operator that fails on a size, or memory that ends: of many types.
        except Exception as error:
            raise _not_run("onnxruntime", pixels, error) from error
        return np.asarray(found, dtype=np.float32)


def _not_loaded(file: Path, error: Exception) -> ExportError:
    """Return the error for a file that onnxruntime refuses: which operators it lacks, if any."""
    text = str(error)
    pattern = r"Could not find an implementation for (\S+?)\(|(\S+) is not a registered function"
    operators = [next(filter(None, found)) for found in re.findall(pattern, text)]
    if operators:
        return lacking_operators("onnxruntime", operators)
    return ExportError(
        f"onnxruntime cannot load {file} ({first_line(error)}): export it again, or with --to "
        "torch",
        code="export.not_loaded",
        path=str(file),
    )


def lacking_operators(runtime: str, operators: Sequence[str]) -> ExportError:
    """Return the error for operators that a runtime does not have."""
    named = ", ".join(dict.fromkeys(operators))
    return ExportError(
        f"the network has operators that {runtime} lacks: {named}: export it with --to torch",
        code="export.operators",
        runtime=runtime,
        operators=list(dict.fromkeys(operators)),
    )


class ProgramRunner:
    """An exported torch program: torch alone runs it, no library of networks is needed."""

    def __init__(self, file: Path) -> None:
        import torch

        with storage_errors(file, reading=True):
            file.stat()
        try:
            program = torch.export.load(str(file))
            # Guards, which newer releases check, exclude images of a single row for no reason.
            checks = "check_guards" in signature(program.module).parameters
            self._program = program.module(**({"check_guards": False} if checks else {}))
        # A damaged archive, or one of another release of torch: of many types.
        except Exception as error:
            raise ExportError(
                f"torch {torch.__version__} cannot load {file} ({first_line(error)}): export it "
                "again with this release, or with --to onnx",
                code="export.not_loaded",
                path=str(file),
            ) from error

    def __call__(self, images: Sequence[Image.Image]) -> Probabilities:
        return np.concatenate([self.run(_rgb(image)) for image in images])

    def run(self, pixels: npt.NDArray[np.uint8]) -> Probabilities:
        """Return (n, K) float32 probabilities of (n, height, width, 3) uint8 pixels."""
        import torch

        try:
            with torch.inference_mode():
                found: Probabilities = self._program(torch.from_numpy(pixels)).numpy()
        except (RuntimeError, MemoryError) as error:
            raise _not_run("torch", pixels, error) from error
        return found


def _not_run(runtime: str, pixels: npt.NDArray[np.uint8], error: Exception) -> ExportError:
    """Return the error for a program that fails on an image."""
    _, height, width, _ = pixels.shape
    other = "torch" if runtime == "onnxruntime" else "onnx"
    return ExportError(
        f"{runtime} fails on an image of {height} x {width} pixels ({first_line(error)[:200]}): "
        f"export the network with --to {other}, or reduce such images",
        code="export.not_run",
        runtime=runtime,
        size=(height, width),
    )


def _rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Return (1, height, width, 3) uint8 pixels of an image of mode L or RGB."""
    return np.array(image.convert("RGB"))[None]


def require_packages(*names: str) -> None:
    """Raise ExportError unless these packages of the extra ``export`` are installed."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise ExportError(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed: "
            "pip install 'headstart[export]'",
            code="export.package_missing",
            packages=missing,
        )
