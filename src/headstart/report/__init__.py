"""Estimates -> one self-contained page, LaTeX, CSV."""
