"""What runs a classifier, in torch, onnxruntime or timm, and what each gives on the test images."""

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from inspect import signature
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.special import expit, softmax

from headstart import datasets, metrics
from headstart.context import RunContext
from headstart.datasets import Images
from headstart.datasets.images import map_ahead
from headstart.deploy.final_network import FinalNetwork
from headstart.errors import ExportError
from headstart.features.preprocess import NetworkInput
from headstart.files import storage_errors
from headstart.shown_text import first_line
from headstart.spec import Prediction, Result
from headstart.spec.formatting import count
from headstart.stats import wilson_interval

__all__ = [
    "Comparison",
    "FileRunner",
    "NetworkRunner",
    "OnnxRunner",
    "Probabilities",
    "ProgramRunner",
    "Runner",
    "TimmRunner",
    "batches",
    "check_same",
    "compare",
    "lacking_operators",
    "latency",
    "require_packages",
    "score_losses",
    "stored_probabilities",
    "tested_images",
]

BATCH = 16
# Latency: passes before the first that counts, at most so many that count, in so many seconds.
WARM_UP, PASSES, SECONDS = 3, 50, 5.0
# Loss of the metric, a proportion, that the user is warned of.
LOSS = 0.01
# Of what timm builds, relative to the largest logit.
LOGITS_TOLERANCE = 1e-4

Item = TypeVar("Item")
Probabilities = npt.NDArray[np.float32]


def probabilities(scores: npt.NDArray[np.floating], several: bool) -> Probabilities:
    """Return (n, K) float32 probabilities of decision values; independent ones of `several`."""
    shares = expit(scores) if several else softmax(scores, axis=1)
    return np.asarray(shares, dtype=np.float32)


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield items in lists of `size`, the last one perhaps shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


class Runner(Protocol):
    """Decoded images -> probabilities."""

    def __call__(self, images: Sequence[Image.Image]) -> Probabilities:
        """Return (n, K) float32 probabilities of n images of mode L or RGB."""
        ...


class NetworkRunner:
    """A network in torch, with the code that measured it.

    The network is changed, and must not be used elsewhere.
    """

    def __init__(self, final: FinalNetwork, device: Any = "auto") -> None:
        from headstart.devices import resolve_device

        self._final, self._device = final, resolve_device(device)
        self._extract: Any = None
        if final.preprocessing.side is None:
            from headstart.features.inference import Extractor

            self._extract = Extractor(final.network, final.model, "fp32", self._device)

    def __call__(self, images: Sequence[Image.Image]) -> Probabilities:
        return probabilities(self.scores(images), self._final.several)

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


class FileRunner(ABC):
    """An exported file, on the CPU: images one by one, each of its own size."""

    runtime: ClassVar[str]
    # The form to export instead where an image fails.
    other: ClassVar[str]

    def __call__(self, images: Sequence[Image.Image]) -> Probabilities:
        return np.concatenate([self.run(np.array(one.convert("RGB"))[None]) for one in images])

    def run(self, pixels: npt.NDArray[np.uint8]) -> Probabilities:
        """Return (n, K) float32 probabilities of (n, height, width, 3) uint8 pixels."""
        try:
            return np.asarray(self._run(pixels), dtype=np.float32)
        # An operator that fails on a size, or memory that ends: of many types.
        except Exception as error:
            _, height, width, _ = pixels.shape
            raise ExportError(
                f"{self.runtime} fails on an image of {height} x {width} pixels "
                f"({first_line(error)[:200]}): export the network with --to {self.other}, or "
                "reduce such images",
                code="export.not_run",
                runtime=self.runtime,
                size=(height, width),
            ) from error

    @abstractmethod
    def _run(self, pixels: npt.NDArray[np.uint8]) -> Any:
        """Return what the file gives for the pixels of `run`."""


class OnnxRunner(FileRunner):
    """An exported ONNX file in onnxruntime."""

    runtime, other = "onnxruntime", "torch"

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

    def _run(self, pixels: npt.NDArray[np.uint8]) -> Any:
        return self._session.run(None, {"pixels": pixels})[0]


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


class ProgramRunner(FileRunner):
    """An exported torch program: torch alone runs it, no library of networks is needed."""

    runtime, other = "torch", "onnx"

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

    def _run(self, pixels: npt.NDArray[np.uint8]) -> Any:
        import torch

        with torch.inference_mode():
            return self._program(torch.from_numpy(pixels)).numpy()


