"""One choice of hyperparameters, and what it reached on validation."""

from typing import Annotated, Any, Literal

from pydantic import Field

from headstart.spec.digest import digest
from headstart.spec.noun import Noun

__all__ = ["Candidate", "Measurement", "Value"]

# A hyperparameter: a number, or a word ("central").
Value = float | str


class Candidate(Noun):
    """Hyperparameters that are measured on validation together, by name.

    What a setting measures in one go is one candidate: the linear setting's whole path of lambdas
    is one, without any values.
    """

    values: dict[str, Value] = {}

    @property
    def key(self) -> str:
        """Digest of the values (64 hex digits)."""
        return digest(self.values)


class Measurement(Noun):
    """What a candidate reached on validation: a row of the curve for each choice that it holds.

    `examples` is the revision of the splits that it was made on, `seconds` the time each part took,
    `facts` say what made it. A candidate that diverged has the rows that it reached, if any, and
    is not chosen.
    """

    candidate: Candidate
    examples: str
    status: Literal["complete", "diverged"] = "complete"
    curve: Annotated[tuple[dict[str, Value], ...], Field(min_length=1)]
    seconds: dict[str, float] = {}
    facts: dict[str, Any] = {}
