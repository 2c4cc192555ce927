"""Classes of torchvision.datasets that give images of one class each: ``torchvision:EuroSAT``.

Their parts are found by how the class is made: with ``train=``, with ``split=``, or with neither.
Images are decoded by the class, without any of its transforms.
"""

import inspect
import json
import os
import shutil
import socket
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from headstart.context import ProgressReporter
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.images import IndexedImages, fingerprint_of
from headstart.datasets.sources.dataset_source import Description, Presence, Source
from headstart.datasets.splits import RawDataset, Split
from headstart.errors import DatasetError, DatasetMissingError, UnknownNameError
from headstart.files import storage_errors
from headstart.hub import SECONDS
from headstart.shown_text import first_line

__all__ = ["TorchvisionSource", "download", "socket_timeout"]

# What classes call their splits, in the order in which they are tried.
SPLITS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "train": ("train", "trainval", "train-standard"),
        "validation": ("val", "valid", "validation"),
        "test": ("test",),
    }
)
# Where classes keep their labels, some beside the path of each image.
LABELS = ("targets", "_labels", "labels", "y", "_samples", "samples")
CLASSES = ("classes", "categories")
# In what classes say when their files are not there.
ADVICE = "download=True"
SWITCHES = {"True": True, "true": True, "False": False, "false": False}

Labels = npt.NDArray[np.int64]


class TorchvisionSource(Source):
    """Datasets that torchvision can read."""

    name = "torchvision"
    fetches = True
    options: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "root": "the folder that the class takes; nothing is downloaded into it",
            "split": "for a class with train= besides; elsewhere this split alone is split anew",
            "partition": "of DTD, 1 to 10",
            "annotation_level": "of FGVCAircraft: variant, family or manufacturer",
            "size": "of Imagenette: full, 320px or 160px",
            "version": "of INaturalist: a year",
        }
    )

    def recognises(self, stem: str) -> bool:
        return stem.startswith(f"{self.name}:")

    def location(self, stem: str) -> str:
        return f"{self.name}:{_class(stem).__name__}"

    def describe(self, dataset_ref: DatasetName) -> Description:
        name = _class(dataset_ref.stem).__name__
        rule = f"the splits of torchvision.datasets.{name}; what it lacks is drawn"
        return Description(title=name, split_rule=rule)

    def presence(self, dataset_ref: DatasetName, cache: Path) -> Presence:
        root = _root(dataset_ref, cache)
        try:
            _open_parts(dataset_ref, root)
        except DatasetMissingError as error:
            if "root" in dataset_ref.options:
                return Presence(False, str(error))
            return Presence(
                False, f"downloaded by torchvision on first use, or {_by_hand(dataset_ref)}"
            )
        return Presence(True, str(root))

    def fetch(self, dataset_ref: DatasetName, cache: Path, reporter: ProgressReporter) -> None:
        if "root" in dataset_ref.options or self.presence(dataset_ref, cache).present:
            super().fetch(dataset_ref, cache, reporter)
            return
        reporter.stage(f"download {dataset_ref.stem}")
        try:
            with whole_folder(_root(dataset_ref, cache)) as partial:
                _open_parts(dataset_ref, partial, download=True)
        except DatasetError as error:
            raise DatasetMissingError(
                f"dataset '{dataset_ref.stem}' is not on this machine and torchvision cannot fetch "
                f"it ({error}): {_by_hand(dataset_ref)}",
                code="dataset.no_download",
            ) from error

    def read(self, dataset_ref: DatasetName, cache: Path) -> RawDataset:
        root = _root(dataset_ref, cache)
        options = {name: value for name, value in dataset_ref.options.items() if name != "root"}
        made_by = f"{dataset_ref.stem} {json.dumps(options, sort_keys=True)}"
        # Before they are read: what changes meanwhile is then another state.
        fingerprint = fingerprint_of(f"{made_by} {version('torchvision')}", root)
        found = _open_parts(dataset_ref, root)
        labels = {part: _labels(dataset, dataset_ref.stem, part) for part, dataset in found.items()}
        known = np.unique(np.concatenate(list(labels.values())))
        if len(known) and known[0] < 0:
            raise DatasetError(
                f"{dataset_ref.stem} has images without a label (label {known[0]})",
                code="dataset.cell_empty",
                found=int(known[0]),
            )
        splits = {
            part: Split(
                IndexedImages(
                    dataset,
                    f"{dataset_ref.stem} {part}",
                    fingerprint._replace(name=f"{fingerprint.name} {part}"),
                ),
                np.searchsorted(known, labels[part]).astype(np.int64),
                np.arange(len(labels[part]), dtype=np.int64),
            )
            for part, dataset in found.items()
        }
        return RawDataset(_class_names(next(iter(found.values())), known.tolist()), splits)


