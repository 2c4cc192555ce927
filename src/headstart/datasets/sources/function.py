"""A function of the user's that gives images and labels: ``path/to/file.py:function``."""

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.images import ArrayImages, FileImages, Images
from headstart.datasets.naming import (
    check_parts,
    check_texts,
    describe_parts,
    join_names,
    merged_spellings,
    read_split_names,
    sorted_classes,
)
from headstart.datasets.sources.dataset_source import Description, Presence, Source
from headstart.datasets.sources.own_files import require_files
from headstart.datasets.splits import RawDataset, Split, encode_labels
from headstart.errors import DatasetError, FunctionError
from headstart.files import sha256_file, storage_errors
from headstart.functions import call_function, is_function, locate_function

__all__ = ["FunctionSource"]

Labels = npt.NDArray[np.int64]

CLASSES = "classes"
# Larger labels are no numbers of classes, and names of all up to them would take all memory.
MOST_CLASSES = 1_000_000
EXPECTED = (
    "(images, labels), (images, labels, classes) or {'train': (images, labels), 'test': ..., "
    "'classes': ...}"
)


class FunctionSource(Source):
    """What a function in a file gives when it is called without arguments.

    Images are (n, height, width) or (n, height, width, 3) uint8, or paths; labels are (n,) whole
    numbers from 0, n texts, or (n, K) in {1 present, 0 absent} or {1 present, 0 neither, -1
    absent} where an image may have several.
    """

    name = "function"

    def recognises(self, stem: str) -> bool:
        return is_function(stem)

    def location(self, stem: str) -> str:
        file, function = locate_function(stem, "dataset")
        return f"{file}:{function}"

    def describe(self, dataset_ref: DatasetName) -> Description:
        """Call the function: what its labels are shows only then. It is not called twice."""
        file, function = locate_function(dataset_ref.stem, "dataset")
        raw = _archive_of(file, function)
        several = any(part.labels.ndim == 2 for part in raw.parts.values())
        return Description(
            f"{file.name}:{function}", metric="voc-map-11point" if several else "top-1"
        )

    def presence(self, dataset_ref: DatasetName, cache: Path) -> Presence:  # noqa: ARG002
        try:
            file, _ = locate_function(dataset_ref.stem, "dataset")
        except FunctionError as error:
            return Presence(present=False, place=str(error))
        return Presence(present=True, place=str(file))

    def forget(self) -> None:
        """Have the function called anew: what it reads may have changed, and its file not."""
        _called.cache_clear()

    def read(self, dataset_ref: DatasetName, cache: Path) -> RawDataset:  # noqa: ARG002
        """Return what the function gives, proven to be a dataset.

        Raises
        ------
        FunctionError
            No such file, or the function fails.
        UnknownNameError
            The file has no such function.
        DatasetMissingError
            Images that the function names are not there.
        DatasetError
            It gives something else.
        """
        return _archive_of(*locate_function(dataset_ref.stem, "dataset"))


def _archive_of(file: Path, function: str) -> RawDataset:
    with storage_errors(file, reading=True):
        content = sha256_file(file)
    return _called(file, function, content)


# One dataset is kept: it is described, and then read.
@lru_cache(maxsize=1)
def _called(file: Path, function: str, _content: str) -> RawDataset:
    place = f"{file}: {function}()"
    pairs, classes, said = _take_apart(place, call_function(file, function))
    images = {part: _images(place, part, pair[0]) for part, pair in pairs.items()}
    given = {part: _given_labels(place, part, pair[1]) for part, pair in pairs.items()}
    for part, labels in given.items():
        if len(images[part]) != len(labels):
            gave = f"{len(images[part]):,} images and {len(labels):,} labels{_of(part)}"
            raise _not_a_dataset(place, "labels", gave, "one label per image")
    names, encoded = _encoded(place, given, classes)
    parts = {
        part: Split(images[part], labels, np.arange(len(labels), dtype=np.int64))
        for part, labels in encoded.items()
    }
    return RawDataset(names, parts, parts_note=said)


