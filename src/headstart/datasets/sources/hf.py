"""Datasets on the Hugging Face hub, or in a folder laid out as one: ``hf:user/name``.

A repository's main branch moves. The first fetch notes the commit that it takes, and which Parquet
files belong to it, in a small file in headstart's cache; from then on this commit is meant, until
another one is asked for with ``?revision=`` or that file is removed. The data themselves lie in
the cache of the hub's own library.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import ClassVar
from urllib.parse import quote

from headstart.context import ProgressReporter
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.hub_splits import README, Choice, name_no_split, parquet_names, parts_of
from headstart.datasets.parquet_dataset import has_several_classes, read
from headstart.datasets.sources.base import Description, Presence, Source
from headstart.datasets.sources.own_files import (
    ARCHIVES,
    contents,
    format_counts,
    is_image_name,
    own_title,
)
from headstart.datasets.splits import RawDataset
from headstart.errors import DatasetError, DatasetMissingError, StorageError, StudyError
from headstart.files import replaced, storage_errors
from headstart.hub import (
    REPOSITORY,
    Listing,
    address,
    cached,
    check_reachable,
    download,
    list_dataset,
    reason,
)
from headstart.spec import Metric

__all__ = ["HubSource", "Snapshot", "fetch_snapshot", "find_snapshot"]

# Where the hub keeps its own conversion of what is no Parquet.
CONVERTED = "refs/convert/parquet"
TOP_1: Metric = "top-1"
SEVERAL: Metric = "voc-map-11point"
SPLIT_RULE = "the repository's own splits; what it lacks is drawn"
COLUMNS = ("image", "label", "group", "config")
PARTS = ("train", "validation", "test", "all")
PARQUET = ".parquet"


@dataclass(frozen=True)
class Snapshot:
    """A repository's files on this machine, at one commit, whole.

    Parameters
    ----------
    commit
        40 hexadecimal digits.
    folder
        Where they lie.
    names
        The Parquet files, as paths inside the folder. Others in it may be of another fetch.
    """

    commit: str
    folder: Path
    names: tuple[str, ...]


def find_snapshot(
    repository: str, revision: str | None, choice: Choice, cache: Path
) -> Snapshot | None:
    """Find the chosen files on this machine; None unless all are there, whole. No network is used.

    Raises
    ------
    DatasetError
        The choice is none of the repository's; see `headstart.datasets.hub_splits.parts_of`.
    """
    noted = _noted(_note_file(repository, revision, cache))
    if noted is None:
        return None
    try:
        names = _chosen(repository, noted, choice)
    except DatasetError:
        # A fetch brings what may say more.
        if README in noted.files and not _is_whole(repository, noted, README):
            return None
        raise
    if _lacks_readme(repository, noted, names):
        return None
    if any(not _is_whole(repository, noted, name) for name in names):
        return None
    first = cached(repository, names[0], kind="dataset", commit=noted.commit)
    assert first is not None  # noqa: S101 - it is whole
    folder = first.parents[len(PurePosixPath(names[0]).parts) - 1]
    return Snapshot(noted.commit, folder, tuple(names))


def fetch_snapshot(
    repository: str, revision: str | None, choice: Choice, cache: Path, reporter: ProgressReporter
) -> Snapshot:
    """Bring the chosen files onto this machine: one try, told within seconds if it fails.

    Files that are there are not fetched again.

    Raises
    ------
    DatasetMissingError
        The hub cannot be reached, or has nothing of this kind for this user.
    DatasetError
        The choice is none of the repository's.
    """
    note = _note_file(repository, revision, cache)
    try:
        noted = _noted(note)
        if noted is None:
            check_reachable(repository, kind="dataset")
            noted = _listing(repository, revision)
            with storage_errors(note):
                note.parent.mkdir(parents=True, exist_ok=True)
            with replaced(note) as temporary:
                temporary.write_text(json.dumps(asdict(noted), indent=1))
        names = _chosen_or_declared(repository, noted, choice)
        lacking = [name for name in names if not _is_whole(repository, noted, name)]
        if lacking:
            check_reachable(repository, kind="dataset")
        reporter.stage(f"download {repository}", len(lacking), "files")
        for name in lacking:
            damaged = cached(repository, name, kind="dataset", commit=noted.commit) is not None
            download(repository, name, kind="dataset", commit=noted.commit, again=damaged)
            reporter.advance()
    except OSError as error:
        raise DatasetMissingError(
            f"dataset 'hf:{repository}' is not on this machine and cannot be had from {address()} "
            f"({reason(error)}): {_by_hand()}"
        ) from error
    found = find_snapshot(repository, revision, choice, cache)
    if found is None:
        raise DatasetMissingError(
            f"dataset 'hf:{repository}' is incomplete after the download from {address()}: run "
            f"again, or {_by_hand()}"
        )
    return found


class HubSource(Source):
    """Datasets in Parquet files."""

    name = "hf"
    fetches = True
    options: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "revision": "a commit, a tag or a branch; the commit is noted by the first fetch",
            "config": "the configuration, where a repository has several",
            "image": "the column of images",
            "label": "the column of labels",
            "group": "a column: images of one group are not split",
            "train": "the split that is train, or several joined by +",
            "validation": "the split that is validation",
            "test": "the split that is test",
            "all": "the splits that are joined and split anew",
            "sep": "separator of several labels in a cell; empty: each cell is one label",
        }
    )

    def recognises(self, stem: str) -> bool:
        return stem.startswith(f"{self.name}:")

    def location(self, stem: str) -> str:
        place = stem.partition(":")[2]
        return (
            f"{self.name}:{os.path.realpath(os.path.expanduser(place))}"
            if _is_path(place)
            else stem
        )

    def describe(self, dataset_ref: DatasetName) -> Description:
        place = _place(dataset_ref)
        # Of a repository that is fetched later, nothing is known yet.
        names = parquet_names(Path(place)) if _is_path(place) else []
        metric = _metric(dataset_ref, Path(place) / names[0]) if names else TOP_1
        title = own_title(PurePosixPath(place).name, "" if _is_path(place) else place)
        return Description(title=title, metric=metric, split_rule=SPLIT_RULE)

    def metric(self, dataset_ref: DatasetName, cache: Path) -> Metric:
        found = _found(dataset_ref, cache)
        return (
            _metric(dataset_ref, found[0] / found[1][0])
            if found
            else self.describe(dataset_ref).metric
        )

    def presence(self, dataset_ref: DatasetName, cache: Path) -> Presence:
        if found := _found(dataset_ref, cache):
            return Presence(True, str(found[0]))
        if _is_path(_place(dataset_ref)):
            return Presence(False, _no_parquet(Path(_place(dataset_ref))))
        return Presence(False, f"downloaded from {address()} on first use, or {_by_hand()}")

    def fetch(self, dataset_ref: DatasetName, cache: Path, reporter: ProgressReporter) -> None:
        if _is_path(_place(dataset_ref)):
            super().fetch(dataset_ref, cache, reporter)
            return
        fetch_snapshot(
            _place(dataset_ref), _revision(dataset_ref), _choice(dataset_ref), cache, reporter
        )

    def read(self, dataset_ref: DatasetName, cache: Path) -> RawDataset:
        found = _found(dataset_ref, cache)
        if found is None:
            raise DatasetMissingError(
                f"dataset '{dataset_ref.stem}' is not on this machine: "
                f"{self.presence(dataset_ref, cache).place}"
            )
        folder, names = found
        return read(folder, _choice(dataset_ref), dataset_ref.stem, names)

    def source_revision(self, dataset_ref: DatasetName, cache: Path) -> str:
        if _is_path(_place(dataset_ref)):
            return ""
        found = find_snapshot(
            _place(dataset_ref), _revision(dataset_ref), _choice(dataset_ref), cache
        )
        return found.commit if found else ""


def _place(dataset_ref: DatasetName) -> str:
    """Return what follows ``hf:``; StudyError if it is neither a folder nor a repository's name."""
    place = dataset_ref.stem.partition(":")[2]
    if _is_path(place):
        place = os.path.realpath(os.path.expanduser(place))
    if not _is_path(place) and not REPOSITORY.fullmatch(place):
        raise StudyError(
            f"invalid dataset {dataset_ref.stem}: expected an existing folder, or user/name",
            code="dataset.repository_name",
            found=place,
        )
    if _is_path(place) and "revision" in dataset_ref.options:
        raise StudyError(
            f"dataset '{dataset_ref.full}': a folder has no revisions: leave ?revision= out",
            code="dataset.option_unused",
            option="revision",
        )
    return place


