"""Datasets in Parquet files, as on the Hugging Face hub: columns -> images and labels.

Row groups are decoded when an image of theirs is asked for, and the last few are kept: a walk
through the rows reads every row group once, and memory stays within a few of them.
"""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from headstart.datasets.archives.published import Facts
from headstart.datasets.decode import ImageInfo, kind_of_file
from headstart.datasets.file_index import Advance, FileIndex
from headstart.datasets.hub_splits import README, Choice, parquet_names, parts_of
from headstart.datasets.images import EncodedImages, FileImages, Images
from headstart.datasets.naming import (
    check_lists,
    check_single,
    check_texts,
    join_names,
    merged_spellings,
    read_split_names,
)
from headstart.datasets.sources.own_files import require_files
from headstart.datasets.splits import RawDataset, Split, encode_labels, number_groups
from headstart.errors import DatasetError, DatasetMissingError, StorageError
from headstart.files import storage_errors
from headstart.shown_text import first_line

__all__ = [
    "ParquetImages",
    "has_several_classes",
    "holds_bytes",
    "is_list",
    "kept_paths",
    "opened",
    "read",
    "read_hub_copy",
]

# The hub writes 100 images per row group, 1,000 in older files.
KEPT = 3
BYTES, PATH = "bytes", "path"
# Bytes that tell what a file is.
HEAD = 1024
IMAGES = ("image", "img", "images", "jpg", "png", "file_name", "path")
LABELS = ("label", "labels", "fine_label", "class", "target", "species", "category")

Values = list[Any]
Labels = npt.NDArray[np.int64]


