"""The twelve datasets of the study, from the creators' archives or the hub's copies of them.

Where such a dataset is on this machine is recorded once, and remembered.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from headstart.context import ProgressReporter
from headstart.datasets.archives import (
    INCOMPLETE,
    READERS,
    Facts,
    check_published,
    facts_of,
    is_archive,
    protocol_splits,
    published_facts,
    without_missing,
)
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.hub_splits import Choice
from headstart.datasets.manifest import PublishedFile, find_published
from headstart.datasets.parquet_dataset import read_hub_copy
from headstart.datasets.sources.dataset_source import Description, Presence, Source
from headstart.datasets.sources.hf import Repository
from headstart.datasets.sources.torchvision import download
from headstart.datasets.splits import RawDataset, Split
from headstart.errors import DatasetError, DatasetMissingError, StudyError
from headstart.files import replaced, storage_errors, writable_folder

__all__ = ["Place", "StudySource", "adopt", "adopted", "place_of"]

Form = Literal["archive", "hub"]
# How often a class of torchvision has to be made, and with what, to download everything: once as it
# is, unless said here.
CALLS: Mapping[str, tuple[Mapping[str, Any], ...]] = MappingProxyType(
    {
        "VOCDetection": (
            {"year": "2007", "image_set": "trainval"},
            {"year": "2007", "image_set": "test"},
        )
    }
)
# What a copy on the hub calls train that holds the creators' validation set too.
UNDIVIDED = "train+validation"


@dataclass(frozen=True)
class Place:
    """A folder, and whether it holds the creators' archive or Parquet files of the hub."""

    folder: Path
    form: Form = "archive"


def place_of(name: str, folder: Path) -> Place:
    """Report whether a folder holds the creators' archive or a copy of the hub.

    A table of somebody's may lie in an archive, so Parquet files alone do not tell.
    """
    copy = any(folder.rglob("*.parquet")) and not is_archive(name, folder)
    return Place(folder, "hub" if copy else "archive")


def adopt(name: str, place: Place, cache: Path) -> None:
    """Remember where a dataset is."""
    file = _record(name, cache)
    writable_folder(file.parent)
    record = {"folder": str(place.folder.resolve()), "form": place.form}
    with replaced(file) as temporary:
        temporary.write_text(json.dumps(record, indent=1))


def adopted(name: str, cache: Path) -> Place | None:
    """Return where a dataset is, if that was ever said."""
    file = _record(name, cache)
    if not file.is_file():
        return None
    with storage_errors(file, reading=True):
        content = file.read_bytes()
    try:
        record = json.loads(content)
        form: Form = "hub" if record["form"] == "hub" else "archive"
        return Place(Path(record["folder"]), form)
    # A record that is damaged is no record: the dataset can be adopted again.
    except (ValueError, KeyError, TypeError):
        return None


def _record(name: str, cache: Path) -> Path:
    return cache / "datasets" / f"{name}.place.json"


