"""A table of the user's: one row per image, with its path (or the image itself) and its labels."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.images import FileImages, Images
from headstart.datasets.naming import (
    PARTS,
    SplitNames,
    check_lists,
    check_once,
    check_parts,
    check_single,
    check_texts,
    column_key,
    describe_parts,
    join_names,
    merged_spellings,
    part_of_name,
    read_split_names,
    shorten,
    sorted_classes,
)
from headstart.datasets.sources.dataset_source import Description, Presence, Source
from headstart.datasets.sources.own_files import (
    find_files,
    from_root,
    is_image_name,
    is_there,
    not_there,
    require_files,
    start_of,
)
from headstart.datasets.sources.table_file import FLAGS, SUFFIXES, Table, cell_text, filled
from headstart.datasets.splits import RawDataset, Split, encode_labels, number_groups
from headstart.errors import DatasetError
from headstart.files import name_in_text, path_of, unusable

__all__ = ["TableSource", "is_table"]

# What columns are called where the user names none, the most telling first.
PATHS = (
    *("path", "file", "filename", "image", "image_path", "file_name", "file_path", "filepath"),
    *("image_file", "image_filename", "image_file_name", "image_name", "img_path", "img_filename"),
    *("img_name", "img", "relative_path", "image_id", "image_index", "id_code", "id", "name"),
    *("paths", "files", "filenames", "images", "image_paths", "file_paths", "filepaths"),
    *("imageid", "imagepath", "imagename", "img_id", "photo", "picture", "url"),
)
LABELS = (
    *("label", "class", "target", "labels", "class_name", "label_name", "category", "species"),
    *("breed", "diagnosis", "classes", "tags", "categories", "finding_labels", "y"),
    *("dx", "class_id", "classid", "label_id", "classname", "labelname"),
)
SPLITS = (
    *("split", "splits", "data_split", "dataset_split", "split_name", "partition", "subset"),
    *("set", "set_name", "fold", "kfold", "k_fold", "cv_fold", "fold_id"),
)
# Called so, a column holds splits if one of its values mentions one.
PERHAPS = ("usage", "phase", "stage", "dataset", "data_set", "type", "part")
WHOLE = re.compile(r"^(-?[0-9]+)\.0+$")
# Distinct values of a column that may name splits.
MOST_SPLITS = 12

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
        chosen = _parts_of_rows(columns.table, columns.used, dataset_ref.options)
        there = np.ones(len(names), dtype=np.bool_)
        if isinstance(images, list):
            _check_rows(path, images, names)
            there = np.array([is_there(image) for image in images], dtype=np.bool_)
            if not (dataset_ref.allow_missing or there.all()):
                folder = start_of(path, images)
                remedy = f"pass ?root={folder} for the folder that their paths start from"
                if folder == "DIR":
                    remedy += ", or ?allow_missing=yes to measure on what is left"
                require_files(images, str(path), remedy)
            images = FileImages(images)
        spelled = merged_spellings(name for several in names for name in several)
        if not columns.flags:
            check_texts(f"{path}, column '{columns.labels[0]}'", spelled)
        names = [tuple(spelled[name] for name in several) for several in names]
        classes = sorted_classes(spelled.values())
        places = {name: place for place, name in enumerate(classes)}
        of_images = names if columns.many else [name for (name,) in names]
        labels = encode_labels(of_images, places, len(classes), several=columns.many)
        parts, missing = {}, {}
        for part, rows in chosen.rows.items():
            kept = np.flatnonzero(there[rows]).astype(np.int64)
            parts[part] = Split(images.take(rows[kept]), labels[rows[kept]], kept)
            if len(kept) < len(rows):
                missing[part] = len(rows) - len(kept)
        if columns.group is not None:
            texts = columns.table.filled(columns.group, "group")
            of_parts = {part: [texts[row] for row in rows] for part, rows in chosen.rows.items()}
            for part, groups in number_groups(of_parts, str(path), columns.group).items():
                parts[part] = replace(parts[part], groups=groups[parts[part].rows])
        return RawDataset(classes, parts, missing, parts_note=chosen.parts_note, notes=tuple(notes))


@dataclass(frozen=True)
class _Columns:
    """What the columns of a table are for.

    `labels` is the column of labels; or the columns of 1 and 0, one per class, and `flags` what
    these hold. `separator` stands between labels in a cell; None where nobody has said.
    """

    table: Table
    path: str
    labels: tuple[str, ...]
    flags: Mapping[str, list[bool]]
    group: str | None
    separator: str | None

    @classmethod
    def choose(cls, path: Path, options: Mapping[str, str]) -> "_Columns":
        """Find the columns: those that the user names, else by what they are called."""
        named = [column_key(options[use]) for use in ("path", "label", "group") if use in options]
        table = Table(path, frozenset([*PATHS, *LABELS, *named]))
        images = [name for name, kind in table.header.items() if kind == "image"]
        found = table.find("path", options, PATHS)
        if found is None and len(images) == 1:
            found = images[0]
        if found is None:
            raise _no_column(table, "path", "paths", PATHS)
        group = table.find("group", options)
        labels, flags = _label_columns(table, options, [found, *([group] if group else [])])
        table.check_once([found, *labels])
        return cls(table, found, labels, flags, group, options.get("sep"))

    @property
    def lists(self) -> bool:
        """Whether a cell is a list of labels."""
        return not self.flags and self.table.header[self.labels[0]] == "list"

    @cached_property
    def many(self) -> bool:
        """Whether an image may have several labels, or none."""
        rows = zip(*self.flags.values(), strict=True)
        return self.lists or bool(self.separator) or any(sum(row) != 1 for row in rows)

    @property
    def used(self) -> tuple[str, ...]:
        """The columns that hold no splits."""
        return (self.path, *self.labels, *([self.group] if self.group else []))


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
) -> tuple[tuple[str, ...], dict[str, list[bool]]]:
    """Return the column of labels, or those of 1 and 0 and what they hold."""
    named = options.get("label")
    if named is not None and named not in table.header and "+" in named:
        several = tuple(named.split("+"))
        for name in several:
            table.require(name, "label")
        return several, {name: table.flags(name) for name in several}
    label = table.find("label", options, LABELS)
    if label is not None:
        return (label,), {}
    flags, rest = _flag_columns(table, [*taken, options.get("split", "")])
    if len(flags) > 1 and not rest:
        return tuple(flags), {name: table.flags(name) for name in flags}
    if len(flags) > 1:
        raise DatasetError(
            f"{table.path} has no column of labels, and columns of 1 and 0 ({join_names(flags)}) "
            f"beside others ({join_names(rest)}): name those that are classes with "
            f"?label={'+'.join(flags[:2])}+..., or the column of labels with ?label=COLUMN",
            code="dataset.column_missing",
            found=tuple(flags),
        )
    raise _no_column(table, "label", "labels", LABELS)


def _flag_columns(table: Table, taken: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the columns that hold 1 and 0 alone, and the others that are not taken.

    A column of splits is neither.
    """
    flags: list[str] = []
    others: list[str] = []
    splits = _split_flags(table, taken).values()
    for name, kind in table.header.items():
        is_split = column_key(name) in SPLITS or _flag_of(name) or name in splits
        if name and name not in taken and not is_split:
            holds_flags = kind == "value" and table.values(name) <= FLAGS.keys()
            (flags if holds_flags else others).append(name)
    return flags, others