@contextmanager
def opened(file: Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file.

    Raises
    ------
    StorageError
        It cannot be read.
    DatasetError
        It is no Parquet file, or it is cut off: the index is at its end.
    """
    with storage_errors(file, reading=True):
        content = file.open("rb")
        start = content.read(HEAD)
    try:
        # An open file: Arrow takes no name that is not UTF-8.
        with content, pq.ParquetFile(content) as parquet:
            yield parquet
    # What is damaged shows as either kind, depending on where it is.
    except (pa.ArrowException, OSError) as error:
        if kind := kind_of_file(start):
            raise DatasetError(
                f"{file} is no Parquet file but {kind}", code="dataset.unreadable", found=kind
            ) from error
        raise DatasetError(
            f"{file} is not a whole Parquet file ({first_line(error)}): fetch it again",
            code="dataset.unreadable",
        ) from error


class ParquetImages(EncodedImages):
    """Images in a column of Parquet files.

    Parameters
    ----------
    files
        In order: the rows of the second follow those of the first.
    column
        Of type struct<bytes: binary, path: string>, or binary.

    Raises
    ------
    DatasetError
        A file is no Parquet file.
    """

    def __init__(self, files: Sequence[Path], column: str) -> None:
        self._files, self._column = tuple(files), column
        sizes, names = [], []
        for file in self._files:
            with opened(file) as parquet:
                groups = range(parquet.num_row_groups)
                sizes.append([parquet.metadata.row_group(group).num_rows for group in groups])
                names.append(_names(parquet, column))
        self._names = np.concatenate([np.zeros(0, dtype=object), *names])
        self._rows = np.arange(len(self._names), dtype=np.int64)
        # (file, row group) of each run of rows, and the number of its first row.
        self._groups = [(f, g) for f, groups in enumerate(sizes) for g in range(len(groups))]
        self._firsts = _firsts([n for groups in sizes for n in groups])
        self._file_firsts = _firsts([sum(groups) for groups in sizes])
        self._kept: OrderedDict[int, pa.ChunkedArray] = OrderedDict()
        self._lock = threading.Lock()

    def content(self, row: int) -> bytes:
        return self._content(int(self._rows[row]))

    def where(self, row: int) -> str:
        (place,), (inside,) = self._places(self._rows[[row]])
        file, name = self._files[place], self._names[self._rows[row]]
        # 0000.parquet is in every folder of the hub's own conversions.
        shown = f"{file.parent.name}/{file.name}" if file.stem.isdigit() else file.name
        return f"{shown}, row {inside}" + (f" ({name})" if name else "")

    def info(self, file_index: FileIndex, advance: Advance | None = None) -> list[ImageInfo]:
        places, inside = self._places(self._rows)
        found: dict[int, ImageInfo] = {}
        for place in np.unique(places).tolist():
            rows = np.flatnonzero(places == place)
            seen = file_index.inspect_inside(
                self._files[place],
                inside[rows].tolist(),
                partial(self._content, first=int(self._file_firsts[place])),
                advance,
            )
            found |= zip(rows.tolist(), seen, strict=True)
        return [found[row] for row in range(len(self))]

    def digest(self, file_index: FileIndex, advance: Advance | None = None) -> str:
        """Hexadecimal SHA-256 over (SHA-256 of the file, row in the file as int64), in order."""
        places, inside = self._places(self._rows)
        digests = {}
        used, counts = np.unique(places, return_counts=True)
        for place, n_images in zip(used.tolist(), counts.tolist(), strict=True):
            (digest,) = file_index.sha256([self._files[place]])
            digests[place] = bytes.fromhex(digest)
            if advance:
                advance(n_images)
        content = hashlib.sha256()
        for place, row in zip(places.tolist(), inside.astype("<i8"), strict=True):
            content.update(digests[place] + row.tobytes())
        return content.hexdigest()

    def _places(
        self, rows: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the number of each row's file, and its number in that file."""
        files = np.searchsorted(self._file_firsts, rows, side="right") - 1
        return files, rows - self._file_firsts[files]

    def _content(self, row: int, first: int = 0) -> bytes:
        """Read the bytes of an image, so many rows after `first`; b"" where there are none."""
        row += first
        group = int(np.searchsorted(self._firsts, row, side="right")) - 1
        # Threads that decode ask for neighbours: the second one waits, and finds it read.
        with self._lock:
            if group not in self._kept:
                while len(self._kept) >= KEPT:
                    self._kept.popitem(last=False)
                self._kept[group] = self._read(*self._groups[group])
            self._kept.move_to_end(group)
            values = self._kept[group]
        value = values[row - int(self._firsts[group])].as_py()
        content: bytes | None = value[BYTES] if isinstance(value, dict) else value
        return content or b""

    def _read(self, place: int, group: int) -> pa.ChunkedArray:
        column = self._column
        try:
            with opened(self._files[place]) as parquet:
                encoded = _is_encoded(parquet.schema_arrow.field(column).type)
                leaf = f"{column}.{BYTES}" if encoded else column
                return parquet.read_row_group(group, columns=[leaf]).column(0)
        except DatasetError as error:
            raise StorageError(str(error), code="storage.damaged") from error


def kept_paths(file: Path, column: str) -> list[str | None] | None:
    """Return the paths in a column of images that holds no image itself; None if it holds some."""
    with opened(file) as parquet:
        if not _is_encoded(parquet.schema_arrow.field(column).type):
            return None
        for group in range(parquet.num_row_groups):
            found = parquet.read_row_group(group, columns=[f"{column}.{BYTES}"]).column(0)
            if any(value.as_py() and value[BYTES].is_valid for value in found):
                return None
        return list(_names(parquet, column))


def _firsts(sizes: list[int]) -> npt.NDArray[np.int64]:
    """Return the number of the first row of each of several runs of rows."""
    return np.cumsum([0, *sizes], dtype=np.int64)[:-1]


def _names(parquet: pq.ParquetFile, column: str) -> npt.NDArray[Any]:
    """Read what the images were called, without reading the images."""
    names = np.full(parquet.metadata.num_rows, None, dtype=object)
    field = parquet.schema_arrow.field(column)
    if pa.types.is_struct(field.type) and field.type.get_field_index(PATH) >= 0:
        column_of_names = parquet.read(columns=[f"{column}.{PATH}"]).column(0)
        names[:] = [value and value[PATH] for value in column_of_names.to_pylist()]
    return names


def read(
    folder: Path, choice: Choice, title: str, names: Sequence[str] | None = None
) -> RawDataset:
    """Read labels and where the images are; the images themselves stay where they are.

    Parameters
    ----------
    names
        The files, as paths inside `folder`; None takes all Parquet files in it.

    Raises
    ------
    DatasetMissingError
        There are no Parquet files.
    DatasetError
        As in `parts_of`; columns that are missing or cannot be recognized; labels of a kind that
        there is not.
    """
    names = parquet_names(folder) if names is None else names
    if not names:
        raise DatasetMissingError(f"{folder} has no Parquet files: expected some as in the hub")
    found = parts_of(names, choice, title, folder / README)
    parts = {part: [folder / name for name in inside] for part, inside in found.files.items()}
    files = [file for inside in parts.values() for file in inside]
    with opened(files[0]) as parquet:
        schema = parquet.schema_arrow
    image, label = _columns(schema, choice, title)
    classes, labels = _labels(
        _apart(_filled(parts, label, title, "label"), choice, label, title),
        _class_names(files, label),
        f"{title}, column '{label}'",
    )
    groups: dict[str, Labels] = {}
    if choice.group:
        values = _filled(parts, choice.group, title, "group")
        names_of_groups = {part: list(map(str, found)) for part, found in values.items()}
        groups = number_groups(names_of_groups, title, choice.group)
    splits = {
        part: Split(
            _images(inside, image, title),
            labels[part],
            np.arange(len(labels[part])),
            groups.get(part),
        )
        for part, inside in parts.items()
    }
    notes = _notes(files[0], schema, [image, label, choice.group], choice, list(parts) == ["all"])
    return RawDataset(classes, splits, parts_note=found.parts_note, notes=tuple(notes))


def _notes(
    file: Path, schema: pa.Schema, used: Sequence[str], choice: Choice, alone: bool
) -> Iterator[str]:
    """Yield what is to be said of columns that may have been meant, and are not used."""
    free = [name for name in schema.names if name not in used]
    features = _features(schema)
    others = [name for name in free if _names_in(features.get(name)) is not None]
    if others and not choice.label:
        yield (
            f"labels: column '{used[1]}'; not used: {join_names(others)} (choose with "
            "?label=COLUMN)"
        )
    for name in free if alone and not choice.parts else []:
        if pa.types.is_string(schema.field(name).type):
            values = {value for value in _values([file], name) if value is not None}
            if len(values) > 1 and read_split_names(values).complete:
                yield (
                    f"column '{name}' ({join_names(sorted(values))}) is not used: name the file "
                    f"itself to split by it ({file.name})"
                )


def read_hub_copy(facts: Facts, folder: Path) -> RawDataset:
    """Read a dataset of the study from its copy on the hub; the parts are named as its facts say.

    Raises
    ------
    DatasetMissingError, DatasetError
        No copy is known; otherwise as in `read`.
    """
    if facts.hub is None:
        raise DatasetMissingError(f"dataset '{facts.key}' has no copy on the Hugging Face hub")
    return read(folder, Choice.of(facts.hub), f"hf:{facts.hub.repository}")


def has_several_classes(file: Path, choice: Choice, title: str) -> bool:
    """Whether an image may have several labels: the column of labels holds lists."""
    with opened(file) as parquet:
        schema = parquet.schema_arrow
    _, label = _columns(schema, choice, title)
    return bool(choice.sep) or is_list(schema.field(label).type)


def is_list(kind: pa.DataType) -> bool:
    """Whether cells of a type are lists."""
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_one(kind) for is_one in lists)


