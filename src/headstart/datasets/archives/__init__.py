"""The study's twelve datasets, read from folders in the layout of their creators' archives.

A reader gives the parts that the creators made, `protocol_splits` splits them as the study does,
`check_published` proves that the outcome is what was published. None of it uses a network.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from headstart.datasets.archives import (
    birdsnap,
    caltech101,
    cifar10,
    cifar100,
    dtd,
    fgvc_aircraft,
    flowers102,
    food101,
    oxford_pets,
    stanford_cars,
    sun397,
    voc2007,
)
from headstart.datasets.archives.facts import (
    Facts,
    facts_of,
    is_published_name,
    published_facts,
)
from headstart.datasets.archives.protocol import protocol_splits, without_missing
from headstart.datasets.archives.published import check_published
from headstart.datasets.raw_dataset import RawDataset
from headstart.errors import DatasetError, NotUnpackedError

__all__ = [
    "INCOMPLETE",
    "READERS",
    "Facts",
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
    "food101": food101.read,
    "cifar10": cifar10.read,
    "cifar100": cifar100.read,
    "birdsnap": birdsnap.read,
    "sun397": sun397.read,
    "stanford_cars": stanford_cars.read,
    "fgvc_aircraft": fgvc_aircraft.read,
    "voc2007": voc2007.read,
    "dtd": dtd.read,
    "oxford_pets": oxford_pets.read,
    "caltech101": caltech101.read,
    "flowers102": flowers102.read,
}
# Those of which images are known to be gone: they can be read without.
INCOMPLETE: dict[str, Callable[[Path], RawDataset]] = {
    "birdsnap": partial(birdsnap.read, allow_missing=True),
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
