"""A dataset proven to be what it claims, and its images looked at, before anything is measured."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from headstart.context import ProgressReporter
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.file_index import FileIndex
from headstart.datasets.inspection import AuditReport, check, inspect
from headstart.datasets.loading import (
    LoadedDataset,
    clear_loaded,
    loaded_dataset,
    open_file_index,
    read_dataset,
)
from headstart.datasets.manifest import PublishedFile, check_published_files
from headstart.datasets.naming import alike_classes, listed
from headstart.datasets.raw_dataset import ICLOUD, LOOSE
from headstart.datasets.sources import SOURCES, Source, located
from headstart.datasets.sources.parts import CONVERTIBLE
from headstart.labels import kind_of
from headstart.spec import Dataset, Decoding

__all__ = [
    "DataWarning",
    "VerifiedDataset",
    "check_images",
    "data_warnings",
    "decoding_notes",
    "verified",
    "verify",
    "warnings_of",
]

# Of pairs of identical images, and of kinds of files, named in a note; `headstart datasets verify
# --json` has them all.
NAMED = 3


# What programs write where a label is missing, in small letters.
NO_VALUE = frozenset(("nan", "na", "n/a", "<na>", "#n/a", "null", "none", "nat", "undefined"))


class DataWarning(NamedTuple):
    """Something about a dataset's images: a stable code, and one line for a person."""

    code: str
    text: str


@dataclass(frozen=True)
class VerifiedDataset:
    """A dataset that was read and looked at.

    Parameters
    ----------
    name
        For a person.
    place
        Where it is.
    loaded
        Its splits.
    audit
        What is odd about its images.
    decoding
        How they are decoded.
    published
        Files of which a checksum is published, those that are here proven to be as published; None
        where that was not looked for, or the dataset is not a published one.
    """

    name: str
    place: str
    loaded: LoadedDataset
    audit: AuditReport
    decoding: Decoding
    published: tuple[PublishedFile, ...] | None = None


def verify(name: str, cache: Path, reporter: ProgressReporter) -> VerifiedDataset:
    """Read a dataset, compare it with what is published, and look at every image.

    Raises
    ------
    HeadstartError
        As `datasets.find`; a file whose published checksum it has not; an image that does not do is
        no error here.
    """
    clear_loaded()
    source, dataset_ref = located(name, cache)
    return prove(source, dataset_ref, cache, reporter)


def prove(
    source: Source, dataset_ref: DatasetName, cache: Path, reporter: ProgressReporter
) -> VerifiedDataset:
    """Read a dataset, compare it and its files with what is published, look at every image."""
    reporter.stage("reading the dataset")
    file_index = open_file_index(cache, reporter.note)
    loaded = read_dataset(source.name, dataset_ref, cache, reporter, file_index)
    published = source.published_files(dataset_ref, cache)
    archives = check_published_files(dataset_ref.stem, published or (), file_index, reporter)
    manifest = loaded.manifest.model_copy(update={"archives": archives})
    checked = look(
        source, dataset_ref, replace(loaded, manifest=manifest), cache, reporter, file_index
    )
    return replace(checked, published=published)


def look(
    source: Source,
    dataset_ref: DatasetName,
    loaded: LoadedDataset,
    cache: Path,
    reporter: ProgressReporter,
    file_index: FileIndex,
) -> VerifiedDataset:
    """Look at every image of a dataset that was read."""
    total = sum(map(len, loaded.parts.values()))
    reporter.stage("looking at the images", total=total, unit="images")
    audit = inspect(loaded.parts, file_index, dataset_ref.decoding, reporter.advance)
    title = dataset_ref.titled(source.describe(dataset_ref).title)
    place = source.presence(dataset_ref, cache).place
    return VerifiedDataset(title, place, loaded, audit, dataset_ref.decoding)


