"""All that is to be measured and tested on a GPU, in at most 8 minutes, written as one JSON file.

    benchmarks/gpu.sh [--out FILE] [--parts NAME...] [--dry]

It has not been run on a GPU yet: none was at hand. ``--dry`` has: it tries every part on the CPU,
with tiny sizes, whose figures mean nothing. Nothing is installed or downloaded, no dataset is read.

* tests     the tests marked `gpu`;
* resume    training interrupted and resumed: are the weights those of a run that was not, to the
            bit? With default and with deterministic algorithms, in one process; beside it, whether
            two whole runs are equal. Fails if anything differs with deterministic algorithms;
* memory    batches that do not fit: extraction under a limit of this process's memory that holds
            part of the batch, prediction and training with a network that asks for a petabyte;
* finetune  images per second of ResNet-50 at 224 pixels, batches of 256, bfloat16: headstart's
            training on images in GPU memory, over the same steps on one fixed batch, the limit;
* features  images per second of ResNet-50 and ViT-S, float32 and bfloat16, from decoded images in
            main memory and from JPEG files of 500 x 375 pixels, over the bare forward pass of a
            batch in GPU memory;
* probe     50,000 x 2,048 features, 100 classes, all 45 lambdas to a certified relative gap of
            1e-4, and of what it is made (`device_report.py`); beside it torch's L-BFGS and, where
            installed, cuML, each lambda from the last solution (cuML: from nothing, it has no
            warm start), whose tolerance is lowered until the same judge is content.

Each part is a process of its own with its own time limit, so that none stops the others. Its status
is ok, failed or skipped, the latter two with the reason; what it had found before is kept. Ratios
are medians over rounds in which all ways are timed one after another. The exit code is 1 if a part
failed.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from torch import Tensor, nn

from headstart.devices import fast_bfloat16, resolve_device

ROOT = Path(__file__).parents[1]
TOTAL_SECONDS = 465
NO_GPU = "this machine has no NVIDIA GPU: --dry tries the parts on the CPU"
# More than any machine has, so that torch refuses it.
PETABYTE = 2**50
# Batches of other sizes may be computed by other algorithms.
CLOSE = 1e-3
# Name and value of a result.
Found = Iterator[tuple[str, Any]]


class SkippedError(Exception):
    """A part that this machine cannot run."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Parameters
    ----------
    device
        On which.
    networks
        Those of the features; `network` is the one trained.
    network, side, batch_size, steps
        Training, of images of `image_shape`.
    n_images, n_files
        Images per timing of features; JPEG files, repeated as needed.
    probe
        n, d, K.
    rival_seconds
        Of a solver, for all lambdas.
    """

    device: torch.device
    networks: tuple[str, ...]
    network: str
    side: int
    batch_size: int
    steps: int
    image_shape: tuple[int, int, int]
    n_images: int
    n_files: int
    probe: tuple[int, int, int]
    rival_seconds: float
    rounds: int

    @property
    def case(self) -> Any:
        """Training as `finetune.py` describes it."""
        from finetune import GPU_CASES, Case
        from networks import resnet8

        if self.network == "resnet50":
            return replace(
                GPU_CASES["resnet50"],
                n_images=4 * self.batch_size,
                batch_size=self.batch_size,
                steps=self.steps,
            )
        return Case(resnet8, self.side, self.batch_size, self.steps, 4 * self.batch_size)


FULL = Sizes(
    torch.device("cuda"),
    ("timm:resnet50?weights=random", "timm:vit_small_patch16_224?weights=random"),
    *("resnet50", 224, 256, 41, (375, 500, 3)),
    *(2048, 256, (50_000, 2048, 100), 40.0, 3),
)
DRY = Sizes(
    torch.device("cpu"),
    ("timm:resnet10t?size=32&weights=random", "timm:vit_tiny_patch16_224?size=32&weights=random"),
    *("resnet8", 16, 16, 6, (18, 24, 3)),
    *(64, 8, (300, 48, 5), 4.0, 1),
)


def tests(sizes: Sizes) -> Found:
    """Run the tests marked `gpu`."""
    for package in ("pytest", "hypothesis"):
        if not find_spec(package):
            raise SkippedError(f"{package} is not installed")
    # To collect all the others would take most of a minute.
    marked = (path for path in ROOT.glob("tests/**/test_*.py") if "mark.gpu" in path.read_text())
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", f"--junitxml={report}"]
        # Warnings of this machine's packages are not what is tested.
        command += ["-W", "default", "-p", "no:cacheprovider", *map(str, sorted(marked))]
        ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        if not report.exists():
            raise AssertionError(f"pytest ended with {ended.returncode}: {ended.stdout[-2000:]}")
        (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
    counts = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    yield "counts", counts
    if ended.returncode:
        raise AssertionError(f"pytest ended with {ended.returncode}: {ended.stdout[-2000:]}")
    if counts["tests"] == counts["skipped"]:
        raise (SkippedError if sizes.device.type == "cpu" else AssertionError)("all were skipped")


class InterruptedRunError(Exception):
    """What ends a run early."""


def resume(sizes: Sizes) -> Found:
    """Compare a run that was interrupted with one that was not."""
    # Read when cuBLAS is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    case = replace(sizes.case, steps=6, batch_size=min(64, sizes.batch_size))
    pixels = noise(sizes, 4 * case.batch_size)
    for mode in ("default", "deterministic"):
        torch.use_deterministic_algorithms(mode == "deterministic", warn_only=True)
        whole, again = (weights(case, pixels, sizes.device) for _ in range(2))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "checkpoint"
            try:
                weights(case, pixels, sizes.device, file, stop_at=3)
            except InterruptedRunError:
                resumed = weights(case, pixels, sizes.device, file, resumed_at=3)
        same = {"two_whole_runs": (whole - again).abs().max().item()}
        same["resumed"] = (whole - resumed).abs().max().item()
        yield f"{mode}_largest_difference", same
        if mode == "deterministic" and any(same.values()):
            raise AssertionError(f"runs differ with deterministic algorithms: {same}")


def weights(
    case: Any,
    pixels: Any,
    device: torch.device,
    file: Path | None = None,
    *,
    stop_at: int = 0,
    resumed_at: int | None = None,
) -> Tensor:
    """Train from the same start; return all weights and statistics, flat."""
    from finetune import labels_of
    from headstart.training import CheckpointOptions, Progress, train

    def watch(progress: Progress) -> None:
        if progress.step == stop_at:
            raise InterruptedRunError

    torch.manual_seed(0)
    network, labels = case.make(), labels_of(len(pixels))
    checkpoint = CheckpointOptions(file, save_seconds=0.0) if file else None
    trained = train(
        network,
        pixels,
        labels,
        case.input_spec,
        case.config,
        device=device,
        checkpoint=checkpoint,
        on_progress=watch,
    )
    if trained.resumed_at != resumed_at or trained.diverged_at is not None:
        raise AssertionError(f"resumed at {trained.resumed_at}, diverged at {trained.diverged_at}")
    return torch.cat([value.double().flatten().cpu() for value in network.state_dict().values()])


class Greedy(nn.Module):
    """A network that asks for too much memory when it is given more than `most` images."""

    def __init__(self, network: nn.Module, most: int) -> None:
        super().__init__()
        self.network, self.most = network, most
        self.sizes: list[int] = []

    def forward(self, views: Tensor) -> Tensor:
        if len(views) > self.most:
            torch.empty(PETABYTE, device=views.device)
        self.sizes.append(len(views))
        logits: Tensor = self.network(views)
        return logits


def memory(sizes: Sizes) -> Found:
    """See that batches that do not fit are split, or refused with what to do."""
    from features import relative
    from finetune import labels_of
    from headstart.errors import TrainingError
    from headstart.training import decision_values, train

    extractor = Extraction(sizes.networks[0], "fp32", sizes.device)
    n, few = sizes.batch_size, sizes.batch_size // 8
    images = extractor.some_pixels(n)
    parts = [images[i : i + few] for i in range(0, n, few)]
    expected = np.concatenate([extractor.run(part) for part in parts])
    with limited(extractor.run, images, few, sizes.device) as (limit, done):
        found = extractor.run(images)
    yield (
        "extraction",
        {
            "limit_bytes": limit,
            "parts": done,
            "relative_difference_max": relative(found, expected),
        },
    )
    if len(done) < 2 or sum(done) != n or relative(found, expected) > CLOSE:
        raise AssertionError("a batch that does not fit was not split, or gave other features")
    if relative(extractor.run(images), expected) > CLOSE:
        raise AssertionError("features are others afterwards")
    case, pixels = sizes.case, noise(sizes, sizes.batch_size)
    greedy = Greedy(case.make(), few)
    split, straight = (
        decision_values(
            network,
            pixels,
            np.arange(n),
            case.input_spec,
            "full",
            device=sizes.device,
            batch_size=batch_size,
        )
        for network, batch_size in ((greedy, n), (greedy.network, few))
    )
    difference = float(np.abs(split - straight).max())
    yield "prediction", {"parts": greedy.sizes, "difference_max": difference}
    if sum(greedy.sizes) != n or difference > CLOSE:
        raise AssertionError("predictions of a batch that was split are others")
    try:
        train(greedy, pixels, labels_of(n), case.input_spec, case.config, device=sizes.device)
    except TrainingError as error:
        yield "training", {"code": error.code, "message": str(error)}
        if error.code != "training.out_of_memory":
            raise
    else:
        raise AssertionError("training went on without memory")


@contextmanager
def limited(
    run: Any, images: np.ndarray, few: int, device: torch.device
) -> Iterator[tuple[int | None, list[int]]]:
    """Let the memory hold `few` images and not all; count the images of each pass that succeeds.

    On a GPU half way between what the two take; a CPU has no such limit, so there it is feigned.
    """
    forward, done, limit = run._forward, [], None

    def counted(pixels: np.ndarray) -> np.ndarray:
        if device.type == "cpu" and len(pixels) > few:
            torch.empty(PETABYTE)
        values: np.ndarray = forward(pixels)
        done.append(len(pixels))
        return values

    if device.type == "cuda":
        peaks = [peak_memory(partial(forward, part)) for part in (images[:few], images)]
        limit = sum(peaks) // 2
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(limit / total)
    run._forward = counted
    try:
        yield limit, done
    finally:
        run._forward = forward
        if device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0)


def peak_memory(function: Callable[[], object]) -> int:
    """Bytes that torch reserves on the GPU during the second of two calls."""
    for _ in range(2):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        function()
    return int(torch.cuda.max_memory_reserved())


def finetune(sizes: Sizes) -> Found:
    """Time training against its limit."""
    from finetune import fixed_batch, ours

    case = sizes.case
    pixels = noise(sizes, case.n_images)
    ways = {
        "fixed batch": partial(fixed_batch, case, pixels, sizes.device),
        "headstart": partial(ours, case, pixels, sizes.device),
    }
    yield "batch", {"images": case.batch_size, "side": case.side, "precision": case.precision}
    for way in ways.values():
        way()
    yield from compared(ways, "fixed batch", sizes.rounds)


def features(sizes: Sizes) -> Found:
    """Time extraction against the bare forward pass."""
    from data import images_of, photographs
    from features import relative
    from headstart.datasets import JoinedImages

    with tempfile.TemporaryDirectory() as folder:
        photographs(Path(folder), sizes.n_files)
        files = JoinedImages([images_of(Path(folder), sizes.n_images // sizes.n_files)])
        for name in sizes.networks:
            for precision in ("fp32", "bf16"):
                what = f"{name.split('?')[0].removeprefix('timm:')} {precision}"
                if precision == "bf16" and not fast_bfloat16(sizes.device):
                    yield what, "skipped: no fast bfloat16"
                    continue
                extractor = Extraction(name, precision, sizes.device)
                pixels = extractor.some_pixels(16)
                on_cpu = Extraction(name, "fp32", torch.device("cpu")).run(pixels)
                difference = relative(extractor.run(pixels), on_cpu)
                yield f"{what}: relative_difference_max_to_cpu_fp32", difference
                ways = {
                    "bare": partial(extractor.bare_rate, sizes.n_images),
                    "from memory": partial(extractor.memory_rate, sizes.n_images),
                    "from files": partial(extractor.files_rate, files),
                }
                for way in ways.values():
                    way()
                for key, value in compared(ways, "bare", sizes.rounds):
                    yield f"{what}: {key}", value


class Extraction:
    """A network with random weights, as headstart extracts features with it, and bare."""

    def __init__(self, name: str, precision: Any, device: torch.device) -> None:
        from headstart import models
        from headstart.features.inference import Extractor

        self.model, self.device = models.find(name), device
        self.run = Extractor(models.load(self.model), self.model, precision, device)
        self.network = models.load(self.model).to(device, self.run.dtype)
        self.network.to(memory_format=torch.channels_last)

    def some_pixels(self, n: int) -> np.ndarray:
        """(n, size, size, 3) uint8."""
        shape = (n, self.model.input_size, self.model.input_size, 3)
        return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)

    @torch.inference_mode()
    def bare_rate(self, n_images: int) -> float:
        """Pass the same batch again and again, of float32 without TF32, as features are."""
        batch = self.run.normalised(
            torch.from_numpy(self.some_pixels(self.run.batch_size)).to(self.device)
        )
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            return self._rate(lambda: self.network.penultimate(batch).float().cpu(), n_images)

    def memory_rate(self, n_images: int) -> float:
        """Extract from decoded images in main memory."""
        pixels = self.some_pixels(self.run.batch_size)
        return self._rate(lambda: self.run(pixels), n_images)

    def files_rate(self, files: Any) -> float:
        """Extract from files, without the cache."""
        from features import seconds, streamed

        return len(files) / seconds(lambda: streamed(self.run, self.model, files))

    def _rate(self, function: Callable[[], object], n_images: int) -> float:
        from features import seconds

        times = max(1, n_images // self.run.batch_size)
        return times * self.run.batch_size / seconds(lambda: [function() for _ in range(times)])


def compared(ways: Mapping[str, Callable[[], float]], limit: str, rounds: int) -> Found:
    """Call all ways in each round, which return images per second."""
    measured = [{name: way() for name, way in ways.items()} for _ in range(rounds)]
    for name in ways:
        yield f"{name}: images_per_second", round(statistics.median(r[name] for r in measured), 1)
        if name != limit:
            ratio = statistics.median(r[name] / r[limit] for r in measured)
            yield f"{name}: over {limit}", round(ratio, 3)


def probe(sizes: Sizes) -> Found:
    """Time all 45 lambdas, and the rivals."""
    from device_report import measure
    from problems import synthetic
    from race import Judge
    from rivals import CuML, TorchLBFGS

    X, y = synthetic(*sizes.probe)
    there = torch.from_numpy(X).to(sizes.device)
    ours = measure(X, y, sizes.device)
    yield "headstart", ours
    if ours["certified"] != ours["lambdas"]:
        raise AssertionError(f"{ours['certified']} of {ours['lambdas']} lambdas are certified")
    judge = Judge(there, y)
    for rival in (TorchLBFGS, CuML):
        try:
            made = rival()
        except ModuleNotFoundError as error:
            yield rival.name, f"skipped: {error}"
            continue
        yield rival.name, raced(made, there, y, judge, sizes.rival_seconds, ours)


def raced(
    rival: Any, X: Tensor, y: np.ndarray, judge: Any, budget: float, ours: dict[str, Any]
) -> dict[str, Any]:
    """Bring a rival to the target for all lambdas; the judge's time does not count.

    `race.py` does that with a choice of threads, which a GPU does not need.
    """
    from headstart.probe.estimator import LAMBDAS
    from problems import TARGET
    from race import TOLERANCES

    rival.start(X, y)
    spent, gaps = 0.0, []
    for lam in sorted(LAMBDAS, reverse=True):
        gap = np.inf
        for tolerance in TOLERANCES:
            start = time.perf_counter()
            rival.run(lam, tolerance, budget - spent)
            spent += time.perf_counter() - start
            gap = judge(lam, *rival.solution())
            if gap <= TARGET or spent > budget:
                break
        gaps.append(gap)
        if spent > budget:
            break
    finished = len(gaps) == len(LAMBDAS) and max(gaps) <= TARGET
    return {
        "seconds": round(spent, 3),
        "finished": finished,
        "out_of_time": spent > budget,
        "lambdas_reached": sum(gap <= TARGET for gap in gaps),
        "lambdas_tried": len(gaps),
        "largest_gap": max(gaps),
        "ratio": round(spent / ours["seconds"], 2),
        # One that stalled never gets there.
        "at_least": not finished,
    }


class Noise:
    """Coloured noise in memory, eight images again and again."""

    def __init__(self, n: int, shape: tuple[int, int, int]) -> None:
        self.n = n
        self.images = np.random.default_rng(0).integers(0, 255, (8, *shape), dtype=np.uint8)

    def __len__(self) -> int:
        return self.n

    def pixels(self, row: int) -> np.ndarray:
        return np.asarray(self.images[row % 8])


def noise(sizes: Sizes, n: int) -> Any:
    """Put images to train on onto the device."""
    from headstart.training.pixels import ResidentPixels

    return ResidentPixels(Noise(n, sizes.image_shape), sizes.device)


# The shortest first; with the seconds that each may take.
PARTS: dict[str, tuple[Callable[[Sizes], Found], int]] = {
    "tests": (tests, 60),
    "resume": (resume, 50),
    "memory": (memory, 45),
    "finetune": (finetune, 75),
    "features": (features, 95),
    "probe": (probe, 140),
}


def run_part(name: str, sizes: Sizes, file: Path) -> None:
    """Run a part in this process; add each result to the file, a line of JSON, when it is there."""
    from probe import cleaned

    with file.open("a") as lines:

        def add(kind: str, value: Any) -> None:
            lines.write(json.dumps({kind: cleaned(value)}) + "\n")
            lines.flush()

        try:
            for key, value in PARTS[name][0](sizes):
                add("result", {key: value})
        except (SkippedError, ModuleNotFoundError) as error:
            own = isinstance(error, ModuleNotFoundError) and "headstart" in str(error)
            add("failed" if own else "skipped", str(error))
        except Exception as error:
            traceback.print_exc()
            add("failed", f"{type(error).__name__}: {error}"[:2000])
        else:
            add("ok", True)


def start_part(name: str, dry: bool, limit: float) -> dict[str, Any]:
    """Run a part in a process of its own, for so many seconds at most."""
    print(f"{name}: at most {limit:.0f} s", file=sys.stderr, flush=True)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lines"
        command = [sys.executable, __file__, "--part-file", str(file), "--parts", name]
        # In a session of its own, to end the processes too that it started.
        process = subprocess.Popen(
            command + ["--dry"] * dry, start_new_session=True, stdout=sys.stderr
        )
        reason = None
        try:
            code = process.wait(max(limit, 0.0))
            reason = f"the process ended with {code}"
        except subprocess.TimeoutExpired:
            reason = f"it took longer than {limit:.0f} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        written = file.read_text().splitlines() if file.exists() else []
    report: dict[str, Any] = {"status": "failed", "reason": reason, "limit_seconds": round(limit)}
    result: dict[str, Any] = {}
    for kind, value in (item for line in written for item in json.loads(line).items()):
        if kind == "result":
            result.update(value)
        else:
            report["status"], report["reason"] = kind, None if kind == "ok" else value
    report["seconds"] = round(time.perf_counter() - began, 1)
    print(f"{name}: {report['status']}, {report['seconds']} s", file=sys.stderr, flush=True)
    return {**report, "result": result}


def main() -> int:
    """Run the parts one after another; write what is known after each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="also write the JSON to this file, part by part")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--dry", action="store_true", help="on the CPU, with tiny sizes")
    parser.add_argument("--part-file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = DRY if arguments.dry else FULL
    if arguments.part_file:
        (part,) = arguments.parts
        run_part(part, sizes, arguments.part_file)
        return 0
    began = time.perf_counter()
    if sizes.device.type == "cuda" and resolve_device("auto").type != "cuda":
        parser.error(NO_GPU)
    from features import machine

    report: dict[str, Any] = {"benchmark": "gpu", "dry": arguments.dry}
    report |= {"machine": machine(sizes.device), "parts": {}}
    for name in arguments.parts:
        left = TOTAL_SECONDS - (time.perf_counter() - began)
        report["parts"][name] = start_part(name, arguments.dry, min(PARTS[name][1], left))
        report["seconds"] = round(time.perf_counter() - began, 1)
        text = json.dumps(report, indent=1)
        if arguments.out:
            arguments.out.write_text(text + "\n")
    print(text)
    return int(any(part["status"] == "failed" for part in report["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())