def _names(columns: _Columns) -> tuple[list[tuple[str, ...]], list[str]]:
    """Return the names of each image's classes, sorted, each once, and what to note of them.

    Where an image may have several, an empty cell says that it shows none of the classes.
    """
    table, column = columns.table, columns.labels[0]
    if flags := columns.flags:
        rows = zip(*flags.values(), strict=True)
        names = [tuple(name for name, here in zip(flags, row, strict=True) if here) for row in rows]
        notes = [
            f"labels: one column of 1 and 0 per class ({join_names(list(flags), quoted=False)})"
        ]
        if unused := [name for name, some in flags.items() if not any(some)]:
            notes.append(f"classes without an image, left out: {join_names(unused, quoted=False)}")
        return names, notes
    if columns.lists:
        lists = table.cells(column)
        filled(table.path, column, ["" if cell is None else "list" for cell in lists], "label")
        check_lists(f"{table.path}: column '{column}'", lists)
    elif columns.separator:
        lists = [text.split(columns.separator) for text in table.texts(column)]
    else:
        texts = table.filled(column, "label")
        if columns.separator is None:
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
        cells = table.cells(column)
    texts = filled(table.path, column, cells, "path")
    folder = table.path.parent / os.path.expanduser(root)
    if root:
        texts, start = from_root(table.path, folder, texts)
        if start:
            notes.append(f"paths: '{shorten(start)}' stands for the folder root={root}")
    return find_files(table.path, folder, texts)