def _take_apart(
    place: str, given: Any
) -> tuple[dict[str, tuple[Any, Any]], tuple[str, ...] | None, str]:
    """Return (images, labels) of each part, the classes if they are named, and what was taken so.

    The last is in words, "" where no part is named.
    """
    said = ""
    if isinstance(given, Mapping):
        pairs = {key: pair for key, pair in given.items() if key != CLASSES}
        named = given.get(CLASSES)
        found = read_split_names(key for key in pairs if isinstance(key, str))
        odd = [key for key in pairs if key not in found.parts.values()]
        if odd:
            raise DatasetError(
                f"{place} gave a part {odd[0]!r}: expected one of each of train, validation and "
                f"test, or classes; found {join_names([str(key) for key in pairs])}",
                code="dataset.split_unknown",
                found=tuple(map(str, odd)),
            )
        check_parts(found.parts, f"what {place} gave", "give (images, labels) to have splits drawn")
        parts = {part: pairs[key] for part, key in found.parts.items()}
        said = describe_parts("parts", {part: [key] for part, key in found.parts.items()})
        lengths: tuple[int, ...] = (2,)
    else:
        parts, lengths = {"all": given}, (2, 3)
        several = isinstance(given, tuple | list) and len(given) == 3
        named = given[2] if several else None
    for part, pair in parts.items():
        if not isinstance(pair, tuple | list) or len(pair) not in lengths:
            kind = type(pair).__name__
            if isinstance(pair, tuple | list):
                kind += f" of length {len(pair)}"
            raise _not_a_dataset(place, "parts", f"a {kind}{_of(part)}", EXPECTED)
    apart = {part: (pair[0], pair[1]) for part, pair in parts.items()}
    return apart, _named(place, named), said


def _named(place: str, classes: Any) -> tuple[str, ...] | None:
    if classes is None:
        return None
    names = [] if isinstance(classes, str) else [str(name) for name in classes]
    if not names or len(set(names)) < len(names):
        gave = f"the classes {classes!r}"
        raise _not_a_dataset(place, "classes", gave, "different names in the order of the labels")
    return tuple(names)


def _images(place: str, part: str, given: Any) -> Images:
    if isinstance(given, np.ndarray) and given.dtype.kind not in "OU":
        colour_or_grey = given.ndim == 3 or (given.ndim == 4 and given.shape[3] == 3)
        if given.dtype != np.uint8 or not colour_or_grey:
            gave = f"images{_of(part)} as {given.dtype} of shape {given.shape}"
            shapes = "uint8 of shape (n, height, width) or (n, height, width, 3), or paths"
            raise _not_a_dataset(place, "images", gave, shapes)
        return ArrayImages(given)
    paths = list(given) if isinstance(given, list | tuple | np.ndarray) else [given]
    wrong = next((path for path in paths if not isinstance(path, str | os.PathLike)), None)
    if wrong is not None or isinstance(given, str | os.PathLike):
        kind = type(given if wrong is None else wrong).__name__
        gave = f"images{_of(part)} of type {kind}"
        raise _not_a_dataset(place, "images", gave, "one uint8 array, or a list of paths")
    files = [Path(os.path.abspath(path)) for path in paths]
    require_files(files, place, "expected the paths of images")
    return FileImages(files)


def _given_labels(place: str, part: str, given: Any) -> npt.NDArray[Any]:
    """Return (n,) or (n, K) int64, or (n,) texts."""
    try:
        labels = np.asarray(given)
    except ValueError:  # rows of different lengths
        labels = np.asarray(None)
    if labels.dtype.kind == "O" and labels.ndim == 1 and all(isinstance(x, str) for x in labels):
        labels = labels.astype(np.str_)
    if labels.dtype.kind == "U" and labels.ndim == 1:
        return labels
    if labels.dtype.kind in "biu" and labels.ndim in (1, 2):
        return labels.astype(np.int64)
    gave = f"labels{_of(part)} as {labels.dtype} of shape {labels.shape}"
    kinds = "(n,) whole numbers from 0, n texts, or (n, K) in {1, 0} or {1, 0, -1}"
    raise _not_a_dataset(place, "labels", gave, kinds)


