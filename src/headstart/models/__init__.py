"""Catalogue and adapters: from a name to a network with its weights."""

from headstart.models.catalogue import catalogue, find, load, presence, require

__all__ = ["catalogue", "find", "load", "presence", "require"]
