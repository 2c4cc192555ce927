"""How long a command takes that measures nothing, printed as JSON.

    python benchmarks/startup.py [--out FILE] [--rounds 5]

Seconds of whole processes, the median over rounds: a bare Python, `headstart --help`, and
`headstart results` on a store of nine results made up for this.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from headstart import datasets, methods, models
from headstart.spec import Prediction, Result, Selection, Trial
from headstart.store import ResultStore


def fill(path: Path) -> None:
    """Store nine results."""
    store = ResultStore(path, create=True)
    choice = {"lambda": 1.0, "accuracy": 0.5, "converged": 1.0}
    labels = np.arange(300, dtype=np.int64)
    for name in ("digits", "glyphs", "fashion_mnist"):
        for model in models.catalogue().values():
            trial = Trial(model=model, dataset=datasets.find(name), setting=methods.find("linear"))
            store.add(
                Result(
                    trial=trial,
                    metrics={"top-1": 0.5},
                    n_test=300,
                    selection=Selection(
                        examples="r", chosen={"lambda": 1.0}, validation_curve=(choice,) * 45
                    ),
                    predictions=Prediction(labels, labels, np.zeros((300, 10), np.float32)),
                )
            )


def seconds(command: list[str]) -> float:
    """Time one process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder) / "results.db")
        headstart = [sys.executable, "-m", "headstart"]
        commands = {
            "python": [sys.executable, "-c", "pass"],
            "help": [*headstart, "--help"],
            "results": [*headstart, "results", "--store", folder + "/results.db"],
        }
        rounds = [
            {name: seconds(command) for name, command in commands.items()}
            for _ in range(arguments.rounds)
        ]
    report = {
        "benchmark": "startup",
        "seconds": {
            name: round(statistics.median(r[name] for r in rounds), 3) for name in commands
        },
    }
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
