"""What the user's own folders, tables and functions call their parts and their classes."""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

from headstart.datasets.archives import is_published_name
from headstart.datasets.sources.embedded import EMBEDDED
from headstart.errors import DatasetError, DatasetMissingError
from headstart.files import unusable

__all__ = [
    "PARTS",
    "check_parts",
    "not_there",
    "own_title",
    "part_named",
    "require_files",
    "sorted_classes",
]

PARTS = ("train", "validation", "test")
NAMES: Mapping[str, str] = MappingProxyType({
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
})  # fmt: skip
WHOLE_NUMBER = re.compile(r"-?[0-9]+")


def own_title(name: str, instead: str = "") -> str:
    """Name a dataset of the user's so that a table of results takes it for no other.

    Parameters
    ----------
    name
        What it is called.
    instead
        Its title where a dataset of the catalogue is called so; ``./name`` unless given.

    Examples
    --------
    >>> own_title("photos"), own_title("Pets"), own_title("pets", "user/pets")
    ('photos', './Pets', 'user/pets')
    """
    if is_published_name(name) or name in EMBEDDED:
        return instead or f"./{name}"
    return name


def part_named(name: str) -> str | None:
    """Say which part a name means, in any case of letters; None where it means none.

    Examples
    --------
    >>> part_named("Val"), part_named("training"), part_named("cat")
    ('validation', 'train', None)
    """
    return NAMES.get(name.strip().lower())


def check_parts(found: Iterable[str], where: str, instead: str) -> None:
    """Raise DatasetError unless there are train and at least one of validation and test.

    Parameters
    ----------
    found
        Of `PARTS`.
    where
        What has these parts, for the message.
    instead
        What to do where splits are to be drawn.
    """
    there = set(found)
    parts = [part for part in PARTS if part in there]
    if parts[:1] != ["train"] or len(parts) < 2:
        raise DatasetError(
            f"{where} has only {' and '.join(parts) or 'no part'}: expected train, and validation "
            f"or test or both; {instead}"
        )


def sorted_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Sort the names of classes, each once; as numbers where all are whole numbers.

    Examples
    --------
    >>> sorted_classes(["10", "9", "9"]), sorted_classes(["10", "9", "cat"])
    (('9', '10'), ('10', '9', 'cat'))
    """
    different = sorted(set(names))
    if all(WHOLE_NUMBER.fullmatch(name) for name in different):
        different.sort(key=int)
    return tuple(different)


def not_there(kind: str, place: Path) -> DatasetMissingError:
    """Say that a folder or table of the user's does not exist, and what beside it is called so.

    Parameters
    ----------
    kind
        ``"folder"`` or ``"table"``; only such are named.
    place
        Where it was looked for.
    """
    beside: list[str] = []
    # A folder above that cannot be read has no names to offer.
    with suppress(OSError):
        beside = sorted(
            path.name
            for path in place.parent.iterdir()
            if path.is_dir() == (kind == "folder") and not path.name.startswith(".")
        )
    near = get_close_matches(place.name, beside, cutoff=0.7)
    hint = f": did you mean {' or '.join(str(place.parent / name) for name in near)}?"
    found = unusable(place)
    what = f"is {found}, not a {kind}" if found else "does not exist"
    return DatasetMissingError(f"dataset {kind} {place} {what}{hint if near and not found else ''}")


def require_files(paths: Sequence[Path], source: str, remedy: str) -> None:
    """Raise DatasetMissingError if images are not there: how many, and which is the first."""
    gone = [path for path in paths if not path.is_file()]
    if gone:
        raise DatasetMissingError(
            f"{source}: {len(gone):,} of {len(paths):,} images are not there, first {gone[0]}: "
            f"{remedy}"
        )