def _class(stem: str) -> Any:
    """Find a class by its name, in any case; UnknownNameError tells the nearest."""
    from torchvision import datasets

    names = {name.lower(): name for name in datasets.__all__}
    name = stem.partition(":")[2].lower()
    if name not in names:
        raise UnknownNameError("class of torchvision.datasets", name, names)
    return getattr(datasets, names[name])


def _root(dataset_ref: DatasetName, cache: Path) -> Path:
    if "root" in dataset_ref.options:
        return Path(os.path.expanduser(dataset_ref.options["root"])).resolve()
    return cache / "torchvision" / str(_class(dataset_ref.stem).__name__)


def _open_parts(dataset_ref: DatasetName, root: Path, download: bool = False) -> dict[str, Any]:
    """Make the class once for each part.

    Raises DatasetMissingError if it does not find its files, DatasetError if it cannot be made in
    this way or has no such split, UnknownNameError for an option that it has not.
    """
    cls = _class(dataset_ref.stem)
    parameters = _parameters(cls)
    given = _class_options(dataset_ref, parameters)
    if download and "download" not in parameters:
        raise DatasetMissingError(
            f"torchvision.datasets.{cls.__name__} downloads nothing", code="dataset.no_download"
        )
    given |= {"download": True} if download else {}
    if "train" in parameters:
        parts = {"train": True, "test": False}
        return {part: _instantiate(cls, root, {**given, "train": on}) for part, on in parts.items()}
    if "split" not in parameters or "split" in given:
        made = _instantiate(cls, root, given)
        if made is None:
            raise DatasetError(
                f"torchvision.datasets.{cls.__name__} has no split '{given['split']}'",
                code="dataset.split_unknown",
                found=given["split"],
            )
        return {"all": made}
    found = {}
    for part, names in SPLITS.items():
        for name in names:
            made = _instantiate(cls, root, {**given, "split": name})
            if made is not None:
                found[part] = made
                break
    if not found:
        tried = ", ".join(name for names in SPLITS.values() for name in names)
        raise DatasetError(
            f"torchvision.datasets.{cls.__name__} has none of the splits {tried}",
            code="dataset.split_unknown",
        )
    return found


def _class_options(dataset_ref: DatasetName, parameters: set[str]) -> dict[str, Any]:
    """Read the options that the class is made with."""
    if "root" not in parameters:
        raise DatasetError(
            f"{dataset_ref.stem} reads no images from a folder: it is no dataset to measure",
            code="dataset.no_folder",
        )
    given = {
        name: SWITCHES.get(text, int(text) if text.isdigit() else text)
        for name, text in dataset_ref.options.items()
        if name != "root"
    }
    if unknown := sorted(set(given) - parameters):
        raise UnknownNameError(f"option of {dataset_ref.stem}", unknown[0], parameters)
    return given


