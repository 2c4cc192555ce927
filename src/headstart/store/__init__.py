"""The results database: one row a result, never edited, with its predictions beside it."""

from headstart.store.database import DATABASE_NAME, ResultStore
from headstart.store.table import result_row, results, results_table
from headstart.store.tried import Tried, tried, under_way

__all__ = [
    "DATABASE_NAME",
    "ResultStore",
    "Tried",
    "result_row",
    "results",
    "results_table",
    "tried",
    "under_way",
]
