"""How a store of 1,000,000 results is read: filtered, by a study's status, analyzed in part.

    python benchmarks/large_store.py [--results 1000000] [--store URL] [--folder /tmp] [--write]

The store is made anew, in a file or in an empty PostgreSQL database, by bulk insert of records as a
linear probe of 45 values of lambda leaves them: 1,000 models x 500 datasets x 2 settings. A
database that has results is measured as it is.
Each measurement is a process of its own, imports included; reported, as medians of three, are its
seconds by the clock, its seconds of CPU (which other programs on the machine do not lengthen much),
and its peak memory. The same on a store of one result says what of it are imports; the time of a
server is by the clock alone. Limits, in seconds: `results` of one model and dataset 1, `status` of
30 trials 1, `analyze` of 200 models x 30 datasets 10. Beside them: `status` of a study of 6,000
trials.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from itertools import islice, product
from pathlib import Path
from typing import Any

from headstart import datasets, methods, models
from headstart.spec import Result, Selection, Trial
from headstart.store import ResultStore
from headstart.store.schema import results
from headstart.versions import provenance

RESULTS = Path(__file__).parent / "results" / "large-store-cpu.json"
MODELS, DATASETS, SETTINGS = 1000, 500, ("linear", "knn")
# Models and datasets of the selection that is analyzed; results that have all of them.
SELECTED = 200, 30
FEWEST = SELECTED[1] * len(SETTINGS) * MODELS
BATCH = 5000
# What is measured: options of `headstart results`, or one of `CALLS`.
COMMANDS = {
    "results, one model and dataset": ("--model", "model-0000", "--dataset", "dataset-000"),
    "results, best 50": ("--sort", "accuracy:desc", "--limit", "50"),
}
LIMITS = {
    "results, one model and dataset": 1,
    "status, 30 trials": 1,
    "analyze, 200 x 30": 10,
}


def trial_of(model: int, dataset: int, setting: str = SETTINGS[0], seed: int = 0) -> Trial:
    """Return a trial of a made-up model on a made-up dataset."""
    base, digits = models.find("efficientnet_lite0"), datasets.find("digits")
    name, content = f"model-{model:04}", f"dataset-{dataset:03}"
    weights = base.weights.model_copy(update={"sha256": sha256(name.encode()).hexdigest()})
    own = {"name": content, "revision": sha256(content.encode()).hexdigest()}
    return Trial(
        model=base.model_copy(update={"name": name, "weights": weights}),
        dataset=digits.model_copy(update=own),
        setting=methods.find(setting),
        seed=seed,
    )


def result_of(trial: Trial) -> Result:
    """Return a result with the record of a real one."""
    curve = tuple(
        {"lambda": 2.0**power, "accuracy": 0.5 + power / 100, "converged": 1.0, "passes": 12.0,
         "relative_gap": 3.1415926e-05, "log_loss": 0.7071067811865476}
        for power in range(-22, 23)
    )  # fmt: skip
    return Result(
        trial=trial,
        metrics={"top-1": 0.5, "mean-per-class": 0.5, "log-loss": 1.1, "calibration-error": 0.04},
        n_test=360,
        selection=Selection(examples="r" * 64, chosen={"lambda": 1.0}, validation_curve=curve),
        provenance={**provenance(), "examples": "r" * 64, "refit": {"relative_gap": 1e-5}},
        seconds={"features": 12.5, "select": 1.5, "refit": 0.3},
    )


def rows(n: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of the results: each record is one text, in which a few words are replaced."""
    cells = product(range(DATASETS), SETTINGS, range(MODELS))
    text = ""
    for number, (dataset, setting, model) in enumerate(islice(cells, n)):
        if not model:
            trial = trial_of(0, dataset, setting)
            text = result_of(trial).model_dump_json().replace('"top-1":0.5', '"top-1":ACCURACY')
            text = text.replace(trial.model.name, "MODEL")
            text = text.replace(trial.model.weights.sha256 or "", "SHA256")
        name = f"model-{model:04}"
        accuracy = round(0.3 + 0.6 * (7919 * number % 10007) / 10007, 6)
        weights = sha256(name.encode()).hexdigest()
        is_real = setting == SETTINGS[0] and model < SELECTED[0] and dataset < SELECTED[1]
        key = trial_of(model, dataset).key if is_real else sha256(b"%d" % number).hexdigest()
        record = text.replace("MODEL", name).replace("SHA256", weights)
        yield {
            "key": key, "generation": 0, "model": name, "dataset": f"dataset-{dataset:03}",
            "setting": setting, "seed": 0, "metric": "top-1", "accuracy": accuracy, "n_test": 360,
            "created_at": f"2026-01-{1 + number % 28:02}T00:00:00+00:00",
            "record": record.replace("ACCURACY", repr(accuracy)),
            "predictions_file": f"{key}-0.parquet", "predictions_sha256": weights,
        }  # fmt: skip


