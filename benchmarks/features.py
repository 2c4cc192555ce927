"""How fast features are extracted: ratios in one run, printed as JSON.

    python benchmarks/features.py [--out FILE] [--rounds 5]

Rates are of EfficientNet-Lite0 on Fashion-MNIST images, decoding and resizing included:

* plain     the usual loop: eager float32, batches of 32, decoded between two forward passes;
* fp32      headstart's, to the same features within 1e-4;
* bf16      headstart's in bfloat16;
* bare      the prepared network alone, on one batch in memory: the limit.

Each round times all of them one after another, and ratios are taken within a round: the machine's
speed may drift, the ratios do not. The reported ratio is the median over rounds.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torchvision.transforms import v2

from headstart import datasets, models
from headstart.datasets import JoinedImages
from headstart.devices import resolve_device
from headstart.features import penultimate_features
from headstart.features.forward import Extractor
from headstart.features.stream import Decoder, ahead
from headstart.metrics import top1
from headstart.models.network import Network
from headstart.probe import Softmax, fit_path
from headstart.spec import LinearSetting, Selection
from headstart.workspace import Workspace, default_cache

MODEL = models.find("efficientnet_lite0")
PLAIN_BATCH = 32
N_PLAIN, N_IMAGES = 128, 512


def plain_features(images: JoinedImages) -> np.ndarray:
    """Extract as most scripts do."""
    network, transform = plain_parts()
    features = []
    with torch.no_grad():
        for first in range(0, len(images), PLAIN_BATCH):
            rows = range(first, min(first + PLAIN_BATCH, len(images)))
            batch = torch.stack([transform(images.decode(row).convert("RGB")) for row in rows])
            features.append(network.penultimate(batch).numpy())
    return np.concatenate(features)


@cache
def plain_parts() -> tuple[Network, v2.Compose]:
    """Build the network and torchvision's transform."""
    size = (MODEL.input_size, MODEL.input_size)
    transform = v2.Compose(
        [
            v2.Resize(size, interpolation=v2.InterpolationMode.BICUBIC),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MODEL.mean, MODEL.std),
        ]
    )
    return models.load(MODEL), transform


@cache
def some_images(n_images: int) -> JoinedImages:
    """Give Fashion-MNIST images, class-balanced."""
    dataset = datasets.find("fashion_mnist", limit=n_images)
    return JoinedImages([datasets.load(dataset, 0, default_cache()).train.images])


def plain_seconds() -> float:
    """Time the plain loop."""
    return seconds(lambda: plain_features(some_images(N_PLAIN)))


def streamed(extractor: Extractor, images: JoinedImages) -> np.ndarray:
    """Extract as headstart does, without the cache."""
    decoder = Decoder(images, MODEL, "whole", skip_broken=False)
    size = extractor.batch_size
    batches = [range(i, min(i + size, len(images))) for i in range(0, len(images), size)]
    return np.concatenate([extractor(batch.pixels) for batch in ahead(decoder, batches)])


