"""Estimates -> figures for print; knows tidy tables only."""
