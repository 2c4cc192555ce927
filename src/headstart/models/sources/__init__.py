"""The adapters: one a library of networks, found by what `Model.source` says."""

from collections.abc import Mapping
from types import MappingProxyType

from headstart.errors import UnknownNameError
from headstart.models.sources.base import Source
from headstart.models.sources.embedded import Embedded
from headstart.models.sources.function import Function
from headstart.models.sources.hf import HuggingFace
from headstart.models.sources.pytorchcv import Pytorchcv
from headstart.models.sources.small import Small
from headstart.models.sources.timm import Timm
from headstart.models.sources.torchvision import Torchvision

__all__ = ["SOURCES", "Source", "source_of"]

ALL = (Embedded(), Timm(), Torchvision(), Pytorchcv(), HuggingFace(), Small(), Function())
SOURCES: Mapping[str, Source] = MappingProxyType({source.name: source for source in ALL})


def source_of(name: str) -> Source:
    """Find an adapter by its name, with its library installed; UnknownNameError tells all."""
    if name not in SOURCES:
        raise UnknownNameError("source of models", name, SOURCES)
    SOURCES[name].require()
    return SOURCES[name]
