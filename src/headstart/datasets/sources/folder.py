"""A folder of the user's: class folders that hold images, in split folders or without.

photos/cat/1.jpg

photos/train/cat/1.jpg
photos/validation/cat/2.jpg
photos/test/cat/3.jpg
"""

import os
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from headstart.datasets.archive import LOOSE, Archive
from headstart.datasets.decode import NOT_DECODED
from headstart.datasets.images import FileImages
from headstart.datasets.names import DatasetName
from headstart.datasets.sources.base import Description, Presence, Source
from headstart.datasets.sources.cells import SUFFIXES
from headstart.datasets.sources.parts import PARTS, check_parts, not_there, own_title, part_named
from headstart.datasets.sources.table import is_table
from headstart.datasets.splits import Split
from headstart.errors import DatasetError
from headstart.files import name_in_text, path_of, storage_errors

__all__ = ["FolderSource", "class_folders", "read_split"]

# Made by unpacking on a Mac, and by network drives: copies and thumbnails of what lies beside.
NOT_THE_USERS = {"__MACOSX", "@eaDir"}


class FolderSource(Source):
    """Folders of class folders, whose images may lie in folders of their own."""

    name = "folder"

    def recognises(self, stem: str) -> bool:
        # A name that is empty would be the folder where one happens to be.
        if not stem or is_table(stem):
            return False
        return path_of(stem).exists() or ("/" in stem and ":" not in stem)

    def location(self, stem: str) -> str:
        return name_in_text(str(path_of(stem)))

    def describe(self, asked: DatasetName) -> Description:
        return Description(own_title(name_in_text(path_of(asked.stem).name)))

    def presence(self, asked: DatasetName, cache: Path) -> Presence:  # noqa: ARG002
        folder = path_of(asked.stem)
        if folder.is_dir():
            return Presence(present=True, place=str(folder))
        return Presence(present=False, place=f"there is no folder {folder}")

    def read(self, asked: DatasetName, cache: Path) -> Archive:  # noqa: ARG002
        """Read train, validation and test, or those that are there, or all.

        The classes are those that have a folder in train, or in the whole.

        Raises
        ------
        DatasetMissingError
            No such folder.
        DatasetError
            No class folders; split folders beside others, or without train; a class folder
            without images; a split with a class that train has not.
        """
        folder = path_of(asked.stem)
        if folder.exists() and not folder.is_dir():
            raise DatasetError(
                f"{folder} is a file: expected a folder of class folders, or a table "
                f"({', '.join(SUFFIXES)}); unpack an archive first"
            )
        if not folder.is_dir():
            raise not_there("folder", folder)
        places = _split_folders(folder) or {"all": folder}
        for place in places.values():
            _check_class_folders(place)
        first = next(iter(places.values()))
        classes = class_folders(first)
        left_out = Counter[str]()
        parts = {part: read_split(place, classes, left_out) for part, place in places.items()}
        if loose := sum(_count_loose(place) for place in {folder, *places.values()}):
            left_out[LOOSE] = loose
        counts = np.bincount(next(iter(parts.values())).labels, minlength=len(classes))
        if not counts.all():
            raise DatasetError(
                f"class folder {first / classes[int(np.argmin(counts))]} has no images: add some "
                "(in a format that Pillow decodes), or remove it"
            )
        for place in places.values():
            _check_classes(place, classes, first)
        names = tuple(name_in_text(name) for name in classes)
        return Archive(names, parts, left_out=dict(left_out))


def class_folders(folder: Path) -> tuple[str, ...]:
    """Give the names of the folders in a folder, sorted; hidden ones left out."""
    with storage_errors(folder, reading=True):
        names = [path.name for path in folder.iterdir() if path.is_dir() and _counts(path.name)]
        # The order of bytes: the same in every locale.
        return tuple(sorted(names, key=os.fsencode))