def _is_path(place: str) -> bool:
    return place.startswith(("/", ".", "~")) or os.path.isdir(place)


def _revision(dataset_ref: DatasetName) -> str | None:
    return dataset_ref.options.get("revision") or None


def _choice(dataset_ref: DatasetName) -> Choice:
    columns = {name: dataset_ref.options.get(name, "") for name in COLUMNS}
    parts = {name: dataset_ref.options[name] for name in PARTS if name in dataset_ref.options}
    return Choice(**columns, parts=parts, sep=dataset_ref.options.get("sep"))


def _metric(dataset_ref: DatasetName, file: Path) -> Metric:
    """State how labels are scored by what the column of labels holds."""
    return SEVERAL if has_several_classes(file, _choice(dataset_ref), dataset_ref.stem) else TOP_1


def _found(dataset_ref: DatasetName, cache: Path) -> tuple[Path, tuple[str, ...]] | None:
    """Find (folder, Parquet files in it); None if the dataset is not here."""
    place = _place(dataset_ref)
    if _is_path(place):
        names = parquet_names(Path(place))
        return (Path(place), tuple(names)) if names else None
    found = find_snapshot(place, _revision(dataset_ref), _choice(dataset_ref), cache)
    return (found.folder, found.names) if found else None


def _listing(repository: str, revision: str | None) -> Listing:
    """List the Parquet files of a repository, or of the hub's conversion of it."""
    listing = _of_interest(list_dataset(repository, revision))
    if listing.files:
        return listing
    if revision is not None:
        raise DatasetMissingError(
            f"hf:{repository} has no Parquet files at revision {revision}: the hub's own "
            f"conversion, where there is one, is ?revision={CONVERTED}"
        )
    try:
        converted = _of_interest(list_dataset(repository, CONVERTED))
    except OSError as error:
        raise _nothing(repository, reason(error)) from error
    if not converted.files:
        raise _nothing(repository, f"{CONVERTED} is empty")
    return converted