def holds_bytes(kind: pa.DataType) -> bool:
    """Whether cells of a type are binary, or structs of an image's bytes."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or _is_encoded(kind))


def _columns(schema: pa.Schema, choice: Choice, title: str) -> tuple[str, str]:
    """Choose the columns of images and of labels."""
    had = f"columns: {', '.join(schema.names)}"
    for name in (choice.image, choice.label, choice.group):
        if name and name not in schema.names:
            raise DatasetError(
                f"{title} has no column '{name}'; {had}", code="dataset.column_unknown", found=name
            )
    features = _features(schema)
    images = [column.name for column in schema if _holds_images(column, features)]
    label = choice.label or _told(
        [name for name in LABELS if name in schema.names][:1]
        or [name for name in schema.names if _names_in(features.get(name)) is not None]
    )
    image = choice.image or _told(
        images or [name for name in IMAGES if name in schema.names and name != label]
    )
    for use, column, what in (("image", image, "images"), ("label", label, "labels")):
        if not column:
            raise DatasetError(
                f"{title}: the column of {what} is not clear: pass ?{use}=COLUMN; {had}",
                code="dataset.column_missing",
                found=tuple(schema.names),
                use=use,
            )
    for name in (image, label):
        if schema.names.count(name) > 1:
            raise DatasetError(
                f"{title} has two columns '{name}': rename one",
                code="dataset.column_twice",
                found=name,
            )
    return image, label


def _told(candidates: list[str]) -> str:
    return candidates[0] if len(candidates) == 1 else ""


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Read what the hub's library has noted of the columns' types; {} where it has not."""
    try:
        noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = noted["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _holds_images(column: pa.Field, features: dict[str, Any]) -> bool:
    feature = features.get(column.name)
    if isinstance(feature, dict) and "_type" in feature:
        return bool(feature["_type"] == "Image")
    return _is_encoded(column.type) or (holds_bytes(column.type) and column.name in IMAGES)


def _is_encoded(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind) and kind.get_field_index(BYTES) >= 0)


