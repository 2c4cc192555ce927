"""Catalogue, adapters, splits and manifests: from a name to examples that are what they claim."""

from headstart.datasets.catalogue import (
    NAMES,
    find,
    load,
    prepare,
    presence,
    published_manifest,
)
from headstart.datasets.images import ArrayImages, Decodable, FileImages, Images, JoinedImages
from headstart.datasets.splits import SealedTest, Split, Splits

__all__ = [
    "NAMES",
    "ArrayImages",
    "Decodable",
    "FileImages",
    "Images",
    "JoinedImages",
    "SealedTest",
    "Split",
    "Splits",
    "find",
    "load",
    "prepare",
    "presence",
    "published_manifest",
]
