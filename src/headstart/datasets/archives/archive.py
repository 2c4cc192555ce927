"""What a reader gives: the classes, and the parts that the creators made."""

from dataclasses import dataclass, field

from headstart.datasets.splits import Split

__all__ = ["Archive"]


@dataclass(frozen=True)
class Archive:
    """A dataset as its creators distribute it.

    Parameters
    ----------
    classes
        Names in the order of the labels.
    parts
        ``train`` and ``test``, and ``validation`` where the creators have one; ``all`` where they
        made no parts.
    missing
        How many images of a part the creators list and the folder has not, for parts with some.
    """

    classes: tuple[str, ...]
    parts: dict[str, Split]
    missing: dict[str, int] = field(default_factory=dict)
