"""A table of the user's: a row an image, with its path and its label or labels."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from headstart.datasets.archive import Archive, number_groups
from headstart.datasets.images import FileImages
from headstart.datasets.names import DatasetName
from headstart.datasets.sources.base import Description, Presence, Source
from headstart.datasets.sources.cells import SUFFIXES, cell_text, filled, read_columns, read_header
from headstart.datasets.sources.parts import (
    PARTS,
    check_parts,
    not_there,
    part_named,
    require_files,
    sorted_classes,
)
from headstart.datasets.splits import Split
from headstart.errors import DatasetError
from headstart.files import name_in_text, path_of, unusable

__all__ = ["TableSource", "is_table"]

Rows = npt.NDArray[np.int64]

# What columns are called where the user names none, the most telling first.
GUESSES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "path": ("path", "file", "filename", "image", "image_path"),
        "label": ("label", "class", "target", "labels"),
        "split": ("split", "fold"),
        "group": (),
    }
)
SHOWN = 20


def is_table(stem: str) -> bool:
    """Whether a dataset's name without options is that of a table."""
    return Path(stem).suffix.lower() in SUFFIXES and not path_of(stem).is_dir()


class TableSource(Source):
    """CSV, TSV and Parquet files. A row is an image."""

    name = "table"
    options: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "path": "column of the images' paths",
            "label": "column of the labels",
            "split": "column that says train, validation or test; empty: draw the splits",
            "group": "column of what must not be divided by a split (a patient, a session)",
            "sep": "what stands between the labels of an image that has several",
            "root": "folder that the paths start from, as seen from the table's folder",
        }
    )

    def recognises(self, stem: str) -> bool:
        return is_table(stem)

    def location(self, stem: str) -> str:
        return name_in_text(str(path_of(stem)))

    def describe(self, asked: DatasetName) -> Description:
        path = path_of(asked.stem)
        many = path.is_file() and _choose(path, asked.options).many
        return Description(name_in_text(path.name), metric="voc-map-11point" if many else "top-1")

    def presence(self, asked: DatasetName, cache: Path) -> Presence:  # noqa: ARG002
        path = path_of(asked.stem)
        if path.is_file():
            return Presence(present=True, place=str(path))
        kind = unusable(path)
        what = f"{path} is {kind}" if kind else f"there is no file {path}"
        return Presence(present=False, place=what)

    def read(self, asked: DatasetName, cache: Path) -> Archive:  # noqa: ARG002
        """Read the parts that the table names, or all.

        Where an image may have several labels, they are (n, K) int64 in {1 present, -1 absent}.

        Raises
        ------
        DatasetMissingError
            No such table, or images that it names are not there.
        DatasetError
            A column or a cell that is not as it has to be.
        """
        path = path_of(asked.stem)
        if not path.is_file():
            raise not_there("table", path)
        columns = _choose(path, asked.options)
        cells = read_columns(path, columns.all)
        names = _names(path, columns, cells[columns.label])
        images = _paths(path, columns.path, cells[columns.path], asked.options.get("root", ""))
        _check_once(path, images, names)
        if not asked.allow_missing:
            require_files(
                images,
                str(path),
                "say with ?root=DIR where their paths start, or measure on what is left with "
                "?allow_missing=yes",
            )
        classes = sorted_classes(name for several in names for name in several)
        labels = _labels(names, classes, many=columns.many)
        chosen = _rows_of_parts(path, columns, cells)
        groups = {}
        if columns.group is not None:
            groups = _groups(path, columns.group, cells[columns.group], chosen)
        return _archive(classes, images, labels, chosen, groups)


@dataclass(frozen=True)
class _Columns:
    """What the columns of a table are for.

    `separator` stands between labels in a cell; `lists` says that a cell is a list of them.
    `split_named` is whether the user named the column of the splits.
    """

    path: str
    label: str
    split: str | None
    split_named: bool
    group: str | None
    separator: str
    lists: bool

    @property
    def many(self) -> bool:
        """Whether an image may have several labels."""
        return self.lists or bool(self.separator)

    @property
    def all(self) -> list[str]:
        """The names of those there are, each once."""
        named = (self.path, self.label, self.split, self.group)
        return list(dict.fromkeys(name for name in named if name is not None))


def _choose(path: Path, options: Mapping[str, str]) -> _Columns:
    """Find the columns: those that the user names, else by what they are called."""
    header = read_header(path)
    chosen = {
        use: _column(path, header, use, options.get(use), guesses)
        for use, guesses in GUESSES.items()
    }
    for use, what in (("path", "paths"), ("label", "labels")):
        if chosen[use] is None:
            raise DatasetError(
                f"{path} has no column of {what} (one of {', '.join(GUESSES[use])}): name it with "
                f"?{use}=COLUMN; it has {_listed(header)}"
            )
    if options.get("sep") == "":
        raise DatasetError(f"{path}: sep= is empty: expected what stands between labels, as sep=|")
    return _Columns(
        path=str(chosen["path"]),
        label=str(chosen["label"]),
        split=chosen["split"],
        split_named="split" in options,
        group=chosen["group"],
        separator=options.get("sep", ""),
        lists=header[str(chosen["label"])],
    )