class StudySource(Source):
    """Datasets whose sizes, classes and splits are published."""

    name = "study"
    options: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"root": "the folder in which the creators' archive was unpacked"}
    )

    def names(self) -> tuple[str, ...]:
        return tuple(published_facts())

    def describe(self, dataset_ref: DatasetName) -> Description:
        facts = facts_of(dataset_ref.stem)
        return Description(
            title=facts.key,
            metric=facts.metric,
            split_rule=facts.split_rule,
            n_classes=facts.n_classes,
            sizes=facts.sizes,
            drawn=tuple(p for p in ("train", "validation", "test") if p not in facts.parts),
            origins=facts.sources,
            layout=facts.layout,
        )

    def presence(self, dataset_ref: DatasetName, cache: Path) -> Presence:
        place = self._place(dataset_ref, cache)
        if place is not None:
            return Presence(place.folder.is_dir(), str(place.folder))
        return Presence(False, f"headstart datasets prepare {dataset_ref.stem} [--from FOLDER]")

    def fetch(self, dataset_ref: DatasetName, cache: Path, reporter: ProgressReporter) -> None:
        """Download as torchvision does, else from the hub; what came is remembered."""
        if self.presence(dataset_ref, cache).present:
            return
        facts, refusals = facts_of(dataset_ref.stem), []
        for download_from in (_from_torchvision, _from_hub):
            try:
                place = download_from(facts, cache, reporter)
            except DatasetError as error:
                refusals.append(str(error))
            else:
                if place is not None:
                    adopt(dataset_ref.stem, place, cache)
                    return
        said = f" ({'; '.join(refusals)})" if refusals else ""
        raise DatasetMissingError(
            f"dataset '{dataset_ref.stem}' is not on this machine and cannot be downloaded{said}: "
            f"get it from {facts.sources[0]}, and run headstart datasets prepare "
            f"{dataset_ref.stem} --from FOLDER",
            code="dataset.no_download",
            dataset=dataset_ref.stem,
            reasons=refusals,
        )

    def read(self, dataset_ref: DatasetName, cache: Path) -> RawDataset:
        place = self._place(dataset_ref, cache)
        if place is None:
            remedy = self.presence(dataset_ref, cache).place
            raise DatasetMissingError(
                f"dataset '{dataset_ref.stem}' is not on this machine: {remedy}; it comes from "
                f"{facts_of(dataset_ref.stem).sources[0]}"
            )
        if place.form == "hub":
            return read_hub_copy(facts_of(dataset_ref.stem), place.folder)
        readers = INCOMPLETE if dataset_ref.allow_missing else READERS
        if dataset_ref.stem not in readers:
            raise StudyError(
                f"dataset '{dataset_ref.full}': allow_missing=yes goes with "
                f"{', '.join(INCOMPLETE)} alone: no images of the others are missing",
                code="dataset.option_unused",
                option="allow_missing",
            )
        return readers[dataset_ref.stem](place.folder)

    def split(self, dataset_ref: DatasetName, raw: RawDataset) -> tuple[dict[str, Split], str]:
        facts = facts_of(dataset_ref.stem)
        if raw.missing:
            facts = without_missing(facts, raw)
        if UNDIVIDED in raw.parts:
            raw, facts = _undivided(raw, facts)
        if "validation" in raw.parts:
            dataset_ref.refuse_split_seed()
        parts = protocol_splits(facts, raw, dataset_ref.split_seed)
        check_published(facts, parts)
        return parts, facts.split_rule

    def published_files(self, dataset_ref: DatasetName, cache: Path) -> tuple[PublishedFile, ...]:
        place, facts = self._place(dataset_ref, cache), facts_of(dataset_ref.stem)
        # A copy on the hub has files of its own, of which no checksum is published.
        if place is None or place.form == "hub":
            return ()
        return find_published(facts.archives, facts.files, place.folder)

    def _place(self, dataset_ref: DatasetName, cache: Path) -> Place | None:
        if "root" in dataset_ref.options:
            folder = Path(dataset_ref.options["root"]).expanduser().resolve()
            return place_of(dataset_ref.stem, folder)
        return adopted(dataset_ref.stem, cache)


def _from_torchvision(facts: Facts, cache: Path, reporter: ProgressReporter) -> Place | None:
    """Download by the class of torchvision, None where there is none."""
    if not facts.torchvision:
        return None
    reporter.stage(f"downloading {facts.title}")
    folder = cache / "datasets" / facts.key
    download(facts.torchvision, folder, CALLS.get(facts.torchvision, ({},)))
    return Place(folder)


def _from_hub(facts: Facts, cache: Path, reporter: ProgressReporter) -> Place | None:
    """Download the copy on the Hugging Face hub, None where there is none."""
    if not facts.hub:
        return None
    copy, choice = facts.hub, Choice.of(facts.hub)
    repository = Repository(copy.repository, copy.revision or None, choice, cache)
    return Place(repository.fetch(reporter).folder, "hub")


def _undivided(raw: RawDataset, facts: Facts) -> tuple[RawDataset, Facts]:
    """Draw the validation set where a copy does not tell it from train, and say so."""
    parts = {"train": raw.parts[UNDIVIDED], "test": raw.parts["test"]}
    n_drawn = facts.sizes.validation
    rule = (
        f"{facts.split_rule} This copy does not tell validation from train: {n_drawn:,} images "
        "of both are drawn, stratified by class."
    )
    changes = {"parts": ("train", "test"), "split_rule": rule}
    return RawDataset(raw.classes, parts), facts.model_copy(update=changes)
