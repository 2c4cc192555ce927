"""Every error that headstart raises on purpose, in one tree.

Each message is one line: what was expected, what was found, where, and what to do. The command
line prints it and exits with code 2. Each error has a stable `code` (``dataset.split_unknown``) and
the `values` that its message is about: programs and tests match these, never the wording.

* HeadstartError
    * StudyError              the study contradicts itself or asks for what there is not
        * UnknownNameError    a name that is in no catalogue; the nearest ones are suggested
    * CommandError            a command line that cannot be read: no such option, a wrong value
    * DatasetError            images or labels are not what they have to be
        * DatasetMissingError not on this machine, and not to be had
        * ManifestError       the content is not what was published
        * BrokenImageError    an image that does not decode
    * ModelError              a network that cannot be built
        * WeightsMissingError not on this machine
        * WeightsError        the weights file is not the one in the catalogue
    * FunctionError           a function in a user's file that cannot be found, or that fails
    * FeatureError            features that no classifier can be fitted to
    * TrainingError           a training run that cannot be, or that came to nothing
    * ProbeError              labels, features or lambdas that no probe can be fitted to
    * StatisticsError         numbers that a statistic or a metric is not defined for
    * ExecutorError           worker processes that cannot be had, or that ended
        * WorkersLostError    no worker can be had any more: the run ends
    * ExportError             a classifier that cannot be loaded or exported
    * DeviceError             a device that this machine does not have
    * LogError                a log of curves that cannot be written
    * SealedTestError         an attempt to look at test labels before the choice, or twice
    * TableError              a table of results that cannot be read or contradicts itself
    * AnalysisError           an estimate or a figure that this table cannot give
    * StorageError            files that cannot be written or read
        * NotWritableError    no permission, or a read-only file system
        * DiskFullError       no space left
        * StoreError          a results database that cannot be used
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

__all__ = [
    "AnalysisError",
    "BrokenImageError",
    "CommandError",
    "DatasetError",
    "DatasetMissingError",
    "DeviceError",
    "DiskFullError",
    "ExecutorError",
    "ExportError",
    "FeatureError",
    "FunctionError",
    "HeadstartError",
    "LogError",
    "ManifestError",
    "ModelError",
    "NotWritableError",
    "ProbeError",
    "SealedTestError",
    "StatisticsError",
    "StorageError",
    "StoreError",
    "StudyError",
    "TableError",
    "TrainingError",
    "UnknownNameError",
    "WeightsError",
    "WeightsMissingError",
    "WorkersLostError",
]

# Names in one message: a library has a thousand.
MOST_LISTED = 20
# Characters of a name in a message.
LONGEST = 200


class HeadstartError(Exception):
    """Base of all; its text is one line for a person.

    Parameters
    ----------
    message
        One line.
    code
        What went wrong, as ``subject.fault``. The class has a general one, which holds unless
        given.
    values
        What the message is about: the name that is unknown, the columns found, ...

    Attributes
    ----------
    code
        Stable across versions and rewording.
    values
        Those given.
    """

    code: str = "headstart"

    def __init__(self, *message: object, code: str | None = None, **values: object) -> None:
        super().__init__(*message)
        if code is not None:
            self.code = code
        self.values = values

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses take other arguments than the message: workers send what they made of them.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(
    kind: type[HeadstartError], arguments: tuple[object, ...], state: dict[str, object]
) -> HeadstartError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


class StudyError(HeadstartError):
    """The study contradicts itself or asks for what there is not."""

    code = "study"


class UnknownNameError(StudyError):
    """A name that is in no catalogue.

    Parameters
    ----------
    kind
        What was named: ``"model"``, ``"dataset"``, ``"setting"``, ``"study key"``.
    near
        Names that are surely meant, if any: they go before those that are merely spelled alike.
    neither
        What else such a name might have been, and is not.
    """

    code = "name.unknown"

    def __init__(
        self,
        kind: str,
        name: str,
        known: Iterable[str],
        near: Sequence[str] = (),
        neither: str = "",
    ) -> None:
        known = sorted(known)
        near = list(near) or get_close_matches(name.lower(), known, n=3, cutoff=0.6)
        listed = ", ".join(known[:MOST_LISTED])
        if len(known) > MOST_LISTED:
            listed += f", ... ({len(known):,} in all)"
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {listed or 'none'}"
        shown = name if len(name) <= LONGEST else f"{name[:LONGEST]}..."
        tried = f" (and no {neither} of this name)" if neither else ""
        super().__init__(
            f"unknown {kind} '{shown}'{tried}: {hint}", kind=kind, name=name, near=near
        )
        self.kind, self.name, self.near = kind, name, near


class CommandError(HeadstartError):
    """A command line that cannot be read: no such command or option, a value that is wrong."""

    code = "command"


class DatasetError(HeadstartError):
    """Images or labels are not what they have to be."""

    code = "dataset"


class DatasetMissingError(DatasetError):
    """The dataset is not on this machine and cannot be fetched."""

    code = "dataset.missing"


class NotUnpackedError(DatasetMissingError):
    """A folder holds nothing by which the archive of a dataset's creators is known."""

    code = "dataset.not_unpacked"


