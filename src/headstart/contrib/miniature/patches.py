"""Patches: which of 14 photographs that scikit-image ships a square of 32 pixels is cut from.

Each photograph is divided into blocks of 64 pixels, and each block belongs to one split: no pixel
of a test image is in a training image. Brightness and contrast vary; a square in which next to
nothing is to be seen is passed over.

Only files that are in the package itself, and losslessly compressed ones: decoders of JPEG differ.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from headstart.contrib.miniature.raster import (
    BRIGHTNESS,
    SIDE,
    Ints,
    Pixels,
    SyntheticDataset,
    finished,
)
from headstart.errors import DatasetMissingError
from headstart.files import storage_errors

__all__ = ["DATASET", "find"]

# Class -> file.
PHOTOGRAPHS = {
    "astronaut": "astronaut",
    "brick": "brick",
    "camera": "camera",
    "cell": "cell",
    "chelsea": "chelsea",
    "coffee": "coffee",
    "coins": "coins",
    "grass": "grass",
    "gravel": "gravel",
    "ihc": "ihc",
    "moon": "moon",
    "motorcycle": "motorcycle_left",
    "page": "page",
    "text": "text",
}
CLASSES = tuple(PHOTOGRAPHS)
BLOCK = 64
# Of ten blocks of a photograph.
SHARES = {"train": range(5), "validation": range(5, 7), "test": range(7, 10)}
# Between the darkest and the brightest pixel, of 255.
LEAST_CONTRAST = 30


def find() -> Path | None:
    """Find the folder of the photographs; None where scikit-image is not installed."""
    # Not imported: that takes a while, and only its files are wanted.
    spec = find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "data"


@cache
def _photograph(name: str) -> Ints:
    """Read a photograph: (height, width, 3)."""
    folder = find()
    if folder is None:
        raise DatasetMissingError("dataset 'patches' is cut from photographs of scikit-image")
    path = folder / f"{PHOTOGRAPHS[name]}.png"
    with storage_errors(path, reading=True), Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=np.int32)


@cache
def _blocks(name: str, split: str) -> list[tuple[int, int]]:
    """Return the blocks of a photograph that belong to a split, by row and column."""
    height, width = _photograph(name).shape[:2]
    rows, columns = height // BLOCK, width // BLOCK
    order = np.random.RandomState(CLASSES.index(name)).permutation(rows * columns).tolist()
    return [divmod(block, columns) for i, block in enumerate(order) if i % 10 in SHARES[split]]


def _draw(random: np.random.RandomState, label: int, split: str) -> Pixels:
    name = CLASSES[label]
    photograph, blocks = _photograph(name), _blocks(name, split)
    contrast = 0
    while contrast < LEAST_CONTRAST:
        row, column = blocks[random.randint(len(blocks))]
        y, x = random.randint(0, BLOCK - SIDE + 1, 2) + np.array([row, column]) * BLOCK
        square = photograph[y : y + SIDE, x : x + SIDE]
        brightness = square @ BRIGHTNESS // 1000
        contrast = int(brightness.max() - brightness.min())
    middle = int(brightness.sum()) // SIDE**2
    steepness, shift = random.randint(170, 321), random.randint(-40, 41)
    image = ((square - middle) * steepness >> 8) + middle + shift
    return finished(random, image, noise=12)


DATASET = SyntheticDataset(
    "patches",
    CLASSES,
    {"train": 144, "validation": 44, "test": 144},
    _draw,
    "Blocks of 64 pixels of each photograph: each belongs to one split.",
)
