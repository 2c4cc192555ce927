"""How fast the certified path is against other solvers, printed as JSON.

    python benchmarks/probe.py [--out FILE] [--cases digits fashion flowers large]
    python benchmarks/probe.py --budget 60 newton-cg=300
    python benchmarks/probe.py --plot FILE.png
    python benchmarks/probe.py --device cuda
    python benchmarks/probe.py --bfloat16 --cases spectrum flowers

Everyone is brought to a relative duality gap of 1e-4 for the same lambdas, in decreasing order and
from the last solution, by the same judge: `headstart.probe.certify` in float64, whose time counts
for nobody. `problems.py` describes the cases, `rivals.py` the rivals, `race.py` how their time is
stopped; each rival runs with the setting of threads that suits it best, ours with the default.

* `ours`: `LogisticRegressionPath(lambdas, tol=1e-4).fit(X, y)` with all it does, principal axes and
  certificates too: `seconds` (the median of one fit before and one after the rivals), `passes`
  (over the features, summed over lambdas), `largest_gap` by the judge. `whole_path` is all 45
  lambdas, in a process of its own that tells its peak memory: `peak_memory` is (X + what the fit
  adds to the process) / X, which contains the coefficients that are handed back, alone
  `coefficients` / X.
* `rivals`: `seconds` of fitting. One that exceeds the budget is stopped (`out_of_time_at`, with its
  gap there); one whose gap no tolerance makes small enough goes on with the next lambda
  (`stalled_at`). `ratio` is its seconds by ours for all lambdas: where it did not finish,
  `at_least` is true and the ratio a lower bound.
* `ratio_best_rival`: the least ratio of rivals that finished, else the least bound of those that
  ran out of time. A rival that stalled counts for neither: it never gets there.
* `ratio_sklearn_lbfgs`: the same of scikit-learn's default solver, in the better of its precisions.
* `gap_against_time`, with `--plot`: fits of one lambda from nothing, each to a series of
  tolerances: seconds and certified gap.

`--bfloat16` measures with bfloat16 products, without, and scikit-learn's newton-cg in float32, in
turns: `bfloat16.py` says how.

`--device cuda` (or `--ours-only`) measures ours alone, with all 45 lambdas, and the device's speed
in the products that it is made of; `device_report.py` says what it prints.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headstart.probe import LogisticRegressionPath
from problems import CASES, TARGET, Problem, make_problem, synthetic

SKLEARN_LBFGS = ("sklearn lbfgs float32", "sklearn lbfgs float64")


def fit_ours(
    X: np.ndarray, y: np.ndarray, lambdas: Sequence[float] | None = None, tol: float = TARGET
) -> tuple[LogisticRegressionPath, float]:
    """Fit on the CPU; give the probe and the seconds."""
    from race import settle

    settle()
    start = time.perf_counter()
    probe = LogisticRegressionPath(lambdas=lambdas, tol=tol, device="cpu").fit(X, y)
    return probe, time.perf_counter() - start


def compare(problem: Problem, budgets: Mapping[str, float]) -> dict[str, Any]:
    """Run ours, the rivals, each for so many seconds, and ours again."""
    from race import Judge

    X, y = problem.X, problem.y
    judge = Judge(X, y)
    # As every rival, warmed up on these features.
    fit_ours(X, y, problem.lambdas[:1])
    probe, before = fit_ours(X, y, problem.lambdas)
    gaps = [
        judge(lam, coef, bias)
        for lam, coef, bias in zip(
            probe.lambdas_, probe.coef_path_, probe.intercept_path_, strict=True
        )
    ]
    assert len(gaps) == len(problem.lambdas)
    passes = int(probe.passes_path_.sum())
    del probe
    rivals = {name: race_one(name, problem, judge, budget) for name, budget in budgets.items()}
    after = fit_ours(X, y, problem.lambdas)[1]
    ours = float(np.median([before, after]))
    for result in rivals.values():
        if "seconds" in result:
            result["at_least"] = not result["finished"]
            result["ratio"] = round(result["seconds"] / ours, 2)
    return {
        "shape": {"n": len(X), "d": X.shape[1], "K": problem.n_classes},
        "lambdas": list(problem.lambdas),
        "target_gap": TARGET,
        "ours": {
            "seconds": round(ours, 3),
            "seconds_before_and_after": [round(before, 3), round(after, 3)],
            "passes": passes,
            "largest_gap": max(gaps),
            "whole_path": whole_path(X, y),
        },
        "rivals": rivals,
        "ratio_best_rival": best(rivals),
        "ratio_sklearn_lbfgs": best({n: r for n, r in rivals.items() if n in SKLEARN_LBFGS}),
    }


def race_one(name: str, problem: Problem, judge: Any, budget: float) -> dict[str, Any]:
    """Race a rival, or say why not."""
    from race import race
    from rivals import RIVALS

    print(f"{problem.name}: {name}", file=sys.stderr, flush=True)
    try:
        rival = RIVALS[name]()
    except ImportError as error:
        return {"skipped": str(error)}
    return race(rival, problem, judge, TARGET, budget)


def best(rivals: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """Find the rival with the least ratio: one that finished, else one that ran out of time."""
    ran = {name: result for name, result in rivals.items() if "ratio" in result}
    eligible = {name: r for name, r in ran.items() if r["finished"]}
    eligible = eligible or {name: r for name, r in ran.items() if not r["stalled_at"]}
    if not eligible:
        return None
    name = min(eligible, key=lambda name: eligible[name]["ratio"])
    return {"rival": name, **{key: eligible[name][key] for key in ("ratio", "at_least")}}


def whole_path(X: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Fit all 45 lambdas in a process of its own: seconds, and memory in multiples of X."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        np.savez(path, X=X, y=y)
        command = [sys.executable, __file__, "--whole-path", str(path)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def fit_whole_path(path: Path) -> dict[str, Any]:
    """What the process does that `whole_path` starts."""
    with np.load(path) as arrays:
        X, y = arrays["X"], arrays["y"]
    fit_ours(*synthetic(200, 32, 3))
    reset_peak()
    before = memory("VmRSS")
    probe, seconds = fit_ours(X, y)
    extra = memory("VmHWM") - before
    return {
        "lambdas": len(probe.lambdas_),
        "seconds": round(seconds, 3),
        "passes": int(probe.passes_path_.sum()),
        "certified": int(probe.converged_path_.sum()),
        "largest_gap": float(probe.gap_path_.max()),
        "peak_memory": round(1 + extra / X.nbytes, 2),
        "coefficients": round(probe.coef_path_.nbytes / X.nbytes, 2),
    }


def memory(what: str) -> int:
    """Bytes of resident memory of this process: now (VmRSS) or at most (VmHWM)."""
    # Not getrusage: a child inherits its parent's peak there.
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{what}:")[1].split()[0])


def reset_peak() -> None:
    """Make this process's peak what it takes now, where the system allows that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        print("the peak memory before the fit counts too", file=sys.stderr)


