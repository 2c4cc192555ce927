"""What a busy neighbour costs: seconds beside other processes, over quiet ones. Ratios, as JSON.

    python benchmarks/neighbours.py [--out FILE] [--rounds 5] [--work NAME...] [--cpus N]

Work of a few seconds each, as a user runs it, in a process of its own:

* probe      a path of 17 lambdas on 3,000 x 768 features of 10 classes, all certified;
* extraction features of 128 images of 224 pixels by EfficientNet-Lite0, fp32, torch;
* openvino   the same by OpenVINO, which computes each image in one thread;
* training   6 steps of EfficientNet-Lite0 at 224 pixels, batches of 16;
* small      60 steps of a ResNet-8 at 16 pixels, batches of 32.

Each is measured quiet, beside one busy process, and beside as many as there are CPUs; with the
threads that headstart chooses and with one thread. `plain` is the same work without headstart's way
of waiting (`headstart.threads`), as torch does it by itself. A round runs all of them, each round
from another one on; ratios are taken within a round, and the median over rounds is reported.

With as many busy processes as CPUs the scheduler gives each of ours half of a CPU: 2 is the limit.
`--cpus` restricts all processes to the first N CPUs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

WORK = ("probe", "extraction", "openvino", "training", "small")
WAYS = ("default", "one thread", "plain")
BUSY = "while True: pass"
SETTLE_SECONDS = 0.3


def probe_path(name: str, stride: int) -> Callable[[], object]:
    """A path of lambdas on one of the problems."""
    import torch

    from headstart.probe import Softmax, fit_path
    from problems import make_problem

    problem = make_problem(name)
    labels = torch.from_numpy(problem.y).long()
    lambdas = problem.lambdas[::stride]

    def run() -> object:
        fits = list(fit_path(problem.X, Softmax.of(labels, problem.n_classes), lambdas))
        assert all(fit.converged for fit in fits)
        return None

    return run


def extraction(runtime: str) -> Callable[[], object]:
    """Forward passes, as features are extracted."""
    import numpy as np
    import torch

    from headstart import models
    from headstart.features.inference import Extractor, converted

    model = models.find("efficientnet_lite0")
    network = models.load(model)
    extractor = Extractor(network, model, "fp32", torch.device("cpu"))
    compute = extractor if runtime == "torch" else converted(extractor, model)
    size = compute.batch_size
    pixels = np.random.RandomState(0).randint(0, 255, (128, 224, 224, 3)).astype(np.uint8)

    def run() -> object:
        return [compute(pixels[first : first + size]) for first in range(0, 128, size)]

    return run


def training(case: str) -> Callable[[], object]:
    """Steps, as a network is fine-tuned."""
    from functools import partial

    import numpy as np
    import timm
    import torch

    from headstart.spec import SGD, TrainingConfig
    from headstart.training import InputSpec, train
    from headstart.training.pixels import ResidentPixels
    from networks import N_CLASSES, resnet8

    class Noise:
        images = np.random.RandomState(0).randint(0, 255, (256, 240, 240, 3)).astype(np.uint8)

        def __len__(self) -> int:
            return len(self.images)

        def pixels(self, row: int) -> np.ndarray:
            return np.asarray(self.images[row])

    cases: dict[str, tuple[Callable[[], torch.nn.Module], int, int, int]] = {
        "training": (partial(timm.create_model, "efficientnet_lite0", num_classes=N_CLASSES),
                     224, 16, 6),
        "small": (resnet8, 16, 32, 60),
    }  # fmt: skip
    make, side, batch, steps = cases[case]
    noise = Noise()
    noise.images = noise.images[:, : side + 16, : side + 16]
    device = torch.device("cpu")
    pixels = ResidentPixels(noise, device)
    labels = np.arange(256) % N_CLASSES
    spec = InputSpec(side, (0.5,) * 3, (0.25,) * 3, "bilinear")
    config = TrainingConfig(
        steps=steps, learning_rate=1e-3, optimizer=SGD(weight_decay=1e-4), batch_size=batch
    )
    return lambda: train(make(), pixels, labels, spec, config, device=device)


MAKE: dict[str, Callable[[], Callable[[], object]]] = {
    "probe": lambda: probe_path("spectrum", 1),
    "extraction": lambda: extraction("torch"),
    "openvino": lambda: extraction("openvino"),
    "training": lambda: training("training"),
    "small": lambda: training("small"),
}


def child(work: str, way: str) -> None:
    """Do the work each time a line arrives; answer with its wall and CPU seconds."""
    from headstart import threads

    assert "torch" not in sys.modules
    if way != "plain":
        threads.configure_threads()
    else:
        os.environ[threads.SHARING] = "off"
    import torch

    torch.manual_seed(0)
    if way == "one thread":
        torch.set_num_threads(1)
    run = MAKE[work]()
    run()
    print("ready", flush=True)
    for _ in sys.stdin:
        # What others used is seen since the last look: not while another way was measured.
        with threads.sharing_cpus():
            time.sleep(SETTLE_SECONDS)
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        print(time.perf_counter() - wall, time.process_time() - cpu, flush=True)


class Worker:
    """A process that does one kind of work in one way, and sleeps in between."""

    def __init__(self, work: str, way: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--child", work, way],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent,
        )
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def seconds(self) -> float:
        """Wall seconds of one run."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._answer().split()[0])

    def close(self) -> None:
        self._process.kill()


@contextmanager
def neighbours(number: int) -> Iterator[None]:
    """Run busy processes."""
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(number)]
    # Until they have started.
    time.sleep(0.3 if busy else 0)
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def measured(work: str, rounds: int, cpus: int) -> dict[str, dict[str, object]]:
    """Measure one kind of work in all ways and beside all numbers of neighbours."""
    workers = {way: Worker(work, way) for way in WAYS}
    numbers = sorted({0, 1, cpus})
    seconds: dict[str, dict[int, list[float]]] = {w: {n: [] for n in numbers} for w in WAYS}
    for one in range(rounds):
        for number in numbers:
            with neighbours(number):
                for way in WAYS[one % len(WAYS) :] + WAYS[: one % len(WAYS)]:
                    seconds[way][number].append(workers[way].seconds())
    for worker in workers.values():
        worker.close()
    found = {}
    for way in WAYS:
        quiet = seconds[way][0]
        ratios = {
            f"beside {number}": round(statistics.median(
                busy / calm for busy, calm in zip(seconds[way][number], quiet, strict=True)), 2)
            for number in numbers[1:]
        }  # fmt: skip
        plain = statistics.median(
            own / other for own, other in zip(quiet, seconds["plain"][0], strict=True)
        )
        found[way] = {
            "quiet_seconds": round(statistics.median(quiet), 3),
            "quiet_over_plain": round(plain, 2),
            "over_quiet": ratios,
        }
    return found


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", nargs="+", choices=WORK, default=WORK)
    parser.add_argument("--cpus", type=int)
    parser.add_argument("--child", nargs=2)
    options = parser.parse_args()
    if options.child:
        # Before torch: OpenMP reads how threads wait when it is loaded.
        child(*options.child)
        return
    import torch

    from features import machine

    if options.cpus:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cpus])
    cpus = len(os.sched_getaffinity(0))
    report = {
        "machine": machine(torch.device("cpu")),
        "cpus": cpus,
        "rounds": options.rounds,
        "work": {},
    }
    for work in options.work:
        report["work"][work] = found = measured(work, options.rounds, cpus)
        print(json.dumps({work: found}, indent=1), flush=True)
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
