"""What lies in a folder of the user's: class folders, images, and what is neither."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from headstart.datasets.raw_dataset import ICLOUD
from headstart.datasets.sources.parts import ending, is_image_name
from headstart.errors import DatasetError
from headstart.files import storage_errors

__all__ = ["class_folders", "count_loose", "filled_folders", "images_in", "is_image", "is_users"]

# Made by unpacking on a Mac, by network drives and by systems, in small letters: copies, thumbnails
# and what was thrown away.
NOT_THE_USERS = {
    *("__macosx", "@eadir", "#recycle", "#snapshot", "$recycle.bin", "recycler"),
    *("system volume information", "lost+found", "__pycache__"),
}


def class_folders(folder: Path) -> tuple[str, ...]:
    """Return the names of the folders in a folder, sorted; hidden ones left out."""
    with storage_errors(folder, reading=True):
        inside = [path for path in folder.iterdir() if is_users(path.name)]
        names = [path.name for path in inside if path.is_dir()]
        broken = [path for path in inside if path.is_symlink() and not path.exists()]
        if gone := sorted(str(path) for path in broken if not path.suffix):
            raise DatasetError(
                f"class folder {gone[0]} is a broken symlink: put its target back, or remove it",
                code="dataset.broken_link",
                found=gone[0],
            )
        # The order of bytes: the same in every locale.
        return tuple(sorted(names, key=os.fsencode))


def is_users(name: str) -> bool:
    """Whether a file or folder of such a name is one that people made, not a system."""
    return not name.startswith(".") and name.lower() not in NOT_THE_USERS


def filled_folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder that hold an image, in them or below."""
    return [name for name in class_folders(folder) if next(images_in(folder / name), None)]


def count_loose(folder: Path) -> int:
    """Count the images that lie beside class folders."""
    with storage_errors(folder, reading=True):
        return sum(is_image(path.name) and path.is_file() for path in folder.iterdir())


def images_in(folder: Path, left_out: Counter[str] | None = None) -> Iterator[Path]:
    """Return the images in a folder and in those below, sorted by their path's parts.

    Links are followed, but not to a folder above: that way there is no end.
    """
    above = {*folder.absolute().parents, *folder.resolve().parents}
    others = Counter[str]() if left_out is None else left_out
    yield from _walk(folder, frozenset(_identity(place) for place in above), others)


def _walk(
    folder: Path, above: frozenset[tuple[int, int]], left_out: Counter[str]
) -> Iterator[Path]:
    here = _identity(folder)
    if here in above:
        return
    with storage_errors(folder, reading=True), os.scandir(folder) as entries:
        listing = [(entry.name, _is_folder(entry)) for entry in entries]
    if n := sum(name.startswith(".") and name.endswith(ICLOUD) for name, _ in listing):
        left_out[ICLOUD] += n
    inside = [one for one in listing if is_users(one[0])]
    for name, is_folder in sorted(inside, key=lambda one: os.fsencode(one[0])):
        if is_folder:
            yield from _walk(folder / name, above | {here}, left_out)
        elif is_image(name):
            yield folder / name
        else:
            left_out[ending(name)] += 1
    left_out += Counter()


def _identity(folder: Path) -> tuple[int, int]:
    with storage_errors(folder, reading=True):
        state = folder.stat()
    return state.st_dev, state.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # The entry itself knows this without another call; a link, only if it can be followed.
    return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry.path))


def is_image(name: str) -> bool:
    """Whether a file of such a name is one of the images."""
    return is_users(name) and is_image_name(name)
