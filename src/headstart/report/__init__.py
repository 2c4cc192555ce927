"""Write estimates in a registered format: a self-contained HTML page, LaTeX, CSV, JSON."""

from headstart.report.data_files import csv_table, csv_text, write_folder
from headstart.report.latex_tables import latex_tables
from headstart.report.report_page import page_html, write_page
from headstart.report.reporter import Reporter, find_reporter, write_report
from headstart.report.sentences import headline, supporting

__all__ = [
    "Reporter",
    "csv_table",
    "csv_text",
    "find_reporter",
    "headline",
    "latex_tables",
    "page_html",
    "supporting",
    "write_folder",
    "write_page",
    "write_report",
]
