"""Write estimates in a registered format: a self-contained HTML page, LaTeX, CSV, JSON.

A name is imported when it is first used: a table on a terminal needs neither charts nor templates.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headstart.report.analysis_answer import Answer, answer_of
    from headstart.report.latex import latex_tables
    from headstart.report.report_page import page_html
    from headstart.report.reporter import (
        Reporter,
        csv_table,
        csv_text,
        find_reporter,
        write_folder,
        write_report,
    )

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

ELSEWHERE = {
    "Answer": "analysis_answer",
    "answer_of": "analysis_answer",
    "latex_tables": "latex",
    "page_html": "report_page",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'headstart.report' has no attribute '{name}'")
    home = ELSEWHERE.get(name, "reporter")
    return getattr(import_module(f"headstart.report.{home}"), name)
