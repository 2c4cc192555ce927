"""A table of the user's: one row per image, with its path (or the image itself) and its labels."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.images import FileImages, Images
from headstart.datasets.naming import (
    check_lists,
    check_single,
    check_texts,
    column_key,
    join_names,
    merged_spellings,
    shorten,
    sorted_classes,
)
from headstart.datasets.sources.base import Description, Presence, Source
from headstart.datasets.sources.own_files import (
    find_files,
    from_root,
    is_image_name,
    is_there,
    not_there,
    require_files,
    start_of,
)
from headstart.datasets.sources.table_columns import (
    FLAGS,
    LABELS,
    PATHS,
    Parts,
    flag_columns,
    one_of,
    parts_of_rows,
)
from headstart.datasets.sources.table_file import SUFFIXES, Table, cell_text, filled
from headstart.datasets.splits import RawDataset, Split, encode_labels, number_groups
from headstart.errors import DatasetError
from headstart.files import name_in_text, path_of, unusable

__all__ = ["TableSource", "is_table"]

Rows = npt.NDArray[np.int64]


def is_table(stem: str) -> bool:
    """Whether a dataset's name without options is that of a table."""
    return Path(stem).suffix.lower() in SUFFIXES and not os.path.isdir(path_of(stem))


class TableSource(Source):
    """CSV, TSV, Parquet and JSON files. A row is an image."""

    name = "table"
    options: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "path": "column of the images' paths, or of the images themselves (Parquet)",
            "label": "column of the labels; several joined by +: a column of 1 and 0 per class",
            "split": "column that says train, validation or test; empty: draw the splits",
            "train": "value in that column that is train, several joined by +",
            "validation": "value that is validation",
            "test": "value that is test",
            "group": "column of what must not be divided by a split (a patient, a session)",
            "sep": "separator of several labels in a cell; empty: each cell is one label",
            "root": "folder that the paths start from, as seen from the table's folder",
        }
    )

    def recognises(self, stem: str) -> bool:
        return is_table(stem)

    def location(self, stem: str) -> str:
        return name_in_text(str(path_of(stem)))

    def describe(self, dataset_ref: DatasetName) -> Description:
        path = path_of(dataset_ref.stem)
        many = os.path.isfile(path) and _Columns.choose(path, dataset_ref.options).many
        return Description(name_in_text(path.name), metric="voc-map-11point" if many else "top-1")

    def presence(self, dataset_ref: DatasetName, cache: Path) -> Presence:  # noqa: ARG002
        path = path_of(dataset_ref.stem)
        if os.path.isfile(path):
            return Presence(present=True, place=str(path))
        kind = unusable(path)
        what = f"{path} is {kind}" if kind else f"there is no file {path}"
        return Presence(present=False, place=what)

    def read(self, dataset_ref: DatasetName, cache: Path) -> RawDataset:  # noqa: ARG002
        """Read the parts that the table names, or all.

        Where an image may have several labels, they are (n, K) int64 in {1 present, -1 absent}.

        Raises
        ------
        DatasetMissingError
            No such table, or images that it names are not there.
        DatasetError
            A column or a cell that is not as it has to be; values of a column of splits, or cells
            of labels, that can be read in more than one way.
        """
        path = path_of(dataset_ref.stem)
        if not os.path.isfile(path):
            raise not_there("table", path)
        columns = _Columns.choose(path, dataset_ref.options)
        names, notes = _names(columns)
        images = _images(columns, dataset_ref.options.get("root", ""), notes)
        chosen = parts_of_rows(columns.table, columns.used, dataset_ref.options)
        if isinstance(images, list):
            _check_once(path, images, names)
            if not dataset_ref.allow_missing:
                folder = start_of(path, images)
                remedy = f"pass ?root={folder} for the folder that their paths start from"
                left = (
                    "" if folder != "DIR" else ", or ?allow_missing=yes to measure on what is left"
                )
                require_files(images, str(path), f"{remedy}{left}")
        spelled = merged_spellings(name for several in names for name in several)
        if not columns.flags:
            check_texts(f"{path}, column '{columns.labels[0]}'", spelled)
        names = [tuple(spelled[name] for name in several) for several in names]
        classes = sorted_classes(spelled.values())
        places = {name: place for place, name in enumerate(classes)}
        of_images = names if columns.many else [name for (name,) in names]
        labels = encode_labels(of_images, places, len(classes), several=columns.many)
        groups = {}
        if columns.group is not None:
            texts = columns.table.filled(columns.group, "group")
            of_parts = {part: [texts[row] for row in rows] for part, rows in chosen.rows.items()}
            groups = number_groups(of_parts, str(path), columns.group)
        return _raw_dataset(classes, images, labels, chosen, groups, notes)


