"""What every source of a dataset gives: the classes, and the parts that are there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from headstart.datasets.splits import Split
from headstart.errors import DatasetError

__all__ = ["ICLOUD", "LOOSE", "RawDataset", "number_groups"]

LOOSE = "images in no class folder"
# A file that lies in iCloud and not here: .NAME.icloud.
ICLOUD = ".icloud"


@dataclass(frozen=True)
class RawDataset:
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
    left_out
        Kinds of files that lie among the images and are taken for none -> how many; and `LOOSE`,
        images that nothing gives a class.
    understood
        Which names were taken for which part, in words; "" where nothing had to be.
    notes
        What else a person should know of how it was read, a line each.
    """

    classes: tuple[str, ...]
    parts: dict[str, Split]
    missing: dict[str, int] = field(default_factory=dict)
    groups: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    understood: str = ""
    notes: tuple[str, ...] = ()


def number_groups(
    names: Mapping[str, Sequence[str]], where: str, column: str
) -> dict[str, npt.NDArray[np.int64]]:
    """Number the groups of each part, in the order of their names.

    Parameters
    ----------
    names
        For each part the group of each image.
    where, column
        What has them, for the message.

    Raises
    ------
    DatasetError
        A group is in two parts: what belongs together is split already.
    """
    owner: dict[str, str] = {}
    for part, some in names.items():
        for name in dict.fromkeys(some):
            if owner.setdefault(name, part) != part:
                raise DatasetError(
                    f"{where}: group '{name}' (column '{column}') has images in both "
                    f"{owner[name]} and {part}: put them on one side, or leave group= out",
                    code="dataset.group_split",
                    group=name,
                    parts=(owner[name], part),
                )
    places = {name: place for place, name in enumerate(sorted(owner))}
    return {
        part: np.array([places[name] for name in some], dtype=np.int64)
        for part, some in names.items()
    }
