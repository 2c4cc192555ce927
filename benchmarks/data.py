"""How fast images are read for training: decoded each time, or from the prepared form, as JSON.

    python benchmarks/data.py [--out FILE] [--rounds 5] [--images 1500] [--quick]

Rates are in images per second of two processes, in random order. The images are photographs of
500 x 375 pixels: crops of scikit-learn's two, as JPEG files of quality 90. Three ways:

* pillow      files decoded by Pillow each time;
* small jpeg  the same, of files made small beforehand (shorter side 256, quality 95);
* prepared    headstart's prepared form.

Each way does three things:

* read        images into a batch; the files are in the system's cache;
* cold        the same, after the files were dropped from it;
* crop        a random resized crop to 224 pixels of each (torchvision's scale and ratio), cut and
              resized by Pillow, into a batch.

Each round times all of them one after another, and ratios are taken within a round: the machine's
speed may drift, the ratios do not. The reported ratio is the median over rounds.

Memory is that of a process of its own, over what it had before, for twice and for eight times the
images: its peak while it prepares them; and while it reads them, what is its own (anonymous) and
what it sees of the mapped file, which the system takes back as soon as it needs it.
"""

import argparse
import json
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image, features
from sklearn.datasets import load_sample_images

from headstart.context import ProgressReporter
from headstart.datasets import FileImages
from headstart.datasets.image_cache import (
    PreparedForm,
    PreparedImages,
    bytes_needed,
    fit_side,
    open_prepared,
    prepare_images,
)

RECIPE = PreparedForm("benchmark")
WAYS, THINGS = ("pillow", "small jpeg", "prepared"), ("read", "cold", "crop")
PROCESSES, BATCH, CROP = 2, 64, 224
WIDTH, HEIGHT = 500, 375
# What is over in no time is done several times.
PASSES = {("prepared", "read"): 20, ("prepared", "crop"): 2}


def photographs(folder: Path, n: int) -> None:
    """Write n JPEG files, and the same made small."""
    random = np.random.RandomState(0)
    originals = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    for way in ("pillow", "small jpeg"):
        (folder / way).mkdir(parents=True)
    for i in range(n):
        original = originals[i % len(originals)]
        height = random.randint(280, original.height + 1)
        width = height * WIDTH // HEIGHT
        left = random.randint(original.width - width + 1)
        top = random.randint(original.height - height + 1)
        box = (left, top, left + width, top + height)
        file = folder / "pillow" / f"{i:05}.jpg"
        original.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box=box).save(file, quality=90)
        with Image.open(file) as image:
            small = Image.fromarray(fit_side(image.convert("RGB"), RECIPE.side))
        small.save(folder / "small jpeg" / file.name, quality=95)


def images_of(folder: Path, times: int = 1) -> FileImages:
    """Return the original files, several times over."""
    return FileImages(sorted((folder / "pillow").iterdir()) * times)


def form_of(folder: Path, times: int = 1) -> PreparedImages:
    """Open the prepared form."""
    form = open_prepared(
        images_of(folder, times), RECIPE, folder / f"prepared-{times}", ProgressReporter()
    )
    assert form is not None
    return form


def prepare(folder: Path, times: int = 1) -> float:
    """Prepare the images; give the images per second."""
    images, start = images_of(folder, times), time.perf_counter()
    prepare_images(images, RECIPE, folder / f"prepared-{times}", ProgressReporter())
    return len(images) / (time.perf_counter() - start)


def reader(folder: Path, way: str) -> Callable[[int], np.ndarray]:
    """Return what makes an array of an image."""
    if way == "prepared":
        return form_of(folder).pixels
    paths = sorted((folder / way).iterdir())

    def decode(row: int) -> np.ndarray:
        with Image.open(paths[row]) as image:
            return np.asarray(image.convert("RGB"))

    return decode


def cropper(folder: Path, way: str, seed: int) -> Callable[[int], np.ndarray]:
    """Return what makes a random resized crop of an image."""
    random = np.random.RandomState(seed)
    if way == "prepared":
        form = form_of(folder)

        def cropped(row: int) -> np.ndarray:
            pixels = form.pixels(row)
            left, top, right, bottom = box(pixels.shape[1], pixels.shape[0], random)
            return resized(Image.fromarray(pixels[top:bottom, left:right]))

    else:
        paths = sorted((folder / way).iterdir())

        def cropped(row: int) -> np.ndarray:
            with Image.open(paths[row]) as image:
                return resized(image.convert("RGB").crop(box(*image.size, random)))

    return cropped


def resized(image: Image.Image) -> np.ndarray:
    """Bring a crop to the size of the network's input."""
    return np.asarray(image.resize((CROP, CROP), Image.Resampling.BILINEAR))


def box(width: int, height: int, random: np.random.RandomState) -> tuple[int, int, int, int]:
    """Draw the box of a random resized crop: 8 % to 100 % of the area, 3:4 to 4:3."""
    area = width * height * random.uniform(0.08, 1)
    ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
    w, h = min(width, round(math.sqrt(area * ratio))), min(height, round(math.sqrt(area / ratio)))
    left, top = random.randint(width - w + 1), random.randint(height - h + 1)
    return left, top, left + w, top + h


