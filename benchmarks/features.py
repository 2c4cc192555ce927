"""How fast features are extracted, by us and by rivals: ratios in one run, printed as JSON.

    python benchmarks/features.py [--out FILE] [--rounds 5] [--device cpu|cuda] [--quick]

Rates are in images per second, for EfficientNet-Lite0 and, with random weights, ResNet-50 and
MobileNet v2:

* plain            the usual loop: eager float32, batches of 32, decoded between two forward passes;
* eager, channels-last, torch.compile, onnxruntime, openvino bare
                   the network alone in float32, on a batch in memory: the limits;
* ours torch, ours openvino, ours torch bf16
                   headstart's, Fashion-MNIST decoded and resized on the way.

Each round times all of them one after another, and ratios are taken within a round: the machine's
speed may drift, the ratios do not. The reported ratio is the median over rounds. What this machine
has not is named under "skipped". To see what a lesser processor gives:
``ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 HEADSTART_BFLOAT16=off``.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torchvision.transforms import v2

from headstart import datasets, models
from headstart.context import RunContext, default_cache
from headstart.datasets import JoinedImages
from headstart.datasets.images import map_ahead
from headstart.devices import BFLOAT16, fast_bfloat16, resolve_device
from headstart.features import FeatureRequest, penultimate_features
from headstart.features.extract import make_runtime
from headstart.features.preprocess import NetworkInput
from headstart.features.runtime import FeatureRuntime
from headstart.methods.linear import KORNBLITH_LAMBDAS
from headstart.metrics import top1
from headstart.models.network import Network
from headstart.probe import Softmax, fit_path
from headstart.spec import Model, Selection
from headstart.spec.setting import Precision
from rival_runtimes import BATCH, MODELS, RIVALS, network_of

MODEL = MODELS["efficientnet_lite0"]
PLAIN_BATCH = 32
N_PLAIN, N_IMAGES, RIVAL_SECONDS = 64, 512, 3
OURS = ("ours torch", "ours openvino", "ours torch bf16")
INSTRUCTION_SETS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimd",
)


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
    """Return Fashion-MNIST images, class-balanced."""
    dataset = datasets.find("fashion_mnist", limit=n_images)
    return JoinedImages([datasets.load(dataset, 0, default_cache()).train.images])


def plain_seconds() -> float:
    """Time the plain loop."""
    return seconds(lambda: plain_features(some_images(N_PLAIN)))


def streamed(runtime: FeatureRuntime, model: Model, images: JoinedImages) -> np.ndarray:
    """Extract as headstart does, without the cache."""
    decode = partial(NetworkInput.of(model, "whole").decode, images)
    size = runtime.batch_size
    batches = [range(i, min(i + size, len(images))) for i in range(0, len(images), size)]
    return np.concatenate([runtime(batch) for batch in map_ahead(decode, batches)])


def seconds(function: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


@cache
def rival(name: str, model_name: str, device: str) -> Callable[[int], None] | None:
    """Make a rival ready, once."""
    return RIVALS[name](MODELS[model_name], torch.device(device))


def rival_rate(name: str, model_name: str, device: str, n_images: int) -> float | None:
    """Time a rival; None where it is not there."""
    run = rival(name, model_name, device)
    if run is None:
        return None
    start, done = time.perf_counter(), 0
    # A slow rival is not waited for longer than a fast one.
    while done < n_images and time.perf_counter() - start < RIVAL_SECONDS:
        run(BATCH)
        done += BATCH
    return done / (time.perf_counter() - start)


def ours(model: Model, device: torch.device) -> dict[str, FeatureRuntime]:
    """Make every runtime ready that this machine has."""
    made = {"ours torch": make_runtime("torch", network_of(model), model, "fp32", device, print)}
    if device.type == "cpu" and find_spec("openvino"):
        made["ours openvino"] = make_runtime(
            "openvino", network_of(model), model, "fp32", device, print
        )
    if fast_bfloat16(device):
        made["ours torch bf16"] = make_runtime(
            "torch", network_of(model), model, "bf16", device, print
        )
    return made


def rates(
    model: Model, device: torch.device, n_images: int, rounds: int, plain: ProcessPoolExecutor
) -> dict[str, object]:
    """Measure images per second for one network, interleaved."""
    runtimes, images = ours(model, device), some_images(n_images)

    def measure() -> dict[str, float]:
        found: dict[str, float | None] = {}
        if model is MODEL:
            found["plain"] = N_PLAIN / plain.submit(plain_seconds).result()
        for name in RIVALS:
            task = plain.submit(rival_rate, name, model.name, str(device), n_images)
            found[name] = task.result()
        for name, runtime in runtimes.items():
            found[name] = n_images / seconds(partial(streamed, runtime, model, images))
        there = {name: rate for name, rate in found.items() if rate is not None}
        print(model.name, {name: round(rate, 1) for name, rate in there.items()}, file=sys.stderr)
        return there

    measure()
    measured = [measure() for _ in range(rounds)]
    bare = [name for name in measured[0] if name.startswith("openvino bare")]
    few = some_images(64)
    expected = streamed(runtimes["ours torch"], model, few)
    report: dict[str, object] = {
        "rounds": len(measured),
        "images_per_second": {
            name: round(statistics.median(r[name] for r in measured), 1) for name in measured[0]
        },
        "over_eager": {
            name: round(statistics.median(r[name] / r["eager"] for r in measured), 3)
            for name in measured[0]
        },
        "skipped": [name for name in (*RIVALS, *OURS) if name not in measured[0]],
    }
    if bare:
        report["ours_openvino_over_openvino_bare"] = {
            name: round(statistics.median(r["ours openvino"] / r[name] for r in measured), 3)
            for name in bare
        }
        found = streamed(runtimes["ours openvino"], model, few)
        report["openvino_relative_difference_max"] = relative(found, expected)
    if model is MODEL:
        report["plain_relative_difference_max"] = relative(expected, plain_features(few))
    return report


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest relative difference of an image's features."""
    difference = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    return float(difference.max())


