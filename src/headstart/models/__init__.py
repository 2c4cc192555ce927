"""Catalogue and adapters: from a name to a network with its weights."""

from headstart.files import split_names
from headstart.models.arithmetic import multiply_adds
from headstart.models.card import card, presence, remarks
from headstart.models.catalogue import (
    EMBEDDED,
    auxiliary_weight,
    catalogue,
    fetch,
    find,
    load,
    require,
    runs_code,
    search,
)
from headstart.models.keeping import KEY_DIGITS, keep, settle
from headstart.models.measured import record as record_upstream
from headstart.models.pretrained import names as pretrained_names

__all__ = [
    "EMBEDDED",
    "KEY_DIGITS",
    "auxiliary_weight",
    "card",
    "catalogue",
    "fetch",
    "find",
    "keep",
    "load",
    "multiply_adds",
    "presence",
    "pretrained_names",
    "record_upstream",
    "remarks",
    "require",
    "runs_code",
    "search",
    "settle",
    "split_names",
]
