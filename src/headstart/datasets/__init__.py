"""Catalogue, adapters, splits and manifests: from a name to examples that are what they claim."""

from headstart.datasets.catalogue import EMBEDDED, describe, fetch, find, load, names, presence
from headstart.datasets.images import ArrayImages, Decodable, FileImages, Images, JoinedImages
from headstart.datasets.splits import SealedTest, Split, Splits

__all__ = [
    "EMBEDDED",
    "ArrayImages",
    "Decodable",
    "FileImages",
    "Images",
    "JoinedImages",
    "SealedTest",
    "Split",
    "Splits",
    "describe",
    "fetch",
    "find",
    "load",
    "names",
    "presence",
]
