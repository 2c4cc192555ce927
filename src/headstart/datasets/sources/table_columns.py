"""What the columns of a user's table are for: paths, labels, splits."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from headstart.datasets.naming import (
    PARTS,
    SplitNames,
    check_parts,
    column_key,
    describe_parts,
    join_names,
    part_of_name,
    read_split_names,
    shorten,
)
from headstart.datasets.sources.table_file import Table
from headstart.errors import DatasetError

__all__ = [
    "FLAGS",
    "LABELS",
    "PATHS",
    "Parts",
    "flag_columns",
    "one_of",
    "parts_of_rows",
]

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
FLAGS: Mapping[str, bool] = MappingProxyType(
    dict.fromkeys(("1", "1.0", "true", "yes"), True)
    | dict.fromkeys(("0", "0.0", "false", "no"), False)
)
WHOLE = re.compile(r"^(-?[0-9]+)\.0+$")
# Distinct values of a column that may name splits.
MOST_SPLITS = 12

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Parts:
    """The rows of each part, in the order of the table; and in words what was taken for what."""

    rows: dict[str, Rows]
    parts_note: str = ""


def one_of(table: Table, guesses: Sequence[str]) -> str | None:
    """Return the first column that is called as one of these, None if none is."""
    keys: dict[str, str] = {}
    for name in table.header:
        keys.setdefault(column_key(name), name)
    return next((keys[guess] for guess in guesses if guess in keys), None)


def parts_of_rows(table: Table, used: Sequence[str], options: Mapping[str, str]) -> Parts:
    """Divide the rows as a column of splits says.

    Parameters
    ----------
    table
        The table.
    used
        Columns that hold something else.
    options
        ``split`` names the column, "" none; ``train``, ``validation`` and ``test`` give values in
        it, joined by +.

    Raises
    ------
    DatasetError
        Values that do not say which part they mean; a part without rows.
    """
    named = options.get("split")
    asked = {part: options[part].split("+") for part in PARTS if part in options}
    column = _split_column(table, used, named, given=bool(asked))
    if column is None:
        if asked:
            raise DatasetError(
                f"{table.path} has no column of splits for {next(iter(asked))}="
                f"{options[next(iter(asked))]}: name it with ?split=COLUMN; it has "
                f"{table.listed()}",
                code="dataset.column_missing",
                found=tuple(table.header),
            )
        first = table.columns([used[0]])[used[0]] if table.header[used[0]] == "value" else None
        n = len(first) if first is not None else len(table.columns([used[1]])[used[1]])
        return Parts({"all": np.arange(n, dtype=np.int64)})
    several = _split_flags(table, used) if named is None and not asked and _flag_of(column) else {}
    return _by_flags(table, several) if len(several) > 1 else _divided(table, column, asked)


def _divided(table: Table, column: str, asked: Mapping[str, list[str]]) -> Parts:
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
    if twice := [name for name in every if every.count(name) > 1]:
        raise DatasetError(
            f"{table.path}: value '{shorten(twice[0])}' of column '{column}' is asked for twice: "
            "name each value once",
            code="dataset.split_twice",
            found=twice[0],
        )
    instead = "leave that column out with ?split= to have splits drawn"
    check_parts(parts, f"{table.path}: column '{column}'", instead)
    rows = {
        part: np.flatnonzero([text in parts[part] for text in texts]).astype(np.int64)
        for part in PARTS
        if part in parts
    }
    unused = [value or "(empty)" for value in values if value not in every]
    ordered = {part: parts[part] for part in rows}
    return Parts(rows, describe_parts(f"column '{column}':", ordered, unused))


def flag_columns(table: Table, taken: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the columns that hold 1 and 0 alone, and the others that are not taken.

    A column of splits is neither.
    """
    flags: list[str] = []
    others: list[str] = []
    splits = _split_flags(table, taken).values()
    for name, kind in table.header.items():
        if name in taken or not name or _is_split(name) or name in splits:
            continue
        texts = table.columns([name])[name] if kind == "value" else ["image or list"]
        values = {str(text).strip().lower() for text in texts}
        (flags if values <= FLAGS.keys() else others).append(name)
    return flags, others


