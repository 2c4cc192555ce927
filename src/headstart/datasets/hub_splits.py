"""Assign the Parquet files of a repository to splits, by their names or its README.

data/train-00000-of-00002.parquet       a split in its name, and of how many files it is one
CONFIG/test/0000.parquet                the hub's own conversions: one folder per configuration
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

from headstart.datasets.archives.published import HubCopy
from headstart.datasets.naming import (
    check_once,
    describe_parts,
    join_names,
    part_of_name,
    read_split_names,
)
from headstart.errors import DatasetError

__all__ = ["README", "Choice", "HubParts", "name_no_split", "parquet_names", "parts_of"]

SHARD = re.compile(r"(?P<split>.+?)-(?P<number>\d{5})-of-(?P<count>\d{5})(-\w+)?")
# The number of a file, where it is not written as above.
NUMBER = re.compile(r"[-_. ]\d+$")
README = "README.md"
# A folder of the hub's conversion that stops after the first gigabytes.
PARTIAL = "partial-"
# The configuration of files that lie in no folder of one, beside others: the hub calls it so.
UNNAMED = "default"

Files = TypeVar("Files")


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


class HubParts(NamedTuple):
    """The files of each part, and in words which splits were taken for what."""

    files: dict[str, list[str]]
    parts_note: str


def parquet_names(folder: Path) -> list[str]:
    """List the Parquet files in a folder and its folders: paths inside it, sorted."""
    found = (file.relative_to(folder) for file in folder.rglob("*.parquet"))
    return sorted(name.as_posix() for name in found if not name.name.startswith("."))


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
        lacking; splits whose names do not say what they are for, or that `readme` declares to be
        another part. `title` names the dataset in it.
    """
    names = list(names)
    declared = _declared(readme, names) if readme else {}
    try:
        files = _of_config(names, choice.config, title)
        found = _parts(_splits(files, title), choice, title)
    except DatasetError:
        if not declared:
            raise
    else:
        if not (declared and name_no_split(files)):
            _check_declared(files, declared, choice, title)
            return found
    return _parts(_config_of(declared, choice.config, title), choice, title)


def name_no_split(names: Iterable[str]) -> bool:
    """Whether several Parquet files have names that say nothing of splits, and are no numbers.

    Examples
    --------
    >>> name_no_split(["old.parquet", "new.parquet"]), name_no_split(["0.parquet", "1.parquet"])
    (True, False)
    """
    paths = [PurePosixPath(name) for name in names]
    stems = {NUMBER.sub("", f"-{path.stem}") for path in paths}
    return len(stems) > 1 and not any(_split(path, {path.parent.parent: set()}) for path in paths)


def _check_declared(
    files: Mapping[str, str],
    declared: Mapping[str, Mapping[str, Sequence[str]]],
    choice: Choice,
    title: str,
) -> None:
    """Raise DatasetError where a file's name and the README say that it is of different parts."""
    if choice.parts or len(declared) != 1:
        return
    for split, names in next(iter(declared.values())).items():
        for name in names:
            parts = {part_of_name(split), part_of_name(files.get(name, ""))} - {None}
            if len(parts) > 1:
                raise DatasetError(
                    f"{title}: {name} is '{files[name]}' by its name and '{split}' in {README}: "
                    "say which it is, as ?train=SPLIT&test=SPLIT (by the files' names)",
                    code="dataset.split_unknown",
                    found=(files[name], split),
                )


def _parts(splits: Mapping[str, Sequence[str]], choice: Choice, title: str) -> HubParts:
    """Return which splits, and so which files, make up each part."""
    if not choice.parts:
        chosen = _plain(splits, title)
    else:
        chosen = {
            part: [
                _split_named(splits, name, title)
                for name in ([wanted] if wanted in splits else wanted.split("+"))
            ]
            for part, wanted in choice.parts.items()
        }
    check_once(chosen, f"{title}: split")
    files = {
        part: [name for split in some for name in splits[split]] for part, some in chosen.items()
    }
    if "all" in chosen and chosen["all"] == [""]:
        return HubParts(files, "")
    unused = [split for split in splits if not any(split in some for some in chosen.values())]
    return HubParts(files, describe_parts("", chosen, unused))


def _plain(splits: Mapping[str, Sequence[str]], title: str) -> dict[str, list[str]]:
    """Take the splits that are named as parts; DatasetError where that is not plain."""
    if len(splits) == 1:
        return {"all": list(splits)}
    found = read_split_names(splits)
    if found.unclear or "train" not in found.parts or len(found.parts) == 1:
        raise DatasetError(
            f"{title} has splits {join_names(list(splits))}: say what they are for, as "
            "?train=SPLIT&test=SPLIT (and validation=SPLIT; + joins several), or ?all=SPLIT to "
            "split it anew",
            code="dataset.split_unknown",
            found=tuple(splits),
        )
    return {part: [name] for part, name in found.parts.items()}


def _split_named(splits: Mapping[str, Sequence[str]], wanted: str, title: str) -> str:
    """Find a split by its name, or by another word for it that only one split has."""
    if wanted in splits:
        return wanted
    part = part_of_name(wanted)
    alike = [split for split in splits if part is not None and part_of_name(split) == part]
    if len(alike) != 1:
        raise DatasetError(
            f"{title} has no split '{wanted}': it has {join_names(list(splits))}",
            code="dataset.split_unknown",
            found=tuple(splits),
        )
    return alike[0]


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
        said = [folder for folder in own if folder != "data" and not part_of_name(folder)]
        configs.setdefault("/".join(said), {})[str(path)] = split
    if len(configs) > 1 and "" in configs:
        configs[UNNAMED] = {**configs.pop(""), **configs.get(UNNAMED, {})}
    return _config_of(configs, config, title)


def _config_of(configs: Mapping[str, Files], config: str, title: str) -> Files:
    """Return the configuration that is asked for, or the only one."""
    if config and config not in configs:
        raise DatasetError(
            f"{title} has no configuration '{config}': it has {join_names(sorted(configs))}",
            code="dataset.config_unknown",
            found=tuple(configs),
        )
    if not config and len(configs) > 1:
        raise DatasetError(
            f"{title} has several configurations: choose one with ?config= of "
            f"{join_names(sorted(configs))}",
            code="dataset.config_unknown",
            found=tuple(configs),
        )
    return configs[config or next(iter(configs))]


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
    return next((folder for folder in reversed(folders) if part_of_name(folder)), "")


def _declared(readme: Path, names: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Read the configurations that a README declares: name -> split -> files.

    {} where it declares none, or more than lists of Parquet files by split.
    """
    if not readme.is_file():
        return {}
    from fsspec.utils import glob_translate
    from huggingface_hub import metadata_load

    def matching(patterns: str | list[str]) -> list[str]:
        # As the hub's own library reads them.
        found = [patterns] if isinstance(patterns, str) else patterns
        wanted = [re.compile(glob_translate(pattern.removeprefix("./"))) for pattern in found]
        return [name for name in names if any(one.match(name) for one in wanted)]

    # Not this program's file: whatever is wrong with it, it declares nothing.
    try:
        configs = (metadata_load(readme) or {}).get("configs")
        found = {
            str(config["config_name"]): {
                str(entry["split"]): matching(entry["path"]) for entry in config["data_files"]
            }
            for config in configs or ()
        }
    except Exception:
        return {}
    whole = all(files and all(files.values()) for files in found.values())
    return found if whole else {}
