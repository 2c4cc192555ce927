"""What is odd about a dataset's images, found before a network runs: all of it, in one go."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from headstart.datasets.decode import over_limit
from headstart.datasets.ledger import Advance, Ledger
from headstart.datasets.seen import Seen
from headstart.datasets.splits import Split
from headstart.errors import DatasetError
from headstart.spec import Decoding

__all__ = ["Duplicate", "Inspection", "Problem", "check", "inspect"]

LISTED = 20


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
class Inspection:
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


def inspect(
    parts: Mapping[str, Split],
    ledger: Ledger,
    decoding: Decoding,
    advance: Advance | None = None,
) -> Inspection:
    """Look at all images of a dataset: headers, ends, digests; those that are known at no cost.

    Parameters
    ----------
    parts
        Splits by name, in the order in which they are told.
    ledger
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
    seen = {name: part.images.seen(ledger, advance) for name, part in parts.items()}
    images = [image for some in seen.values() for image in some]
    return Inspection(
        n_images=len(images),
        problems=tuple(
            Problem(name, row, parts[name].images.where(row), reason)
            for name, some in seen.items()
            for row, image in enumerate(some)
            if (reason := image.problem or _excess(image, decoding))
        ),
        duplicates=_duplicates(parts, seen),
        conflicts=sum(_count_conflicts(parts[name], some) for name, some in seen.items()),
        turned=sum(image.turned for image in images),
        transparent=sum(image.transparent for image in images),
        deep=sum(image.deep for image in images),
        animated=sum(image.frames > 1 for image in images),
        largest=max((image.width * image.height for image in images), default=0),
        too_large=sum(bool(_excess(image, decoding)) for image in images),
    )


def check(inspection: Inspection, dataset_name: str, skip_broken: bool) -> None:
    """Raise DatasetError with every problem, unless such images are to be left out.

    Its first line says how many there are and what to do, then comes one line each, up to 20.
    """
    problems = inspection.problems
    if skip_broken or not problems:
        return
    limit = f" (?max_pixels={inspection.largest} takes the {inspection.too_large:,} too large)"
    lines = [
        f"{len(problems):,} of {inspection.n_images:,} images of dataset '{dataset_name}' cannot "
        "be used: replace or remove them, or leave such images out and have them counted with "
        f"--skip-broken{limit if inspection.too_large else ''}"
    ]
    lines += [
        f"  {problem.split} {problem.where}: {problem.reason}" for problem in problems[:LISTED]
    ]
    if len(problems) > LISTED:
        lines.append(f"  ... and {len(problems) - LISTED:,} more")
    raise DatasetError("\n".join(lines))


def _excess(image: Seen, decoding: Decoding) -> str:
    # The limit is on what a small file may unfold to: an array is there already.
    return over_limit(image.width, image.height, decoding) if image.format else ""


def _duplicates(
    parts: Mapping[str, Split], seen: Mapping[str, list[Seen]]
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


def _count_conflicts(part: Split, seen: list[Seen]) -> int:
    labels: dict[str, set[bytes]] = {}
    for label, image in zip(part.labels, seen, strict=True):
        if not image.problem:
            # As bytes: an image may have one label, or one for each class.
            labels.setdefault(image.sha256, set()).add(label.tobytes())
    return sum(len(different) > 1 for different in labels.values())
