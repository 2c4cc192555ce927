"""Audit a dataset before measuring: verify what it is, and check every image."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headstart.context import ProgressReporter
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.decode import ImageInfo, over_limit
from headstart.datasets.file_index import Advance, FileIndex
from headstart.datasets.images import Images
from headstart.datasets.loading import (
    LoadedDataset,
    clear_loaded,
    loaded_dataset,
    open_file_index,
    read_dataset,
)
from headstart.datasets.manifest import PublishedFile, check_published_files
from headstart.datasets.naming import alike_classes, join_names, shorten
from headstart.datasets.samples import Span, UnsupportedSamplesError, range_of
from headstart.datasets.sources import SOURCES, Source, resolve_name
from headstart.datasets.sources.own_files import CONVERTIBLE
from headstart.datasets.splits import ICLOUD, LOOSE, Split
from headstart.errors import DatasetError
from headstart.labels import kind_of
from headstart.spec import Dataset, Decoding
from headstart.spec.formatting import count, first_few

__all__ = [
    "AuditReport",
    "DataWarning",
    "Duplicate",
    "Problem",
    "VerifiedDataset",
    "audit_images",
    "check_audit",
    "check_images",
    "count_copies",
    "data_warnings",
    "decoding_notes",
    "published_note",
    "verify",
    "warnings_of",
]

LISTED, SPANS = 10, 3
# The values of 16 bits; images whose largest is under an eighth of it are nearly black.
FULL, DARK = (0.0, 65535.0), 8
# Of pairs of identical images, and of kinds of files, named in a note; `headstart datasets verify
# --json` has them all.
NAMED = 3


# What programs write where a label is missing, in small letters.
NO_VALUE = frozenset(("nan", "na", "n/a", "<na>", "#n/a", "null", "none", "nat", "undefined"))


class Problem(NamedTuple):
    """An image that does not do.

    `row` is its place in the split that was inspected; `where` names it, `reason` says what is
    wrong.
    """

    split: str
    row: int
    where: str
    reason: str


class Duplicate(NamedTuple):
    """An image whose very bytes are also in an earlier split."""

    split: str
    where: str
    other_split: str
    other_where: str


@dataclass(frozen=True)
class AuditReport:
    """What was found in the images of a dataset.

    Parameters
    ----------
    n_images
        How many were looked at.
    problems
        Images that do not do, in order.
    duplicates
        Identical files in two splits: for each image, the first with its bytes in an earlier split.
        Files with a problem do not count.
    conflicts
        How many contents have different labels, in one split or in two.
    turned, transparent, deep, animated
        How many images the choice of a decoding touches: EXIF turns them; they have an alpha
        channel or a transparent colour; they are grey with more than 8 bits a pixel; they have
        several frames, of which the first is taken.
    extra_bands
        How many images have bands beside the colours and their opacity, which are not used.
    spans
        The values that are black and white -> how many images are scaled by them.
    guessed
        The same, of images whose values alone say which they are (floating point), or whose file
        declares them: these have to agree.
    dark, dark_high
        How many greyscale images of 16 bits have values under an eighth of these alone, and the
        largest value of all such images.
    largest
        Pixels of the largest image.
    too_large
        How many images are over the limit on pixels, all among the problems.
    """

    n_images: int
    problems: tuple[Problem, ...]
    duplicates: tuple[Duplicate, ...]
    conflicts: int
    turned: int
    transparent: int
    deep: int
    animated: int
    largest: int
    too_large: int
    extra_bands: int = 0
    spans: Mapping[Span, int] = field(default_factory=dict)
    guessed: Mapping[Span, int] = field(default_factory=dict)
    dark: int = 0
    dark_high: float = 0.0


def audit_images(
    parts: Mapping[str, Split],
    file_index: FileIndex,
    decoding: Decoding,
    advance: Advance | None = None,
) -> AuditReport:
    """Look at all images of a dataset: headers, ends, digests; those that are known at no cost.

    `parts` are splits by name, in the order in which they are listed; `advance` is called with the
    number of further images checked. StorageError if a file is missing or cannot be read.
    """
    seen = {name: part.images.info(file_index, advance) for name, part in parts.items()}
    images = [image for some in seen.values() for image in some]
    problems: list[Problem] = []
    scaled: list[tuple[Span, ImageInfo]] = []
    for name, some in seen.items():
        for row, image in enumerate(some):
            reason, span = _judge(image, decoding)
            if reason:
                problems.append(Problem(name, row, parts[name].images.where(row), reason))
            if span:
                scaled.append((span, image))
    dark = [image.high or 0.0 for span, image in scaled if span == FULL]
    dark = [high for high in dark if high < FULL[1] / DARK]
    return AuditReport(
        n_images=len(images),
        problems=tuple(problems),
        duplicates=_duplicates(parts, seen),
        conflicts=_count_conflicts(parts, seen),
        turned=sum(image.turned for image in images),
        transparent=sum(image.transparent for image in images),
        deep=sum(image.deep for image in images),
        animated=sum(image.frames > 1 for image in images),
        largest=max((image.width * image.height for image in images), default=0),
        too_large=sum(bool(_excess(image, decoding)) for image in images),
        extra_bands=sum(image.extra for image in images),
        spans=Counter(span for span, _ in scaled),
        guessed=Counter(
            # An image that is black all over fits any range.
            span
            for span, image in scaled
            if not image.kind.startswith("uint") and image.high
        ),
        dark=len(dark),
        dark_high=max(dark, default=0.0),
    )


def _judge(image: ImageInfo, decoding: Decoding) -> tuple[str, Span | None]:
    """Return what is wrong with an image, "" if nothing is known; and how it is scaled."""
    if image.problem or decoding.like == "torchvision":
        return image.problem or _excess(image, decoding), None
    try:
        span = image.span(decoding.range)
        if decoding.range and image.kind == "colour16":
            range_of(image.samples, 0, 0, decoding.range)
    except UnsupportedSamplesError as error:
        return _excess(image, decoding) or str(error), None
    return _excess(image, decoding), span


def _excess(image: ImageInfo, decoding: Decoding) -> str:
    # The limit is on what a small file may unfold to: an array is there already.
    return over_limit(image.width, image.height, decoding) if image.format else ""


def check_audit(audit: AuditReport, dataset_name: str, skip_broken: bool) -> None:
    """Raise DatasetError with every problem, unless such images are to be left out.

    The message says how many there are, what to do, and what is wrong with the first few.
    Images of one dataset that would be scaled differently are refused in any case.
    """
    _check_spans(audit, dataset_name)
    problems = audit.problems
    if skip_broken or not problems:
        return
    limit = f" (?max_pixels={audit.largest} takes the {audit.too_large:,} too large)"
    few = [f"{problem.split} {problem.where}: {problem.reason}" for problem in problems[:LISTED]]
    if len(problems) > LISTED:
        few.append(f"and {len(problems) - LISTED:,} more (headstart datasets verify lists all)")
    raise DatasetError(
        f"{len(problems):,} of {audit.n_images:,} images of dataset '{dataset_name}' cannot "
        "be used: replace or remove them, or leave such images out and have them counted with "
        f"--skip-broken{limit if audit.too_large else ''}: {'; '.join(few)}",
        code="dataset.images_broken",
        found=len(problems),
        images=[problem.where for problem in problems[:LISTED]],
    )


def _check_spans(audit: AuditReport, dataset_name: str) -> None:
    """Refuse images whose values are read by different rules: they could not be compared."""
    if len(audit.guessed) < 2:
        return
    counts = sorted(audit.guessed.items(), key=lambda pair: -pair[1])
    spans = [f"{low:g}..{high:g} ({count(n, 'image')})" for (low, high), n in counts]
    widest = min(low for low, _ in audit.guessed), max(high for _, high in audit.guessed)
    raise DatasetError(
        f"images of dataset '{dataset_name}' have different ranges of values: "
        f"{first_few(spans, SPANS)}: pass "
        f"the values that are black and white in all of them, for example "
        f"?range={widest[0]:g}..{widest[1]:g}",
        code="dataset.ranges_differ",
        ranges=[span for span, _ in counts],
    )


def _duplicates(
    parts: Mapping[str, Split], seen: Mapping[str, list[ImageInfo]]
) -> tuple[Duplicate, ...]:
    firsts: dict[str, tuple[str, int]] = {}
    found = []
    for name, some in seen.items():
        for row, image in enumerate(some):
            if image.problem:
                continue
            split, first = firsts.setdefault(image.sha256, (name, row))
            if split != name:
                where, other = parts[name].images.where(row), parts[split].images.where(first)
                found.append(Duplicate(name, where, split, other))
    return tuple(found)


def _count_conflicts(parts: Mapping[str, Split], seen: Mapping[str, list[ImageInfo]]) -> int:
    labels: dict[str, set[bytes]] = {}
    for name, some in seen.items():
        for label, image in zip(parts[name].labels, some, strict=True):
            if not image.problem:
                # As bytes: an image may have one label, or one for each class.
                labels.setdefault(image.sha256, set()).add(label.tobytes())
    return sum(len(different) > 1 for different in labels.values())


class DataWarning(NamedTuple):
    """Something about a dataset's images: a stable code, and one line for a person."""

    code: str
    text: str