def _instantiate(cls: Any, root: Path, arguments: dict[str, Any]) -> Any:
    """Make the class; None if it has no such split."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return cls(str(root), **arguments)
    # Its words are those of torchvision.datasets.utils.verify_str_arg.
    except ValueError as error:
        if "for argument split. Valid values" in str(error):
            return None
        raise _class_error(cls, root, error) from error
    except (RuntimeError, OSError) as error:
        raise _class_error(cls, root, error, missing=True) from error
    # What else classes raise is not one type: a package that is lacking, an argument that is.
    except Exception as error:
        raise _class_error(cls, root, error) from error


def _class_error(cls: Any, root: Path, error: Exception, *, missing: bool = False) -> DatasetError:
    reason = first_line(error)
    # Its own advice is for its own callers: here an option would have to be typed.
    if ADVICE in reason:
        found = "is empty" if root.is_dir() and not any(root.iterdir()) else "has none of its files"
        if not root.is_dir():
            found = "does not exist"
        return DatasetMissingError(
            f"torchvision.datasets.{cls.__name__} in {root}: the folder {found}; expected the "
            "folder that was passed to the class as root when it downloaded the files",
            code="dataset.missing",
            found=str(root),
        )
    if missing:
        return DatasetMissingError(f"torchvision.datasets.{cls.__name__} in {root}: {reason}")
    return DatasetError(
        f"torchvision.datasets.{cls.__name__} in {root}: {reason}", code="dataset.torchvision"
    )


def _parameters(cls: Any) -> set[str]:
    """Name what the class can be made with; ``**kwargs`` are those of the class that it extends."""
    names: set[str] = set()
    bases: tuple[Any, ...] = inspect.getmro(cls)
    for base in bases:
        parameters = inspect.signature(base.__init__).parameters
        names |= set(parameters)
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
            break
    return names


def _labels(dataset: Any, stem: str, part: str) -> Labels:
    """Read the labels where the class keeps them, else by going through the items."""
    n = len(dataset)
    if not n:
        return np.zeros(0, np.int64)
    first, last = (_label(dataset, place, f"{stem} {part}, number {place}") for place in (0, n - 1))
    for name in LABELS:
        labels = _whole_numbers(getattr(dataset, name, None), n)
        # Kept labels may be others than those that are given.
        if labels is not None and (labels[0], labels[-1]) == (first, last):
            return labels
    where = f"{stem} {part}, number"
    return np.array([_label(dataset, i, f"{where} {i}") for i in range(n)], dtype=np.int64)


def _label(dataset: Any, place: int, where: str) -> int:
    """Return an item's label, and check that the item is an image with one."""
    try:
        item = dataset[place]
    # As in `IndexedImages.decode`.
    except Exception as error:
        raise DatasetError(
            f"{where} cannot be read ({first_line(error)})", code="dataset.unreadable"
        ) from error
    if not isinstance(item, Sequence) or len(item) != 2 or not isinstance(item[0], Image.Image):
        found = type(item[0] if isinstance(item, Sequence) and item else item).__name__
        raise DatasetError(
            f"{where}: expected a PIL image and its label, found {found}",
            code="dataset.cell_type",
            found=found,
        )
    if not isinstance(item[1], int | np.integer):
        found = type(item[1]).__name__
        raise DatasetError(
            f"{where}: expected the number of one class, found {found}: several labels per image, "
            "boxes and masks are not measured",
            code="dataset.cell_type",
            found=found,
        )
    return int(item[1])


def _whole_numbers(values: Any, n: int) -> Labels | None:
    """Take labels out of what a class keeps, None if these are no labels."""
    if values is None or len(values) != n:
        return None
    if isinstance(values, list) and isinstance(values[0], tuple):
        values = [value[-1] for value in values]
    try:
        labels = np.asarray(values)
    except (ValueError, TypeError):
        return None
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        return None
    return labels.astype(np.int64)


def _class_names(dataset: Any, known: list[int]) -> tuple[str, ...]:
    """Name the labels that there are, by their number where the class has no name."""
    names = next((getattr(dataset, name) for name in CLASSES if hasattr(dataset, name)), ())
    named = [name if isinstance(name, str) else ", ".join(name) for name in names]
    return tuple(named[label] if label < len(named) else str(label) for label in known)


def _by_hand(dataset_ref: DatasetName) -> str:
    name = _class(dataset_ref.stem).__name__
    return f"say {dataset_ref.stem}?root=FOLDER, one that torchvision.datasets.{name} can read"


def download(name: str, root: Path, calls: Sequence[Mapping[str, Any]]) -> None:
    """Have the class `name` of torchvision.datasets download into `root`, whole or not at all.

    `calls` are the arguments of each making of the class, besides these.

    Raises
    ------
    DatasetMissingError
        The host does not answer, or has it no more.
    DatasetError
        The class cannot be made in this way.
    """
    cls = _class(f"torchvision:{name}")
    with whole_folder(root) as partial:
        for arguments in calls:
            _instantiate(cls, partial, {**arguments, "download": True})


@contextmanager
def whole_folder(root: Path) -> Iterator[Path]:
    """Return a folder to download into, which becomes `root` when the block ends well.

    torchvision takes half an archive for all of it, so what is not whole has another name.
    """
    partial = root.with_name(f".{root.name}.partial")
    with storage_errors(root):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    try:
        with socket_timeout():
            yield partial
        with storage_errors(root):
            shutil.rmtree(root, ignore_errors=True)
            partial.rename(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def socket_timeout() -> Iterator[None]:
    """Let sockets wait for seconds only: torchvision's downloads set no limit of their own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