class TimmRunner:
    """What timm alone makes of a folder: its network and its own transform of images.

    Raises
    ------
    ExportError
        The folder does not give the network that was written (``export.differs``).
    """

    def __init__(self, folder: Path, final: FinalNetwork) -> None:
        import timm
        import torch

        self._several = final.several
        self._network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        data = timm.data.resolve_model_data_config(self._network)
        self._transform = timm.data.create_transform(**data, is_training=False)
        size = final.preprocessing.size
        images = torch.randn((2, 3, size, size), generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            expected, found = final.network(images), self._network(images)
        difference = float((expected - found).abs().max())
        # Written so that NaN counts as a difference.
        if not difference <= LOGITS_TOLERANCE * float(expected.abs().max()):
            raise ExportError(
                f"timm builds another network of this folder: its logits differ by up to "
                f"{difference:.2g}; nothing was written: use --to onnx or --to torch",
                code="export.differs",
                name="timm",
                largest=difference,
                tolerance=LOGITS_TOLERANCE,
            )

    def __call__(self, images: Sequence[Image.Image]) -> Probabilities:
        import torch

        with torch.inference_mode():
            batch = torch.stack([self._transform(image.convert("RGB")) for image in images])
            return probabilities(self._network(batch).numpy(), self._several)


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


@dataclass(frozen=True)
class Comparison:
    """What one file or runtime gives on the test images.

    `changed` of the `n` images have another prediction than the stored one; `largest` is the
    largest absolute difference of a probability. `score` is a proportion in the dataset's metric,
    `low` and `high` its 95 % interval (Wilson) where that is top-1 accuracy. Latency of one image
    is the median and the 95th percentile, None where it was not measured; `n_bytes` is the size of
    the file, 0 where there is none.
    """

    name: str
    n: int
    changed: int
    largest: float
    metric: str
    score: float
    low: float | None
    high: float | None
    milliseconds: float | None = None
    slow_milliseconds: float | None = None
    n_bytes: int = 0


def stored_probabilities(predictions: Prediction) -> Probabilities:
    """Return (n, K) float32 probabilities of stored decision values."""
    return probabilities(predictions.scores.astype(np.float64), predictions.label.ndim == 2)


def tested_images(result: Result, predictions: Prediction, context: RunContext) -> Images:
    """Return the test images of a trial that have predictions, in their order.

    Labels are not read: the stored predictions have them.

    Raises
    ------
    HeadstartError
        As `datasets.load`: the images are no longer at hand, or are others.
    """
    trial = result.trial
    test = datasets.load(trial.dataset, trial.seed, context.cache).test
    places = {int(row): place for place, row in enumerate(test.rows)}
    missing = [row for row in predictions.example.tolist() if row not in places]
    if missing:
        raise ExportError(
            f"{trial.dataset.name} has no test image {missing[0]}, which was tested: its splits "
            "are others than when the result was measured",
            code="export.images_changed",
            example=missing[0],
        )
    rows = np.array([places[row] for row in predictions.example.tolist()], dtype=np.int64)
    return test.images.take(rows)


def compare(
    runners: Mapping[str, Runner],
    images: Images,
    result: Result,
    predictions: Prediction,
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[Comparison]:
    """Run each of several runtimes on all images, each decoded once.

    `runners` give probabilities, by name; `images` are n, with their n stored predictions.
    `on_progress` is called with the number of further images done.
    """
    parts: dict[str, list[Probabilities]] = {name: [] for name in runners}
    decoded = map_ahead(images.decode, range(len(images)), depth=BATCH)
    for batch in batches(decoded, BATCH):
        for name, run in runners.items():
            parts[name].append(run(batch))
        on_progress(len(batch))
    stored = stored_probabilities(predictions)
    return [
        _compared(name, np.concatenate(found), stored, result, predictions.label)
        for name, found in parts.items()
    ]


def _compared(
    name: str,
    found: Probabilities,
    stored: Probabilities,
    result: Result,
    labels: npt.NDArray[np.int64],
) -> Comparison:
    if labels.ndim == 2:
        changed = int(((found > 0.5) != (stored > 0.5)).any(axis=1).sum())
    else:
        changed = int((found.argmax(axis=1) != stored.argmax(axis=1)).sum())
    metric = result.trial.dataset.metric
    score = metrics.score(metric, labels, found)
    largest = float(np.abs(found - stored).max())
    interval = wilson_interval(score, len(labels)) if metric == "top-1" else None
    low, high = (interval.low, interval.high) if interval else (None, None)
    return Comparison(name, len(labels), changed, largest, metric, score, low, high)


def latency(run: Runner, image: Image.Image) -> tuple[float, float]:
    """Return the median and the 95th percentile of the time that one image takes, in ms.

    Its preprocessing is included, its decoding is not.
    """
    for _ in range(WARM_UP):
        run([image])
    times, start = list[float](), time.perf_counter()
    while len(times) < PASSES and (len(times) < WARM_UP or time.perf_counter() - start < SECONDS):
        before = time.perf_counter()
        run([image])
        times.append(1000 * (time.perf_counter() - before))
    return float(np.median(times)), float(np.percentile(times, 95))


def score_losses(found: Sequence[Comparison]) -> list[str]:
    """Return a warning for each file or runtime that scores a point or more below the first."""
    measured = found[0].score
    return [
        f"{one.name} loses {100 * (measured - one.score):.2f} points: {one.metric} "
        f"{100 * one.score:.2f} % on {count(one.n, 'test image')}, measured "
        f"{100 * measured:.2f} %"
        for one in found
        if measured - one.score >= LOSS
    ]


def check_same(found: Sequence[Comparison], tolerance: float) -> None:
    """Raise ExportError if an exported file gives other probabilities than were stored."""
    for one in found:
        # Written so that NaN counts as a difference.
        if not one.largest <= tolerance:
            raise ExportError(
                f"{one.name} gives other probabilities than were measured: largest difference "
                f"{one.largest:.2g} on {one.n:,} test images, allowed {tolerance:g}; nothing was "
                "written",
                code="export.differs",
                name=one.name,
                largest=one.largest,
                tolerance=tolerance,
                changed=one.changed,
            )
