"""Catalogue and adapters: from a name to a network with its weights."""

from headstart.models.catalogue import (
    EMBEDDED,
    catalogue,
    fetch,
    find,
    load,
    presence,
    require,
    search,
)

__all__ = ["EMBEDDED", "catalogue", "fetch", "find", "load", "presence", "require", "search"]
