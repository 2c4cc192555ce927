"""What every source of a dataset gives: the classes, and the parts that are there."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from headstart.datasets.splits import Split

__all__ = ["Archive"]


@dataclass(frozen=True)
class Archive:
    """A dataset as it is distributed, or as its owner keeps it.

    Parameters
    ----------
    classes
        Names in the order of the labels.
    parts
        ``train`` and ``test``, and ``validation`` where there is one; ``all`` where there are no
        parts.
    missing
        How many images of a part are listed and are not there, for parts with some.
    groups
        For each part (n,) int64: images of one number belong together (a patient, a session) and
        must not be split. Empty where nothing says so.
    """

    classes: tuple[str, ...]
    parts: dict[str, Split]
    missing: dict[str, int] = field(default_factory=dict)
    groups: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)