def _class_names(files: Sequence[Path], label: str) -> tuple[str, ...] | None:
    """Read the names that the hub's library has noted of a column of labels."""
    found = []
    for file in files:
        with opened(file) as parquet:
            found.append(_names_in(_features(parquet.schema_arrow).get(label)))
        if found[-1] != found[0]:
            raise DatasetError(
                f"{file} has other class names in column '{label}' than {files[0]}: expected "
                "files of one dataset",
                code="dataset.classes_differ",
                file=file.name,
            )
    return found[0]


def _names_in(feature: Any) -> tuple[str, ...] | None:
    """Find the names of a ClassLabel, or of a list of them."""
    if isinstance(feature, list) and len(feature) == 1:
        return _names_in(feature[0])
    if not isinstance(feature, dict):
        return None
    if feature.get("_type") == "ClassLabel":
        names = feature.get("names")
        return tuple(map(str, names)) if isinstance(names, list) else None
    return _names_in(feature.get("feature"))


def _values(files: Sequence[Path], column: str) -> Values:
    """Read a column as Python's own values."""
    values: Values = []
    for file in files:
        with opened(file) as parquet:
            if column not in parquet.schema_arrow.names:
                raise DatasetError(
                    f"{file} has no column '{column}', which the first file has",
                    code="dataset.column_unknown",
                    found=column,
                )
            values += parquet.read(columns=[column]).column(0).to_pylist()
    return values


def _filled(
    parts: Mapping[str, Sequence[Path]], column: str, title: str, what: str
) -> dict[str, Values]:
    """Read a column of each part; DatasetError where a cell of it has no `what`."""
    values = {part: _values(files, column) for part, files in parts.items()}
    for part, found in values.items():
        if None in found:
            row = found.index(None)
            raise DatasetError(
                f"{title}, column '{column}': row {row} of {part} has no {what}",
                code="dataset.cell_empty",
                found=row,
            )
    return values


