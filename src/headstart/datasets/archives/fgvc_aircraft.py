"""FGVC Aircraft: 10,000 aeroplanes of 100 variants (Maji et al., 2013)."""

from pathlib import Path

from headstart.datasets.archives.lists import (
    labels_of,
    listed_split,
    read_lines,
    read_rows,
    unpacked,
)
from headstart.datasets.raw_dataset import RawDataset
from headstart.datasets.splits import Split

__all__ = ["read"]

LISTS = {
    "train": "images_variant_train.txt",
    "validation": "images_variant_val.txt",
    "test": "images_variant_test.txt",
}


def read(folder: Path) -> RawDataset:
    """Read ``fgvc-aircraft-2013b``, labelled by variant.

    Raises
    ------
    DatasetMissingError, DatasetError
        Lists or images that are missing; a variant that ``variants.txt`` has not.
    """
    root = unpacked("FGVC Aircraft", folder, "data/variants.txt", "fgvc-aircraft-2013b")
    classes = tuple(read_lines(root / "data" / "variants.txt"))
    parts = {part: _read_part(root / "data", name, classes) for part, name in LISTS.items()}
    return RawDataset(classes, parts)


def _read_part(data: Path, name: str, classes: tuple[str, ...]) -> Split:
    # A line is `1025794 Cessna 172`: the variant may hold blanks, and slashes (F/A-18).
    rows = read_rows(data / name, 2)
    labels = labels_of((variant for _, variant in rows), classes, data / name)
    paths = [data / "images" / f"{image}.jpg" for image, _ in rows]
    return listed_split(paths, labels, data / name)
