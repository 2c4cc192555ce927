"""What is odd about a dataset's images, found before a network runs: all of it, in one go."""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from headstart.datasets.decode import over_limit
from headstart.datasets.file_index import Advance, FileIndex
from headstart.datasets.image_info import ImageInfo
from headstart.datasets.samples import Span, UnsupportedSamplesError, range_of
from headstart.datasets.splits import Split
from headstart.errors import DatasetError
from headstart.spec import Decoding

__all__ = ["AuditReport", "Duplicate", "Problem", "check", "inspect"]

LISTED, SPANS = 10, 3
# The values of 16 bits; images whose largest is under an eighth of it are nearly black.
FULL, DARK = (0.0, 65535.0), 8


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
        How many contents have different labels within a split.
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


def inspect(
    parts: Mapping[str, Split],
    file_index: FileIndex,
    decoding: Decoding,
    advance: Advance | None = None,
) -> AuditReport:
    """Look at all images of a dataset: headers, ends, digests; those that are known at no cost.

    Parameters
    ----------
    parts
        Splits by name, in the order in which they are listed.
    file_index
        What is known of files.
    decoding
        Says how many pixels an image may have.
    advance
        Told how many images more were looked at.

    Raises
    ------
    StorageError
        A file is missing or cannot be read.
    """
    seen = {name: part.images.info(file_index, advance) for name, part in parts.items()}
    images = [image for some in seen.values() for image in some]
    spans = _spans(images, decoding)
    dark = [image.high or 0.0 for span, image in spans if span == FULL]
    dark = [high for high in dark if high < FULL[1] / DARK]
    return AuditReport(
        n_images=len(images),
        problems=tuple(
            Problem(name, row, parts[name].images.where(row), reason)
            for name, some in seen.items()
            for row, image in enumerate(some)
            if (reason := _problem(image, decoding))
        ),
        duplicates=_duplicates(parts, seen),
        conflicts=sum(_count_conflicts(parts[name], some) for name, some in seen.items()),
        turned=sum(image.turned for image in images),
        transparent=sum(image.transparent for image in images),
        deep=sum(image.deep for image in images),
        animated=sum(image.frames > 1 for image in images),
        largest=max((image.width * image.height for image in images), default=0),
        too_large=sum(bool(_excess(image, decoding)) for image in images),
        extra_bands=sum(image.extra for image in images),
        spans=Counter(span for span, _ in spans),
        guessed=Counter(
            # An image that is black all over fits any range.
            span
            for span, image in spans
            if not image.kind.startswith("uint") and image.high
        ),
        dark=len(dark),
        dark_high=max(dark, default=0.0),
    )


def check(audit: AuditReport, dataset_name: str, skip_broken: bool) -> None:
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
    )


def _check_spans(audit: AuditReport, dataset_name: str) -> None:
    """Refuse images whose values are read by different rules: they could not be compared."""
    if len(audit.guessed) < 2:
        return
    counts = sorted(audit.guessed.items(), key=lambda pair: -pair[1])
    found = ", ".join(f"{low:g}..{high:g} ({n:,} images)" for (low, high), n in counts[:SPANS])
    more = f" and {len(counts) - SPANS:,} more" if len(counts) > SPANS else ""
    widest = min(low for low, _ in audit.guessed), max(high for _, high in audit.guessed)
    raise DatasetError(
        f"images of dataset '{dataset_name}' have different ranges of values: {found}{more}: pass "
        f"the values that are black and white in all of them, for example "
        f"?range={widest[0]:g}..{widest[1]:g}",
        code="dataset.ranges_differ",
        ranges=[span for span, _ in counts],
    )


def _spans(images: Iterable[ImageInfo], decoding: Decoding) -> list[tuple[Span, ImageInfo]]:
    """Return how images are scaled, of those that are."""
    if decoding.like == "torchvision":
        return []
    found = []
    for image in images:
        if image.problem:
            continue
        with suppress(UnsupportedSamplesError):
            if span := image.span(decoding.range):
                found.append((span, image))
    return found


def _problem(image: ImageInfo, decoding: Decoding) -> str:
    """Return what is wrong with an image; "" where nothing is known to be."""
    if reason := image.problem or _excess(image, decoding):
        return reason
    try:
        if decoding.like == "viewer":
            image.span(decoding.range)
            if decoding.range and image.kind == "colour16":
                range_of(image.samples, 0, 0, decoding.range)
    except UnsupportedSamplesError as error:
        return str(error)
    return ""


def _excess(image: ImageInfo, decoding: Decoding) -> str:
    # The limit is on what a small file may unfold to: an array is there already.
    return over_limit(image.width, image.height, decoding) if image.format else ""


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


def _count_conflicts(part: Split, seen: list[ImageInfo]) -> int:
    labels: dict[str, set[bytes]] = {}
    for label, image in zip(part.labels, seen, strict=True):
        if not image.problem:
            # As bytes: an image may have one label, or one for each class.
            labels.setdefault(image.sha256, set()).add(label.tobytes())
    return sum(len(different) > 1 for different in labels.values())
