"""A table of results -> estimates."""

from headstart.analysis.analysis import Analysis, analyze
from headstart.analysis.cells import seeds_said
from headstart.analysis.correlations import FEWEST_FOR_INTERVAL, FEWEST_MODELS
from headstart.analysis.prediction import prediction_summary
from headstart.analysis.published import NAMES as PUBLISHED
from headstart.analysis.sweeps import UPSTREAM, still_rising
from headstart.analysis.tables.canonical_names import match_names
from headstart.analysis.tables.column_names import parse_mapping
from headstart.analysis.tables.joined_tables import source_notes
from headstart.analysis.tables.results_sources import read_references, read_sources, store_of
from headstart.analysis.tables.tidy_table import ReadOptions

__all__ = [
    "FEWEST_FOR_INTERVAL",
    "FEWEST_MODELS",
    "PUBLISHED",
    "UPSTREAM",
    "Analysis",
    "ReadOptions",
    "analyze",
    "match_names",
    "parse_mapping",
    "prediction_summary",
    "read_references",
    "read_sources",
    "seeds_said",
    "source_notes",
    "still_rising",
    "store_of",
]
