"""Datasets on the Hugging Face hub, or in a folder laid out as one: ``hf:user/name``.

A repository's main branch moves. The first fetch notes the commit that it takes, and which Parquet
files belong to it, in a small file in headstart's cache; from then on this commit is meant, until
another one is asked for with ``?revision=`` or that file is removed. The data themselves lie in
the cache of the hub's own library.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import ClassVar
from urllib.parse import quote

from headstart.context import ProgressReporter
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.hub_splits import README, Choice, name_no_split, parquet_names, parts_of
from headstart.datasets.parquet_dataset import has_several_classes, read
from headstart.datasets.sources.dataset_source import Description, Presence, Source
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

__all__ = ["HubSource", "Repository", "Snapshot"]

# Where the hub keeps its own conversion of what is no Parquet.
CONVERTED = "refs/convert/parquet"
SPLIT_RULE = "the repository's own splits; what it lacks is drawn"
COLUMNS = ("image", "label", "group", "config")
PARTS = ("train", "validation", "test", "all")
PARQUET = ".parquet"
BY_HAND = "put its Parquet files into a folder and say hf:/path/of/the/folder"


@dataclass(frozen=True)
class Snapshot:
    """Parquet files on this machine, whole.

    Parameters
    ----------
    folder
        Where they lie.
    names
        Paths inside the folder. Others in it may be of another fetch.
    commit
        40 hexadecimal digits; "" where the folder is no repository of the hub.
    """

    folder: Path
    names: tuple[str, ...]
    commit: str = ""


@dataclass(frozen=True)
class Repository:
    """What is chosen of a repository of the hub.

    Parameters
    ----------
    name
        ``user/name``.
    revision
        A commit, a tag or a branch; None is the main branch where it was first fetched.
    choice
        Which columns and splits.
    cache
        Where the commit is noted.
    """

    name: str
    revision: str | None
    choice: Choice
    cache: Path

    def find(self) -> Snapshot | None:
        """Find the chosen files on this machine; None unless all are there. No network is used.

        Raises
        ------
        DatasetError
            The choice is none of the repository's; see `headstart.datasets.hub_splits.parts_of`.
        """
        listing = self._noted()
        names = self._chosen(listing) if listing else None
        if not (listing and names) or not all(self._is_whole(listing, name) for name in names):
            return None
        first = cached(self.name, names[0], kind="dataset", commit=listing.commit)
        assert first is not None  # noqa: S101 - it is whole
        folder = first.parents[len(PurePosixPath(names[0]).parts) - 1]
        return Snapshot(folder, tuple(names), listing.commit)

    def fetch(self, reporter: ProgressReporter) -> Snapshot:
        """Bring the chosen files onto this machine: one try, told within seconds if it fails.

        Files that are there are not fetched again.

        Raises
        ------
        DatasetMissingError
            The hub cannot be reached, or has nothing of this kind for this user.
        DatasetError
            The choice is none of the repository's.
        """
        try:
            self._download(reporter)
        except OSError as error:
            raise DatasetMissingError(
                f"dataset 'hf:{self.name}' is not on this machine and cannot be had from "
                f"{address()} ({reason(error)}): {BY_HAND}"
            ) from error
        found = self.find()
        if found is None:
            raise DatasetMissingError(
                f"dataset 'hf:{self.name}' is incomplete after the download from {address()}: run "
                f"again, or {BY_HAND}"
            )
        return found

    def _download(self, reporter: ProgressReporter) -> None:
        listing = self._noted()
        if listing is None:
            check_reachable(self.name, kind="dataset")
            listing = _listing(self.name, self.revision)
            with storage_errors(self._note):
                self._note.parent.mkdir(parents=True, exist_ok=True)
            with replaced(self._note) as temporary:
                temporary.write_text(json.dumps(asdict(listing), indent=1))
        names = self._chosen(listing)
        if names is None:
            check_reachable(self.name, kind="dataset")
            download(self.name, README, kind="dataset", commit=listing.commit)
            names = self._chosen(listing) or []
        lacking = [name for name in names if not self._is_whole(listing, name)]
        if lacking:
            check_reachable(self.name, kind="dataset")
        reporter.stage(f"download {self.name}", len(lacking), "files")
        for name in lacking:
            damaged = cached(self.name, name, kind="dataset", commit=listing.commit) is not None
            download(self.name, name, kind="dataset", commit=listing.commit, again=damaged)
            reporter.advance()

    def _chosen(self, listing: Listing) -> list[str] | None:
        """Name the chosen Parquet files; None if the README may say more, and is not here."""
        may_say_more = README in listing.files and not self._is_whole(listing, README)
        readme = cached(self.name, README, kind="dataset", commit=listing.commit)
        names = [name for name in listing.files if name.endswith(PARQUET)]
        try:
            parts = parts_of(names, self.choice, f"hf:{self.name}", readme)
        except DatasetError:
            if may_say_more:
                return None
            raise
        chosen = list(dict.fromkeys(name for files in parts.files.values() for name in files))
        return None if may_say_more and name_no_split(chosen) else chosen

    def _is_whole(self, listing: Listing, name: str) -> bool:
        file = cached(self.name, name, kind="dataset", commit=listing.commit)
        return file is not None and file.stat().st_size == listing.files[name]

    @property
    def _note(self) -> Path:
        name = quote(f"{self.name}@{self.revision or 'main'}", safe="")
        return self.cache / "hub" / f"{name}.json"

    def _noted(self) -> Listing | None:
        """Read the commit and its files, as the first fetch noted them."""
        if not self._note.is_file():
            return None
        with storage_errors(self._note, reading=True):
            content = self._note.read_bytes()
        try:
            return Listing(**json.loads(content))
        except (ValueError, TypeError) as error:
            raise StorageError(
                f"{self._note} is damaged: remove it, the next fetch writes it anew",
                code="cache.note_damaged",
            ) from error


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
        metric = _metric(dataset_ref, _in_folder(place) if _is_path(place) else None)
        title = own_title(PurePosixPath(place).name, "" if _is_path(place) else place)
        return Description(title=title, metric=metric, split_rule=SPLIT_RULE)

    def metric(self, dataset_ref: DatasetName, cache: Path) -> Metric:
        return _metric(dataset_ref, _found(dataset_ref, cache))

    def presence(self, dataset_ref: DatasetName, cache: Path) -> Presence:
        if found := _found(dataset_ref, cache):
            return Presence(True, str(found.folder))
        if _is_path(_place(dataset_ref)):
            return Presence(False, _no_parquet(Path(_place(dataset_ref))))
        return Presence(False, f"downloaded from {address()} on first use, or {BY_HAND}")

    def fetch(self, dataset_ref: DatasetName, cache: Path, reporter: ProgressReporter) -> None:
        if _is_path(_place(dataset_ref)):
            super().fetch(dataset_ref, cache, reporter)
        else:
            _repository(dataset_ref, cache).fetch(reporter)

    def read(self, dataset_ref: DatasetName, cache: Path) -> RawDataset:
        found = _found(dataset_ref, cache)
        if found is None:
            raise DatasetMissingError(
                f"dataset '{dataset_ref.stem}' is not on this machine: "
                f"{self.presence(dataset_ref, cache).place}"
            )
        return read(found.folder, _choice(dataset_ref), dataset_ref.stem, found.names)

    def source_revision(self, dataset_ref: DatasetName, cache: Path) -> str:
        found = _found(dataset_ref, cache)
        return found.commit if found else ""


def _found(dataset_ref: DatasetName, cache: Path) -> Snapshot | None:
    place = _place(dataset_ref)
    return _in_folder(place) if _is_path(place) else _repository(dataset_ref, cache).find()


def _in_folder(place: str) -> Snapshot | None:
    names = parquet_names(Path(place))
    return Snapshot(Path(place), tuple(names)) if names else None


def _repository(dataset_ref: DatasetName, cache: Path) -> Repository:
    revision = dataset_ref.options.get("revision") or None
    return Repository(_place(dataset_ref), revision, _choice(dataset_ref), cache)


def _place(dataset_ref: DatasetName) -> str:
    """Return what follows ``hf:``; StudyError if it is neither a folder nor a repository's name."""
    place = dataset_ref.stem.partition(":")[2]
    if not _is_path(place):
        if not REPOSITORY.fullmatch(place):
            raise StudyError(
                f"invalid dataset {dataset_ref.stem}: expected an existing folder, or user/name",
                code="dataset.repository_name",
                found=place,
            )
        return place
    if "revision" in dataset_ref.options:
        raise StudyError(
            f"dataset '{dataset_ref.full}': a folder has no revisions: leave ?revision= out",
            code="dataset.option_unused",
            option="revision",
        )
    return os.path.realpath(os.path.expanduser(place))


