"""The adapters: one per library of networks, found by what `Model.source` says.

A package brings another one by an entry point ``headstart.model_source`` (`headstart.registry`).
"""

from collections.abc import Mapping

from headstart.errors import UnknownNameError
from headstart.models.sources.base import Source
from headstart.registry import MODEL_SOURCES

__all__ = ["SOURCES", "Source", "source_of"]

SOURCES: Mapping[str, Source] = MODEL_SOURCES


def source_of(name: str) -> Source:
    """Return an adapter by its name, with its library installed; UnknownNameError names all."""
    if name not in SOURCES:
        raise UnknownNameError("source of models", name, SOURCES)
    SOURCES[name].require()
    return SOURCES[name]