def _check_rows(path: Path, images: Sequence[Path], names: Sequence[tuple[str, ...]]) -> None:
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


class _RowParts(NamedTuple):
    """The rows of each part, in the order of the table; and in words what was taken for what."""

    rows: dict[str, Rows]
    parts_note: str = ""


def _parts_of_rows(table: Table, used: Sequence[str], options: Mapping[str, str]) -> _RowParts:
    """Divide the rows as a column of splits says; `used` columns hold something else."""
    asked = {part: options[part].split("+") for part in PARTS if part in options}
    column = _split_column(table, used, options, given=bool(asked))
    if column is None:
        if asked:
            raise DatasetError(
                f"{table.path} has no column of splits for {next(iter(asked))}="
                f"{options[next(iter(asked))]}: name it with ?split=COLUMN; it has "
                f"{table.listed()}",
                code="dataset.column_missing",
                found=tuple(table.header),
            )
        # Not the images themselves, which would all be read.
        n = len(table.cells(used[0] if table.header[used[0]] == "value" else used[1]))
        return _RowParts({"all": np.arange(n, dtype=np.int64)})
    chosen = bool(asked) or "split" in options
    several = _split_flags(table, used) if _flag_of(column) and not chosen else {}
    return _by_flags(table, several) if several else _divided(table, column, asked)


def _divided(table: Table, column: str, asked: Mapping[str, list[str]]) -> _RowParts:
    """Divide the rows by the values of a column, those asked for or what they mean."""
    # Numbers among which cells are empty, or come from pandas: 1.0 is 1.
    texts = [WHOLE.sub(r"\1", text) for text in table.texts(column)]
    values = list(dict.fromkeys(texts))
    parts = asked or _meaning(table, column, texts)
    if lost := [name for some in parts.values() for name in some if name not in values]:
        raise DatasetError(
            f"{table.path}: column '{column}' has no value '{shorten(lost[0])}': it has "
            f"{join_names(values)}",
            code="dataset.split_unknown",
            found=lost[0],
        )
    every = [name for some in parts.values() for name in some]
    check_once(parts, f"{table.path}, column '{column}': value")
    instead = "leave that column out with ?split= to have splits drawn"
    check_parts(parts, f"{table.path}: column '{column}'", instead)
    rows = {
        part: np.flatnonzero([text in parts[part] for text in texts]).astype(np.int64)
        for part in PARTS
        if part in parts
    }
    unused = [value or "(empty)" for value in values if value not in every]
    ordered = {part: parts[part] for part in rows}
    return _RowParts(rows, describe_parts(f"column '{column}':", ordered, unused))


def _split_column(
    table: Table, used: Sequence[str], options: Mapping[str, str], *, given: bool
) -> str | None:
    """Find the column of splits: by its name, else by what it holds."""
    if "split" in options:
        return table.find("split", options) if options["split"] else None
    free = [
        name for name, kind in table.header.items() if kind == "value" and name and name not in used
    ]
    keys = {column_key(name): name for name in reversed(free)}
    called = [keys[guess] for guess in SPLITS if guess in keys]
    called += [keys[key] for key in PERHAPS if key in keys and _mentions(table, keys[key])]
    # Called by several parts: train_test, train/val/test.
    called += [
        name
        for name in free
        if len({part_of_name(word) for word in column_key(name).split("_")} - {None}) > 1
    ]
    if called and given:
        return called[0]
    meant = [name for name in free if _names_splits(table, name)]
    if not meant:
        flags = [name for name in free if _flag_of(name)]
        flags += [name for name in free if _is_flag_of_validation(table, name)]
        return next(iter([*called, *flags]), None)
    first = next((name for name in called if name in meant), meant[0])
    if first not in called and len(meant) > 1:
        raise DatasetError(
            f"{table.path} has several columns of splits ({join_names(meant)}): choose one with "
            "?split=COLUMN, or none with ?split=",
            code="dataset.split_unknown",
            found=tuple(meant),
        )
    return first


def _is_flag_of_validation(table: Table, name: str) -> bool:
    """Whether a column such as ``valid`` is of 1 and 0: validation, or that a row is in order?"""
    values = table.values(name) if part_of_name(column_key(name)) == "validation" else set()
    return len(values) > 1 and values <= FLAGS.keys()


