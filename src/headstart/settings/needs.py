"""What a trial needs of the machine, asked before anything runs."""

from dataclasses import dataclass

__all__ = ["Needs"]


@dataclass(frozen=True)
class Needs:
    """What a trial needs of the machine.

    Parameters
    ----------
    weights
        Whether the model's pretrained weights.
    features
        Whether a forward pass whose features are kept, in the setting's precision.
    table, rows
        What it keeps, and which part of it: trials that name the same share what they keep.
    n_bytes, whole
        How many bytes that part takes, and the table when all of it is there.
    """

    weights: bool
    features: bool
    table: str
    rows: str
    n_bytes: int
    whole: int