def _labels(
    parts: dict[str, Values], names: tuple[str, ...] | None, where: str
) -> tuple[tuple[str, ...], dict[str, Labels]]:
    """Turn values to classes and labels: (n,), or (n, K) in {1, -1} where they are lists."""
    everything = [value for values in parts.values() for value in values]
    several = any(isinstance(value, list) for value in everything)
    if several and not all(isinstance(value, list) for value in everything):
        raise DatasetError(
            f"{where} holds lists in one part, and single labels in another",
            code="dataset.labels_mixed",
        )
    if several:
        check_lists(where, everything)
    single = [label for value in everything for label in value] if several else everything
    if invalid := [label for label in single if type(label) not in (int, str, bool)]:
        kind = type(invalid[0]).__name__
        raise DatasetError(
            f"{where}: expected whole numbers, text, or lists of one of them, found {kind}",
            code="dataset.cell_type",
            found=kind,
        )
    if len({isinstance(label, str) for label in single}) > 1:
        raise DatasetError(
            f"{where} holds text in one part, and numbers in another", code="dataset.labels_mixed"
        )
    check_texts(where, [label for label in single if isinstance(label, str)])
    if names is None:
        _check_secret(parts, where)
        found = sorted(set(single))
        spelled = merged_spellings(map(str, found))
        names = tuple(dict.fromkeys(spelled[str(label)] for label in found))
        places = {label: names.index(spelled[str(label)]) for label in found}
    else:
        places = {label: label for label in range(len(names))}
    if outside := [label for label in single if label not in places]:
        raise DatasetError(
            f"{where}: label {outside[0]} has no name, they are numbered 0 to {len(names) - 1} "
            "(the hub writes -1 where labels are kept secret)",
            code="dataset.class_unknown",
            found=outside[0],
        )
    return names, {
        part: encode_labels(values, places, len(names), several=several)
        for part, values in parts.items()
    }


def _check_secret(parts: Mapping[str, Values], where: str) -> None:
    """Raise DatasetError where all labels of a part are -1: the hub keeps them secret."""
    for part, values in parts.items():
        if values and set(map(str, values)) == {"-1"}:
            raise DatasetError(
                f"{where}: all labels of {part} are -1, as the hub writes where they are kept "
                "secret: leave this part out, naming the others with ?train=SPLIT&test=SPLIT, or "
                "?all=SPLIT",
                code="dataset.labels_secret",
                found=part,
            )


def _apart(parts: dict[str, Values], choice: Choice, label: str, title: str) -> dict[str, Values]:
    """Take cells of text apart at the separator, if there is one."""
    if choice.sep:
        return {
            part: [
                sorted({name.strip() for name in value.split(choice.sep)} - {""})
                if isinstance(value, str)
                else (value if isinstance(value, list) else [value])
                for value in values
            ]
            for part, values in parts.items()
        }
    if choice.sep is None:
        texts = [value for values in parts.values() for value in values if isinstance(value, str)]
        check_single(title, label, texts)
    return parts


def _images(files: Sequence[Path], column: str, title: str) -> Images:
    with opened(files[0]) as parquet:
        kind = parquet.schema_arrow.field(column).type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        names = {file: _values([file], column) for file in files}
        remedy = f"expected them from the folder of {files[0].name} on, or images as bytes"
    # One look: of many files, reading the first images of each would take long.
    elif _is_encoded(kind) and kept_paths(files[0], column) is not None:
        names = {file: kept_paths(file, column) or [] for file in files}
        remedy = "the column holds their names and no image: store the images as bytes"
    elif holds_bytes(kind):
        return ParquetImages(files, column)
    else:
        raise DatasetError(
            f"{title}: column '{column}' holds {kind}: expected images as bytes, or the paths of "
            "files",
            code="dataset.cell_type",
            found=str(kind),
        )
    for file, some in names.items():
        if None in some:
            row = some.index(None)
            raise DatasetError(
                f"{file}, row {row}: column '{column}' has no path",
                code="dataset.cell_empty",
                found=row,
            )
    # Paths count from the folder that each Parquet file is in.
    paths = [file.parent / name for file, some in names.items() for name in some]
    require_files(paths, f"{title}, column '{column}'", remedy)
    return FileImages(paths)
