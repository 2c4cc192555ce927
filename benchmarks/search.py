"""What short searches for hyperparameters cost, and lose, against the whole grid, as JSON.

    python benchmarks/search.py [--record FILE] [--seeds 3] [--minutes 60]

The searches of `headstart.methods`, at 1/25 of their lengths: a small network, few images
a class of `digits` and `glyphs`, from scratch and fine-tuned from a network trained on the other of
the two. Every candidate of the grid is trained once at full length, once at the first rung's, and
where `halving` wants it at the second; its accuracies on validation and test go to the record.
Searches are then replayed on the record (`replay.py`). All is in steps and accuracies, so that
nothing depends on the machine's speed.

Stopped at any moment, and after `--minutes` of the processor's time, it goes on from the record.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from features import machine
from headstart import datasets, methods, models
from headstart.context import RunContext
from headstart.files import replaced
from headstart.methods.finetune import PreparedTraining, TrainingSetting
from headstart.spec import Candidate, Dataset, Measurement, Model, Selection, Trial
from replay import CROPS, SEARCHES, Cell, Record, Run, key_of, records_of, replayed, scaled, summary

NETWORK = f"{Path(__file__).parent / 'networks.py'}:convnet?mean=0.5,0.5,0.5&std=0.25,0.25,0.25"
RECORD = Path(__file__).parent / "results" / "search-cpu.json"
# Pixels that the network takes, and images per class that it is trained on.
SIDES = {"digits": 8, "glyphs": 16}
EXAMPLES = {"digits": 10, "glyphs": 5}
KINDS = ("scratch", "finetune")
OTHER = {"digits": "glyphs", "glyphs": "digits"}
# Of the network that fine-tuning begins with, on all images of the other dataset.
PRETRAINING: dict[str, float | str] = {"learning_rate": 0.3, "weight_decay": 1e-4, "steps": 768.0}


class OutOfTimeError(Exception):
    """The processor's time is used up."""


class Measuring:
    """A cell's training data, and its test labels."""

    def __init__(self, cell: Cell, folder: Path) -> None:
        self.cell, self.context = cell, RunContext(device="cpu", cache=folder)

    @cached_property
    def training(self) -> PreparedTraining:
        """Whatever a trial of the whole grid trains on."""
        cell = self.cell
        weights = ""
        if cell.kind == "finetune":
            weights = f"&weights={pretrained(OTHER[cell.dataset], self.context)}"
        dataset = datasets.find(cell.dataset, examples_per_class=EXAMPLES[cell.dataset])
        model = network(cell.dataset, weights)
        grid = scaled(cell.kind, "grid")
        trial = Trial(model=model, dataset=dataset, setting=grid, seed=cell.seed)
        return opened_training(trial, self.context)

    @cached_property
    def test_labels(self) -> np.ndarray:
        """(n,) int64."""
        trial = self.training.trial
        return opened(trial.dataset, trial.seed, self.context)

    def empty(self) -> Record:
        """Return a record without runs."""
        examples = self.training.images
        return Record(len(examples.validation_rows), len(examples.test_rows))

    def run(self, candidate: Candidate) -> Run:
        """Train a candidate, and count what it gets right."""
        training, examples = self.training, self.training.images
        trained, found = training.train(candidate.values, examples.train_rows, "candidate")
        if trained.diverged_at is not None:
            return Run()

        def right(rows: np.ndarray, labels: np.ndarray) -> tuple[int, ...]:
            return tuple(
                int((training.scores(found, rows, crop).argmax(axis=1) == labels).sum())
                for crop in CROPS
            )

        rows = examples.validation_rows
        test = right(examples.test_rows, self.test_labels)
        return Run(right(rows, examples.labels[rows]), test)


def opened_training(trial: Trial, context: RunContext) -> PreparedTraining:
    """Open a trial that trains its network."""
    training = methods.open_trial(trial, context)
    assert isinstance(training, PreparedTraining)
    return training


def opened(dataset: Dataset, seed: int, context: RunContext) -> np.ndarray:
    """(n,) int64 test labels, which no trial has before its choice: regret is made of them."""
    splits = datasets.load(dataset, seed, context.cache, test_labels=True)
    nothing = Selection(examples=splits.revision, chosen={}, validation_curve=({},))
    return splits.test.open(nothing)


