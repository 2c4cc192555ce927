"""Catalogue and adapters: from a name to a network with its weights."""

import sys

from headstart.files import split_names
from headstart.models.facts import (
    catalogue,
    licence_of,
    model_details,
    multiply_adds,
    record_upstream,
    remarks,
)
from headstart.models.load_network import auxiliary_weight, load
from headstart.models.model_catalogue import EMBEDDED, find, runs_code, search
from headstart.models.pretrained import names as pretrained_names
from headstart.models.saved_networks import (
    choice_of,
    choice_text,
    describe,
    keep,
    keep_choice,
    settle,
    settle_all,
)
from headstart.models.weights import fetch, presence, require

__all__ = [
    "EMBEDDED",
    "auxiliary_weight",
    "catalogue",
    "choice_of",
    "choice_text",
    "describe",
    "fetch",
    "find",
    "keep",
    "keep_choice",
    "licence_of",
    "load",
    "model_details",
    "multiply_adds",
    "presence",
    "pretrained_names",
    "record_upstream",
    "remarks",
    "require",
    "runs_code",
    "search",
    "settle",
    "settle_all",
    "split_names",
]

# Scripts import `find` and `load` from a module of this name, which there was once.
sys.modules[f"{__name__}.catalogue"] = sys.modules[__name__]
