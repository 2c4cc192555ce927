"""What a linear trial takes beside its fits where its features are there, as JSON.

    python benchmarks/warm_trial.py [--out FILE] [--rounds 9]

Made-up features of 1,280 numbers for 1,000 training images of digits, 359 for validation and 359
for test; the 45 lambdas of the protocol. The trial is run again and again in this process; the
first run imports and hashes, and does not count. `overhead_ms` is the time of `run_trial` without
its parts "select" and "refit", which are the fits: the median of the rounds. `stored` is with
keeping measurement, selection and result in a database; `not_stored` is without.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from features import machine
from headstart import datasets, methods, models
from headstart.context import RunContext
from headstart.devices import resolve_device
from headstart.features import table_of
from headstart.spec import Result, Trial
from headstart.store import ResultStore
from headstart.trial import run_trial

N_TRAIN = 1000


def fill(trial: Trial, context: RunContext) -> None:
    """Write features of all images of the dataset to the cache: noise about centres of classes."""
    dataset, dim = trial.dataset, trial.model.feature_dim
    splits = datasets.load(datasets.find(dataset.name), 0, context.cache, test_labels=False)
    random = np.random.RandomState(0)
    labels = np.concatenate([splits.train.labels, splits.validation.labels])
    total = sum(n for _, n in dataset.sizes)
    # Labels of test images are behind a door; a probe need not get them right here.
    classes = np.resize(labels, total)
    values = 0.3 * random.randn(len(dataset.classes), dim)[classes] + random.randn(total, dim)
    revision = dataset.images_revision
    table = table_of(trial.model, revision, total, "whole", "fp32", context)
    with (
        table.locked(lambda: None),
        table.extending(np.arange(total), {"device": "none"}) as append,
    ):
        append((values.astype(np.float32), {}))


def overhead(trial: Trial, context: RunContext, store: ResultStore | None) -> tuple[float, Result]:
    """Run the trial; the seconds that are not fits, and the result."""
    if store:
        store.make()
    start = time.perf_counter()
    result = run_trial(trial, context, store)
    if store:
        store.add(result)
    seconds = time.perf_counter() - start
    return seconds - result.seconds["select"] - result.seconds["refit"], result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    trial = Trial(
        model=models.find("efficientnet_lite0"),
        dataset=datasets.find("digits", limit=N_TRAIN),
        setting=methods.find("linear"),
    )
    with tempfile.TemporaryDirectory() as folder:
        context = RunContext(device="cpu", cache=Path(folder))
        fill(trial, context)
        # The time of a file that was just written does not prove that it stays as it is.
        time.sleep(0.2)
        found: dict[str, list[tuple[float, Result]]] = {"stored": [], "not_stored": []}
        for number in range(arguments.rounds + 1):
            for kind, rounds in found.items():
                path = Path(folder) / f"{number}.db"
                store = ResultStore(path, create=True) if kind == "stored" else None
                rounds.append(overhead(trial, context, store))
    measured = {kind: rounds[1:] for kind, rounds in found.items()}
    fits = [sum(r.seconds[part] for part in ("select", "refit")) for _, r in measured["not_stored"]]
    report = {
        "benchmark": "warm_trial",
        "machine": machine(resolve_device("cpu")),
        "overhead_ms": {
            kind: round(1000 * statistics.median(seconds for seconds, _ in rounds), 1)
            for kind, rounds in measured.items()
        },
        "fits_ms": round(1000 * statistics.median(fits)),
    }
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
