"""Methods of transfer: the protocol of a method, and settings by name and options.

Each measures candidates on validation, selects, and tests. Its module is imported when it is first
asked for (`headstart.registry`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import dropwhile
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from headstart.context import RunContext
from headstart.errors import DatasetError, StudyError, UnknownNameError
from headstart.labels import kind_of
from headstart.registry import METHODS
from headstart.spec import Candidate, Dataset, Measurement, Selection, Setting, Trial
from headstart.spec.noun import first_invalid

if TYPE_CHECKING:
    from headstart.datasets import Splits
    from headstart.models.network import Network

__all__ = [
    "Method",
    "PreparedTrial",
    "ResourceEstimate",
    "TestScores",
    "find",
    "method_of",
    "needs",
    "open_trial",
    "setting_of",
    "usable_rows",
]

Rows = npt.NDArray[np.int64]

OwnSetting = TypeVar("OwnSetting", bound=Setting)


@dataclass(frozen=True)
class ResourceEstimate:
    """Resources that a trial needs, estimated before anything runs.

    Parameters
    ----------
    weights
        Whether it needs the model's pretrained weights.
    features
        Whether it caches features of a forward pass, in the setting's precision.
    table, rows
        Keys of the cached table and of the trial's rows of it. Trials with equal keys share them.
    n_bytes, whole
        Size in bytes of these rows, and of the complete table.
    steps, batch_size
        Updates of the trainings that are not measured yet, and images per update; None where
        nothing is trained.
    evaluated
        Images that trained networks are evaluated on.
    """

    weights: bool
    features: bool
    table: str
    rows: str
    n_bytes: int
    whole: int
    steps: int = 0
    batch_size: int | None = None
    evaluated: int = 0


@dataclass(frozen=True)
class TestScores:
    """Scores of the test images by the model that was transferred with the selected values.

    Parameters
    ----------
    places
        (n,) int64 indices into the test split, without images that could not be decoded.
    scores
        (n, K) float32 decision values of these images.
    facts
        Provenance, as JSON.
    seconds
        Time of each part.
    network
        Builds the network with the classifier that scored them; None if there is none, or where
        it was kept already.
    """

    __test__ = False  # not a test class, despite its name

    places: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    facts: dict[str, Any]
    seconds: dict[str, float] = field(default_factory=dict)
    network: "Callable[[], Network] | None" = None


class PreparedTrial(Protocol):
    """An open trial. Its images or features are read once, when they are first needed.

    It never sees test labels. `candidates` and `select` are pure functions of measurements and
    read no data.
    """

    def candidates(self, measured: Sequence[Measurement]) -> tuple[Candidate, ...]:
        """Return the candidates to measure next; an empty tuple ends the search."""
        ...

    def measure(self, candidate: Candidate) -> Measurement:
        """Fit on train, score on validation."""
        ...

    def select(self, measured: Sequence[Measurement]) -> Selection:
        """Select hyperparameters by validation measurements.

        Raises
        ------
        TrainingError
            Every candidate diverged.
        """
        ...

    def test(self, selection: Selection) -> TestScores:
        """Fit on train + validation with the selected values, and score the test images."""
        ...


class Method(Protocol):
    """A method of transfer: one file, with an object of this type in the registry.

    Parameters
    ----------
    name
        Name in the registry, and of its settings.
    setting
        Class of its settings; the fields are its options.
    on_features
        Whether it works on cached features, from one forward pass per image.
    protocols
        Protocol -> options that differ from the defaults of the fields. The first protocol is the
        default.

    A method may have the attribute ``has_network``: whether its trials end with a network that can
    be kept and exported; true unless given.
    """

    name: str
    setting: type[Setting]
    on_features: bool
    protocols: Mapping[str, Mapping[str, Any]]

    def needs(self, trial: Trial, measured: Sequence[Measurement] = ()) -> ResourceEstimate:
        """Return the resources that a trial needs, without those of what is measured."""
        ...

    def open(self, trial: Trial, context: RunContext, splits: "Splits") -> PreparedTrial:
        """Open a trial, in the main or a worker process; read no images yet.

        Parameters
        ----------
        splits
            The trial's examples, without test labels.
        """
        ...


def usable_rows(
    dataset: Dataset, splits: "Splits", broken: Collection[int]
) -> tuple[Rows, Rows, Rows]:
    """Return the rows of train, validation and test, in this order, without broken images.

    Parameters
    ----------
    dataset, splits
        The dataset, and its examples: n images.
    broken
        Rows of broken images, from 0 to n - 1.

    Raises
    ------
    DatasetError
        A split is empty (code ``dataset.split_empty``), or a class has no training example left
        (``dataset.class_empty``).
    """
    ends = np.cumsum([len(splits.train), len(splits.validation), len(splits.test)])
    whole = (rows[~np.isin(rows, list(broken))] for rows in np.split(np.arange(ends[2]), ends[:2]))
    train, validation, test = whole
    for split, rows in (("validation", validation), ("test", test)):
        if not len(rows):
            raise DatasetError(
                f"dataset '{dataset.name}' has no {split} image that decodes",
                code="dataset.split_empty",
                split=split,
            )
    counts = kind_of(dataset.metric).counts(splits.train.labels[train], splits.n_classes)
    if not counts.all():
        empty = dataset.classes[int(np.argmin(counts))]
        raise DatasetError(
            f"dataset '{dataset.name}' has a class with no training example that decodes: "
            f"'{empty}'",
            code="dataset.class_empty",
            name=empty,
        )
    return train, validation, test


def setting_of(trial: Trial, kind: type[OwnSetting]) -> OwnSetting:
    """Return the setting of a trial as the class that its method has for settings."""
    assert isinstance(trial.setting, kind)  # noqa: S101 - the registry found the method by its name
    return trial.setting


def method_of(trial: Trial) -> Method:
    """Return the method of a trial's setting."""
    method: Method = METHODS[trial.setting.name]
    return method


