"""How long a command takes that measures nothing, printed as JSON.

    python benchmarks/startup.py [--out FILE] [--rounds 5] [--results 100000]

Seconds of whole processes, the median over rounds: a bare Python, `headstart --help`, and
`headstart results` on a store of nine results made up for this. On a store of `--results` results:
`headstart results` of one model, the best ten of them all, and a run whose trial is stored.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from headstart import datasets, methods, models
from headstart.spec import Prediction, Result, Selection, Trial
from headstart.store import ResultStore, schema
from headstart.store.backend import open_backend


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


def enlarge(path: Path, n_results: int) -> None:
    """Repeat the results under the names of other models, until there are so many."""
    table = schema.results

    def repeat(connection: sa.Connection) -> None:
        found = [row._asdict() for row in connection.execute(sa.select(table))]
        for first in range(len(found), n_results, 10_000):
            rows = []
            for number in range(first, min(first + 10_000, n_results)):
                row = dict(found[number % len(found)])
                name = f"net{number // 20}"
                row["record"] = row["record"].replace(f'"{row["model"]}"', f'"{name}"')
                del row["id"]
                rows.append(row | {"key": f"{number:064x}", "model": name})
            connection.execute(table.insert(), rows)

    open_backend(path, create=True).write(repeat)


def seconds(command: list[str]) -> float:
    """Time one process."""
    # With bytecode, as an installed package has it.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder) / "results.db")
        fill(Path(folder) / "many.db")
        enlarge(Path(folder) / "many.db", arguments.results)
        many = ["--store", folder + "/many.db"]
        # 20 results of each model; with few results the last one.
        some_model = f"net{min(77, arguments.results // 20 - 1)}"
        headstart = [sys.executable, "-m", "headstart"]
        commands = {
            "python": [sys.executable, "-c", "pass"],
            "help": [*headstart, "--help"],
            "results": [*headstart, "results", "--store", folder + "/results.db"],
            "results_of_one_model": [*headstart, "results", "--model", some_model, *many],
            "best_ten": [
                *headstart,
                "results",
                "--sort",
                "accuracy:desc",
                "--limit",
                "10",
                *many,
            ],
            "run_that_is_stored": [
                *headstart,
                "run",
                "--models",
                "efficientnet_lite0",
                "--datasets",
                "digits",
                *many,
            ],
        }
        rounds = [
            {name: seconds(command) for name, command in commands.items()}
            for _ in range(arguments.rounds)
        ]
    report = {
        "benchmark": "startup",
        "stored_results": arguments.results,
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