def check_images(dataset: Dataset, cache: Path, reporter: ProgressReporter) -> None:
    """Look at all images of a dataset before a network runs, and note what a person should know.

    Raises
    ------
    DatasetError
        Images that cannot be used, all of them in one list; unless `skip_broken` leaves them out.
    """
    checked = _looked_at(dataset, cache, reporter)
    if checked is None:
        return
    check(checked.audit, dataset.name, dataset.skip_broken)
    warned = [warning.text for warning in data_warnings(checked)]
    for line in (f"splits: {dataset.split_rule}", *checked.loaded.notes, *warned):
        reporter.note(f"{dataset.name}: {line}")


def warnings_of(dataset: Dataset, cache: Path) -> list[dict[str, str]]:
    """Return what `check_images` warns of, as a result keeps it: ``code`` and ``text`` of each."""
    return [warning._asdict() for warning in _kept_warnings(dataset.model_dump_json(), cache)]


# A trial follows the other on the same dataset.
@lru_cache(maxsize=32)
def _kept_warnings(dataset: str, cache: Path) -> tuple[DataWarning, ...]:
    checked = _looked_at(Dataset.model_validate_json(dataset), cache, ProgressReporter())
    return tuple(data_warnings(checked)) if checked else ()


def _looked_at(dataset: Dataset, cache: Path, reporter: ProgressReporter) -> VerifiedDataset | None:
    """Look at the images of a dataset that was found; None where its digest says all of them."""
    source = SOURCES[dataset.source]
    if not source.looks:
        return None
    reporter.stage("reading the dataset")
    loaded = loaded_dataset(dataset, cache)
    file_index = open_file_index(cache, reporter.note)
    return look(source, DatasetName.of(dataset), loaded, cache, reporter, file_index)


def verified(checked: VerifiedDataset) -> str:
    """Return what else is proven of a published dataset, in words; "" for others."""
    if checked.published is None:
        return ""
    alike = "classes" if checked.loaded.missing else "sizes and classes"
    if not checked.published:
        return f"{alike} are as published; no MD5 is, of any file here"
    here = [file.name for file in checked.published if file.path]
    gone = ", ".join(file.name for file in checked.published if not file.path)
    if not here:
        return f"{alike} are as published; the content is not known, without {gone}"
    return f"MD5 as published: {', '.join(here)}{f'; not here: {gone}' if gone else ''}"


def data_warnings(checked: VerifiedDataset) -> list[DataWarning]:
    """Return what a person should know of the images and does not forbid a run."""
    found, loaded = checked.audit, checked.loaded
    warnings = [
        DataWarning(
            "missing-images",
            f"{_counted(n, 'listed image' if part == 'all' else f'listed {part} image')} missing: "
            "accuracies are not comparable with "
            "published ones",
        )
        for part, n in loaded.missing.items()
    ]
    warnings += [DataWarning("skipped-files", text) for text in _skipped(loaded.left_out)]
    if found.problems:
        broken = f"{len(found.problems):,} of {found.n_images:,} images cannot be used"
        warnings.append(DataWarning("broken-images", broken))
    warnings += [DataWarning("converted-images", text) for text in decoding_notes(checked)]
    if found.duplicates:
        pairs = [f"{d.other_split} {d.other_where} = {d.split} {d.where}" for d in found.duplicates]
        more = f" and {len(pairs) - NAMED:,} more" if len(pairs) > NAMED else ""
        verb = "1 image is" if len(pairs) == 1 else f"{len(pairs):,} images are"
        text = f"{verb} in two splits (leakage): {'; '.join(pairs[:NAMED])}{more}"
        warnings.append(DataWarning("leakage", text))
    if found.conflicts:
        verb = "image has" if found.conflicts == 1 else "images have"
        text = f"{found.conflicts:,} duplicate {verb} conflicting labels"
        warnings.append(DataWarning("label-conflicts", text))
    warnings += [DataWarning("similar-classes", text) for text in _doubtful(loaded.classes)]
    if untested := _untested(loaded):
        names = ", ".join(f"'{name}'" for name in untested[:NAMED])
        more = f" and {len(untested) - NAMED:,} more" if len(untested) > NAMED else ""
        verb = "has" if len(untested) == 1 else "have"
        text = f"{len(untested):,} of {len(loaded.classes):,} classes {verb} no test image: "
        left = len(loaded.classes) - len(untested)
        mean = "" if loaded.metric == "top-1" else f"; the mean is over the other {left:,}"
        warnings.append(DataWarning("untested-classes", f"{text}{names}{more}{mean}"))
    return warnings


