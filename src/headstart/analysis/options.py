"""The choices that an analysis leaves to its user."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from headstart.errors import AnalysisError
from headstart.stats import ErrorBars

__all__ = ["Correction", "Options"]

Correction = Literal["none", "holm"]


@dataclass(frozen=True)
class Options:
    """The choices that an analysis leaves to its user.

    Parameters
    ----------
    error_bars
        "morey" (within-dataset standard errors, unbiased) or "cousineau" (as the paper drew them).
    correction
        For many tests at once: "none" or "holm". Always said with the tests.
    resamples
        Bootstrap resamples, and permutations of a permutation test.
    seed
        Of the bootstrap and the permutations.
    groups
        Dataset -> group of datasets that is analysed apart; None: by the size of their training
        sets, in each setting.
    level
        Coverage of all intervals; 1 - level is what a p-value is held against.
    """

    error_bars: ErrorBars = "morey"
    correction: Correction = "none"
    resamples: int = 10_000
    seed: int = 0
    groups: Mapping[str, str] | None = None
    level: float = 0.95

    def __post_init__(self) -> None:
        if self.error_bars not in ("morey", "cousineau"):
            raise AnalysisError(f"error bars: expected morey or cousineau, found {self.error_bars}")
        if self.correction not in ("none", "holm"):
            raise AnalysisError(f"correction: expected none or holm, found {self.correction}")
        if not isinstance(self.resamples, int) or self.resamples < 100:
            raise AnalysisError(
                f"resamples: expected a whole number of at least 100, found {self.resamples}"
            )
        if not isinstance(self.seed, int) or self.seed < 0:
            raise AnalysisError(f"seed: expected a whole number from 0 on, found {self.seed}")
