"""What every method of transfer can do, and how a setting is made of its name and options."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from headstart.errors import StudyError, UnknownNameError
from headstart.registry import METHODS
from headstart.spec import Candidate, Measurement, Selection, Setting, Trial
from headstart.spec.invalid import first_invalid
from headstart.workspace import Workspace

if TYPE_CHECKING:
    from headstart.models.network import Network

__all__ = [
    "Method",
    "PreparedTrial",
    "ResourceEstimate",
    "TestScores",
    "find",
    "method_of",
    "needs",
]


@dataclass(frozen=True)
class ResourceEstimate:
    """What a trial needs of the machine, asked before anything runs.

    Parameters
    ----------
    weights
        Whether it needs the model's pretrained weights.
    features
        Whether it keeps the features of a forward pass, in the setting's precision.
    table, rows
        What it keeps, and which part of it: trials that name the same share what they keep.
    n_bytes, whole
        Size of that part in bytes, and of the table when all of it is there.
    """

    weights: bool
    features: bool
    table: str
    rows: str
    n_bytes: int
    whole: int


@dataclass(frozen=True)
class TestScores:
    """Scores of the test images by the model that was transferred with the selected values.

    Parameters
    ----------
    places
        (n,) int64 places in the test split; one that is missing holds an image that could not be
        decoded.
    scores
        (n, K) float32 decision values of these images.
    facts
        What made them, as JSON.
    seconds
        The time each part took.
    network
        Builds the network that scored them, with its classifier; None where there is none.
    """

    __test__ = False  # no class of tests, whatever pytest makes of its name

    places: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    facts: dict[str, Any]
    seconds: dict[str, float] = field(default_factory=dict)
    network: "Callable[[], Network] | None" = None


class PreparedTrial(Protocol):
    """A trial that was opened: its data are read when they are first needed, and then once.

    None of it ever sees a test label. `candidates` and `select` are pure functions of what was
    measured, and read no data.
    """

    def candidates(self, measured: Sequence[Measurement]) -> tuple[Candidate, ...]:
        """Return what to measure next, given what was measured; nothing ends the search."""
        ...

    def measure(self, candidate: Candidate) -> Measurement:
        """Fit on train, score on validation."""
        ...

    def select(self, measured: Sequence[Measurement]) -> Selection:
        """Select hyperparameters by what was measured.

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
    """A method of transfer: one file that names an object of this kind in the registry.

    Parameters
    ----------
    name
        Of its settings, and in the registry.
    setting
        Class of its settings: the fields are its options.
    on_features
        Whether each image passes the network once, and its features are kept.
    protocols
        Name of a protocol -> the options in which it departs from the fields' defaults; the first
        is the usual one.
    """

    name: str
    setting: type[Setting]
    on_features: bool
    protocols: Mapping[str, Mapping[str, Any]]

    def needs(self, trial: Trial) -> ResourceEstimate:
        """Return what a trial needs of this machine before it is begun."""
        ...

    def open(self, trial: Trial, workspace: Workspace) -> PreparedTrial:
        """Open a trial, here or in a worker process; reads no data yet."""
        ...


def method_of(trial: Trial) -> Method:
    """Return the method that carries out a trial's setting."""
    method: Method = METHODS[trial.setting.name]
    return method


def needs(trial: Trial) -> ResourceEstimate:
    """Return what a trial needs of this machine before it is begun."""
    return method_of(trial).needs(trial)


def find(name: str, *, protocol: str | None = None, **options: Any) -> Setting:
    """Make a setting: a protocol's choices, with `options` on top.

    Without `protocol`, the method's first one holds.

    A setting that departs from its protocol says so in its name: ``kornblith2019 (resize)``.

    Raises
    ------
    UnknownNameError
        No such setting, protocol or option.
    StudyError
        An option with a value that it cannot have.
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
    allowed = kind.model_fields.keys() - {"name", "protocol", "implementation"}
    for option in options:
        if option not in allowed:
            known = allowed | {"protocol"}
            raise UnknownNameError(f"option of setting '{name}'", option, known)
    try:
        preset = kind(protocol=protocol, **method.protocols[protocol])
        chosen = kind(**{**preset.model_dump(), **options})
    except ValidationError as error:
        raise _invalid(name, error) from error
    departs = [
        option
        for option in sorted(allowed - {"precision"})
        if getattr(chosen, option) != getattr(preset, option)
    ]
    if departs:
        chosen = chosen.model_copy(update={"protocol": f"{protocol} ({', '.join(departs)})"})
    return chosen


def _invalid(setting: str, error: ValidationError) -> StudyError:
    """Return an error that says which option is wrong, and what was expected."""
    found = first_invalid(error)
    option = ".".join(str(part) for part in found.place)
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