def _column(
    path: Path, header: Mapping[str, bool], use: str, named: str | None, guesses: Sequence[str]
) -> str | None:
    if named is None:
        lower = {name.lower(): name for name in reversed(list(header))}
        return next((lower[guess] for guess in guesses if guess in lower), None)
    if named == "" and use == "split":
        return None
    if named not in header:
        raise DatasetError(
            f"{path} has no column '{named}' (asked for by {use}={named}): it has {_listed(header)}"
        )
    return named


def _listed(header: Mapping[str, bool]) -> str:
    names = ", ".join(f"'{name}'" for name in list(header)[:SHOWN])
    return f"{names} and {len(header) - SHOWN:,} more" if len(header) > SHOWN else names


def _paths(path: Path, column: str, cells: Sequence[Any], root: str) -> list[Path]:
    folder = path.parent / Path(root).expanduser()
    return [folder / cell for cell in filled(path, column, cells, "path")]


def _names(path: Path, columns: _Columns, cells: Sequence[Any]) -> list[tuple[str, ...]]:
    """Give the names of each image's classes, sorted, each once; no name is none of them.

    Where an image may have several, an empty cell says that it shows none of the classes.
    """
    column = columns.label
    if columns.lists:
        filled(path, column, ["" if cell is None else "list" for cell in cells], "label")
        lists = cells
    elif columns.separator:
        texts = [cell_text(path, column, row, cell) for row, cell in enumerate(cells)]
        lists = [text.split(columns.separator) for text in texts]
    else:
        return [(text,) for text in filled(path, column, cells, "label")]
    several = [
        {cell_text(path, column, row, name) for name in names} for row, names in enumerate(lists)
    ]
    return [tuple(sorted(names - {""})) for names in several]


def _check_once(path: Path, images: Sequence[Path], names: Sequence[tuple[str, ...]]) -> None:
    """Raise DatasetError if an image has two rows: it would be in two splits, or have two labels.

    Rows that are alike all through are no exception.
    """
    seen: dict[str, int] = {}
    for row, image in enumerate(images):
        first = seen.setdefault(os.path.normpath(image), row)
        if first != row:
            labels = " and ".join(f"'{'|'.join(names[place])}'" for place in (first, row))
            raise DatasetError(
                f"{path}: data rows {first + 1} and {row + 1} are the same image {image}, "
                f"labelled {labels}: expected one row an image, with sep=| for several labels"
            )


def _labels(names: Sequence[tuple[str, ...]], classes: Sequence[str], *, many: bool) -> Rows:
    places = {name: place for place, name in enumerate(classes)}
    if not many:
        return np.array([places[name] for (name,) in names], dtype=np.int64)
    labels = np.full((len(names), len(classes)), -1, dtype=np.int64)
    for row, several in enumerate(names):
        labels[row, [places[name] for name in several]] = 1
    return labels


def _rows_of_parts(
    path: Path, columns: _Columns, cells: Mapping[str, Sequence[Any]]
) -> dict[str, Rows]:
    """Give the rows of each part in the order of the table."""
    column, n = columns.split, len(cells[columns.path])
    everything = {"all": np.arange(n, dtype=np.int64)}
    if column is None:
        return everything
    texts = [cell_text(path, column, row, cell) for row, cell in enumerate(cells[column])]
    parts = [part_named(text) for text in texts]
    # A column that only looks like one: numbers of folds.
    if not columns.split_named and not any(parts):
        return everything
    if None in parts:
        row = parts.index(None)
        raise DatasetError(
            f"{path}: data row {row + 1} has the split '{texts[row]}' (column '{column}'): "
            "expected train, validation or test"
        )
    instead = "leave that column out with ?split= to have splits drawn"
    check_parts((part for part in parts if part), f"{path}: column '{column}'", instead)
    chosen = {part: np.flatnonzero([part == one for one in parts]) for part in PARTS}
    return {part: rows.astype(np.int64) for part, rows in chosen.items() if len(rows)}


def _archive(
    classes: tuple[str, ...],
    images: Sequence[Path],
    labels: Rows,
    chosen: Mapping[str, Rows],
    groups: Mapping[str, Rows],
) -> Archive:
    """Take the images that are there; `labels` are of all, `groups` of those of each part."""
    parts, missing, kept_groups = {}, {}, {}
    for part, rows in chosen.items():
        places = np.flatnonzero([images[row].is_file() for row in rows]).astype(np.int64)
        files = FileImages([images[row] for row in rows[places]])
        parts[part] = Split(files, labels[rows[places]], places)
        if len(places) < len(rows):
            missing[part] = len(rows) - len(places)
        if part in groups:
            kept_groups[part] = groups[part][places]
    return Archive(classes, parts, missing, kept_groups)


def _groups(
    path: Path, column: str, cells: Sequence[Any], chosen: Mapping[str, Rows]
) -> dict[str, Rows]:
    """Number the groups; DatasetError if one is in two parts already."""
    texts = filled(path, column, cells, "group")
    names = {part: [texts[row] for row in rows] for part, rows in chosen.items()}
    return number_groups(names, str(path), column)