def _encoded(
    place: str, given: dict[str, npt.NDArray[Any]], classes: tuple[str, ...] | None
) -> tuple[tuple[str, ...], dict[str, Labels]]:
    """Return the classes, and the labels of each part as headstart has them."""
    kinds = {(labels.dtype.kind, labels.ndim, labels.shape[1:]) for labels in given.values()}
    if len(kinds) > 1:
        raise _not_a_dataset(place, "labels", "labels of another kind in each part", "one kind")
    kind, dimensions, columns = kinds.pop()
    if kind == "U":
        return _encoded_texts(place, given, classes)
    if dimensions == 2:
        return _encoded_several(place, given, classes, int(columns[0]))
    highest = max((int(labels.max()) for labels in given.values() if len(labels)), default=-1)
    if highest >= MOST_CLASSES and not classes:
        expected = f"numbers of classes, from 0 and below {MOST_CLASSES:,}, or texts"
        raise _not_a_dataset(place, "labels", f"the label {highest}", expected)
    names = classes or tuple(str(number) for number in range(highest + 1))
    for part, labels in given.items():
        outside = labels[(labels < 0) | (labels >= len(names))]
        if len(outside):
            gave, last = f"the label {outside[0]}{_of(part)}", len(names) - 1
            range_ = "whole numbers from 0" + (f" to {last}, the last class" if classes else "")
            raise _not_a_dataset(place, "labels", gave, range_)
    return names, given


def _encoded_texts(
    place: str, given: dict[str, npt.NDArray[Any]], classes: tuple[str, ...] | None
) -> tuple[tuple[str, ...], dict[str, Labels]]:
    texts = {part: labels.tolist() for part, labels in given.items()}
    check_texts(place, [text for some in texts.values() for text in some])
    if classes is None:
        spelled = merged_spellings(name for names in texts.values() for name in names)
        texts = {part: [spelled[name] for name in names] for part, names in texts.items()}
    found = sorted_classes(name for names in texts.values() for name in names)
    if classes and (unknown := set(found) - set(classes)):
        gave = f"the label '{min(unknown)}'"
        raise _not_a_dataset(place, "labels", gave, f"one of its {len(classes)} classes")
    names = classes or found
    places = {name: number for number, name in enumerate(names)}
    return names, {
        part: encode_labels(labels, places, len(names), several=False)
        for part, labels in texts.items()
    }


def _encoded_several(
    place: str, given: dict[str, Labels], classes: tuple[str, ...] | None, n_classes: int
) -> tuple[tuple[str, ...], dict[str, Labels]]:
    names = classes or tuple(str(number) for number in range(n_classes))
    values = np.unique(np.concatenate([np.unique(labels) for labels in given.values()]))
    if len(names) != n_classes or not set(values.tolist()) <= {-1, 0, 1}:
        gave = (
            f"{n_classes} columns of labels from {values.min()} to {values.max()} for {len(names)} "
            "classes"
        )
        columns = "one column per class, in {1, 0} or {1, 0, -1}"
        raise _not_a_dataset(place, "labels", gave, columns)
    if -1 in values:
        return names, given
    return names, {part: np.where(labels == 1, 1, -1) for part, labels in given.items()}


def _not_a_dataset(place: str, what: str, gave: str, expected: str) -> DatasetError:
    """Make the error about the images, labels, classes or parts that a function returned."""
    return DatasetError(
        f"{place} gave {gave}: expected {expected}", code="dataset.function_result", what=what
    )


def _of(part: str) -> str:
    return "" if part == "all" else f" of {part}"
