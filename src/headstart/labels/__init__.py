"""Kinds of labels (single-label, multi-label), by a dataset's metric: counts, subsets, loss."""

from headstart.labels.draws import balanced_subset, few_of_each, hold_out, hold_out_exactly
from headstart.labels.kinds import LabelKind, MultiLabel, SingleLabel, kind_of
from headstart.labels.multilabel import balanced_rows, hold_out_rows

__all__ = [
    "LabelKind",
    "MultiLabel",
    "SingleLabel",
    "balanced_rows",
    "balanced_subset",
    "few_of_each",
    "hold_out",
    "hold_out_exactly",
    "hold_out_rows",
    "kind_of",
]