class ManifestError(DatasetError):
    """The content of a dataset is not what its manifest says."""

    code = "dataset.manifest"


class BrokenImageError(DatasetError):
    """An image that does not decode: where a person would look it up, and what the decoder said."""

    code = "image.broken"

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(
            f"image {where} does not decode ({reason}): replace or remove it, "
            "or leave such images out and have them counted with --skip-broken",
            where=where,
            reason=reason,
        )
        self.where, self.reason = where, reason


class ModelError(HeadstartError):
    """A network that cannot be built."""

    code = "model"


class WeightsMissingError(ModelError):
    """The weights are not on this machine."""

    code = "weights.missing"


class WeightsError(ModelError):
    """The weights file is not the one that the catalogue names."""

    code = "weights"


class FunctionError(HeadstartError):
    """A function in a user's file, FILE.py:FUNCTION, that cannot be found, or that fails."""

    code = "function"


class FeatureError(HeadstartError):
    """Features that no classifier can be fitted to."""

    code = "features"


class TrainingError(HeadstartError):
    """A training run that cannot be, or that came to nothing."""

    code = "training"


class ProbeError(HeadstartError, ValueError):
    """Labels, features or lambdas that no probe can be fitted to."""

    code = "probe"


class StatisticsError(HeadstartError, ValueError):
    """Numbers that a statistic or a metric is not defined for."""

    code = "statistics"


class ExecutorError(HeadstartError):
    """Worker processes that cannot be had, or that ended before their work did."""

    code = "executor"


class WorkersLostError(ExecutorError):
    """No worker can be had any more: the cluster is gone, or has other software. Ends the run."""

    code = "executor.workers_lost"


class ExportError(HeadstartError):
    """A classifier that cannot be loaded, exported, or that differs from what was measured."""

    code = "export"


class DeviceError(HeadstartError):
    """A device, precision or runtime that this machine does not have."""

    code = "device"


class LogError(HeadstartError):
    """A log of curves that cannot be written: its library is not installed."""

    code = "log"


class SealedTestError(HeadstartError):
    """An attempt to look at test labels before the choice is made, or a second time."""

    code = "test.sealed"


class TableError(HeadstartError):
    """A table of results that cannot be read, or that contradicts itself."""

    code = "table"


class AnalysisError(HeadstartError):
    """An estimate or a figure that this table of results cannot give."""

    code = "analysis"


class StorageError(HeadstartError):
    """Files that cannot be written or read."""

    code = "storage"


class NotWritableError(StorageError):
    """No permission to write, or a read-only file system."""

    code = "storage.not_writable"


class DiskFullError(StorageError):
    """No space left for what has to be written."""

    code = "storage.full"


class StoreError(StorageError):
    """A results database that cannot be used."""

    code = "store"
