"""Write estimates in a registered format: a self-contained HTML page, LaTeX, CSV, JSON.

A name is imported when it is first used: a table on a terminal needs neither charts nor templates.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headstart.report.analysis_answer import Answer, answer_of
    from headstart.report.data_files import csv_table, csv_text, write_folder
    from headstart.report.latex import latex_tables
    from headstart.report.report_page import page_html
    from headstart.report.reporter import Reporter, find_reporter, write_report

__all__ = [
    "Answer",
    "Reporter",
    "answer_of",
    "csv_table",
    "csv_text",
    "find_reporter",
    "latex_tables",
    "page_html",
    "write_folder",
    "write_report",
]

HOMES = {
    "analysis_answer": ("Answer", "answer_of"),
    "data_files": ("csv_table", "csv_text", "write_folder"),
    "latex": ("latex_tables",),
    "report_page": ("page_html",),
    "reporter": ("Reporter", "find_reporter", "write_report"),
}


def __getattr__(name: str) -> Any:
    for module, names in HOMES.items():
        if name in names:
            return getattr(import_module(f"headstart.report.{module}"), name)
    raise AttributeError(f"module 'headstart.report' has no attribute '{name}'")
