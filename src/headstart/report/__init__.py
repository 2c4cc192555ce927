"""Estimates -> one self-contained page, LaTeX, CSV."""

from headstart.report.export import csv_table, latex_tables
from headstart.report.report_page import page_html, write_page
from headstart.report.sentences import headline, supporting

__all__ = ["csv_table", "headline", "latex_tables", "page_html", "supporting", "write_page"]