def _nothing(repository: str, why: str) -> DatasetMissingError:
    return DatasetMissingError(
        f"hf:{repository} has no Parquet files, nor has the hub made some ({why}): fetch the "
        "repository's files by hand, and say the folder of the images"
    )


def _of_interest(listing: Listing) -> Listing:
    """Keep the Parquet files, and the README if it may say what they are."""
    files = {name: size for name, size in listing.files.items() if name.endswith(PARQUET)}
    if files and README in listing.files:
        files[README] = listing.files[README]
    return Listing(listing.commit, files)


def _chosen(repository: str, noted: Listing, choice: Choice) -> list[str]:
    """Name the Parquet files that make up what is asked for, with the README if it is here."""
    readme = cached(repository, README, kind="dataset", commit=noted.commit)
    names = [name for name in noted.files if name.endswith(PARQUET)]
    parts = parts_of(names, choice, f"hf:{repository}", readme)
    return list(dict.fromkeys(name for files in parts.files.values() for name in files))


def _chosen_or_declared(repository: str, noted: Listing, choice: Choice) -> list[str]:
    """Choose the files; where their names do not tell, the repository's README is fetched first."""
    try:
        names = _chosen(repository, noted, choice)
    except DatasetError:
        if README not in noted.files or _is_whole(repository, noted, README):
            raise
    else:
        if not _lacks_readme(repository, noted, names):
            return names
    check_reachable(repository, kind="dataset")
    download(repository, README, kind="dataset", commit=noted.commit)
    return _chosen(repository, noted, choice)


def _lacks_readme(repository: str, noted: Listing, names: Sequence[str]) -> bool:
    """Whether the README is not here that may say which splits these files are."""
    missing = README in noted.files and not _is_whole(repository, noted, README)
    return missing and name_no_split(names)


def _is_whole(repository: str, noted: Listing, name: str) -> bool:
    file = cached(repository, name, kind="dataset", commit=noted.commit)
    return file is not None and file.stat().st_size == noted.files[name]


def _note_file(repository: str, revision: str | None, cache: Path) -> Path:
    name = quote(f"{repository}@{revision or 'main'}", safe="")
    return cache / "hub" / f"{name}.json"


def _noted(file: Path) -> Listing | None:
    if not file.is_file():
        return None
    with storage_errors(file, reading=True):
        content = file.read_bytes()
    try:
        return Listing(**json.loads(content))
    except (ValueError, TypeError) as error:
        raise StorageError(
            f"{file} is damaged: remove it, the next fetch writes it anew",
            code="cache.note_damaged",
        ) from error


def _no_parquet(folder: Path) -> str:
    """State that a folder has no Parquet files, and what it has."""
    expected = f"expected Parquet files in {folder}"
    held = contents(folder)
    if not held:
        return expected
    if not held.keys().isdisjoint(ARCHIVES):
        return f"{expected}, found {format_counts(held)}: unpack the archives, and say the folder"
    if any(is_image_name(f"x{kind}") for kind in held):
        return f"{expected}, found {format_counts(held)}: say {folder} for folders of images"
    return f"{expected}, found {format_counts(held)}: save them as Parquet"


def _by_hand() -> str:
    return "put its Parquet files into a folder and say hf:/path/of/the/folder"
