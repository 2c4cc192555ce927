"""Estimates -> one self-contained page, LaTeX, CSV."""

from headstart.report.page import page_html, write_page
from headstart.report.words import headline, supporting

__all__ = ["headline", "page_html", "supporting", "write_page"]
