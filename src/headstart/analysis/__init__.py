"""A table of results -> estimates."""

from headstart.analysis.analysis import Analysis, analyze
from headstart.analysis.cells import seeds_said
from headstart.analysis.columns import parse_mapping
from headstart.analysis.correlations import FEWEST_FOR_INTERVAL, FEWEST_MODELS
from headstart.analysis.effects import UPSTREAM
from headstart.analysis.names import match_names
from headstart.analysis.options import ReadOptions
from headstart.analysis.prediction import prediction_summary
from headstart.analysis.published import NAMES as PUBLISHED
from headstart.analysis.references import read_references
from headstart.analysis.source import source_notes
from headstart.analysis.speed import still_rising

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
    "seeds_said",
    "source_notes",
    "still_rising",
]