def read_split(
    folder: Path, classes: tuple[str, ...], left_out: Counter[str] | None = None
) -> Split:
    """Read class folders, each with all that lies in it; a label is the place in `classes`.

    Images are the files whose names end as those of formats that Pillow decodes; other files and
    hidden ones are left out. They come class by class, sorted by their path's parts. `left_out`
    counts the other files by how their names end, of those in class folders.
    """
    paths, labels = [], []
    for label, name in enumerate(classes):
        there = (folder / name).is_dir()
        inside = list(_images_in(folder / name, left_out)) if there else []
        paths += inside
        labels += [label] * len(inside)
    rows = np.arange(len(labels), dtype=np.int64)
    return Split(FileImages(paths), np.array(labels, dtype=np.int64), rows)


def _counts(name: str) -> bool:
    return not name.startswith(".") and name not in NOT_THE_USERS


def _split_folders(folder: Path) -> dict[str, Path]:
    """Find the folders of train, validation and test; none where the folders are classes.

    One such name among others is a class: a train is a vehicle too.
    """
    names = class_folders(folder)
    others = [name for name in names if part_named(name) is None]
    found: dict[str, list[str]] = {}
    for name in names:
        if part := part_named(name):
            found.setdefault(part, []).append(name)
    if not found or (others and not ("train" in found and len(found) > 1)):
        return {}
    for part, same in found.items():
        if len(same) > 1:
            raise DatasetError(
                f"dataset folder {folder} has two folders of {part} images, '{same[0]}' and "
                f"'{same[1]}': keep one"
            )
    only = folder / next(iter(found.values()))[0]
    check_parts(found, f"dataset folder {folder}", f"give {only} to have splits drawn of it")
    # A folder without images (documents, annotations) does no harm.
    for name in others:
        if next(_images_in(folder / name), None):
            raise DatasetError(
                f"dataset folder {folder} has split folders ({', '.join(found)}) and beside them "
                f"'{name}' with images, which is none: move it out of the way"
            )
    return {part: folder / found[part][0] for part in PARTS if part in found}


def _check_class_folders(folder: Path) -> None:
    if class_folders(folder):
        return
    with storage_errors(folder, reading=True):
        loose = sorted(path.name for path in folder.iterdir() if _is_image(path.name))
    found = f"{len(loose):,} images without a class, first '{loose[0]}'" if loose else "none"
    raise DatasetError(
        f"{folder} has no class folders: expected {folder}/CLASS/IMAGE, found {found}"
    )


def _count_loose(folder: Path) -> int:
    """Count the images that lie beside class folders."""
    with storage_errors(folder, reading=True):
        return sum(_is_image(path.name) and path.is_file() for path in folder.iterdir())


def _check_classes(folder: Path, classes: tuple[str, ...], train: Path) -> None:
    """Raise DatasetError if a class that `train` has not has images here."""
    for name in class_folders(folder):
        if name not in classes and next(_images_in(folder / name), None):
            raise DatasetError(
                f"{folder} has images labelled outside the classes: '{name}' has no folder in "
                f"{train}; add training images of it or remove it"
            )


def _images_in(folder: Path, left_out: Counter[str] | None = None) -> Iterator[Path]:
    """Give the images in a folder and in those below, sorted by their path's parts.

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
        inside = [(entry.name, _is_folder(entry)) for entry in entries if _counts(entry.name)]
    for name, is_folder in sorted(inside, key=lambda one: os.fsencode(one[0])):
        if is_folder:
            yield from _walk(folder / name, above | {here}, left_out)
        elif _is_image(name):
            yield folder / name
        else:
            suffix = name_in_text(os.path.splitext(name)[1].lower())
            left_out[suffix or "without an ending"] += 1


def _identity(folder: Path) -> tuple[int, int]:
    with storage_errors(folder, reading=True):
        state = folder.stat()
    return state.st_dev, state.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # The entry itself knows this without another call; a link, only if it can be followed.
    return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry.path))


def _is_image(name: str) -> bool:
    return _counts(name) and os.path.splitext(name)[1].lower() in _image_suffixes()


@cache
def _image_suffixes() -> frozenset[str]:
    formats = Image.registered_extensions().items()
    return frozenset(
        suffix for suffix, name in formats if name in Image.OPEN and name not in NOT_DECODED
    )