def decoding_notes(checked: VerifiedDataset) -> Iterator[str]:
    """Yield what decoding changes in the images beside reading their pixels, one line each."""
    found, viewer = checked.audit, checked.decoding.like == "viewer"
    changes = {
        "rotated by EXIF orientation": found.turned,
        "transparent and composited on white": found.transparent,
        "of more than 8 bits scaled to 8": found.deep,
    }
    changed = {what: n for what, n in changes.items() if n}
    parts = ", ".join(f"{n:,} {what}" for what, n in changed.items())
    if parts and viewer:
        spans = ", ".join(f"{low:g}..{high:g}" for low, high in list(found.spans)[:NAMED])
        scaled = f"; black and white at {spans}" if spans else ""
        yield f"images converted: {parts}{scaled} (?decoding=torchvision changes none of them)"
    elif parts:
        yield f"images not converted, since torchvision does not: {parts}"
    if found.dark and viewer:
        yield (
            f"{_counted(found.dark, '16-bit image')} nearly black (values up to "
            f"{found.dark_high:,.0f} of 65,535): pass the largest as "
            f"?range=0..{found.dark_high:.0f}"
        )
    if found.extra_bands:
        yield f"images with more bands than colours, which are not used: {found.extra_bands:,}"
    if found.animated:
        yield f"images with several frames, of which only the first is used: {found.animated:,}"


def _skipped(left_out: Mapping[str, int]) -> Iterator[str]:
    """Yield which files are not read as images, one line each."""
    others = dict(left_out)
    if loose := others.pop(LOOSE, 0):
        yield f"{_counted(loose, 'image')} skipped: in no class folder"
    if others:
        images = sorted(CONVERTIBLE & others.keys())
        remedies = [f"convert {', '.join(images)} to JPEG or PNG"] if images else []
        if ICLOUD in others:
            remedies.append(f"{ICLOUD} is an image not downloaded from iCloud yet")
        remedy = f" ({'; '.join(remedies)})" if remedies else ""
        yield f"files skipped (unsupported extension): {_most_first(others)}{remedy}"


def _doubtful(classes: Sequence[str]) -> Iterator[str]:
    """Yield what in the names of classes may be a slip, one line each."""
    if alike := alike_classes(classes):
        said = "; ".join(listed(names) for names in alike[:NAMED])
        more = f" and {len(alike) - NAMED:,} more" if len(alike) > NAMED else ""
        yield f"classes whose names are nearly the same, and count as different: {said}{more}"
    if missing := [name for name in classes if name.casefold() in NO_VALUE]:
        yield f"classes whose names may stand for a missing label: {listed(missing)}"


def _untested(loaded: LoadedDataset) -> list[str]:
    """Return the classes without a test image."""
    if "test" not in loaded.parts:
        return []
    labels = loaded.parts["test"].labels
    counts = kind_of(loaded.metric).counts(labels, len(loaded.classes))
    return [name for name, n in zip(loaded.classes, counts.tolist(), strict=True) if not n]


def _counted(n: int, noun: str) -> str:
    return f"1 {noun} is" if n == 1 else f"{n:,} {noun}s are"


def _most_first(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    more = sum(n for _, n in ordered[NAMED:])
    said = ", ".join(f"{n:,} {kind}" for kind, n in ordered[:NAMED])
    return f"{said} and {more:,} more" if more else said