@dataclass(frozen=True)
class VerifiedDataset:
    """A dataset that was read and looked at, with its name for a person, and where it is.

    `published` are the files of which a checksum is published, those that are here proven to be as
    published; None where that was not looked for, or the dataset is not a published one.
    """

    name: str
    place: str
    loaded: LoadedDataset
    audit: AuditReport
    decoding: Decoding
    published: tuple[PublishedFile, ...] | None = None


def verify(name: str, cache: Path, reporter: ProgressReporter) -> VerifiedDataset:
    """Read a dataset, compare it and its files with what is published, look at every image.

    Raises
    ------
    HeadstartError
        As `datasets.find`; a file whose published checksum it has not; an image that does not do is
        no error here.
    """
    clear_loaded()
    source, dataset_ref = resolve_name(name, cache)
    return verify_located(source, dataset_ref, cache, reporter)


def verify_located(
    source: Source, dataset_ref: DatasetName, cache: Path, reporter: ProgressReporter
) -> VerifiedDataset:
    """Verify a dataset of this source; see `verify`."""
    reporter.stage("reading the dataset")
    file_index = open_file_index(cache, reporter.note)
    loaded = read_dataset(source.name, dataset_ref, cache, reporter, file_index)
    published = source.published_files(dataset_ref, cache)
    archives = check_published_files(dataset_ref.stem, published or (), file_index, reporter)
    loaded = replace(loaded, manifest=loaded.manifest.model_copy(update={"archives": archives}))
    return _look(source, dataset_ref, loaded, cache, reporter, file_index, published)


