"""Datasets in Parquet files, laid out as the Hugging Face hub does: files -> classes and parts.

data/train-00000-of-00002.parquet       a split in its name, and of how many files it is one
CONFIG/test/0000.parquet                the hub's own conversions: one folder per configuration
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headstart.datasets.archives.published import Facts, HubCopy
from headstart.datasets.images import FileImages, Images
from headstart.datasets.naming import (
    check_single,
    check_texts,
    listed,
    merged_spellings,
    part_named,
    read_split_names,
    understood,
)
from headstart.datasets.parquet_images import ParquetImages, opened
from headstart.datasets.raw_dataset import RawDataset, number_groups
from headstart.datasets.splits import Split
from headstart.errors import DatasetError, DatasetMissingError

__all__ = ["Choice", "has_several_classes", "parquet_names", "parts_of", "read", "read_hub_copy"]

SHARD = re.compile(r"(?P<split>.+?)-(?P<number>\d{5})-of-(?P<count>\d{5})(-\w+)?")
# The number of a file, where it is not written as above.
NUMBER = re.compile(r"[-_. ]\d+$")
README = "README.md"
# A folder of the hub's conversion that stops after the first gigabytes.
PARTIAL = "partial-"
# The configuration of files that lie in no folder of one, beside others: the hub calls it so.
UNNAMED = "default"
IMAGES = ("image", "img", "images", "jpg", "png", "file_name", "path")
LABELS = ("label", "labels", "fine_label", "class", "target", "species", "category")

Values = list[Any]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Choice:
    """Which columns and splits of a repository are meant.

    Parameters
    ----------
    image, label, group
        Names of columns; "" finds those of images and labels, and groups nothing.
    config
        The configuration; "" where there is one only.
    parts
        For each part (``train``, ``validation``, ``test``, ``all``) the repository's split, or
        several joined by ``+``. Empty takes those that are named so; a split alone is ``all``.
    sep
        Separator of several labels in a cell of text; "" where each cell is one label, None where
        nobody has said.
    """

    image: str = ""
    label: str = ""
    group: str = ""
    config: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    sep: str | None = None

    @classmethod
    def of(cls, copy: HubCopy) -> "Choice":
        """Choose what is written down of a copy of a dataset of the study."""
        return cls(image=copy.image, label=copy.label, parts=dict(copy.parts.items()))


def parquet_names(folder: Path) -> list[str]:
    """List the Parquet files in a folder and its folders: paths inside it, sorted."""
    found = (file.relative_to(folder) for file in folder.rglob("*.parquet"))
    return sorted(name.as_posix() for name in found if not name.name.startswith("."))


class HubParts(NamedTuple):
    """The files of each part, and in words which splits were taken for what."""

    files: dict[str, list[str]]
    understood: str


def parts_of(
    names: Iterable[str], choice: Choice, title: str, readme: Path | None = None
) -> HubParts:
    """Return which files make up each part.

    A split is the whole name before the number of a file, as on the hub: ``test_ood`` is no part of
    ``test``. Where the names of the files do not tell, what `readme` declares is taken.

    Raises
    ------
    DatasetError
        Several configurations and none chosen; a split that there is not, or of which a file is
        lacking; splits whose names do not say what they are for. `title` names the dataset in it.
    """
    names = list(names)
    try:
        return _parts(_splits(_of_config(names, choice.config, title), title), choice, title)
    except DatasetError:
        declared = _declared(readme, names) if readme else {}
        if not declared:
            raise
    if not choice.config and len(declared) > 1:
        raise _several_configs(declared, title)
    if choice.config and choice.config not in declared:
        raise _no_config(declared, choice.config, title)
    return _parts(declared[choice.config or next(iter(declared))], choice, title)


def _parts(splits: Mapping[str, Sequence[str]], choice: Choice, title: str) -> HubParts:
    """Return which splits, and so which files, make up each part."""
    if not choice.parts:
        chosen = _plain(splits, title)
    else:
        chosen = {
            part: [_split_named(splits, name, title) for name in _joined(splits, wanted)]
            for part, wanted in choice.parts.items()
        }
    used: dict[str, str] = {}
    for part, some in chosen.items():
        for split in some:
            if split in used:
                raise DatasetError(
                    f"{title}: split '{split}' is asked for twice, for {used[split]} and {part}: "
                    "its images would be fitted and tested on, name each split once",
                    code="dataset.split_twice",
                    found=split,
                )
            used[split] = part
    files = {
        part: [name for split in some for name in splits[split]] for part, some in chosen.items()
    }
    if "all" in chosen and chosen["all"] == [""]:
        return HubParts(files, "")
    unused = [split for split in splits if split not in used]
    return HubParts(files, understood("", chosen, unused))


def _plain(splits: Mapping[str, Sequence[str]], title: str) -> dict[str, list[str]]:
    """Take the splits that are named as parts; DatasetError where that is not plain."""
    if len(splits) == 1:
        return {"all": list(splits)}
    found = read_split_names(splits)
    if found.unclear or "train" not in found.parts or len(found.parts) == 1:
        raise DatasetError(
            f"{title} has splits {listed(list(splits))}: say what they are for, as "
            "?train=SPLIT&test=SPLIT (and validation=SPLIT; + joins several), or ?all=SPLIT to "
            "split it anew",
            code="dataset.split_unknown",
            found=tuple(splits),
        )
    return {part: [name] for part, name in found.parts.items()}


def _joined(splits: Mapping[str, Sequence[str]], wanted: str) -> list[str]:
    return [wanted] if wanted in splits else wanted.split("+")


def _split_named(splits: Mapping[str, Sequence[str]], wanted: str, title: str) -> str:
    """Find a split by its name, or by another word for it that only one split has."""
    if wanted in splits:
        return wanted
    part = part_named(wanted)
    alike = [split for split in splits if part is not None and part_named(split) == part]
    if len(alike) != 1:
        raise DatasetError(
            f"{title} has no split '{wanted}': it has {listed(list(splits))}",
            code="dataset.split_unknown",
            found=tuple(splits),
        )
    return alike[0]


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
        image, label = _columns(parquet.schema_arrow, choice, title)
    classes, labels = _labels(
        _apart(
            {part: _values(inside, label) for part, inside in parts.items()}, choice, label, title
        ),
        _class_names(files, label),
        f"{title}, column '{label}'",
    )
    splits = {
        part: Split(_images(inside, image, title), labels[part], np.arange(len(labels[part])))
        for part, inside in parts.items()
    }
    groups = _groups(parts, choice.group, title) if choice.group else {}
    return RawDataset(classes, splits, groups=groups, understood=found.understood)


def read_hub_copy(facts: Facts, folder: Path, names: Sequence[str] | None = None) -> RawDataset:
    """Read a dataset of the study from its copy on the hub; the parts are named as its facts say.

    Raises
    ------
    DatasetMissingError, DatasetError
        No copy is known; otherwise as in `read`.
    """
    if facts.hub is None:
        raise DatasetMissingError(f"dataset '{facts.key}' has no copy on the Hugging Face hub")
    return read(folder, Choice.of(facts.hub), f"hf:{facts.hub.repository}", names)


def has_several_classes(file: Path, choice: Choice, title: str) -> bool:
    """Whether an image may have several labels: the column of labels holds lists."""
    with opened(file) as parquet:
        schema = parquet.schema_arrow
    _, label = _columns(schema, choice, title)
    return bool(choice.sep) or _is_list(schema.field(label).type)


def _of_config(names: Iterable[str], config: str, title: str) -> dict[str, str]:
    """Take the files of one configuration: path -> split."""
    configs: dict[str, dict[str, str]] = {}
    paths = [PurePosixPath(name) for name in names]
    numbered: dict[PurePosixPath, set[str]] = {}
    for path in paths:
        if path.stem.isdigit() and path.parent.name:
            numbered.setdefault(path.parent.parent, set()).add(path.parent.name)
    for path in paths:
        folders = path.parts[:-1]
        if any(folder.startswith(PARTIAL) for folder in folders):
            raise DatasetError(
                f"{title}: {path} is the beginning of a split only, which the hub does not convert "
                "whole: no dataset can be made of it",
                code="dataset.incomplete",
                found=str(path),
            )
        split = _split(path, numbered)
        # A folder of numbered files is a split, whatever it is called.
        own = folders[:-1] if folders and path.stem.isdigit() and split == folders[-1] else folders
        said = [folder for folder in own if folder != "data" and not part_named(folder)]
        configs.setdefault("/".join(said), {})[str(path)] = split
    if not config and len(configs) == 1:
        return next(iter(configs.values()))
    if len(configs) > 1 and "" in configs:
        configs[UNNAMED] = {**configs.pop(""), **configs.get(UNNAMED, {})}
    if config in configs:
        return configs[config]
    raise _no_config(configs, config, title) if config else _several_configs(configs, title)


def _no_config(configs: Iterable[str], config: str, title: str) -> DatasetError:
    return DatasetError(
        f"{title} has no configuration '{config}': it has {listed(sorted(configs))}",
        code="dataset.config_unknown",
        found=tuple(configs),
    )


def _several_configs(configs: Iterable[str], title: str) -> DatasetError:
    return DatasetError(
        f"{title} has several configurations: choose one with ?config= of "
        f"{listed(sorted(configs))}",
        code="dataset.config_unknown",
        found=tuple(configs),
    )


def _splits(files: Mapping[str, str], title: str) -> dict[str, list[str]]:
    """Sort files by split, and check that no numbered one is lacking."""
    splits: dict[str, list[str]] = {}
    several = len(set(files.values())) > 1
    for name, split in sorted(files.items()):
        # Beside files of splits, one that names none is called by its own name.
        called = split or (PurePosixPath(name).stem if several else "")
        splits.setdefault(called, []).append(name)
    _check_whole(files, title)
    return splits


def _check_whole(names: Iterable[str], title: str) -> None:
    numbered: dict[tuple[str, str], set[int]] = {}
    for path in map(PurePosixPath, names):
        if shard := SHARD.fullmatch(path.stem):
            series = (str(path.parent / shard["split"]), shard["count"])
            numbered.setdefault(series, set()).add(int(shard["number"]))
    for (start, count), found in numbered.items():
        if lacking := sorted(set(range(int(count))) - found):
            raise DatasetError(
                f"{title} is incomplete: {start}-{lacking[0]:05d}-of-{count}.parquet is missing; "
                "fetch it again",
                code="dataset.incomplete",
                found=lacking[0],
            )


def _split(path: PurePosixPath, numbered: Mapping[PurePosixPath, set[str]]) -> str:
    """Read the split out of a file's path; "" where nothing says it.

    `numbered` are the folders that hold numbered files, by the folder around them.
    """
    if shard := SHARD.fullmatch(path.stem):
        return shard["split"]
    folders = path.parts[:-1]
    if path.stem.isdigit() and folders and folders[-1] != "data":
        beside = read_split_names(numbered[path.parent.parent])
        if len(folders) > 1 or beside.parts or beside.unclear:
            return folders[-1]
    stem = NUMBER.sub("", path.stem)
    found = read_split_names([stem])
    if found.parts or found.unclear:
        return stem
    return next((folder for folder in reversed(folders) if part_named(folder)), "")


def _declared(readme: Path, names: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Read the configurations that a README declares: name -> split -> files.

    {} where it declares none, or more than lists of Parquet files by split.
    """
    from huggingface_hub import metadata_load

    # Not this program's file: whatever is wrong with it, it declares nothing.
    try:
        configs = (metadata_load(readme) or {}).get("configs")
        found = {
            str(config["config_name"]): {
                str(entry["split"]): _matching(entry["path"], names)
                for entry in config["data_files"]
            }
            for config in configs or ()
        }
    except Exception:
        return {}
    whole = all(files and all(files.values()) for files in found.values())
    return found if whole else {}


