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
from headstart.datasets.checking import Checked, check_images, oddities, verified, verify
from headstart.datasets.images import ArrayImages, Decodable, FileImages, Images, JoinedImages
from headstart.datasets.inspection import check
from headstart.datasets.preparing import prepare_dataset
from headstart.datasets.sources import Description
from headstart.datasets.splits import SealedTest, Split, Splits

__all__ = [
    "EMBEDDED",
    "ArrayImages",
    "Checked",
    "Decodable",
    "Description",
    "FileImages",
    "Images",
    "JoinedImages",
    "SealedTest",
    "Split",
    "Splits",
    "all_images",
    "check",
    "check_images",
    "describe",
    "fetch",
    "find",
    "load",
    "names",
    "oddities",
    "prepare_dataset",
    "presence",
    "verified",
    "verify",
]