def _look(
    source: Source,
    dataset_ref: DatasetName,
    loaded: LoadedDataset,
    cache: Path,
    reporter: ProgressReporter,
    file_index: FileIndex,
    published: tuple[PublishedFile, ...] | None = None,
) -> VerifiedDataset:
    """Look at every image of a dataset that was read."""
    total = sum(map(len, loaded.parts.values()))
    reporter.stage("looking at the images", total=total, unit="images")
    audit = audit_images(loaded.parts, file_index, dataset_ref.decoding, reporter.advance)
    title = dataset_ref.titled(source.describe(dataset_ref).title)
    place = source.presence(dataset_ref, cache).place
    return VerifiedDataset(title, place, loaded, audit, dataset_ref.decoding, published)


def check_images(dataset: Dataset, cache: Path, reporter: ProgressReporter) -> None:
    """Look at all images of a dataset before a network runs, and note what a person should know.

    Raises
    ------
    DatasetError
        Images that cannot be used, all of them in one list; unless `skip_broken` leaves them out.
    """
    checked = _audited(dataset, cache, reporter)
    if checked is None:
        return
    check_audit(checked.audit, dataset.name, dataset.skip_broken)
    warned = [warning.text for warning in data_warnings(checked)]
    for line in (f"splits: {dataset.split_rule}", *checked.loaded.notes, *warned):
        reporter.note(f"{dataset.name}: {line}")


def count_copies(
    dataset: Dataset, images: Sequence[Images], groups: npt.NDArray[np.int64], cache: Path
) -> int:
    """Count the images whose very bytes an earlier image has, of another group.

    Parameters
    ----------
    images, groups
        Parts of the dataset, and the (n,) group of each of their n images.
    """
    if not SOURCES[dataset.source].looks:
        return 0
    file_index = open_file_index(cache)
    seen = [one for part in images for one in part.info(file_index)]
    first: dict[str, int] = {}
    return sum(
        first.setdefault(one.sha256, group) != group
        for one, group in zip(seen, groups.tolist(), strict=True)
        if not one.problem
    )


def warnings_of(
    dataset: Dataset, cache: Path, *, pooled: tuple[str, ...] = ()
) -> list[dict[str, str]]:
    """Return what `check_images` warns of, as a result keeps it: ``code`` and ``text`` of each.

    Parameters
    ----------
    pooled
        Splits that are used as one: an image in two of them is no leakage.
    """
    found = _kept_warnings(dataset.model_dump_json(), cache, pooled)
    return [warning._asdict() for warning in found]


# A trial follows the other on the same dataset.
@lru_cache(maxsize=32)
def _kept_warnings(dataset: str, cache: Path, pooled: tuple[str, ...]) -> tuple[DataWarning, ...]:
    checked = _audited(Dataset.model_validate_json(dataset), cache, ProgressReporter())
    return tuple(data_warnings(checked, pooled)) if checked else ()


def _audited(dataset: Dataset, cache: Path, reporter: ProgressReporter) -> VerifiedDataset | None:
    """Look at the images of a dataset that was found; None where its digest says all of them."""
    source = SOURCES[dataset.source]
    if not source.looks:
        return None
    reporter.stage("reading the dataset")
    loaded = loaded_dataset(dataset, cache)
    file_index = open_file_index(cache, reporter.note)
    return _look(source, DatasetName.of(dataset), loaded, cache, reporter, file_index)


