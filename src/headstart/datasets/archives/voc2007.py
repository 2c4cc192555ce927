"""PASCAL VOC 2007, classification: 9,963 photographs, 20 classes, any number in one image.

Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 88 (2010).
"""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from headstart.datasets.archives.lists import FRESH_COPY, listed_split, read_lines, unpacked
from headstart.datasets.raw_dataset import RawDataset
from headstart.datasets.splits import Split
from headstart.errors import DatasetError, DatasetMissingError
from headstart.files import storage_errors

__all__ = ["CLASSES", "read"]

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
LISTS = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}
PRESENT, DIFFICULT_ONLY, ABSENT = 1, 0, -1


def read(folder: Path) -> RawDataset:
    """Read ``VOC2007``, where the archives of train + val and of test unpack to.

    Labels are (n, 20) int64 in {1 present, 0 difficult only, -1 absent}, as in the development
    kit: a class of which an image shows only objects that are marked difficult is neither.

    Raises
    ------
    DatasetMissingError, DatasetError
        Lists, annotations or images that are missing; an object that is none of the 20 classes.
    """
    marker = "ImageSets/Main/train.txt"
    root = unpacked("PASCAL VOC 2007", folder, marker, "VOC2007", "VOCdevkit/VOC2007")
    parts = {
        part: _read_part(root, root / "ImageSets" / "Main" / name) for part, name in LISTS.items()
    }
    return RawDataset(CLASSES, parts)


def _read_part(root: Path, path: Path) -> Split:
    images = read_lines(path)
    annotations = [root / "Annotations" / f"{image}.xml" for image in images]
    gone = [place for place in annotations if not place.is_file()]
    if gone:
        raise DatasetMissingError(
            f"{len(gone):,} of the {len(images):,} images that {path} lists have no annotations, "
            f"first {gone[0]}: unpack the archives of train + val and of test in the same folder"
        )
    labels = [_read_labels(place) for place in annotations]
    paths = [root / "JPEGImages" / f"{image}.jpg" for image in images]
    return listed_split(paths, np.array(labels, np.int64).reshape(-1, len(CLASSES)), path)


def _read_labels(path: Path) -> npt.NDArray[np.int64]:
    """Read which classes are in an image: (20,) int64."""
    with storage_errors(path, reading=True):
        content = path.read_bytes()
    try:
        # The parser limits the expansion of entities itself (expat from 2.4.1 on).
        annotation = ElementTree.fromstring(content)  # noqa: S314
    except ElementTree.ParseError as error:
        raise DatasetError(f"{path} is not XML ({error}): {FRESH_COPY}") from error
    labels = np.full(len(CLASSES), ABSENT, dtype=np.int64)
    # Objects have parts with names of their own (head, hand), which lie a level deeper.
    for found in annotation.findall("object"):
        name = found.findtext("name", "").strip()
        if name not in CLASSES:
            raise DatasetError(
                f"{path} has an object of class '{name}', which is none of the 20: {FRESH_COPY}"
            )
        difficult = found.findtext("difficult", "0").strip() == "1"
        place = CLASSES.index(name)
        labels[place] = max(labels[place], DIFFICULT_ONLY if difficult else PRESENT)
    return labels
