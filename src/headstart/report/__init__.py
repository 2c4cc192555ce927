"""Write estimates as one self-contained HTML page, LaTeX and CSV."""

from headstart.report.export import csv_table, csv_text, latex_tables
from headstart.report.report_page import page_html, write_page
from headstart.report.sentences import headline, supporting

__all__ = [
    "csv_table",
    "csv_text",
    "headline",
    "latex_tables",
    "page_html",
    "supporting",
    "write_page",
]