def bare(extractor: Extractor, n_images: int) -> None:
    """Run the prepared network on one normalised batch, again and again."""
    size = extractor.batch_size
    batch = torch.zeros(
        (size, 3, MODEL.input_size, MODEL.input_size),
        dtype=extractor.dtype,
        device=extractor.device,
    ).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        for _ in range(n_images // size):
            extractor.network.penultimate(batch).float().cpu()


def seconds(function: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def rates(rounds: int) -> dict[str, object]:
    """Measure images per second, interleaved."""
    device = resolve_device("auto")
    extractors = {p: Extractor(models.load(MODEL), MODEL, p, device) for p in ("fp32", "bf16")}
    images = some_images(N_IMAGES)

    def measure(plain: ProcessPoolExecutor) -> dict[str, float]:
        found = {"plain": N_PLAIN / plain.submit(plain_seconds).result()}
        for precision, extractor in extractors.items():
            found[precision] = N_IMAGES / seconds(partial(streamed, extractor, images))
            found[f"bare {precision}"] = N_IMAGES / seconds(partial(bare, extractor, N_IMAGES))
        return found

    # The plain loop runs in a process of its own, since preparing an extractor changes how its
    # process handles memory, and would speed the plain loop up too.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as plain:
        measure(plain)
        measured = [measure(plain) for _ in range(rounds)]

    def ratio(over: str, under: str) -> float:
        return round(statistics.median(r[over] / r[under] for r in measured), 3)

    few = some_images(N_PLAIN)
    expected, found = plain_features(few), streamed(extractors["fp32"], few)
    relative = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    return {
        "images_per_second": {
            name: round(statistics.median(r[name] for r in measured), 1) for name in measured[0]
        },
        "fp32_over_plain": ratio("fp32", "plain"),
        "bf16_over_plain": ratio("bf16", "plain"),
        "fp32_over_bare": ratio("fp32", "bare fp32"),
        "bf16_over_bare": ratio("bf16", "bare bf16"),
        "fp32_relative_difference_max": float(relative.max()),
    }


def accuracy(precision: str, cache: Path) -> float:
    """Compute the linear test accuracy on 10,000 Fashion-MNIST images, lambda chosen on 2,000."""
    splits = datasets.load(datasets.find("fashion_mnist", limit=10000), 0, default_cache())
    # Class-balanced enough: the subset of 10,000 is, and every fifth image of it is taken.
    train, validation = (
        part.take(np.arange(0, 10000, 5)) for part in (splits.train, splits.validation)
    )
    images = JoinedImages([train.images, validation.images, splits.test.images])
    setting = LinearSetting(precision=precision)
    workspace = Workspace(cache=cache)
    values = penultimate_features(
        MODEL, images, f"benchmark {precision}", setting, skip_broken=False, workspace=workspace
    ).values
    n = len(train)
    loss = Softmax.of(torch.from_numpy(train.labels), 10)
    fits = sorted(fit_path(values[:n], loss, setting.lambdas), key=lambda fit: -fit.lam)
    best = max(
        fits, key=lambda f: top1(validation.labels, f.scores(values[n : 2 * n]).argmax(axis=1))
    )
    choice = {"lambda": best.lam}
    selection = Selection(examples=splits.revision, chosen=choice, validation_curve=(choice,))
    labels = splits.test.open(selection)
    return top1(labels, best.scores(values[2 * n :]).argmax(axis=1))


def peak_memory(n_images: int) -> float:
    """Extract `n_images` in a process of its own; give its peak resident memory in MB."""
    code = (
        "import tempfile, pathlib; import numpy as np\n"
        "from headstart.datasets import ArrayImages, JoinedImages\n"
        "from headstart.features import penultimate_features\n"
        "from headstart import models; from headstart.spec import LinearSetting\n"
        "from headstart.workspace import Workspace\n"
        "pixels = np.random.RandomState(0).randint(0, 255, (8, 28, 28), dtype=np.uint8)\n"
        f"images = ArrayImages(pixels, np.arange({n_images}) % 8)\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    penultimate_features(models.find('efficientnet_lite0'), JoinedImages([images]), 'x',\n"
        "        LinearSetting(), skip_broken=False,\n"
        "        workspace=Workspace(cache=pathlib.Path(folder)))\n"
        # Not getrusage: a child inherits its parent's peak there.
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(status.split('VmHWM:')[1].split()[0])\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    return round(float(output) / 1024, 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    report: dict[str, object] = {
        "benchmark": "features",
        "machine": {
            "device": str(resolve_device("auto")),
            "processor": _processor(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        **rates(arguments.rounds),
    }
    with tempfile.TemporaryDirectory() as folder:
        accuracies = {p: accuracy(p, Path(folder)) for p in ("fp32", "bf16")}
    report["accuracy"] = accuracies
    report["bf16_accuracy_difference_points"] = round(
        100 * (accuracies["bf16"] - accuracies["fp32"]), 3
    )
    report["peak_memory_mb"] = {str(n): peak_memory(n) for n in (500, 4000)}
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


def _processor() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
