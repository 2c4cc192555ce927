"""Datasets in Parquet files, laid out as the Hugging Face hub does: files -> classes and parts.

data/train-00000-of-00002.parquet       a split in its name, and of how many files it is one
CONFIG/test/0000.parquet                the hub's own conversions: a folder a configuration
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headstart.datasets.archive import Archive, number_groups
from headstart.datasets.archives.facts import Facts, HubCopy
from headstart.datasets.images import FileImages, Images
from headstart.datasets.parquet_images import ParquetImages, opened
from headstart.datasets.splits import Split
from headstart.errors import DatasetError, DatasetMissingError

__all__ = ["Choice", "has_several_classes", "parquet_names", "parts_of", "read", "read_hub_copy"]

# The hub's own rule: https://huggingface.co/docs/datasets/repository_structure
WORDS: Mapping[str, str] = MappingProxyType(
    {"train": "train", "training": "train"}
    | dict.fromkeys(("validation", "valid", "val", "dev"), "validation")
    | dict.fromkeys(("test", "testing", "eval", "evaluation"), "test")
)
PARTS = ("train", "validation", "test")
SHARD = re.compile(r"(?P<split>.+?)-(?P<number>\d{5})-of-(?P<count>\d{5})(-\w+)?")
# A folder of the hub's conversion that stops after the first gigabytes.
PARTIAL = "partial-"
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
    """

    image: str = ""
    label: str = ""
    group: str = ""
    config: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, copy: HubCopy) -> "Choice":
        """Choose what is written down of a copy of a dataset of the study."""
        return cls(image=copy.image, label=copy.label, parts=dict(copy.parts.items()))


def parquet_names(folder: Path) -> list[str]:
    """List the Parquet files in a folder and its folders: paths inside it, sorted."""
    found = (file.relative_to(folder) for file in folder.rglob("*.parquet"))
    return sorted(name.as_posix() for name in found if not name.name.startswith("."))


def parts_of(names: Iterable[str], choice: Choice, title: str) -> dict[str, list[str]]:
    """Say which files make up each part.

    Raises
    ------
    DatasetError
        Several configurations and none chosen; a split that there is not, or of which a file is
        lacking; splits whose names do not say what they are for. `title` names the dataset in it.
    """
    splits = _splits(_of_config(names, choice.config, title), title)
    had = ", ".join(repr(name) for name in splits)
    if not choice.parts:
        if len(splits) == 1:
            return {"all": next(iter(splits.values()))}
        named = {name: splits[name] for name in PARTS if name in splits}
        if "train" not in named or len(named) == 1:
            raise DatasetError(
                f"{title} has splits {had}: say what they are for, as ?train=SPLIT&test=SPLIT, or "
                "?all=SPLIT to split it anew"
            )
        return named
    parts: dict[str, list[str]] = {}
    used: dict[str, str] = {}
    for part, wanted in choice.parts.items():
        each = [WORDS.get(split, split) for split in wanted.split("+")]
        if lacking := [split for split in each if split not in splits]:
            raise DatasetError(f"{title} has no split '{lacking[0]}': it has {had}")
        for split in each:
            if split in used:
                raise DatasetError(
                    f"{title}: split '{split}' is asked for twice, for {used[split]} and {part}: "
                    "its images would be fitted and tested on, name each split once"
                )
            used[split] = part
        parts[part] = [name for split in each for name in splits[split]]
    return parts


def read(folder: Path, choice: Choice, title: str, names: Sequence[str] | None = None) -> Archive:
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
        As in `parts_of`; columns that are not there or cannot be told; labels of a kind that
        there is not.
    """
    names = parquet_names(folder) if names is None else names
    if not names:
        raise DatasetMissingError(f"{folder} has no Parquet files: expected some as in the hub")
    parts = {
        part: [folder / name for name in inside]
        for part, inside in parts_of(names, choice, title).items()
    }
    files = [file for inside in parts.values() for file in inside]
    with opened(files[0]) as parquet:
        image, label = _columns(parquet.schema_arrow, choice, title)
    classes, labels = _labels(
        {part: _values(inside, label) for part, inside in parts.items()},
        _class_names(files, label),
        f"{title}, column '{label}'",
    )
    splits = {
        part: Split(_images(inside, image, title), labels[part], np.arange(len(labels[part])))
        for part, inside in parts.items()
    }
    groups = _groups(parts, choice.group, title) if choice.group else {}
    return Archive(classes, splits, groups=groups)


def read_hub_copy(facts: Facts, folder: Path, names: Sequence[str] | None = None) -> Archive:
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
    return _is_list(schema.field(label).type)


def _of_config(names: Iterable[str], config: str, title: str) -> list[str]:
    """Take the files of one configuration."""
    configs: dict[str, list[str]] = {}
    for name in names:
        folders = PurePosixPath(name).parts[:-1]
        if any(folder.startswith(PARTIAL) for folder in folders):
            raise DatasetError(
                f"{title}: {name} is the beginning of a split only, which the hub does not convert "
                "whole: no dataset can be made of it"
            )
        said = [folder for folder in folders if folder != "data" and folder not in WORDS]
        configs.setdefault("/".join(said), []).append(name)
    if not config and len(configs) == 1:
        return next(iter(configs.values()))
    if config in configs:
        return configs[config]
    had = ", ".join(repr(name) for name in sorted(configs))
    if config:
        raise DatasetError(f"{title} has no configuration '{config}': it has {had}")
    raise DatasetError(f"{title} has several configurations: choose one with ?config= of {had}")


def _splits(names: Iterable[str], title: str) -> dict[str, list[str]]:
    """Sort files by split, and check that no numbered one is lacking."""
    splits: dict[str, list[str]] = {}
    numbered: dict[tuple[str, str], set[int]] = {}
    for name in sorted(names):
        splits.setdefault(_split(name), []).append(name)
        path = PurePosixPath(name)
        if shard := SHARD.fullmatch(path.stem):
            series = (str(path.parent / shard["split"]), shard["count"])
            numbered.setdefault(series, set()).add(int(shard["number"]))
    for (start, count), found in numbered.items():
        if lacking := sorted(set(range(int(count))) - found):
            raise DatasetError(
                f"{title} is not whole: {start}-{lacking[0]:05d}-of-{count}.parquet is lacking; "
                "fetch it again"
            )
    return splits


def _split(name: str) -> str:
    """Read the split out of a file's path; "" where nothing says it."""
    path = PurePosixPath(name)
    shard = SHARD.fullmatch(path.stem)
    stem = shard["split"] if shard else path.stem
    words = {WORDS[word] for word in re.split(r"[^a-z]+", stem.lower()) if word in WORDS}
    if len(words) == 1:
        return words.pop()
    folders = [WORDS[folder] for folder in path.parts[:-1] if folder in WORDS]
    if folders and not words:
        return folders[-1]
    return stem if shard else ""