def network(dataset: str, weights: str = "") -> Model:
    """Describe the network for a dataset's images."""
    return models.find(f"{NETWORK}&size={SIDES[dataset]}{weights}")


def pretrained(dataset: str, context: RunContext) -> Path:
    """Train on all of a dataset, unless that is done; the file of weights."""
    file = context.cache / f"{dataset}.safetensors"
    if not file.exists():
        trial = Trial(
            model=network(dataset),
            dataset=datasets.find(dataset),
            setting=scaled("scratch", "grid"),
        )
        training = opened_training(trial, context)
        _, trained = training.train(PRETRAINING, training.images.train_rows, "candidate")
        # With the classifier's shape as the function builds it.
        state = trained.with_head(models.load(trial.model).classifier.out_features, 0)
        save_file({n: t.contiguous() for n, t in state.state_as_built().items()}, file)
    return file


def measure(cell: Cell, record: Record, measuring: Measuring, keep: Any, minutes: float) -> None:
    """Record what the searches ask for in a cell."""

    def look_up(candidate: Candidate) -> Measurement:
        key = key_of(candidate)
        if key not in record.runs:
            if time.process_time() > 60 * minutes:
                raise OutOfTimeError
            record.runs[key] = measuring.run(candidate)
            print(cell.name, key, record.runs[key], file=sys.stderr)
            keep()
        return record.measurement(candidate)

    for search in SEARCHES:
        replayed(scaled(cell.kind, search), look_up)


def write(file: Path, records: Mapping[Cell, Record], complete: set[str]) -> dict[str, Any]:
    """Write a record, one line per run; what it says."""
    whole = {cell: record for cell, record in records.items() if cell.name in complete}
    report = {
        "benchmark": "search",
        "machine": machine(torch.device("cpu")),
        "settings": {name: shape(scaled("scratch", name)) for name in SEARCHES},
        "examples_per_class": EXAMPLES,
        "sides": SIDES,
        "complete": sorted(complete),
        "searches": summary(whole) if whole else {},
    }
    lines = json.dumps(report, indent=1)[:-2] + ',\n "cells": {'
    for place, (cell, record) in enumerate(records.items()):
        kept = record.as_json()
        rows = ",\n   ".join(json.dumps(row) for row in kept.pop("runs"))
        head = json.dumps(kept)[:-1]
        lines += f'{"," if place else ""}\n  "{cell.name}": {head}, "runs": [\n   {rows}\n  ]}}'
    with replaced(file) as temporary:
        temporary.write_text(lines + "\n }\n}\n")
    return report


def shape(setting: TrainingSetting) -> str:
    """Return in a line what a search trains."""
    rates, weight_decays = (
        map(str, each) for each in (setting.learning_rates, setting.weight_decays)
    )
    rungs = setting.rungs or ((setting.n_candidates, setting.training.steps),)
    return f"learning rates {', '.join(rates)}; decays {', '.join(weight_decays)}; " + ", ".join(
        f"{n} x {steps} steps" for n, steps in rungs
    )


def main() -> None:
    """Measure what is not recorded, and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--record", type=Path, default=RECORD, help="goes on from this file")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=60.0, help="of the processor's time")
    arguments = parser.parse_args()
    kept = json.loads(arguments.record.read_text()) if arguments.record.exists() else {}
    records, complete = records_of(kept), set(kept.get("complete", ()))
    cells = [Cell(k, d, s) for s in range(arguments.seeds) for d in SIDES for k in KINDS]
    with tempfile.TemporaryDirectory() as folder:
        try:
            for cell in cells:
                if cell.name in complete:
                    continue
                measuring = Measuring(cell, Path(folder))
                record = records.setdefault(cell, measuring.empty())
                keep = lambda: write(arguments.record, records, complete)  # noqa: E731
                measure(cell, record, measuring, keep, arguments.minutes)
                complete.add(cell.name)
        except OutOfTimeError:
            print("out of time: run it again to go on", file=sys.stderr)
    print(json.dumps(write(arguments.record, records, complete)["searches"], indent=1))


if __name__ == "__main__":
    main()
