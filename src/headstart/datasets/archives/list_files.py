"""Folders and list files of the creators' archives: what their readers share."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.datasets.images import FileImages
from headstart.datasets.splits import Split
from headstart.errors import DatasetError, DatasetMissingError, NotUnpackedError
from headstart.files import storage_errors

__all__ = [
    "Labels",
    "classes_in",
    "first_with",
    "from_one",
    "has_content",
    "invalid_file",
    "labels_of",
    "listed_split",
    "read_content",
    "read_lines",
    "read_rows",
    "split_by_folder",
    "unpacked",
    "whole_numbers",
]

Labels = npt.NDArray[np.int64]


def invalid_file(path: Path, fault: str, **values: object) -> DatasetError:
    """Make the error about a file of the archive that is not as its creators made it.

    Parameters
    ----------
    fault
        What is wrong, after the file's name in the message; and what was expected.
    values
        What the message is about.
    """
    return DatasetError(
        f"{path} {fault}; fetch a fresh copy",
        code="dataset.archive_invalid",
        file=path.name,
        **values,
    )


def unpacked(title: str, folder: Path, markers: str | tuple[str, ...], *inside: str) -> Path:
    """Find where an archive was unpacked: `folder` itself, or one of the folders `inside` it.

    Parameters
    ----------
    title
        The dataset's name for a person.
    folder
        Where the user has it.
    markers
        A file or folder by which the place is known, seen from that place; any of several.
    inside
        What the creators' archive unpacks to, seen from `folder`.

    Raises
    ------
    NotUnpackedError
        None of `markers` is in any of these places.
    """
    markers = (markers,) if isinstance(markers, str) else markers
    place = first_with(markers, folder, *(folder / name for name in inside))
    if place is None:
        raise NotUnpackedError(
            f"{title} is not in {folder}: expected {' or '.join(markers)} there, or in "
            f"{' or '.join(inside)}; unpack the creators' archive in that folder",
            expected=markers,
        )
    return place


def first_with(markers: Iterable[str], *places: Path) -> Path | None:
    """Return the first of `places` that holds any of `markers`; None if none does."""
    markers = tuple(markers)
    for place in places:
        if any((place / marker).exists() for marker in markers):
            return place
    return None


def read_content(path: Path) -> bytes:
    """Read a file of the archive; DatasetMissingError if it is not there."""
    if not path.is_file():
        raise DatasetMissingError(
            f"{path} is missing: unpack all of the creators' archive",
            code="dataset.file_missing",
            file=path.name,
        )
    with storage_errors(path, reading=True):
        return path.read_bytes()


def read_lines(path: Path) -> list[str]:
    """Read lines without the blanks around them, empty ones left out.

    Raises
    ------
    DatasetMissingError, DatasetError
        The file is missing, or not in UTF-8.
    """
    try:
        text = read_content(path).decode()
    except UnicodeDecodeError as error:
        raise invalid_file(path, "is not text in UTF-8") from error
    return [line for line in map(str.strip, text.split("\n")) if line]


def read_rows(path: Path, n_fields: int) -> list[list[str]]:
    """Read lines of `n_fields` fields between blanks; the last field may hold blanks itself.

    Raises
    ------
    DatasetError
        A line with fewer fields.
    """
    rows = []
    for line in read_lines(path):
        row = line.split(maxsplit=n_fields - 1)
        if len(row) != n_fields:
            raise invalid_file(
                path, f"has the line '{line}': expected {n_fields} fields", found=line
            )
        rows.append(row)
    return rows


def labels_of(names: Iterable[str], classes: Sequence[str], source: Path) -> Labels:
    """Return the (n,) int64 places of `names` among `classes`.

    Raises
    ------
    DatasetError
        A name that is no class.
    """
    places = {name: place for place, name in enumerate(classes)}
    names = list(names)
    if unknown := set(names) - set(places):
        name = min(unknown)
        fault = f"names the class '{name}', which is none of the dataset's {len(classes)}"
        raise invalid_file(source, fault, found=name)
    return np.array([places[name] for name in names], dtype=np.int64)


def from_one(numbers: Iterable[Any], source: Path, what: str, most: int | None = None) -> Labels:
    """Turn whole numbers that count from 1 into (n,) int64 that count from 0.

    As `whole_numbers`, which says what the parameters mean and what is raised.
    """
    return whole_numbers(numbers, source, what, least=1, most=most) - 1


def whole_numbers(
    numbers: Iterable[Any], source: Path, what: str, *, least: int, most: int | None = None
) -> Labels:
    """Turn whole numbers into (n,) int64.

    Parameters
    ----------
    numbers
        Whole numbers as any type, text and MATLAB's doubles too.
    source
        The file that holds them.
    what
        What they number, for the message.
    least, most
        The lowest, and the highest if that is known.

    Raises
    ------
    DatasetError
        A number that is not whole, under `least`, or over `most`.
    """
    expected = f"whole numbers from {least}" + ("" if most is None else f" to {most:,}")
    values = [_number(number) for number in numbers]
    for value in values:
        if not value.is_integer() or value < least or (most is not None and value > most):
            fault = f"has the {what} {value:g}: expected {expected}"
            raise invalid_file(source, fault, found=f"{value:g}", expected=expected)
    return np.array(values, dtype=np.int64)


def listed_split(paths: Sequence[Path], labels: Labels, source: Path) -> Split:
    """Take the images that `source` lists, all of which have to be there.

    Raises
    ------
    DatasetMissingError
        Some are not, or are empty; the message says how many, and names the first.
    """
    gone = [path for path in paths if not has_content(path)]
    if gone:
        raise DatasetMissingError(
            f"{len(gone):,} of the {len(paths):,} images that {source} lists are missing or empty, "
            f"first {gone[0]}: unpack all of the creators' archive",
            code="dataset.images_missing",
            n=len(gone),
            of=len(paths),
            first=str(gone[0]),
        )
    return Split(FileImages(paths), labels, np.arange(len(paths), dtype=np.int64))


def has_content(path: Path) -> bool:
    """Whether a file is there with anything in it: a download that failed leaves an empty one."""
    return path.is_file() and path.stat().st_size > 0


def classes_in(path: Path) -> tuple[str, ...]:
    """Return the classes of a list of ``CLASS/IMAGE`` lines, sorted."""
    return tuple(sorted({_folder(line) for line in read_lines(path)}))


def split_by_folder(path: Path, images: Path, classes: Sequence[str], suffix: str = "") -> Split:
    """Read a list of ``CLASS/IMAGE`` lines; the class is all before the last slash.

    Raises
    ------
    DatasetMissingError, DatasetError
        The list or an image is missing; a class that is not among `classes`.
    """
    lines = read_lines(path)
    # A leading slash would make the path start at the root of the file system.
    paths = [images / f"{line.lstrip('/')}{suffix}" for line in lines]
    return listed_split(paths, labels_of(map(_folder, lines), classes, path), path)


def _folder(line: str) -> str:
    return line.rpartition("/")[0]


def _number(text: Any) -> float:
    """Read a number; what is none becomes NaN, which no check lets through."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return float("nan")
