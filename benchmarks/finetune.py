"""How fast networks are trained: images per second of real steps, against their limit, as JSON.

    python benchmarks/finetune.py [--out FILE] [--rounds 5] [--device cpu|cuda] [--quick]

The images are photographs of 500 x 375 pixels, JPEG files of quality 90; for the small network,
small ones of 40 pixels. Three networks with random weights: on a processor EfficientNet-Lite0 at
224 pixels and a ResNet-20 at 32, on a GPU ResNet-50 at 224 pixels, batches of 256, bfloat16. Four
ways to train them:

* fixed batch  the same optimizer's steps on one batch of views in memory: the limit;
* resident     headstart's training, random crops and flips of images kept on the device;
* mapped       the same, of the prepared form, read ahead by a thread;
* usual        the usual recipe: torchvision's transforms in a DataLoader's workers, from the files.

Each round runs all of them one after another, each round from another one on, and ratios are taken
within a round: the machine's speed may drift, the ratios do not. The reported ratio is the median
over rounds. The first step of each is not timed, nor are the first batches that the DataLoader's
workers have ready.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from data import photographs
from features import machine
from headstart.context import ProgressReporter
from headstart.datasets import FileImages
from headstart.datasets.image_cache import PreparedForm as Form
from headstart.datasets.image_cache import PreparedImages, prepare_images
from headstart.devices import resolve_device
from headstart.spec import SGD, TrainingConfig
from headstart.spec.setting import Precision
from headstart.training import InputSpec, train
from headstart.training.augmentation import training_views
from headstart.training.forward import exact_float32, multiplying
from headstart.training.loop import make_optimizer
from headstart.training.pixels import MappedPixels, Pixels, ResidentPixels
from networks import N_CLASSES, resnet20

SMALL = 40
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WORKERS = os.cpu_count() or 1
# Batches that a DataLoader's worker has ready before they are asked for.
READY = 2


@dataclass(frozen=True)
class Case:
    """A network, and how it is trained: `steps` of `batch_size` images of `side` pixels."""

    make: Callable[[], nn.Module]
    side: int
    batch_size: int
    steps: int
    n_images: int
    precision: Precision = "fp32"

    @property
    def input_spec(self) -> InputSpec:
        """Input of the network."""
        return InputSpec(self.side, MEAN, STD, "bilinear")

    @property
    def config(self) -> TrainingConfig:
        """A run of it, with a learning rate that does no harm."""
        return TrainingConfig(
            steps=self.steps,
            learning_rate=1e-3,
            optimizer=SGD(weight_decay=1e-4),
            batch_size=self.batch_size,
            precision=self.precision,
        )


CPU_CASES = {
    "efficientnet_lite0": Case(
        partial(timm.create_model, "efficientnet_lite0", num_classes=N_CLASSES), 224, 16, 7, 256
    ),
    "resnet20": Case(resnet20, 32, 128, 17, 1024),
}
GPU_CASES = {
    "resnet50": Case(
        partial(timm.create_model, "resnet50", num_classes=N_CLASSES), 224, 256, 61, 4096, "bf16"
    ),
}


def labels_of(n: int) -> np.ndarray:
    """(n,) int64, any."""
    return np.arange(n, dtype=np.int64) % N_CLASSES


def ours(case: Case, pixels: Pixels, device: torch.device) -> float:
    """Train; images per second."""
    network, labels = case.make(), labels_of(len(pixels))
    trained = train(network, pixels, labels, case.input_spec, case.config, device=device)
    return trained.images_per_second or float("nan")


def fixed_batch(case: Case, pixels: Pixels, device: torch.device) -> float:
    """Repeat the step on the views of one batch, as `train` makes them."""
    network = case.make().to(device).to(memory_format=torch.channels_last)
    batch = pixels.batch(np.arange(case.batch_size))
    views = training_views(batch, case.input_spec, case.config, 0)
    labels = torch.from_numpy(labels_of(case.batch_size)).to(device)
    optimizer = make_optimizer(network, case.config)
    with exact_float32(device):
        batches = repeat((views, labels), case.steps)
        return stepped(case, network, optimizer, batches, device, unmeasured=1)


def usual(case: Case, files: list[Path], device: torch.device) -> float:
    """Train as most scripts do."""
    network = case.make().to(device)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=1e-4
    )
    loader = DataLoader(
        Files(files, case.side),
        case.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=WORKERS,
        prefetch_factor=READY,
        pin_memory=device.type == "cuda",
        persistent_workers=True,
    )
    unmeasured = 1 + READY * WORKERS
    batches = until(chain.from_iterable(repeat(loader)), unmeasured + case.steps, device)
    return stepped(case, network, optimizer, batches, device, unmeasured)


class Files(Dataset[tuple[Tensor, int]]):
    """Images that are decoded and cropped by Pillow each time."""

    def __init__(self, files: list[Path], side: int) -> None:
        self.files = files
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop(side, antialias=True),
                v2.RandomHorizontalFlip(),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        with Image.open(self.files[row]) as image:
            return self.transform(image.convert("RGB")), row % N_CLASSES


def until(
    batches: Iterator[tuple[Tensor, Tensor]], n: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Put `n` batches on the device, one after another."""
    for _ in range(n):
        views, labels = next(batches)
        yield views.to(device, non_blocking=True), labels.to(device, non_blocking=True)