def _mentions(table: Table, name: str) -> bool:
    """Whether train or a test is mentioned among the few values of a column."""
    values = {str(cell) for cell in table.cells(name)}
    found = read_split_names(values) if len(values) <= MOST_SPLITS else SplitNames()
    return len(found.parts) + len(found.unclear) > 1


def _names_splits(table: Table, name: str) -> bool:
    """Whether all that a column holds are names of splits, train among them."""
    cells = table.cells(name)
    if not all(isinstance(cell, str) for cell in cells):
        return False
    values = set(cells)
    if not 1 < len(values) <= MOST_SPLITS:
        return False
    found = read_split_names(value.strip() for value in values)
    return found.complete and "train" in found.parts and len(found.parts) > 1


def _flag_of(name: str) -> str | None:
    """Return the part that a column such as ``is_train`` tells from the others; None for others."""
    key = column_key(name)
    said = key.split("_")[0] == "is" or key in ("train", "training", "test", "testing")
    return _part_of_column(name) if said else None


def _part_of_column(name: str) -> str | None:
    return part_of_name("_".join(word for word in column_key(name).split("_") if word != "is"))


def _split_flags(table: Table, used: Sequence[str]) -> dict[str, str]:
    """Find columns of 1 and 0, one per part (``train``, ``val``, ``test``): part -> column.

    None where there is but one: `_flag_of` says whether that tells train from test.
    """
    found: dict[str, str] = {}
    for name, kind in table.header.items():
        part = _part_of_column(name) if kind == "value" and name not in used else None
        if part and part not in found and table.values(name) <= FLAGS.keys():
            found[part] = name
    return found if len(found) > 1 and ("train" in found or "test" in found) else {}


def _by_flags(table: Table, columns: Mapping[str, str]) -> _RowParts:
    """Divide the rows by columns of 1 and 0; those without a 1 are the part without a column."""
    flags = {part: table.flags(name) for part, name in columns.items()}
    rest = [part for part in PARTS if part not in flags]
    # Neither train nor test may be validation, or left out.
    left = rest[0] if rest and rest != ["validation"] else ""
    rows: dict[str, list[int]] = {}
    for row, values in enumerate(zip(*flags.values(), strict=True)):
        parts = [part for part, value in zip(flags, values, strict=True) if value]
        if len(parts) > 1 or not (parts or left):
            raise DatasetError(
                f"{table.path}: data row {row + 1} has {len(parts)} of the columns "
                f"{join_names(list(columns.values()))} set: expected 1; pass ?split= to have "
                "splits drawn",
                code="dataset.split_unknown",
                found=row + 1,
            )
        rows.setdefault(parts[0] if parts else left, []).append(row)
    check_parts(rows, f"{table.path}: columns {join_names(list(columns.values()))}", "pass ?split=")
    said = {part: [columns.get(part, "the rest")] for part in PARTS if part in rows}
    divided = {part: np.array(rows[part], dtype=np.int64) for part in said}
    return _RowParts(divided, describe_parts("columns", said))


def _meaning(table: Table, column: str, texts: Sequence[str]) -> dict[str, list[str]]:
    """Return which values of a column mean which part."""
    values = list(dict.fromkeys(texts))
    flag = _flag_of(column)
    # is_valid says as often that a row is in order.
    if flag in ("train", "test") and {value.lower() for value in values} <= FLAGS.keys():
        other = "test" if flag == "train" else "train"
        parts: dict[str, list[str]] = {}
        for value in values:
            parts.setdefault(flag if FLAGS[value.lower()] else other, []).append(value)
        return parts
    found = read_split_names({value.casefold(): value for value in reversed(values)}.values())
    if found.complete:
        same = {part: name.casefold() for part, name in found.parts.items()}
        return {
            part: [value for value in values if value.casefold() == name]
            for part, name in same.items()
        }
    odd = [value for value in values if value in (*found.unclear, *found.others)]
    odd = odd or list(found.unclear or found.others)
    row = next(row for row, text in enumerate(texts) if text.casefold() == odd[0].casefold())
    raise DatasetError(
        f"{table.path}: data row {row + 1} has the split '{shorten(texts[row])}' (column "
        f"'{column}', with the values {join_names(sorted(values))}): expected train, "
        "validation or test; say which is which with ?train=VALUE&test=VALUE (and "
        "validation=VALUE; + joins several), or pass ?split= to have splits drawn",
        code="dataset.split_unknown",
        found=tuple(sorted(values)),
        column=column,
    )
