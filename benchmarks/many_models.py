"""Features of five small networks from one decoding of the images, printed as JSON.

    python benchmarks/many_models.py [--out FILE] [--images 5000] [--rounds 3]

The images are photographs of 500 x 375 pixels, as in data.py. The networks are EfficientNet-Lite 0,
1 and 2 (inputs of 224, 240 and 260 pixels), MobileNet v2 and MobileNet v3 small of random weights.
Each round does, one after another:

* together   `headstart.features.extract_together`: from files to tables of a new cache, loading of
             the networks included;
* singles    the five networks one after another, each of which decodes all images;
* forward    the forward passes of all networks, alone: pixels in memory, each network by itself.
             There are pixels of some images, which are passed again and again;
* load       the networks made ready, which the first two include;
* decode     all images decoded, by the same threads, and nothing else;
* resize     all images resized for all networks by the same threads, and nothing else: some images
             in memory, again and again.

Ratios are taken within a round; the reported ones are medians over rounds.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from data import photographs
from features import machine
from headstart import models
from headstart.context import RunContext
from headstart.datasets import FileImages
from headstart.datasets.images import map_ahead
from headstart.devices import resolve_device
from headstart.features import (
    FeatureRequest,
    choose_runtime,
    extract_together,
    penultimate_features,
)
from headstart.features.extract import CHUNK, make_runtime
from headstart.features.preprocess import NetworkInput, decode_for
from headstart.features.runtime import FeatureRuntime

NETWORKS = (
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "mobilenet_v2?weights=random",
    "timm:mobilenetv3_small_100?weights=random",
)
IN_MEMORY = 256


class Workload:
    """The images and networks, and what is timed of them."""

    def __init__(self, folder: Path, n_images: int) -> None:
        photographs(folder, n_images)
        self.images = FileImages(sorted((folder / "pillow").iterdir()))
        self.n_images = n_images
        self.request = FeatureRequest(self.images, np.arange(n_images), "benchmark", n_images)
        self.networks = [models.find(name) for name in NETWORKS]
        self.forms = [NetworkInput.of(model, "whole") for model in self.networks]
        some = range(min(IN_MEMORY, n_images))
        self.decoded = [self.images.decode(row) for row in some]
        self.pixels = [np.stack([form(image) for image in self.decoded]) for form in self.forms]
        self.runtimes: list[FeatureRuntime] = []

    @contextmanager
    def context(self) -> Iterator[RunContext]:
        """Run in a new cache."""
        with tempfile.TemporaryDirectory() as cache:
            yield RunContext(device="cpu", cache=Path(cache))

    def together(self) -> None:
        """Feed all networks from one decoding."""
        with self.context() as context:
            errors = extract_together([(m, self.request) for m in self.networks], context)
        if any(errors):
            raise RuntimeError(errors)

    def singles(self) -> None:
        """Feed one network after another."""
        with self.context() as context:
            for model in self.networks:
                penultimate_features(model, self.request, context)

    def load(self) -> None:
        """Make the networks ready."""
        device = resolve_device("cpu")
        kind = choose_runtime("cpu", "fp32")
        self.runtimes = [
            make_runtime(kind, models.load(model), model, "fp32", device, print)
            for model in self.networks
        ]

    def forward(self) -> None:
        """Pass pixels that are in memory."""
        for runtime, pixels in zip(self.runtimes, self.pixels, strict=True):
            for first in range(0, self.n_images, runtime.batch_size):
                last = min(first + runtime.batch_size, self.n_images)
                runtime(pixels[np.arange(first, last) % len(pixels)])

    def decode(self) -> None:
        """Decode and forget."""
        self._threaded(lambda row: decode_for((), self.images, row, skip_broken=False))

    def resize(self) -> None:
        """Resize for each network and forget."""
        forms = set(self.forms)
        self._threaded(lambda row: [form(self.decoded[row % len(self.decoded)]) for form in forms])

    def _threaded(self, function: Callable[[int], object]) -> None:
        chunks = [
            range(first, min(first + CHUNK, self.n_images))
            for first in range(0, self.n_images, CHUNK)
        ]
        for _ in map_ahead(lambda rows: [function(row) for row in rows], chunks):
            pass


WAYS = ("load", "together", "forward", "singles", "decode", "resize")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        work = Workload(Path(folder), arguments.images)
        for _ in range(arguments.rounds):
            seconds = {}
            for way in WAYS:
                start = time.perf_counter()
                getattr(work, way)()
                seconds[way] = time.perf_counter() - start
            print({way: round(value, 2) for way, value in seconds.items()}, file=sys.stderr)
            rounds.append(seconds)
    ratios = {
        "together_over_forward": [r["together"] / r["forward"] for r in rounds],
        "together_without_load_over_forward": [
            (r["together"] - r["load"]) / r["forward"] for r in rounds
        ],
        "singles_over_together": [r["singles"] / r["together"] for r in rounds],
    }
    report = {
        "benchmark": "many_models",
        "machine": machine(resolve_device("cpu")),
        "images": arguments.images,
        "networks": NETWORKS,
        "runtimes": [runtime.name for runtime in work.runtimes],
        "seconds": {way: round(statistics.median(r[way] for r in rounds), 2) for way in WAYS},
        "ratios": {name: round(statistics.median(found), 3) for name, found in ratios.items()},
    }
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