def _columns(schema: pa.Schema, choice: Choice, title: str) -> tuple[str, str]:
    """Choose the columns of images and of labels."""
    had = f"columns: {', '.join(schema.names)}"
    for name in (choice.image, choice.label, choice.group):
        if name and name not in schema.names:
            raise DatasetError(f"{title} has no column '{name}'; {had}")
    features = _features(schema)
    images = [name for name in schema.names if _holds_images(schema.field(name), features)]
    label = choice.label or _told(
        [name for name in LABELS if name in schema.names][:1]
        or [name for name in schema.names if _names_in(features.get(name)) is not None]
    )
    image = choice.image or _told(
        images or [name for name in IMAGES if name in schema.names and name != label]
    )
    if not image:
        raise DatasetError(f"{title}: say which column holds the images with ?image=COLUMN; {had}")
    if not label:
        raise DatasetError(f"{title}: say which column holds the labels with ?label=COLUMN; {had}")
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
                f"{file} has other class names in column '{label}' than {files[0]}: the two are "
                "not of one dataset"
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
                raise DatasetError(f"{file} has no column '{column}', as the first file has")
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
            raise DatasetError(f"{where}: row {values.index(None)} of {part} has no label")
    if several and not all(isinstance(value, list) for value in everything):
        raise DatasetError(f"{where} holds lists in one part, and single labels in another")
    single = [label for value in everything for label in value] if several else everything
    if strange := [label for label in single if type(label) not in (int, str, bool)]:
        kind = type(strange[0]).__name__
        raise DatasetError(
            f"{where}: expected whole numbers, text, or lists of one of them, found {kind}"
        )
    if len({isinstance(label, str) for label in single}) > 1:
        raise DatasetError(f"{where} holds text in one part, and numbers in another")
    if names is None:
        known = sorted(set(single))
        names = tuple(str(label) for label in known)
    else:
        known = list(range(len(names)))
    places = {label: place for place, label in enumerate(known)}
    if outside := [label for label in single if label not in places]:
        raise DatasetError(
            f"{where}: label {outside[0]} has no name, they are numbered 0 to {len(names) - 1} "
            "(the hub writes -1 where labels are kept secret)"
        )
    return names, {part: _numbered(values, places, several) for part, values in parts.items()}


def _numbered(values: Values, places: dict[Any, int], several: bool) -> Labels:
    if not several:
        return np.array([places[value] for value in values], dtype=np.int64)
    labels = np.full((len(values), len(places)), -1, dtype=np.int64)
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
        f"{title}: column '{column}' holds {kind}: expected images as bytes, or the paths of files"
    )


def _paths(files: Sequence[Path], column: str) -> list[Path]:
    """Read the paths of images, which count from the folder that the Parquet file is in."""
    paths = []
    for file in files:
        names = _values([file], column)
        if None in names:
            raise DatasetError(f"{file}, row {names.index(None)}: column '{column}' has no path")
        paths += [file.parent / name for name in names]
    return paths


def _groups(parts: dict[str, list[Path]], column: str, title: str) -> dict[str, Labels]:
    """Number the groups; DatasetError if one is in two parts already."""
    values = {part: _values(files, column) for part, files in parts.items()}
    for part, found in values.items():
        if None in found:
            row = found.index(None)
            raise DatasetError(f"{title}, column '{column}': row {row} of {part} has no group")
    names = {part: [str(value) for value in found] for part, found in values.items()}
    return number_groups(names, title, column)