def accuracy(precision: Precision, cache: Path) -> float:
    """Compute the linear test accuracy on 10,000 Fashion-MNIST images, lambda chosen on 2,000."""
    dataset = datasets.find("fashion_mnist", limit=10000)
    splits = datasets.load(dataset, 0, default_cache(), test_labels=True)
    # Class-balanced enough: the subset of 10,000 is, and every fifth image of it is taken.
    train, validation = (
        part.take(np.arange(0, 10000, 5)) for part in (splits.train, splits.validation)
    )
    images = JoinedImages([train.images, validation.images, splits.test.images])
    context = RunContext(cache=cache)
    n, rows = len(images), np.arange(len(images))
    request = FeatureRequest(images, rows, "benchmark", n, precision=precision)
    values = penultimate_features(MODEL, request, context).values
    n = len(train)
    loss = Softmax.of(torch.from_numpy(train.labels), 10)
    fits = sorted(fit_path(values[:n], loss, KORNBLITH_LAMBDAS), key=lambda fit: -fit.lam)
    best = max(
        fits, key=lambda f: top1(validation.labels, f.scores(values[n : 2 * n]).argmax(axis=1))
    )
    choice = {"lambda": best.lam}
    selection = Selection(examples=splits.revision, chosen=choice, validation_curve=(choice,))
    labels = splits.test.open(selection)
    return top1(labels, best.scores(values[2 * n :]).argmax(axis=1))


def peak_memory(n_images: int) -> float:
    """Extract `n_images` in a process of its own; give its peak resident memory in MB."""
    # This one's imports would be in it.
    script = Path(__file__).with_name("extract_in_process.py")
    output = subprocess.run(
        [sys.executable, script, str(n_images)], check=True, capture_output=True, text=True
    ).stdout
    return round(float(output) / 1024, 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--quick", action="store_true", help="two rounds of few images, rates alone"
    )
    parser.add_argument("--networks", nargs="+", choices=MODELS, default=list(MODELS))
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    n_images, rounds = (128, 2) if arguments.quick else (N_IMAGES, arguments.rounds)
    report: dict[str, object] = {
        "benchmark": "features",
        "machine": machine(device),
        "networks": {},
    }
    # The rivals run in a process of their own, since preparing an extractor changes how its process
    # handles memory, and would speed torch's up too.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as plain:
        report["networks"] = {
            # The larger network is slower, and as steady with fewer images.
            name: rates(model, device, n_images // (4 if name == "resnet50" else 1), rounds, plain)
            for name, model in MODELS.items()
            if name in arguments.networks
        }
    if not arguments.quick:
        report["peak_memory_mb"] = {str(n): peak_memory(n) for n in (500, 4000)}
    if not arguments.quick and fast_bfloat16(device):
        with tempfile.TemporaryDirectory() as folder:
            accuracies = {p: accuracy(p, Path(folder)) for p in get_args(Precision)}
        report["accuracy"] = accuracies
        report["bf16_accuracy_difference_points"] = round(
            100 * (accuracies["bf16"] - accuracies["fp32"]), 3
        )
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


def machine(device: torch.device) -> dict[str, object]:
    """Return what measured: the processor, what it can, what it was held back to, the versions."""
    limits = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", BFLOAT16)
    packages = ("torch", "openvino", "onnxruntime", "timm")
    flags = set(_cpuinfo("flags").split()) | set(_cpuinfo("Features").split())
    gpu = {"gpu": torch.cuda.get_device_name()} if device.type == "cuda" else {}
    return {
        "device": str(device),
        **gpu,
        "processor": _cpuinfo("model name") or platform.processor(),
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in flags],
        "limited_to": {name: os.environ[name] for name in limits if name in os.environ},
        "torch_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages if find_spec(name)},
    }


def _cpuinfo(field: str) -> str:
    file = Path("/proc/cpuinfo")
    for line in file.read_text().splitlines() if file.exists() else []:
        if line.split(":")[0].strip() == field:
            return line.partition(":")[2].strip()
    return ""


if __name__ == "__main__":
    main()