@dataclass(frozen=True)
class _Columns:
    """What the columns of a table are for.

    `labels` is the column of labels, or (`flags`) the columns of 1 and 0, one per class.
    `separator` stands between labels in a cell; `lists` says that a cell is a list of them.
    """

    table: Table
    path: str
    labels: tuple[str, ...]
    group: str | None
    separator: str
    lists: bool
    flags: bool
    single: bool
    joined: bool

    @classmethod
    def choose(cls, path: Path, options: Mapping[str, str]) -> "_Columns":
        """Find the columns: those that the user names, else by what they are called."""
        named = [column_key(options[use]) for use in ("path", "label", "group") if use in options]
        table = Table(path, frozenset([*PATHS, *LABELS, *named]))
        images = [name for name, kind in table.header.items() if kind == "image"]
        found = _column(table, "path", options, PATHS)
        if found is None and len(images) == 1:
            found = images[0]
        if found is None:
            raise _no_column(table, "path", "paths", PATHS)
        group = _column(table, "group", options, ())
        labels, flags = _label_columns(table, options, [found, *([group] if group else [])])
        table.check_once([found, *labels])
        single = True
        if flags:
            sums = [sum(row) for row in zip(*_flags(table, labels).values(), strict=True)]
            single = all(total == 1 for total in sums)
        return cls(
            table=table,
            path=found,
            labels=labels,
            group=group,
            separator=options.get("sep", ""),
            lists=not flags and table.header[labels[0]] == "list",
            flags=flags,
            single=single,
            joined="sep" not in options,
        )

    @property
    def many(self) -> bool:
        """Whether an image may have several labels."""
        return self.lists or bool(self.separator) or (self.flags and not self.single)

    @property
    def used(self) -> tuple[str, ...]:
        """The columns that hold no splits."""
        return (self.path, *self.labels, *([self.group] if self.group else []))


def _column(
    table: Table, use: str, options: Mapping[str, str], guesses: Sequence[str]
) -> str | None:
    named = options.get(use)
    if named is None:
        return one_of(table, guesses)
    if named not in table.header:
        raise _unknown_column(table, named, use)
    return named


def _unknown_column(table: Table, named: str, use: str) -> DatasetError:
    return DatasetError(
        f"{table.path} has no column '{named}' (asked for by {use}={named}): it has "
        f"{table.listed()}",
        code="dataset.column_unknown",
        found=named,
    )


def _no_column(table: Table, use: str, what: str, guesses: Sequence[str]) -> DatasetError:
    if any(is_image_name(name) for name in table.header):
        remedy = (
            "its first line is of an image: write the names of the columns before it (path,label)"
        )
    else:
        remedy = f"name it with ?{use}=COLUMN"
    return DatasetError(
        f"{table.path} has no column of {what} ({', '.join(guesses[:6])}, ...): {remedy}; it has "
        f"{table.listed()}",
        code="dataset.column_missing",
        found=tuple(table.header),
    )


def _label_columns(
    table: Table, options: Mapping[str, str], taken: Sequence[str]
) -> tuple[tuple[str, ...], bool]:
    """Return the column of labels, or those of 1 and 0, and whether it is these."""
    named = options.get("label")
    if named is not None and named not in table.header and "+" in named:
        several = tuple(named.split("+"))
        for name in several:
            if name not in table.header:
                raise _unknown_column(table, name, "label")
        _flags(table, several)
        return several, True
    label = _column(table, "label", options, LABELS)
    if label is not None:
        return (label,), False
    flags, rest = flag_columns(table, [*taken, options.get("split", "")])
    if len(flags) > 1 and not rest:
        return tuple(flags), True
    if len(flags) > 1:
        raise DatasetError(
            f"{table.path} has no column of labels, and columns of 1 and 0 ({join_names(flags)}) "
            f"beside others ({join_names(rest)}): name those that are classes with "
            f"?label={'+'.join(flags[:2])}+..., or the column of labels with ?label=COLUMN",
            code="dataset.column_missing",
            found=tuple(flags),
        )
    raise _no_column(table, "label", "labels", LABELS)


