"""How near the certified path comes to what the device's multiplications alone would take.

* `seconds`: of `LogisticRegressionPath(tol=1e-4).fit(X, y)` for all 45 lambdas, X on the device;
  the median of rounds after a first one; `seconds_from_host` has X in main memory;
* `certified`: how many lambdas met the tolerance, by their own float64 certificates;
* `products`: milliseconds and teraflops a second of ``(K, d) @ (d, n)`` and ``(K, n) @ (n, d)``;
* `axes_seconds`: of finding the principal axes alone;
* `multiplication_seconds`: an estimate of the time of the path's products after that. A pass is a
  pair of products: those of looks are in float32, those of curvature in bfloat16 where the device
  has it, in about equal numbers; each lambda has one float64 pair for its certificate. So: all
  passes times the mean of the float32 and bfloat16 pairs, plus 45 float64 pairs.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from headstart.devices import Device, fast_bfloat16
from headstart.probe import LogisticRegressionPath
from headstart.probe.axes import Axes
from problems import TARGET, synthetic

__all__ = ["measure"]

ROUNDS = 3
# Products are repeated for so many seconds, three times at least.
LONG_ENOUGH = 0.5


def measure(X: np.ndarray, y: np.ndarray, device: torch.device) -> dict[str, Any]:
    """Time the path, the axes and the products."""
    fit(*synthetic(200, 32, 3), device)
    there = torch.from_numpy(X).to(device)
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    runs = [seconds(lambda: fit(there, y, device), device) for _ in range(1 + ROUNDS)]
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    probe = fit(there, y, device)
    n_classes, n_lambdas = len(probe.classes_), len(probe.lambdas_)
    products = {
        str(dtype).removeprefix("torch."): products_of(there, n_classes, dtype)
        for dtype in (torch.float32, torch.bfloat16, torch.float64)
    }
    passes = int(probe.passes_path_.sum())
    alone = multiplications(products, passes, n_lambdas, device)
    whole = statistics.median(runs[1:])
    return {
        "shape": {"n": len(X), "d": X.shape[1], "K": n_classes},
        "lambdas": n_lambdas,
        "seconds": round(whole, 4),
        "seconds_first": round(runs[0], 4),
        "seconds_from_host": round(seconds(lambda: fit(X, y, device), device), 4),
        "certified": int(probe.converged_path_.sum()),
        "largest_gap": float(probe.gap_path_.max()),
        "passes": passes,
        # X itself included.
        "peak_device_memory": round(peak / X.nbytes, 2) if peak is not None else None,
        "products": products,
        "axes_seconds": round(axes_seconds(there, device), 4),
        "multiplication_seconds": round(alone, 4) if alone else None,
        "seconds_by_multiplication_seconds": round(whole / alone, 2) if alone else None,
    }


def fit(
    X: np.ndarray | torch.Tensor, y: np.ndarray, device: torch.device
) -> LogisticRegressionPath:
    """Fit all lambdas on a device."""
    where: Device = "cuda" if device.type == "cuda" else "cpu"
    return LogisticRegressionPath(tol=TARGET, device=where).fit(X, y)


def seconds(function: Callable[[], object], device: torch.device) -> float:
    """Time one call, until the device is done."""
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def axes_seconds(X: torch.Tensor, device: torch.device) -> float:
    """Time the principal axes, the second time."""
    runs = [seconds(lambda: Axes.of(X, device, X.dtype), device) for _ in range(2)]
    return runs[-1]


def products_of(X: torch.Tensor, n_classes: int, dtype: torch.dtype) -> dict[str, float]:
    """Measure the two products of a pass."""
    Z, device = X.to(dtype), X.device
    n, d = Z.shape
    W = torch.randn(n_classes, d, device=device).to(dtype)
    Y = torch.randn(n_classes, n, device=device).to(dtype)
    forward, back = repeated(lambda: W @ Z.T, device), repeated(lambda: Y @ Z, device)
    flops = 2 * n * d * n_classes
    return {
        "forward_ms": 1e3 * forward,
        "back_ms": 1e3 * back,
        "forward_teraflops": flops / forward / 1e12,
        "back_teraflops": flops / back / 1e12,
    }


def repeated(function: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, in a row of many."""
    once = max(seconds(function, device) for _ in range(2))
    times = int(np.clip(LONG_ENOUGH / max(once, 1e-9), 3, 200))

    def all_times() -> None:
        for _ in range(times):
            function()

    return seconds(all_times, device) / times


def multiplications(
    products: dict[str, dict[str, float]], passes: int, n_lambdas: int, device: torch.device
) -> float:
    """Estimate the seconds of all products with the features."""
    pair = {
        name: (found["forward_ms"] + found["back_ms"]) / 1e3 for name, found in products.items()
    }
    curvature = pair["bfloat16"] if fast_bfloat16(device) else pair["float32"]
    return passes * (pair["float32"] + curvature) / 2 + n_lambdas * pair["float64"]