def fill(store: ResultStore, n: int) -> None:
    """Store the rows, some thousands per transaction."""
    batch: list[dict[str, Any]] = []
    for row in rows(n):
        batch.append(row)
        if len(batch) == BATCH:
            store.load(results, batch)
            batch = []
    store.load(results, batch)


def status(place: str, n_models: int) -> None:
    """Look at the status of a study of the trials of some models."""
    from headstart.study import study_status

    trials = [trial_of(model, n) for model in range(n_models) for n in range(SELECTED[1])]
    found = study_status(trials, ResultStore(place))
    assert found.n_done == len(trials), found


def analyze(place: str) -> None:
    """Analyze a part of the store."""
    import headstart as hs

    part = "setting=linear,model=model-00*+model-01*,dataset=dataset-00*+dataset-01*+dataset-02*"
    print(hs.analyze(f"{place}?{part}"))


CALLS: dict[str, Callable[[str], None]] = {
    "status, 30 trials": partial(status, n_models=1),
    "status, 6,000 trials": partial(status, n_models=200),
    "analyze, 200 x 30": analyze,
}


def measured(name: str, place: str) -> dict[str, float]:
    """Run one of `COMMANDS` or `CALLS` in three processes; return the median of what they took."""
    taken = [run_once(name, place) for _ in range(3)]
    return {what: statistics.median(one[what] for one in taken) for what in taken[0]}


def run_once(name: str, place: str) -> dict[str, float]:
    """Run one of `COMMANDS` or `CALLS` in a process of its own; return what it took."""
    if name in COMMANDS:
        arguments = ["-m", "headstart", "results", "--store", place, *COMMANDS[name]]
    else:
        arguments = [__file__, "--store", place, "--call", name]
    # With bytecode, as an installed package has it.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, env=environment
    )
    _, exit_status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(exit_status)
    assert process.returncode == 0, name
    return {
        "seconds": round(time.perf_counter() - began, 2),
        "CPU seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak MB": round(used.ru_maxrss / 1024),
    }


def main() -> None:
    """Make the store, measure, print, remove a file again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=int, default=1_000_000)
    parser.add_argument("--store", help="URL of an empty PostgreSQL database")
    parser.add_argument("--folder", type=Path, help="where the SQLite file lies meanwhile")
    parser.add_argument("--busy", action="store_true", help="note that other programs run")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--call", choices=CALLS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.results < FEWEST:
        parser.error(f"--results {arguments.results}: expected {FEWEST} or more")
    if arguments.call:
        CALLS[arguments.call](arguments.store)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        small = str(Path(folder) / "small.db")
        fill(ResultStore(small, create=True), 1)
        place = arguments.store or str(Path(folder) / "headstart.db")
        store = ResultStore(place, create=True, predictions=folder)
        found: dict[str, Any] = {"machine was": "busy" if arguments.busy else "quiet"}
        if not store.count():
            used = time.process_time()
            fill(store, arguments.results)
            found["CPU seconds to fill"] = round(time.process_time() - used, 1)
        found["results"] = store.count()
        if not arguments.store:
            found["MB"] = round(store.path.stat().st_size / 1e6)
        for name in (*COMMANDS, *CALLS):
            # The first reads from the disk.
            run_once(name, place)
            found[name] = measured(name, place) | (
                {"limit": LIMITS[name]} if name in LIMITS else {}
            )
            if name in COMMANDS:
                found[name]["CPU seconds, one result"] = measured(name, small)["CPU seconds"]
            print(name, found[name], flush=True)
    print(json.dumps(found, indent=1))
    if arguments.write:
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        import torch

        from features import machine

        known.setdefault("machine", machine(torch.device("cpu")))
        kind = "postgresql" if arguments.store else "sqlite"
        known[f"{kind}, {found['results']:,} results"] = found
        RESULTS.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