def _matching(patterns: str | list[str], names: Sequence[str]) -> list[str]:
    patterns = [patterns] if isinstance(patterns, str) else patterns
    wanted = [re.compile(_regular(pattern)) for pattern in patterns]
    return [name for name in names if any(one.fullmatch(name) for one in wanted)]


def _regular(pattern: str) -> str:
    """Return the regular expression of a pattern of paths: * stays within a folder, ** does not."""
    found = re.escape(pattern.removeprefix("./"))
    found = found.replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*")
    return found.replace(r"\*", "[^/]*").replace(r"\?", "[^/]")


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
    kind = column.type
    return bool(
        (pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)
        or (_is_binary(kind) and column.name in IMAGES)
    )


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _class_names(files: Sequence[Path], label: str) -> tuple[str, ...] | None:
    """Read the names that the hub's library has noted of a column of labels."""
    found: tuple[str, ...] | None = None
    for place, file in enumerate(files):
        with opened(file) as parquet:
            names = _names_in(_features(parquet.schema_arrow).get(label))
        if place and names != found:
            raise DatasetError(
                f"{file} has other class names in column '{label}' than {files[0]}: expected "
                "files of one dataset",
                code="dataset.classes_differ",
                file=file.name,
            )
        found = names
    return found


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


def _labels(
    parts: dict[str, Values], names: tuple[str, ...] | None, where: str
) -> tuple[tuple[str, ...], dict[str, Labels]]:
    """Turn values to classes and labels: (n,), or (n, K) in {1, -1} where they are lists."""
    everything = [value for values in parts.values() for value in values]
    several = any(isinstance(value, list) for value in everything)
    for part, values in parts.items():
        if None in values:
            row = values.index(None)
            raise DatasetError(
                f"{where}: row {row} of {part} has no label", code="dataset.cell_empty", found=row
            )
    if several and not all(isinstance(value, list) for value in everything):
        raise DatasetError(
            f"{where} holds lists in one part, and single labels in another",
            code="dataset.labels_mixed",
        )
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
        part: _numbered(values, places, len(names), several) for part, values in parts.items()
    }


