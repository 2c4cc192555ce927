"""A recorded grid, and searches replayed on it: what they cost, and what they lose.

The searches are the program's own: `headstart.methods.finetune` says what to train next and which
is the best, here as in a trial; only the training is looked up. A record holds test accuracies of
every candidate, which no trial ever sees.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from statistics import fmean
from typing import Any

import numpy as np
from scipy.special import stdtrit

from headstart import methods
from headstart.methods.finetune import TrainingSetting, next_candidates, select_best
from headstart.spec import Candidate, Crop, Measurement, Selection

__all__ = [
    "BATCH_SIZE",
    "CROPS",
    "SEARCHES",
    "STEPS",
    "Cell",
    "Record",
    "Run",
    "interval",
    "key_of",
    "records_of",
    "replayed",
    "scaled",
    "summary",
]

SEARCHES = ("grid", "halving", "short", "quick")
# A run at full length, as long as the protocols' 19,531 steps are to these here.
STEPS, BATCH_SIZE = 768, 32
# Of the protocol's eight; a decay is a share a step, so that fewer steps have larger ones.
DECAYS = (0.0, 1e-5, 1e-4, 1e-3)
CROPS: tuple[Crop, ...] = ("full", "central")
LEVEL = 0.95


@dataclass(frozen=True)
class Cell:
    """What a grid is measured on: "scratch" or "finetune", a dataset, and the trial's seed."""

    kind: str
    dataset: str
    seed: int

    @property
    def name(self) -> str:
        """In the record."""
        return f"{self.kind} {self.dataset} {self.seed}"


@dataclass(frozen=True)
class Run:
    """How many images a trained candidate gets right, by crop; nothing where it diverged."""

    validation: tuple[int, ...] = ()
    test: tuple[int, ...] = ()


@dataclass
class Record:
    """The runs of a cell, by (learning rate, decay, steps)."""

    n_validation: int
    n_test: int
    runs: dict[tuple[float, float, int], Run] = field(default_factory=dict)

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "Record":
        """Read what `as_json` gave."""
        n = len(CROPS)
        runs = {
            (rate, decay, steps): Run(tuple(counts[:n]), tuple(counts[n:]))
            for rate, decay, steps, *counts in kept["runs"]
        }
        return cls(kept["n_validation"], kept["n_test"], runs)

    def as_json(self) -> dict[str, Any]:
        """Rate, decay, steps, images right of validation by crop, and of test, one row per run."""
        rows = [[*key, *run.validation, *run.test] for key, run in sorted(self.runs.items())]
        return {"n_validation": self.n_validation, "n_test": self.n_test, "runs": rows}

    def measurement(self, candidate: Candidate) -> Measurement:
        """Return what a trial would have measured; KeyError if it was not recorded."""
        validation = self.runs[key_of(candidate)].validation
        rows = [
            {**candidate.values, "crop": crop, "accuracy": right / self.n_validation}
            for crop, right in zip(CROPS, validation, strict=False)
        ]
        return Measurement(
            candidate=candidate,
            examples="recorded",
            status="complete" if rows else "diverged",
            curve=tuple(rows or [{**candidate.values, "accuracy": 0.0}]),
        )

    def accuracy(self, selection: Selection) -> float:
        """Test accuracy of a choice trained at full length, in percent; 0 where that diverges."""
        chosen = selection.chosen
        rate, decay = float(chosen["learning_rate"]), float(chosen["weight_decay"])
        test = self.runs[rate, decay, STEPS].test
        return 100 * test[CROPS.index(chosen["crop"])] / self.n_test if test else 0.0


def key_of(candidate: Candidate) -> tuple[float, float, int]:
    """Name a run."""
    values = candidate.values
    return float(values["learning_rate"]), float(values["weight_decay"]), int(values["steps"])


def records_of(report: Mapping[str, Any]) -> dict[Cell, Record]:
    """Read all cells of a record."""
    names = {name: name.split() for name in report.get("cells", {})}
    return {
        Cell(kind, dataset, int(seed)): Record.of(report["cells"][name])
        for name, (kind, dataset, seed) in names.items()
    }


def scaled(kind: str, search: str) -> TrainingSetting:
    """Return a search of `headstart.methods` with all lengths in proportion.

    Short runs of small networks want the learning rates of training from scratch, also where
    pretrained weights are fine-tuned.
    """
    protocol = _protocol("kornblith2019" if search == "grid" else search)
    longest = _protocol("halving")
    stretch, share = longest.training.steps / STEPS, len(DECAYS) / len(longest.weight_decays)
    weight_decays = protocol.weight_decays if search == "quick" else DECAYS
    found = methods.find(
        kind,
        steps=STEPS,
        batch_size=BATCH_SIZE,
        learning_rates=protocol.learning_rates,
        weight_decays=[float(f"{decay * stretch:.6g}") for decay in weight_decays],
        search=protocol.search,
        rungs=[(round(n * share), round(steps / stretch)) for n, steps in protocol.rungs],
    )
    assert isinstance(found, TrainingSetting)
    return found


