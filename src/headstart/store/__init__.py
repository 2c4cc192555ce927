"""The results database: one row per result, never edited, with its predictions beside it."""

from headstart.store.database import DATABASE_NAME, Page, ResultStore
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

__all__ = [
    "DATABASE_NAME",
    "Page",
    "ResultStore",
    "Tried",
    "data_warnings",
    "left_out",
    "result_row",
    "results",
    "results_table",
    "tried",
    "under_way",
]