def fill_batches(rows: np.ndarray, folder: Path, way: str, thing: str, passes: int) -> None:
    """Do a process's part."""
    seed = int(rows[0])
    image = cropper(folder, way, seed) if thing == "crop" else reader(folder, way)
    batch = np.empty((BATCH, *image(int(rows[0])).shape), np.uint8)
    random = np.random.RandomState(seed)
    for _ in range(passes):
        for place, row in enumerate(random.permutation(rows).tolist()):
            batch[place % BATCH] = image(row)


def drop(folder: Path) -> None:
    """Drop files from the system's cache."""
    for path in folder.rglob("*.*"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def rate(pool: ProcessPoolExecutor, folder: Path, n: int, way: str, thing: str) -> float:
    """Measure images per second of all processes together."""
    order, passes = np.random.RandomState(0).permutation(n), PASSES.get((way, thing), 1)
    if thing == "cold":
        drop(folder / ("prepared-1" if way == "prepared" else way))
    parts = [order[i::PROCESSES] for i in range(PROCESSES)]
    task = partial(fill_batches, folder=folder, way=way, thing=thing, passes=passes)
    start = time.perf_counter()
    list(pool.map(task, parts))
    return n * passes / (time.perf_counter() - start)


def measure(folder: Path, n: int, rounds: int) -> dict[str, object]:
    """Measure every way at every thing, interleaved."""
    measured = []
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        for number in range(rounds + 1):
            found = {t: {w: rate(pool, folder, n, w, t) for w in WAYS} for t in THINGS}
            if number:  # not the round in which the processes start
                measured.append(found)
                words = {t: {w: round(r) for w, r in by.items()} for t, by in found.items()}
                print(words, file=sys.stderr)

    def median(thing: str, way: str, over: str | None = None) -> float:
        return statistics.median(r[thing][way] / (r[thing][over] if over else 1) for r in measured)

    return {
        "images_per_second": {t: {w: round(median(t, w)) for w in WAYS} for t in THINGS},
        "over_pillow": {t: {w: round(median(t, w, "pillow"), 2) for w in WAYS[1:]} for t in THINGS},
    }


def status(field: str) -> float:
    """Return a size in MB that the kernel tells of this process."""
    return float(Path("/proc/self/status").read_text().split(f"{field}:")[1].split()[0]) / 1024


def memory_preparing(folder: Path, times: int) -> float:
    """Prepare; give this process's peak in MB, over what it had before."""
    before = status("VmHWM")
    prepare(folder, times)
    return round(status("VmHWM") - before, 1)


def memory_reading(folder: Path, times: int) -> dict[str, float]:
    """Read all, in random order; give the peaks in MB, over what it had before."""
    form = form_of(folder, times)
    fields = ("RssAnon", "RssFile")
    before, peak = {f: status(f) for f in fields}, dict.fromkeys(fields, 0.0)
    batch = np.empty((BATCH, *form.pixels(0).shape), np.uint8)
    for i, row in enumerate(np.random.RandomState(0).permutation(len(form)).tolist()):
        batch[i % BATCH] = form.pixels(row)
        if i % BATCH == 0:
            peak = {f: max(peak[f], status(f) - before[f]) for f in fields}
    return {"own": round(peak["RssAnon"], 1), "of_the_file": round(peak["RssFile"], 1)}


def memory(folder: Path, n: int) -> dict[str, object]:
    """Measure memory, each in a process of its own."""

    def alone(function: Callable[[Path, int], object], times: int) -> object:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(function, folder, times).result()

    return {
        "preparing": {str(n * times): alone(memory_preparing, times) for times in (2, 8)},
        "reading": {str(n * times): alone(memory_reading, times) for times in (2, 8)},
    }


def sizes(folder: Path, n: int) -> dict[str, object]:
    """Return the space that an image takes, and two datasets of the study."""
    kept = {w: sum(f.stat().st_size for f in (folder / w).iterdir()) / n for w in WAYS[:2]}
    (pixels,) = (folder / "prepared-1").glob("*/pixels.bin")
    return {
        "kb_per_image": {
            **{way: round(size / 1e3, 1) for way, size in kept.items()},
            "prepared": round(pixels.stat().st_size / n / 1e3, 1),
        },
        "gb": {
            name: {
                "prepared": round(bytes_needed(total) / 1e9, 1),
                "small jpeg": round(kept["small jpeg"] * total / 1e9, 1),
            }
            for name, total in (("food101", 101_000), ("sun397", 39_700))
        },
    }


def machine() -> dict[str, object]:
    """Return what measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        # What else runs lowers the rates; the ratios are taken within a round.
        "load_average_before": round(os.getloadavg()[0], 1),
        "processes": PROCESSES,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pillow": version("pillow"),
        "libjpeg_turbo": features.version("jpg"),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--quick", action="store_true", help="few images, no memory")
    arguments = parser.parse_args()
    n, rounds = (200, 2) if arguments.quick else (arguments.images, arguments.rounds)
    report: dict[str, object] = {"benchmark": "data", "machine": machine(), "images": n}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs(folder, n)
        report["prepared_per_second"] = round(prepare(folder))
        report |= measure(folder, n, rounds)
        report["space"] = sizes(folder, n)
        if not arguments.quick:
            report["memory_mb"] = memory(folder, n)
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