def _protocol(name: str) -> TrainingSetting:
    found = methods.find("scratch", protocol=name)
    assert isinstance(found, TrainingSetting)
    return found


def replayed(
    setting: TrainingSetting, measure: Callable[[Candidate], Measurement]
) -> tuple[Selection, int]:
    """Run a search; its choice, and how many steps it trained."""
    measured: list[Measurement] = []
    while wanted := next_candidates(setting, measured):
        measured += map(measure, wanted)
    return select_best(setting, measured), sum(key_of(m.candidate)[2] for m in measured)


def summary(records: Mapping[Cell, Record]) -> dict[str, Any]:
    """Share of the grid's steps, and test accuracy lost against the grid's choice, in points.

    For comparison what is lost by the grid's own choice in a cell that differs by its seed alone,
    by a candidate at random, and by (a gain) the best candidate on test.
    """
    replays = {
        (cell, search): replayed(scaled(cell.kind, search), record.measurement)
        for cell, record in records.items()
        for search in SEARCHES
    }

    def accuracy(cell: Cell, search: str, chosen_in: Cell) -> float:
        return records[cell].accuracy(replays[chosen_in, search][0])

    best = {cell: accuracy(cell, "grid", cell) for cell in records}
    found: dict[str, Any] = {}
    for search in SEARCHES[1:]:
        share = max(replays[cell, search][1] / replays[cell, "grid"][1] for cell in records)
        lost = {cell: best[cell] - accuracy(cell, search, cell) for cell in records}
        found[search] = {"share_of_steps": round(share, 4), **_lost(lost)}
    siblings = {cell: _siblings(cell, records) for cell in records}
    other = {c: [accuracy(c, "grid", o) for o in near] for c, near in siblings.items() if near}
    every = {cell: _all_accuracies(cell, record) for cell, record in records.items()}
    if other:
        found["grid, another seed"] = _lost({c: best[c] - fmean(x) for c, x in other.items()})
    found["random candidate"] = _lost({c: best[c] - fmean(x) for c, x in every.items()})
    found["best on test"] = _lost({c: best[c] - max(x) for c, x in every.items()})
    edges = [replays[cell, "grid"][0].on_edge for cell in records]
    found["grid"] = {
        "accuracy": {cell.name: round(x, 2) for cell, x in best.items()},
        "choices_on_an_edge": sum("learning_rate" in edge for edge in edges),
    }
    return found


def _siblings(cell: Cell, cells: Iterable[Cell]) -> list[Cell]:
    same = (cell.kind, cell.dataset)
    return [c for c in cells if (c.kind, c.dataset) == same and c.seed != cell.seed]


def _all_accuracies(cell: Cell, record: Record) -> list[float]:
    """Return the test accuracy of every candidate of the grid, by its better crop on validation."""
    grid = scaled(cell.kind, "grid")
    runs = [record.runs[r, d, STEPS] for r, d in product(grid.learning_rates, grid.weight_decays)]
    right = [run.test[int(np.argmax(run.validation))] if run.test else 0 for run in runs]
    return [100 * n / record.n_test for n in right]


def _lost(points: Mapping[Cell, float]) -> dict[str, Any]:
    """Mean over cells with Student's interval, and the mean of each kind and dataset."""
    groups = sorted({(cell.kind, cell.dataset) for cell in points})

    def mean(group: tuple[str, str]) -> float:
        return float(np.mean([x for c, x in points.items() if (c.kind, c.dataset) == group]))

    return {
        "points_lost": interval(list(points.values())),
        "by_group": {" ".join(group): round(mean(group), 2) for group in groups},
    }


def interval(values: Sequence[float]) -> dict[str, float]:
    """Mean, with Student's interval of 95 %, and how many values made it."""
    x = np.asarray(values, dtype=np.float64)
    half = 0.0
    if len(x) > 1:
        half = stdtrit(len(x) - 1, (1 + LEVEL) / 2) * x.std(ddof=1) / np.sqrt(len(x))
    numbers = {"mean": x.mean(), "low": x.mean() - half, "high": x.mean() + half}
    return {**{name: round(float(v), 2) for name, v in numbers.items()}, "n": len(x)}