def cleaned(part: Any) -> Any:
    """Make infinities and NaN null, which JSON does not know; round gaps."""
    if isinstance(part, dict):
        return {key: cleaned(value) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [cleaned(value) for value in part]
    if isinstance(part, float):
        return float(f"{part:.6g}") if np.isfinite(part) else None
    return part


def machine(device: str) -> dict[str, Any]:
    """Return what it runs on."""
    on_gpu = device == "cuda" and torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def main() -> None:
    """Measure and print."""
    arguments = parsed()
    warnings.simplefilter("ignore")
    if arguments.whole_path:
        print(json.dumps(fit_whole_path(arguments.whole_path)))
        return
    report: dict[str, Any] = {
        "benchmark": "probe",
        "machine": machine(arguments.device),
        "scale": arguments.scale,
    }
    alone = arguments.ours_only or arguments.device != "cpu"
    kind = "bfloat16" if arguments.bfloat16 else "alone" if alone else "cases"
    report[kind] = (results := {})
    chosen = arguments.cases
    if chosen is None:
        chosen = ["large"] if alone else CASES
    for name in chosen:
        problem = make_problem(name, arguments.scale)
        if arguments.bfloat16:
            from bfloat16 import alternate

            results[name] = alternate(problem)
        elif alone:
            from device_report import measure

            results[name] = measure(problem.X, problem.y, torch.device(arguments.device))
        else:
            names = rival_names(arguments.rivals)
            results[name] = compare(problem, budgets(names, arguments.budget))
        write(report, arguments.out)
    if arguments.plot:
        from gap_plot import LAMBDA, draw, gap_against_time

        problem = make_problem(arguments.plot_case, arguments.scale)
        series = gap_against_time(problem, fit_ours, rival_names(arguments.rivals))
        gaps = {"case": problem.name, "lambda": LAMBDA, "series": series}
        report["gap_against_time"] = gaps
        n, d = problem.X.shape
        draw(gaps, {"n": n, "d": d, "K": problem.n_classes}, arguments.plot)
        write(report, arguments.out)
    print(json.dumps(cleaned(report), indent=1))


def rival_names(wanted: Sequence[str] | None) -> Sequence[str]:
    """Name the rivals asked for, by default all."""
    from rivals import RIVALS

    return [name for name in RIVALS if not wanted or any(part in name for part in wanted)]


def budgets(names: Sequence[str], given: Sequence[str]) -> dict[str, float]:
    """Return each rival its seconds: the first, or the last that is given for part of its name."""
    own = [item.rsplit("=", 1) for item in given[1:]]
    return {
        name: float([given[0], *(seconds for part, seconds in own if part in name)][-1])
        for name in names
    }


def write(report: dict[str, Any], out: Path | None) -> None:
    """Write what is known so far."""
    if out:
        out.write_text(json.dumps(cleaned(report), indent=1) + "\n")


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="also write the JSON to this file, case by case")
    parser.add_argument("--cases", nargs="*", choices=CASES, help="default: all; none if empty")
    parser.add_argument("--rivals", nargs="*", help="parts of names; default: all")
    parser.add_argument(
        "--budget",
        nargs="+",
        default=["90"],
        metavar="SECONDS",
        help="of a rival for a case; then NAME=SECONDS for those with this in their name",
    )
    parser.add_argument("--scale", type=float, default=1.0, help="part of the examples, to try out")
    parser.add_argument("--device", default="cpu", help="other than cpu: ours alone, there")
    parser.add_argument("--ours-only", action="store_true")
    parser.add_argument("--bfloat16", action="store_true", help="what the probe owes to it")
    parser.add_argument("--plot", type=Path, help="also draw gap against time to this file")
    parser.add_argument("--plot-case", choices=CASES, default="fashion")
    parser.add_argument("--whole-path", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
