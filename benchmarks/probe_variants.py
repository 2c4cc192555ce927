"""What each part of the probe's solver is worth: each left out in turn, in one run, as JSON.

    python benchmarks/probe_variants.py [--out FILE]

EfficientNet-Lite0's features of 6,400 training images of Fashion-MNIST (d = 1,280, K = 10), the
paper's 45 lambdas, relative gap 1e-4. Each variant is timed between two runs of the solver as it
is, whose mean it is compared with.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from problems import fashion

from headstart.probe import Fit, Softmax, fit_path, path
from headstart.probe.curvature import Curvature, Preconditioner
from headstart.probe.losses import Loss

LAMBDAS = np.logspace(5, -6, 45)


class Diagonal(Preconditioner):
    """The Hessian's own diagonal in the principal axes."""

    def __call__(self, G: torch.Tensor, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        step = g / self.by_bias
        return G / self.by_W, step - step.mean(1, keepdim=True)


def diagonal(self: Curvature, loss: Loss, p: torch.Tensor, lam: torch.Tensor) -> Diagonal:
    """Exact for each entry of W; what couples the classes is left out."""
    curved = torch.stack([loss.column_curvature(p[i : i + 1])[0].diagonal() for i in range(len(p))])
    rough = p * (1 - p)
    square = self._products._Z.float().square()
    by_W = torch.matmul(rough, square) + lam.float()[:, None, None]
    return Diagonal(torch.empty(len(p)), by_W, curved.float().clamp(min=1e-20))


VARIANTS = {
    "float32 curvature": lambda: patch.object(path, "native_bfloat16", lambda _: False),
    "diagonal preconditioner": lambda: patch.object(Curvature, "inverse", diagonal),
    "every lambda in turn": lambda: patch.object(path, "COARSE", 1),
    "every fourth lambda first": lambda: patch.object(path, "COARSE", 4),
    "start from the last solution": lambda: warm(),
}


@contextmanager
def warm() -> Iterator[None]:
    """Start each lambda from the last one as it is, not from the line through the last two."""

    def last(self: "path._Solver", lam: float) -> "path._Solution":
        larger = [other for other in self._solved if other > lam]
        return self._solved[min(larger)] if larger else self._nothing

    with patch.object(path._Solver, "_predict", last):
        yield


def timed(X: np.ndarray, y: np.ndarray) -> tuple[float, list[Fit]]:
    """Seconds of the whole path, and its fits."""
    time.sleep(0.3)
    start = time.perf_counter()
    fits = list(fit_path(X, Softmax.of(torch.from_numpy(y), 10), LAMBDAS))
    return time.perf_counter() - start, fits


def main() -> None:
    """Time all variants."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    X, y = fashion()
    timed(X[:500], y[:500])
    before, fits = timed(X, y)
    found = {"solver": {"seconds": before, **facts(fits)}}
    for name, variant in VARIANTS.items():
        with variant():
            seconds, fits = timed(X, y)
        after, _ = timed(X, y)
        times = 2 * seconds / (before + after)
        found[name] = {"seconds": seconds, "times_the_solver": round(times, 2), **facts(fits)}
        print(name, found[name], file=sys.stderr, flush=True)
        before = after
    text = json.dumps(found, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


def facts(fits: list[Fit]) -> dict[str, int]:
    """Passes, and what was certified."""
    return {"passes": sum(f.passes for f in fits), "certified": sum(f.converged for f in fits)}


if __name__ == "__main__":
    main()
