"""Write estimates in a registered format: a self-contained HTML page, LaTeX, CSV, JSON."""

from headstart.report.analysis_answer import Answer, answer_of
from headstart.report.data_files import csv_table, csv_text, write_folder
from headstart.report.latex_tables import latex_tables
from headstart.report.report_page import page_html, write_page
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
    "write_page",
    "write_report",
]