def _is_split(name: str) -> bool:
    key = column_key(name)
    return key in SPLITS or bool(_flag_of(name))


def _split_column(
    table: Table, used: Sequence[str], named: str | None, *, given: bool
) -> str | None:
    """Find the column of splits: by its name, else by what it holds."""
    if named == "":
        return None
    if named is not None:
        if named not in table.header:
            raise DatasetError(
                f"{table.path} has no column '{named}' (asked for by split={named}): it has "
                f"{table.listed()}",
                code="dataset.column_unknown",
                found=named,
            )
        return named
    free = [
        name for name, kind in table.header.items() if kind == "value" and name and name not in used
    ]
    keys = {column_key(name): name for name in reversed(free)}
    called = [keys[guess] for guess in SPLITS if guess in keys]
    called += [keys[key] for key in PERHAPS if key in keys and _mentions(table, keys[key])]
    called += [name for name in free if _names_several(name)]
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


def _names_several(name: str) -> bool:
    """Whether a column is called by several parts: ``train_test``, ``train/val/test``."""
    words = (part_of_name(word) for word in column_key(name).split("_"))
    return len({part for part in words if part}) > 1


def _is_flag_of_validation(table: Table, name: str) -> bool:
    """Whether a column such as ``valid`` is of 1 and 0: validation, or that a row is in order?"""
    if part_of_name(column_key(name)) != "validation":
        return False
    values = {str(cell).strip().lower() for cell in table.columns([name])[name]}
    return len(values) > 1 and values <= FLAGS.keys()


def _mentions(table: Table, name: str) -> bool:
    """Whether train or a test is mentioned among the few values of a column."""
    values = {str(cell) for cell in table.columns([name])[name]}
    found = read_split_names(values) if len(values) <= MOST_SPLITS else SplitNames()
    return len(found.parts) + len(found.unclear) > 1


def _names_splits(table: Table, name: str) -> bool:
    """Whether all that a column holds are names of splits, train among them."""
    cells = table.columns([name])[name]
    if not all(isinstance(cell, str) for cell in cells):
        return False
    values = set(cells)
    if not 1 < len(values) <= MOST_SPLITS:
        return False
    found = read_split_names(value.strip() for value in values)
    return found.complete and "train" in found.parts and len(found.parts) > 1


def _flag_of(name: str) -> str:
    """Return the part that a column such as ``is_train`` tells from the others; "" for others."""
    key = column_key(name)
    words = key.split("_")
    if words[0] != "is" and key not in ("train", "training", "test", "testing"):
        return ""
    found = read_split_names(["_".join(word for word in words if word != "is")]).parts
    return next(iter(found), "")


def _split_flags(table: Table, used: Sequence[str]) -> dict[str, str]:
    """Find columns of 1 and 0, one per part (``train``, ``val``, ``test``): part -> column.

    None where there is but one: `_flag_of` says whether that tells train from test.
    """
    found: dict[str, str] = {}
    for name, kind in table.header.items():
        words = [word for word in column_key(name).split("_") if word != "is"]
        part = next(iter(read_split_names(["_".join(words)]).parts), "") if words else ""
        if part and part not in found and kind == "value" and name not in used:
            texts = {str(cell).strip().lower() for cell in table.columns([name])[name]}
            if texts <= FLAGS.keys():
                found[part] = name
    return found if len(found) > 1 and ("train" in found or "test" in found) else {}


def _by_flags(table: Table, columns: Mapping[str, str]) -> Parts:
    """Divide the rows by columns of 1 and 0; those without a 1 are the part without a column."""
    flags = {part: [FLAGS[t.lower()] for t in table.texts(name)] for part, name in columns.items()}
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
    return Parts(divided, describe_parts("columns", said))


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
