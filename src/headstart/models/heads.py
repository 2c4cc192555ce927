"""Where a library's network has its classifier, and what its logits are made of.

A classifier is a linear layer, or layers that compute a linear map together. `Head` says which
these are; `headstart.models.linear_map` makes one linear layer of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Head", "Part"]


@dataclass(frozen=True)
class Part:
    """A layer that gives logits.

    Parameters
    ----------
    path
        Of a linear layer or a 1x1 convolution, among the submodules.
    norm
        Path of a batch norm that only this layer is behind; empty if there is none.
    takes
        Which of the network's vectors it takes: 0, 1, ... Parts with the same number take the same.
    share
        Its weight in the sum of logits: 1/2 each where two are averaged. Those of a head add up to
        1.
    """

    path: str
    norm: str = ""
    takes: int = 0
    share: float = 1.0

    @property
    def paths(self) -> tuple[str, ...]:
        """Its layers in the order in which they compute."""
        return (self.norm, self.path) if self.norm else (self.path,)


@dataclass(frozen=True)
class Head:
    """A classifier: the logits are the sum of what its parts give, weighted by their shares.

    Parameters
    ----------
    parts
        None where the network has no classifier.
    exact
        False where the library adds what is no linear map of one vector: SqueezeNet rectifies the
        logits of each place before it averages them. The trained classifier is then not used.
    """

    parts: tuple[Part, ...] = ()
    exact: bool = True

    @classmethod
    def at(cls, path: str, *, exact: bool = True) -> "Head":
        """Name the one layer that classifies; "" for none."""
        return cls((Part(path),) if path else (), exact)

    @classmethod
    def mean(cls, parts: Iterable[Part]) -> "Head":
        """Average the logits of several layers."""
        found = tuple(parts)
        share = 1 / len(found)
        return cls(tuple(Part(part.path, part.norm, part.takes, share) for part in found))

    @property
    def paths(self) -> tuple[str, ...]:
        """All layers of the classifier: they stay out of the features."""
        return tuple(path for part in self.parts for path in part.paths)

    @property
    def name(self) -> str:
        """Path of the first layer that gives logits, for messages."""
        return self.parts[0].path if self.parts else ""
