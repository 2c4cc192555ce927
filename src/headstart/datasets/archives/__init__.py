"""The study's twelve datasets, read from folders in the layout of their creators' archives.

A reader gives the parts that the creators made, `protocol_splits` splits them as the study does,
`check_published` proves that the outcome is what was published. None of it uses a network.
"""

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
from headstart.datasets.archives.readers import INCOMPLETE, READERS, VOC_CLASSES, is_archive
from headstart.datasets.splits import RawDataset

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