def _apart(parts: dict[str, Values], choice: Choice, label: str, title: str) -> dict[str, Values]:
    """Take cells of text apart at the separator, if there is one."""
    if choice.sep:
        return {
            part: [
                sorted({name.strip() for name in value.split(choice.sep)} - {""})
                if isinstance(value, str)
                else (value if value is None or isinstance(value, list) else [value])
                for value in values
            ]
            for part, values in parts.items()
        }
    if choice.sep is None:
        texts = [value for values in parts.values() for value in values if isinstance(value, str)]
        check_single(title, label, texts)
    return parts


def _numbered(values: Values, places: dict[Any, int], n_classes: int, several: bool) -> Labels:
    if not several:
        return np.array([places[value] for value in values], dtype=np.int64)
    labels = np.full((len(values), n_classes), -1, dtype=np.int64)
    for row, present in enumerate(values):
        labels[row, [places[label] for label in present]] = 1
    return labels


def _images(files: Sequence[Path], column: str, title: str) -> Images:
    with opened(files[0]) as parquet:
        kind = parquet.schema_arrow.field(column).type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return FileImages(_paths(files, column))
    if _is_binary(kind) or (pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0):
        return ParquetImages(files, column)
    raise DatasetError(
        f"{title}: column '{column}' holds {kind}: expected images as bytes, or the paths of files",
        code="dataset.cell_type",
        found=str(kind),
    )


def _paths(files: Sequence[Path], column: str) -> list[Path]:
    """Read the paths of images, which count from the folder that the Parquet file is in."""
    paths = []
    for file in files:
        names = _values([file], column)
        if None in names:
            row = names.index(None)
            raise DatasetError(
                f"{file}, row {row}: column '{column}' has no path",
                code="dataset.cell_empty",
                found=row,
            )
        paths += [file.parent / name for name in names]
    return paths


def _groups(parts: dict[str, list[Path]], column: str, title: str) -> dict[str, Labels]:
    """Number the groups; DatasetError if one is in two parts already."""
    values = {part: _values(files, column) for part, files in parts.items()}
    for part, found in values.items():
        if None in found:
            row = found.index(None)
            raise DatasetError(
                f"{title}, column '{column}': row {row} of {part} has no group",
                code="dataset.cell_empty",
                found=row,
            )
    names = {part: [str(value) for value in found] for part, found in values.items()}
    return number_groups(names, title, column)
