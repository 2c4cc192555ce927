"""Sources, splits and manifests: from a name to examples that are what they claim."""

from headstart.datasets.catalogue import (
    EMBEDDED,
    all_images,
    describe,
    fetch,
    find,
    load,
    names,
    presence,
)
from headstart.datasets.checking import (
    VerifiedDataset,
    check_images,
    data_warnings,
    verified,
    verify,
    warnings_of,
)
from headstart.datasets.dataset_prepare import prepare_dataset
from headstart.datasets.images import ArrayImages, Decodable, FileImages, Images, JoinedImages
from headstart.datasets.inspection import check
from headstart.datasets.sources import Description
from headstart.datasets.splits import SealedTest, Split, Splits

__all__ = [
    "EMBEDDED",
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
    "check",
    "check_images",
    "data_warnings",
    "describe",
    "fetch",
    "find",
    "load",
    "names",
    "prepare_dataset",
    "presence",
    "verified",
    "verify",
    "warnings_of",
]
