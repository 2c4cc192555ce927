"""What many results say."""

from typing import Annotated

from pydantic import Field

from headstart.spec.noun import Noun

__all__ = ["Estimate"]


class Estimate(Noun):
    """A mean with an interval: `level` of such intervals, made by `method`, hold the truth."""

    mean: float
    low: float
    high: float
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    n: Annotated[int, Field(gt=0)]
    method: str
