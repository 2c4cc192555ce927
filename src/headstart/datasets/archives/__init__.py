"""The study's twelve datasets, read from folders in the layout of their creators' archives.

A reader gives the parts that the creators made, `protocol_splits` splits them as the study does,
`check_published` proves that the outcome is what was published. None of it uses a network.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from headstart.datasets.archives.cifar import read_cifar10, read_cifar100
from headstart.datasets.archives.image_lists import (
    VOC_CLASSES,
    read_birdsnap,
    read_caltech101,
    read_dtd,
    read_fgvc_aircraft,
    read_food101,
    read_oxford_pets,
    read_sun397,
    read_voc2007,
)
from headstart.datasets.archives.matlab import read_flowers102, read_stanford_cars
from headstart.datasets.archives.published import (
    Facts,
    HubCopy,
    check_published,
    facts_of,
    is_published_name,
    protocol_splits,
    published_facts,
    without_missing,
)
from headstart.datasets.splits import RawDataset
from headstart.errors import DatasetError, NotUnpackedError

__all__ = [
    "INCOMPLETE",
    "READERS",
    "VOC_CLASSES",
    "Facts",
    "HubCopy",
    "RawDataset",
    "check_published",
    "facts_of",
    "is_archive",
    "is_published_name",
    "protocol_splits",
    "published_facts",
    "without_missing",
]

# By key of the catalogue.
READERS: dict[str, Callable[[Path], RawDataset]] = {
    "food101": read_food101,
    "cifar10": read_cifar10,
    "cifar100": read_cifar100,
    "birdsnap": read_birdsnap,
    "sun397": read_sun397,
    "stanford_cars": read_stanford_cars,
    "fgvc_aircraft": read_fgvc_aircraft,
    "voc2007": read_voc2007,
    "dtd": read_dtd,
    "oxford_pets": read_oxford_pets,
    "caltech101": read_caltech101,
    "flowers102": read_flowers102,
}
# Those of which images are known to be gone: they can be read without.
INCOMPLETE: dict[str, Callable[[Path], RawDataset]] = {
    "birdsnap": partial(read_birdsnap, allow_missing=True)
}


def is_archive(key: str, folder: Path) -> bool:
    """Whether a folder holds the creators' archive of a dataset, whole or in part."""
    try:
        READERS[key](folder)
    except NotUnpackedError:
        return False
    except DatasetError:
        return True
    return True
