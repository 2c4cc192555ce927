"""The results database: one row per result, never edited, with its predictions beside it."""

from headstart.store.backend import is_store_url
from headstart.store.database import ResultStore
from headstart.store.leases import Lease
from headstart.store.reading import Page
from headstart.store.results_frame import (
    Tried,
    data_warnings,
    left_out,
    result_row,
    results,
    results_table,
    tried,
    under_way,
)
from headstart.store.sqlite import DATABASE_NAME

__all__ = [
    "DATABASE_NAME",
    "Lease",
    "Page",
    "ResultStore",
    "Tried",
    "data_warnings",
    "is_store_url",
    "left_out",
    "result_row",
    "results",
    "results_table",
    "tried",
    "under_way",
]
