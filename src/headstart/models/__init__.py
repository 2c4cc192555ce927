"""Catalogue and adapters: from a name to a network with its weights."""

from headstart.models.card import card, presence
from headstart.models.catalogue import (
    EMBEDDED,
    catalogue,
    fetch,
    find,
    load,
    require,
    runs_code,
    search,
)

__all__ = [
    "EMBEDDED",
    "card",
    "catalogue",
    "fetch",
    "find",
    "load",
    "presence",
    "require",
    "runs_code",
    "search",
]
