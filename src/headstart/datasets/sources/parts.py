"""The user's own folders, tables and functions: their titles, and what of them is missing."""

import os
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from PIL import Image

from headstart.datasets.archives import is_published_name
from headstart.datasets.decode import NOT_DECODED
from headstart.datasets.naming import listed, shown
from headstart.datasets.sources.embedded import EMBEDDED
from headstart.errors import DatasetError, DatasetMissingError
from headstart.files import name_from_text, unusable

__all__ = [
    "find_files",
    "is_image_name",
    "is_there",
    "not_there",
    "own_title",
    "require_files",
    "start_of",
]


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


def find_files(table: Path, folder: Path, names: Sequence[str]) -> list[Path]:
    """Find the images that a table names, in a folder.

    A name may lack the ending of its file, have backslashes, or differ from the file's in Unicode
    form or case, where only one file can be meant. What is not found stays as it is written.

    Raises
    ------
    DatasetError
        A name fits several files; addresses of the web.
    """
    known: dict[str, dict[str, list[str]]] = {}
    found = []
    for row, name in enumerate(names):
        if name.startswith(("http://", "https://")):
            raise DatasetError(
                f"{table}: data row {row + 1} has the address {shown(name)}: download "
                "the images first, and write their paths into the table",
                code="dataset.web_address",
                found=name,
            )
        place = folder / name
        if not os.path.lexists(place) and os.path.lexists(folder / name_from_text(name)):
            # A table that was exported from a folder with names that are not UTF-8.
            place = folder / name_from_text(name)
        if not is_there(place):
            place = folder / name.replace("\\", "/")
            fitting = [] if os.path.isfile(place) else _fitting(place, known)
            if len(fitting) > 1:
                raise DatasetError(
                    f"{table}: data row {row + 1} has the path {shown(name)}, which may be any of "
                    f"{listed(fitting)} in {place.parent}: write its ending, too",
                    code="dataset.path_unclear",
                    found=tuple(fitting),
                )
            place = place.with_name(fitting[0]) if fitting else place
        found.append(place)
    return found


def start_of(table: Path, images: Sequence[Path]) -> str:
    """Return the folder beside a table that the first missing image lies in; ``DIR`` if none."""
    gone = next((image for image in images if not is_there(image)), None)
    if gone is None or not gone.is_relative_to(table.parent):
        return "DIR"
    name = str(gone.relative_to(table.parent))
    for folder in sorted(entry.name for entry in os.scandir(table.parent) if entry.is_dir()):
        with suppress(DatasetError):
            if os.path.isfile(find_files(table, table.parent / folder, [name])[0]):
                return folder
    return "DIR"


def is_there(image: Path) -> bool:
    """Whether an image that a table names is there.

    What cannot be opened, a broken symlink say, is: an image with a problem.
    """
    return os.path.lexists(image) and not os.path.isdir(image)


def require_files(paths: Sequence[Path], source: str, remedy: str) -> None:
    """Raise DatasetMissingError if images are not there: how many, and which is the first."""
    gone = [path for path in paths if not is_there(path)]
    if gone:
        raise DatasetMissingError(
            f"{source}: {len(gone):,} of {len(paths):,} images are missing, "
            f"first {shown(str(gone[0]), 300)}: {remedy}",
            code="dataset.images_missing",
            found=len(gone),
        )


def is_image_name(name: str) -> bool:
    """Whether a file's name ends as those of a format that Pillow decodes by itself."""
    return os.path.splitext(name)[1].lower() in _image_suffixes()


@cache
def _image_suffixes() -> frozenset[str]:
    formats = Image.registered_extensions().items()
    return frozenset(
        suffix for suffix, name in formats if name in Image.OPEN and name not in NOT_DECODED
    )


def _fitting(place: Path, known: dict[str, dict[str, list[str]]]) -> list[str]:
    """Name the files in a place's folder that are called so but for their ending or spelling."""
    folder = os.path.dirname(place)
    if folder not in known:
        known[folder] = {}
        with suppress(OSError, ValueError):
            for name in sorted(os.listdir(folder)):
                if is_image_name(name) and not name.startswith("."):
                    for key in (_spelled(name), _spelled(os.path.splitext(name)[0])):
                        known[folder].setdefault(key, []).append(name)
    fitting = known[folder].get(_spelled(place.name), [])
    exact = [name for name in fitting if os.path.splitext(name)[0] == place.name]
    return exact or fitting


def _spelled(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