def published_note(checked: VerifiedDataset) -> str:
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


def data_warnings(checked: VerifiedDataset, pooled: tuple[str, ...] = ()) -> list[DataWarning]:
    """Return what a person should know of the images and does not forbid a run.

    An image in two of the splits that are `pooled` is no leakage.
    """
    loaded, audit = checked.loaded, checked.audit
    broken, conflicts = len(audit.problems), audit.conflicts
    unusable = f"{broken:,} of {audit.n_images:,} images cannot be used"
    conflicting = f"{_count_of(conflicts, 'duplicate image', 'has', 'have')} conflicting labels"
    texts: dict[str, Iterable[str]] = {
        "missing-images": _missing(loaded.missing),
        "skipped-files": _skipped(loaded.left_out),
        "broken-images": [unusable] if broken else [],
        "converted-images": decoding_notes(checked),
        "leakage": _leakage(audit, pooled),
        "label-conflicts": [conflicting] if conflicts else [],
        "similar-classes": _suspicious_classes(loaded.classes),
        "untested-classes": _untested(loaded),
    }
    return [DataWarning(code, text) for code, some in texts.items() for text in some]


def _missing(missing: Mapping[str, int]) -> Iterator[str]:
    for part, n in missing.items():
        images = _count_of(n, "listed image" if part == "all" else f"listed {part} image")
        yield f"{images} missing: accuracies are not comparable with published ones"


def _leakage(audit: AuditReport, pooled: Sequence[str]) -> Iterator[str]:
    """Yield which images are in two splits that are not `pooled`, in one line."""
    leaks = [d for d in audit.duplicates if not {d.split, d.other_split} <= {*pooled}]
    if leaks:
        pairs = [f"{d.other_split} {d.other_where} = {d.split} {d.where}" for d in leaks]
        images = _count_of(len(pairs), "image")
        yield f"{images} in two splits (leakage): {first_few(pairs, NAMED, '; ')}"


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
            f"{_count_of(found.dark, '16-bit image')} nearly black (values up to "
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
        yield f"{_count_of(loose, 'image')} skipped: in no class folder"
    if others:
        images = sorted(CONVERTIBLE & others.keys())
        remedies = [f"convert {', '.join(images)} to JPEG or PNG"] if images else []
        if ICLOUD in others:
            remedies.append(f"{ICLOUD} is an image not downloaded from iCloud yet")
        remedy = f" ({'; '.join(remedies)})" if remedies else ""
        ordered = sorted(others.items(), key=lambda pair: (-pair[1], pair[0]))
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in ordered[:NAMED])
        rest = sum(n for _, n in ordered[NAMED:])
        more = f" and {rest:,} more" if rest else ""
        yield f"files skipped (unsupported extension): {kinds}{more}{remedy}"


def _suspicious_classes(classes: Sequence[str]) -> Iterator[str]:
    """Yield what in the names of classes may be a slip, one line each."""
    if alike := alike_classes(classes):
        # Blanks at the end of a name show in quotation marks only, and if they are not taken off.
        shown = [
            first_few([f"'{shorten(name, blanks=True)}'" for name in names]) for names in alike
        ]
        said = first_few(shown, NAMED, "; ")
        yield f"classes whose names are nearly the same, and count as different: {said}"
    missing = [name for name in classes if name.casefold() in NO_VALUE]
    # -1 and 1 are two classes; below 0, 1, 2, ... it mostly stands for no label.
    if set(classes) == {"-1", *map(str, range(len(classes) - 1))} and len(classes) > 2:
        missing.append("-1")
    if missing:
        yield f"classes whose names may stand for a missing label: {join_names(missing)}"


def _untested(loaded: LoadedDataset) -> Iterator[str]:
    """Yield which classes have no test image, in one line."""
    if "test" not in loaded.parts:
        return
    n_classes = len(loaded.classes)
    counts = kind_of(loaded.metric).counts(loaded.parts["test"].labels, n_classes)
    untested = [name for name, n in zip(loaded.classes, counts.tolist(), strict=True) if not n]
    if untested:
        verb = "has" if len(untested) == 1 else "have"
        names = first_few([f"'{name}'" for name in untested], NAMED)
        left = n_classes - len(untested)
        mean = "" if loaded.metric == "top-1" else f"; the mean is over the other {left:,}"
        yield f"{len(untested):,} of {n_classes:,} classes {verb} no test image: {names}{mean}"


def _count_of(n: int, noun: str, one: str = "is", many: str = "are") -> str:
    return f"{count(n, noun)} {one if n == 1 else many}"
