"""Sources, splits and manifests: from a name to examples that are what they claim."""

from headstart.datasets.audit import (
    VerifiedDataset,
    check_audit,
    check_images,
    count_copies,
    data_warnings,
    published_note,
    verify,
    warnings_of,
)
from headstart.datasets.catalogue import (
    all_images,
    describe,
    fetch,
    find,
    is_packaged,
    load,
    names,
    prepare_dataset,
    presence,
)
from headstart.datasets.images import ArrayImages, Decodable, FileImages, Images, JoinedImages
from headstart.datasets.sources import Description
from headstart.datasets.splits import SealedTest, Split, Splits

__all__ = [
    "ArrayImages",
    "Decodable",
    "Description",
    "FileImages",
    "Images",
    "JoinedImages",
    "SealedTest",
    "Split",
    "Splits",
    "VerifiedDataset",
    "all_images",
    "check_audit",
    "check_images",
    "count_copies",
    "data_warnings",
    "describe",
    "fetch",
    "find",
    "is_packaged",
    "load",
    "names",
    "prepare_dataset",
    "presence",
    "published_note",
    "verify",
    "warnings_of",
]
