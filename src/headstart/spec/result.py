"""A trial, what it measured, selected and scored, and estimates from many results."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, NonNegativeInt, SerializeAsAny, field_validator

from headstart.registry import METHODS
from headstart.shown_text import one_line
from headstart.spec.dataset import Dataset
from headstart.spec.formatting import html_table, number_label
from headstart.spec.model import Model
from headstart.spec.noun import Noun, digest
from headstart.spec.setting import ForeignSetting, Setting

__all__ = [
    "Candidate",
    "Estimate",
    "Failure",
    "Measurement",
    "Prediction",
    "Result",
    "Selection",
    "Trial",
    "Value",
]


class Trial(Noun):
    """One cell of the table: a model, a dataset, a setting, a seed."""

    model: Model
    dataset: Dataset
    setting: SerializeAsAny[Setting]
    seed: NonNegativeInt = 0

    @field_validator("setting", mode="before")
    @classmethod
    def _of_its_method(cls, value: Any) -> Any:
        """Read a record by the class of its method's settings."""
        if isinstance(value, Mapping) and "name" in value:
            if value["name"] not in METHODS:
                # Measured by a plug-in that is not installed here: what it reached stays readable.
                return ForeignSetting.model_validate(value)
            return METHODS[str(value["name"])].setting.model_validate(value)
        return value

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:  # noqa: ARG002
        """Return a copy; unlike pydantic's it is validated, and has a key of its own."""
        return self.replace(**(update or {}))

    @property
    def uses_seed(self) -> bool:
        """Whether another seed may give another number."""
        return self.setting.random or self.dataset.is_drawn

    @property
    def uses_weights(self) -> bool:
        """Whether the network began with weights that somebody trained: not from random ones."""
        return self.setting.pretrained and self.model.weights.random_seed is None

    @cached_property
    def key(self) -> str:
        """Digest of all that may change the number, and of nothing else (64 hex digits)."""
        return digest(
            {
                "model": self.setting.identity_of(self.model),
                "dataset": self.dataset.identity,
                "setting": self.setting.identity,
                "seed": self.seed if self.uses_seed else None,
            }
        )

    @property
    def title(self) -> str:
        """For a person: ``model, dataset, setting``, steps, examples, the seed unless it is 0."""
        configuration = self.model.tags.get("configuration")
        name = f"{self.model.name} ({configuration})" if configuration else self.model.name
        cell = f"{name}, {self.dataset.name}, {self.setting.title}"
        if self.dataset.examples_per_class:
            cell += f", {self.dataset.examples_per_class:,} per class"
        return one_line(f"{cell}, seed {self.seed}" if self.seed else cell)


# A hyperparameter: a number, or a word ("central").
Value = float | str


class Candidate(Noun):
    """Hyperparameters that are measured on validation together, by name.

    What a setting measures in one go is one candidate: the linear setting's whole path of lambdas
    is one, without any values.
    """

    values: dict[str, Value] = {}

    @property
    def key(self) -> str:
        """Digest of the values (64 hex digits)."""
        return digest(self.values)


class Measurement(Noun):
    """What a candidate reached on validation: a row of the curve for each choice that it holds.

    `examples` is the revision of the splits that it was made on, `seconds` the time each part took,
    `facts` say what made it. A candidate that diverged has the rows that it reached, if any, and
    is not chosen.
    """

    candidate: Candidate
    examples: str
    status: Literal["complete", "diverged"] = "complete"
    curve: Annotated[tuple[dict[str, Value], ...], Field(min_length=1)]
    seconds: dict[str, float] = {}
    facts: dict[str, Any] = {}


