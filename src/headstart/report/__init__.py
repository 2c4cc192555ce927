"""Estimates -> one self-contained page, LaTeX, CSV."""

from headstart.report.latex import latex_tables
from headstart.report.page import page_html, write_page
from headstart.report.tables import csv_table
from headstart.report.words import headline, supporting

__all__ = ["csv_table", "headline", "latex_tables", "page_html", "supporting", "write_page"]