def stepped(
    case: Case,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[tuple[Tensor, Tensor]],
    device: torch.device,
    unmeasured: int,
) -> float:
    """Take a step for each batch; images per second after the first few."""
    network.train()
    start, done = 0.0, 0
    for views, labels in batches:
        if done == unmeasured:
            wait(device)
            start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with multiplying(device, case.precision):
            logits = network(views)
        loss = nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        done += 1
    wait(device)
    return (done - unmeasured) * case.batch_size / (time.perf_counter() - start)


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def written(case: Case, folder: Path) -> tuple[list[Path], PreparedImages]:
    """Write the case's images; give their files and their prepared form."""
    photographs(folder, case.n_images)
    files = sorted((folder / "pillow").iterdir())
    if case.side < SMALL:
        for file in files:
            Image.open(file).resize((SMALL, SMALL)).save(file, quality=90)
    form = Form("benchmark")
    return files, prepare_images(FileImages(files), form, folder / "forms", ProgressReporter())


def rates(name: str, case: Case, device: torch.device, rounds: int) -> dict[str, object]:
    """Measure the four ways for one network, interleaved."""
    with tempfile.TemporaryDirectory() as folder:
        files, prepared = written(case, Path(folder))
        resident, mapped = ResidentPixels(prepared, device), MappedPixels(prepared, device)
        ways: dict[str, Callable[[], float]] = {
            "fixed batch": partial(fixed_batch, case, resident, device),
            "resident": partial(ours, case, resident, device),
            "mapped": partial(ours, case, mapped, device),
            "usual": partial(usual, case, files, device),
        }
        ways["fixed batch"]()  # warms up
        measured = []
        for number in range(rounds):
            turn = number % len(ways)
            order = [*ways][turn:] + [*ways][:turn]
            measured.append({way: ways[way]() for way in order})
            shown = {way: round(measured[-1][way], 1) for way in ways}
            print(name, shown, file=sys.stderr)

    def over(way: str) -> dict[str, float]:
        return {
            each: round(statistics.median(r[each] / r[way] for r in measured), 3)
            for each in ways
            if each != way
        }

    return {
        "side": case.side,
        "batch_size": case.batch_size,
        "precision": case.precision,
        "images_per_second": {
            way: round(statistics.median(r[way] for r in measured), 1) for way in ways
        },
        "over_fixed_batch": over("fixed batch"),
        "over_usual": over("usual"),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--networks", nargs="+", choices=[*CPU_CASES, *GPU_CASES])
    parser.add_argument(
        "--quick", action="store_true", help="to try out: few small batches, one round"
    )
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    cases = CPU_CASES if device.type == "cpu" else GPU_CASES
    if arguments.networks:
        cases = {n: c for n, c in {**CPU_CASES, **GPU_CASES}.items() if n in arguments.networks}
    rounds = 1 if arguments.quick else arguments.rounds
    if arguments.quick:
        cases = {n: replace(c, batch_size=8, steps=3, n_images=64) for n, c in cases.items()}
    report = {
        "benchmark": "finetune",
        "machine": {**machine(device), "workers": WORKERS},
        "rounds": rounds,
        "networks": {name: rates(name, case, device, rounds) for name, case in cases.items()},
    }
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