class Selection(Noun):
    """What was chosen on validation, and the whole curve that it was chosen from.

    It is made before the test labels are opened, and is what opens those of the same `examples`
    (the revision of the splits that it was made on).
    """

    examples: str
    chosen: dict[str, Value]
    validation_curve: Annotated[tuple[dict[str, Value], ...], Field(min_length=1)]

    @property
    def on_edge(self) -> tuple[str, ...]:
        """The numbers chosen that are the first or the last that were tried: better may lie beyond.

        Nothing lies below a decay of 0, and a single value is no grid. Where a value inside the
        grid is as accurate, the edge was taken by the rule for ties, and says nothing.
        """
        return tuple(name for name in self.chosen if self._is_edge(name))

    def _is_edge(self, name: str) -> bool:
        rows = [row for row in self.validation_curve if name in row]
        tried = {row[name] for row in rows}
        if isinstance(self.chosen[name], str) or len(tried) < 2:
            return False
        edges = {max(tried), *({min(tried)} - {0.0})}
        scores = [(row[name] in edges, float(row["accuracy"])) for row in rows]
        best = max(score for _, score in scores)
        inside = any(score == best for is_edge, score in scores if not is_edge)
        return self.chosen[name] in edges and not inside


@dataclass(frozen=True)
class Prediction:
    """Per-example predictions on the test set: what paired tests need.

    Parameters
    ----------
    example
        (n,) int64, the row of each example in the dataset's full test split.
    label
        (n,) int64, the true class; or (n, K) int64 in {1 present, 0 difficult only, -1 absent}.
    scores
        (n, K) float32, decision values.
    """

    example: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """(n,) int64, the class of the highest score; or (n, K) 1 and -1, by the score's sign."""
        if self.label.ndim == 2:
            return np.where(self.scores > 0, 1, -1).astype(np.int64)
        return np.asarray(self.scores.argmax(axis=1), dtype=np.int64)


class Result(Noun):
    """What a trial gave.

    `metrics` are proportions by name, the dataset's own among them, and beside them ``log-loss``
    (nats) and ``calibration-error``; `seconds` the time each part
    took; `provenance` what made the number (versions, digests, device). A failed trial has its
    `error` and nothing else; it is reported and never stored, so that the next run tries again.
    `predictions` is None on a result read from a store: `ResultStore.predictions` reads them.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    trial: Trial
    status: Literal["complete", "failed"] = "complete"
    metrics: dict[str, float] = {}
    n_test: int = 0
    selection: Selection | None = None
    predictions: Prediction | None = Field(default=None, exclude=True, repr=False)
    provenance: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    error: str | None = None

    @property
    def accuracy(self) -> float | None:
        """The dataset's own metric, a proportion; None for a failed trial."""
        return self.metrics.get(self.trial.dataset.metric)

    def __repr__(self) -> str:
        """Name the trial and what it reached."""
        if self.accuracy is None:
            return f"Result({self.trial.title}: {self.error or self.status})"
        said = "".join(f", {name} {value}" for name, value in self._chosen())
        metric, percent = self.trial.dataset.metric, 100 * self.accuracy
        reached = f"{metric} {percent:.2f} % on {self.n_test:,} test images"
        return f"Result({self.trial.title}: {reached}{said})"

    def _repr_html_(self) -> str:
        """Return the metrics and what was chosen as a table, for a notebook."""
        rows = [(name, f"{value:.4f}") for name, value in self.metrics.items()]
        rows += [("test images", f"{self.n_test:,}"), *self._chosen()]
        rows += [("error", self.error)] if self.error else []
        return html_table(self.trial.title, (), rows)

    def _chosen(self) -> list[tuple[str, str]]:
        chosen = self.selection.chosen if self.selection else {}
        return [(name.replace("_", " "), number_label(value)) for name, value in chosen.items()]


class Failure(Noun):
    """Why an attempt at a trial failed.

    Parameters
    ----------
    error
        One line.
    code
        Of a HeadstartError; "" of any other.
    log
        The traceback, its last lines.
    host, pid
        The machine and process of the run.
    """

    error: str
    code: str = ""
    log: str = ""
    host: str = ""
    pid: int = 0


class Estimate(Noun):
    """A mean with an interval: `level` of such intervals, made by `method`, hold the truth."""

    mean: float
    low: float
    high: float
    level: Annotated[float, Field(gt=0, lt=1)]
    n: Annotated[int, Field(gt=0)]
    method: str
