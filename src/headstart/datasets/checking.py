"""A dataset proven to be what it claims, and its images looked at, before anything is measured."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from headstart.datasets.archive import LOOSE
from headstart.datasets.checksums import PublishedFile, check_published_files
from headstart.datasets.inspection import Inspection, check, inspect
from headstart.datasets.ledger import Ledger
from headstart.datasets.names import DatasetName
from headstart.datasets.reading import (
    Reading,
    forget_readings,
    ledger_in,
    read_dataset,
    reading_of,
)
from headstart.datasets.sources import SOURCES, Source, located
from headstart.spec import Dataset, Decoding
from headstart.workspace import Watcher

__all__ = ["Checked", "check_images", "decoding_notes", "oddities", "verified", "verify"]

# Of pairs of identical images, and of kinds of files, named in a note; `headstart datasets verify
# --json` has them all.
NAMED = 3


@dataclass(frozen=True)
class Checked:
    """A dataset that was read and looked at.

    Parameters
    ----------
    name
        For a person.
    place
        Where it is.
    reading
        Its splits.
    inspection
        What is odd about its images.
    decoding
        How they are decoded.
    published
        Files of which a checksum is published, those that are here proven to be as published; None
        where that was not looked for, or the dataset is not a published one.
    """

    name: str
    place: str
    reading: Reading
    inspection: Inspection
    decoding: Decoding
    published: tuple[PublishedFile, ...] | None = None


def verify(name: str, cache: Path, watcher: Watcher) -> Checked:
    """Read a dataset, compare it with what is published, and look at every image.

    Raises
    ------
    HeadstartError
        As `datasets.find`; a file whose published checksum it has not; an image that does not do is
        no error here.
    """
    forget_readings()
    source, asked = located(name, cache)
    return prove(source, asked, cache, watcher)


def prove(source: Source, asked: DatasetName, cache: Path, watcher: Watcher) -> Checked:
    """Read a dataset, compare it and its files with what is published, look at every image."""
    watcher.stage("reading the dataset")
    ledger = ledger_in(cache, watcher.note)
    reading = read_dataset(source.name, asked, cache, watcher, ledger)
    published = source.published_files(asked, cache)
    archives = check_published_files(asked.stem, published or (), ledger, watcher)
    manifest = reading.manifest.model_copy(update={"archives": archives})
    checked = look(source, asked, replace(reading, manifest=manifest), cache, watcher, ledger)
    return replace(checked, published=published)


def look(
    source: Source,
    asked: DatasetName,
    reading: Reading,
    cache: Path,
    watcher: Watcher,
    ledger: Ledger,
) -> Checked:
    """Look at every image of a dataset that was read."""
    total = sum(map(len, reading.parts.values()))
    watcher.stage("looking at the images", total=total, unit="images")
    inspection = inspect(reading.parts, ledger, asked.decoding, watcher.advance)
    title = asked.titled(source.describe(asked).title)
    place = source.presence(asked, cache).place
    return Checked(title, place, reading, inspection, asked.decoding)


def check_images(dataset: Dataset, cache: Path, watcher: Watcher) -> None:
    """Look at all images of a dataset before a network runs, and note what a person should know.

    Raises
    ------
    DatasetError
        Images that do not do, all of them in one list; unless `skip_broken` leaves them out.
    """
    source = SOURCES[dataset.source]
    if not source.looks:
        return
    watcher.stage("reading the dataset")
    reading = reading_of(dataset, cache)
    ledger = ledger_in(cache, watcher.note)
    checked = look(source, DatasetName.of(dataset), reading, cache, watcher, ledger)
    check(checked.inspection, dataset.name, dataset.skip_broken)
    for line in (f"splits: {dataset.split_rule}", *oddities(checked)):
        watcher.note(f"{dataset.name}: {line}")


def verified(checked: Checked) -> str:
    """Say in words what of a published dataset is proven beside sizes and classes; "" of others."""
    if checked.published is None:
        return ""
    alike = "classes" if checked.reading.missing else "sizes and classes"
    if not checked.published:
        return f"{alike} are as published; no MD5 is, of any file here"
    here = [file.name for file in checked.published if file.path]
    gone = ", ".join(file.name for file in checked.published if not file.path)
    if not here:
        return f"{alike} are as published; the content is not known, without {gone}"
    return f"MD5 as published: {', '.join(here)}{f'; not here: {gone}' if gone else ''}"


def oddities(checked: Checked) -> Iterator[str]:
    """Say in words what is odd about the images and does not forbid them, a line each."""
    found = checked.inspection
    yield from checked.reading.notes
    for part, n in checked.reading.missing.items():
        yield (
            f"{_images(n, part)} listed and not there: numbers cannot be compared with "
            "published ones"
        )
    left_out = dict(checked.reading.left_out)
    if loose := left_out.pop(LOOSE, 0):
        yield f"{_images(loose)} in no class folder, and left out"
    if left_out:
        kinds = _most_first(left_out)
        yield f"files left out, as Pillow decodes none of such a name: {kinds}"
    if found.problems:
        yield f"{len(found.problems):,} of {found.n_images:,} images cannot be used"
    yield from decoding_notes(checked)
    if found.duplicates:
        pairs = [f"{d.other_split} {d.other_where} = {d.split} {d.where}" for d in found.duplicates]
        more = f" and {len(pairs) - NAMED:,} more" if len(pairs) > NAMED else ""
        verb = "1 image lies" if len(pairs) == 1 else f"{len(pairs):,} images lie"
        yield f"{verb} in two splits: {'; '.join(pairs[:NAMED])}{more}"
    if found.conflicts:
        yield f"{_images(found.conflicts)} there twice with different labels"


def decoding_notes(checked: Checked) -> Iterator[str]:
    """Say in words what decoding does to the images beside reading their pixels, a line each."""
    found = checked.inspection
    touched = {
        "turned as their EXIF data say": found.turned,
        "put on white where they are transparent": found.transparent,
        "scaled from 16 bits to 8": found.deep,
    }
    said = {what: n for what, n in touched.items() if n}
    if said and checked.decoding.like == "viewer":
        parts = ", ".join(f"{n:,} {what}" for what, n in said.items())
        yield f"images touched by decoding: {parts} (?decoding=torchvision does none of it)"
    elif said:
        parts = ", ".join(f"{n:,} not {what}" for what, n in said.items())
        yield f"images that torchvision decodes otherwise than a viewer: {parts}"
    if found.animated:
        yield f"images of several frames, of which the first is taken: {found.animated:,}"


def _images(n: int, part: str = "") -> str:
    noun = f"{part} image" if part else "image"
    return f"1 {noun} is" if n == 1 else f"{n:,} {noun}s are"


def _most_first(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    more = sum(n for _, n in ordered[NAMED:])
    said = ", ".join(f"{n:,} {kind}" for kind, n in ordered[:NAMED])
    return f"{said} and {more:,} more" if more else said