def _flags(table: Table, names: Sequence[str]) -> dict[str, list[bool]]:
    """Read columns of 1 and 0."""
    found = {}
    for name in names:
        texts = [text.lower() for text in table.texts(name)]
        wrong = next((text for text in texts if text not in FLAGS), None)
        if wrong is not None:
            raise DatasetError(
                f"{table.path}: column '{name}' holds '{shorten(wrong)}' in data row "
                f"{texts.index(wrong) + 1}: expected 1 or 0 for each image and class",
                code="dataset.cell_type",
                found=wrong,
            )
        found[name] = [FLAGS[text] for text in texts]
    return found


def _names(columns: _Columns) -> tuple[list[tuple[str, ...]], list[str]]:
    """Return the names of each image's classes, sorted, each once, and what to note of them.

    Where an image may have several, an empty cell says that it shows none of the classes.
    """
    table, column = columns.table, columns.labels[0]
    if columns.flags:
        flags = _flags(table, columns.labels)
        rows = zip(*flags.values(), strict=True)
        names = [tuple(name for name, here in zip(flags, row, strict=True) if here) for row in rows]
        notes = [
            f"labels: one column of 1 and 0 per class ({join_names(list(flags), quoted=False)})"
        ]
        if unused := [name for name, some in flags.items() if not any(some)]:
            notes.append(f"classes without an image, left out: {join_names(unused, quoted=False)}")
        return names, notes
    if columns.lists:
        cells = table.columns([column])[column]
        filled(table.path, column, ["" if cell is None else "list" for cell in cells], "label")
        lists = cells
        check_lists(f"{table.path}: column '{column}'", cells)
    elif columns.separator:
        lists = [text.split(columns.separator) for text in table.texts(column)]
    else:
        texts = table.filled(column, "label")
        if columns.joined:
            check_single(str(table.path), column, texts)
        return [(text,) for text in texts], []
    several = [
        {cell_text(table.path, column, row, name) for name in names}
        for row, names in enumerate(lists)
    ]
    return [tuple(sorted(names - {""})) for names in several], []


def _images(columns: _Columns, root: str, notes: list[str]) -> list[Path] | Images:
    """Return where the images are, or those that the table holds; add what there is to note."""
    table, column = columns.table, columns.path
    cells: Sequence[Any]
    if table.header[column] == "image":
        from headstart.datasets.parquet_dataset import ParquetImages, kept_paths

        kept = kept_paths(table.path, column)
        if kept is None:
            return ParquetImages([table.path], column)
        cells = kept
    else:
        cells = table.columns([column])[column]
    texts = filled(table.path, column, cells, "path")
    folder = table.path.parent / os.path.expanduser(root)
    if root:
        texts, start = from_root(table.path, folder, texts)
        if start:
            notes.append(f"paths: '{shorten(start)}' stands for the folder root={root}")
    return find_files(table.path, folder, texts)


def _check_once(path: Path, images: Sequence[Path], names: Sequence[tuple[str, ...]]) -> None:
    """Raise DatasetError if an image has two rows: it would be in two splits, or have two labels.

    Rows that are alike all through are no exception.
    """
    seen: dict[str, int] = {}
    for row, image in enumerate(images):
        first = seen.setdefault(os.path.normpath(image), row)
        if first != row:
            labels = " and ".join(f"'{shorten('|'.join(names[place]))}'" for place in (first, row))
            raise DatasetError(
                f"{path}: data rows {first + 1} and {row + 1} are the same image "
                f"{shorten(str(image), 300)}, labelled {labels}: expected one row per "
                "image, with sep=| for several labels",
                code="dataset.image_twice",
                found=str(image),
            )


def _raw_dataset(
    classes: tuple[str, ...],
    images: list[Path] | Images,
    labels: Rows,
    chosen: Parts,
    groups: Mapping[str, Rows],
    notes: Sequence[str],
) -> RawDataset:
    """Take the images that are there; `labels` are of all, `groups` of those of each part."""
    parts, missing = {}, {}
    for part, rows in chosen.rows.items():
        if isinstance(images, list):
            there = [is_there(images[row]) for row in rows]
            places = np.flatnonzero(there).astype(np.int64)
            taken: Images = FileImages([images[row] for row in rows[places]])
        else:
            places = np.arange(len(rows), dtype=np.int64)
            taken = images.take(rows)
        together = groups[part][places] if part in groups else None
        parts[part] = Split(taken, labels[rows[places]], places, together)
        if len(places) < len(rows):
            missing[part] = len(rows) - len(places)
    return RawDataset(classes, parts, missing, parts_note=chosen.parts_note, notes=tuple(notes))
