"""Birdsnap: 49,829 photographs of 500 North American birds (Berg et al., CVPR 2014).

The creators distribute lists, and a script that fetches the images from where they were found.
Many are gone by now: what was measured without them was measured on another dataset, so they are
counted, and left out only on request.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart.datasets.archives.lists import (
    FRESH_COPY,
    Labels,
    has_content,
    labels_of,
    read_content,
    unpacked,
)
from headstart.datasets.images import FileImages
from headstart.datasets.raw_dataset import RawDataset
from headstart.datasets.splits import Split
from headstart.errors import DatasetError, DatasetMissingError

__all__ = ["read"]


@dataclass(frozen=True)
class _Listed:
    """What the lists say of a part: n paths, (n,) labels, and (n,) whether the file is there."""

    paths: list[Path]
    labels: Labels
    present: npt.NDArray[np.bool_]

    @property
    def missing(self) -> list[Path]:
        return [self.paths[row] for row in np.flatnonzero(~self.present)]

    def split(self) -> Split:
        rows = np.flatnonzero(self.present).astype(np.int64)
        return Split(FileImages([self.paths[row] for row in rows]), self.labels[rows], rows)


def read(folder: Path, *, allow_missing: bool = False) -> RawDataset:
    """Read the lists and the images that there are; what is missing is counted in the archive.

    An empty file, which a failed download leaves, is missing. The lists may be in any encoding
    that has ASCII in it: paths are taken byte for byte, names as UTF-8 or else as Latin-1.

    Raises
    ------
    DatasetMissingError
        The lists are not there; or images are missing and `allow_missing` is False.
    DatasetError
        Lists that contradict each other.
    """
    root = unpacked("Birdsnap", folder, "images.txt", "birdsnap")
    species = _read_table(root / "species.txt", "id", "common")
    listed = _read_lists(root, [number for number, _ in species])
    gone = {part: images.missing for part, images in listed.items()}
    missing = {part: len(paths) for part, paths in gone.items() if paths}
    if missing and not allow_missing:
        train, test = (f"{len(gone[p]):,} of {len(listed[p].paths):,}" for p in ("train", "test"))
        first = next(path for paths in gone.values() for path in paths)
        raise DatasetMissingError(
            f"Birdsnap in {root} lacks {train} training images and {test} test images, first "
            f"{_legible(str(first))}: run the creators' get_birdsnap.py, or measure on what is "
            "left with birdsnap?allow_missing=yes"
        )
    parts = {part: images.split() for part, images in listed.items()}
    return RawDataset(tuple(name for _, name in species), parts, missing)


def _read_lists(root: Path, species: list[str]) -> dict[str, _Listed]:
    rows = _read_table(root / "images.txt", "path", "species_id")
    tests = {path for (path,) in _read_table(root / "test_images.txt", "path")}
    if unknown := tests - {path for path, _ in rows}:
        raise DatasetError(
            f"{root / 'test_images.txt'} names {_legible(min(unknown))}, which images.txt has "
            f"not: {FRESH_COPY}"
        )
    # The creators' script writes into download/images.
    script = root / "download" / "images"
    images = script if script.is_dir() else root / "images"
    listed = {}
    for part, wanted in (("train", False), ("test", True)):
        chosen = [(images / path, number) for path, number in rows if (path in tests) == wanted]
        paths = [path for path, _ in chosen]
        labels = labels_of((number for _, number in chosen), species, root / "images.txt")
        present = np.array([has_content(path) for path in paths], dtype=np.bool_)
        listed[part] = _Listed(paths, labels, present)
    return listed


def _read_table(path: Path, *columns: str) -> list[tuple[str, ...]]:
    """Read some columns of a table between tabs, whose first line names them.

    Bytes that are not UTF-8 stay in ``path`` as Python keeps them in file names (PEP 383).
    """
    text = read_content(path).decode(errors="surrogateescape")
    lines = [line.rstrip("\r") for line in text.split("\n") if line.strip()]
    header, *rows = [line.split("\t") for line in lines] or [[]]
    if absent := [column for column in columns if column not in header]:
        raise DatasetError(f"{path} has no column '{absent[0]}': {FRESH_COPY}")
    places = [header.index(column) for column in columns]
    if short := [row for row in rows if len(row) <= max(places)]:
        raise DatasetError(
            f"{path} has the line '{_legible(' '.join(short[0]))}': expected {len(header)} fields; "
            f"{FRESH_COPY}"
        )
    return [
        tuple(
            row[place] if column == "path" else _legible(row[place])
            for column, place in zip(columns, places, strict=True)
        )
        for row in rows
    ]


def _legible(text: str) -> str:
    """Make text of what was decoded with bytes left in it: Latin-1 if it is not UTF-8."""
    content = text.encode(errors="surrogateescape")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")