def open_trial(trial: Trial, context: RunContext) -> PreparedTrial:
    """Read the examples of a trial, without test labels, and open it.

    Raises
    ------
    DatasetError, ManifestError
        As in `datasets.load`.
    """
    context.reporter.stage("reading the dataset")
    # Not at the top: a setting of a stored result is read without what loads images.
    from headstart import datasets

    splits = datasets.load(trial.dataset, trial.seed, context.cache)
    return method_of(trial).open(trial, context, splits)


def needs(trial: Trial, measured: Sequence[Measurement] = ()) -> ResourceEstimate:
    """Return the resources that a trial needs, without those of what is measured."""
    return method_of(trial).needs(trial, measured)


def find(name: str, *, protocol: str | None = None, **options: Any) -> Setting:
    """Return a setting: the options of a protocol, overridden by `options`.

    Without `protocol`, it is the method's first one. The name of the protocol lists overridden
    options: ``kornblith2019 (resize)``.

    Raises
    ------
    UnknownNameError
        No such setting, protocol or option.
    StudyError
        An option has an invalid value.
    """
    # A study file may hold anything here.
    if not isinstance(name, str) or name not in METHODS:
        raise UnknownNameError("setting", str(name), METHODS.names)
    method: Method = METHODS[name]
    if protocol is None:
        protocol = next(iter(method.protocols))
    if not isinstance(protocol, str) or protocol not in method.protocols:
        raise UnknownNameError(f"protocol of setting '{name}'", str(protocol), method.protocols)
    kind = method.setting
    allowed = kind.options()
    options = {kind.renamed.get(option, option): value for option, value in options.items()}
    for option in options:
        if option not in allowed:
            known = allowed | {"protocol"}
            raise UnknownNameError(f"option of setting '{name}'", option, known)
    try:
        preset = kind(protocol=protocol, **method.protocols[protocol]).model_dump()
        chosen = kind(**{**preset, **options})
    except ValidationError as error:
        raise _invalid(name, allowed, error) from error
    fields = chosen.model_dump()
    departs = [
        option for option in sorted(allowed - {"precision"}) if fields[option] != preset[option]
    ]
    if departs:
        chosen = chosen.model_copy(update={"protocol": f"{protocol} ({', '.join(departs)})"})
    return chosen


def _invalid(setting: str, allowed: Collection[str], error: ValidationError) -> StudyError:
    """Return an error that says which option is wrong, and what was expected."""
    found = first_invalid(error)
    # The fields of a training are options of the setting itself.
    place = dropwhile(lambda part: part not in allowed, found.place)
    option = ".".join(str(part) for part in place)
    # What is wrong with several options together has no place of its own.
    said = f"invalid {option} {found.shown}: expected {found.expected}"
    return StudyError(
        f"setting '{setting}': {said if option else found.expected}",
        code="setting.value",
        setting=setting,
        name=option,
        value=found.shown,
        expected=found.expected,
    )