def _is_path(place: str) -> bool:
    return place.startswith(("/", ".", "~")) or os.path.isdir(place)


def _choice(dataset_ref: DatasetName) -> Choice:
    columns = {name: dataset_ref.options.get(name, "") for name in COLUMNS}
    parts = {name: dataset_ref.options[name] for name in PARTS if name in dataset_ref.options}
    return Choice(**columns, parts=parts, sep=dataset_ref.options.get("sep"))


def _metric(dataset_ref: DatasetName, found: Snapshot | None) -> Metric:
    """State how labels are scored by what their column holds; as one label of what is not here."""
    if found is None:
        return "top-1"
    file = found.folder / found.names[0]
    several = has_several_classes(file, _choice(dataset_ref), dataset_ref.stem)
    return "voc-map-11point" if several else "top-1"


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
    why = f"{CONVERTED} is empty"
    try:
        listing = _of_interest(list_dataset(repository, CONVERTED))
    except OSError as error:
        why = reason(error)
    if not listing.files:
        raise DatasetMissingError(
            f"hf:{repository} has no Parquet files, nor has the hub made some ({why}): fetch the "
            "repository's files by hand, and say the folder of the images"
        )
    return listing


def _of_interest(listing: Listing) -> Listing:
    """Keep the Parquet files, and the README if it may say what they are."""
    files = {name: size for name, size in listing.files.items() if name.endswith(PARQUET)}
    if files and README in listing.files:
        files[README] = listing.files[README]
    return Listing(listing.commit, files)


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
