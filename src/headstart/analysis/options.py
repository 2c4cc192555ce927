"""The choices that an analysis leaves to its user: how to read tables, and how to analyze them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from headstart.errors import AnalysisError, TableError
from headstart.stats import ErrorBars

__all__ = ["Correction", "Duplicates", "Measure", "Options", "ReadOptions", "Unit", "Weights"]

Correction = Literal["simultaneous", "none"]
Unit = Literal["percent", "proportion"]
Weights = Literal["equal", "n_test"]
Measure = Literal["accuracy", "error"]
Duplicates = Literal["refuse", "average"]


@dataclass(frozen=True)
class ReadOptions:
    """How tables are read where they do not say it themselves.

    Parameters
    ----------
    unit
        Unit of accuracies; settled from their values if None.
    wide
        Take tables for ones with a column per dataset, even where a column is called accuracy.
    measure
        What the numbers are: accuracies, or error rates (converted to accuracies). None:
        accuracies unless a header says otherwise; a caption that says otherwise is an error.
    spread
        What stands behind ``±``: ``"se"``, a standard error, or ``"sd:5"``, a standard deviation
        over 5 runs, whose standard error is that divided by the square root of 5.
    duplicates
        Rows that contradict each other on one cell: refuse them, or average them as repeated runs.
    """

    unit: Unit | None = None
    wide: bool = False
    measure: Measure | None = None
    spread: str = "se"
    duplicates: Duplicates = "refuse"

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("unit", self.unit, (None, *get_args(Unit))),
            ("measure", self.measure, (None, *get_args(Measure))),
            ("duplicates", self.duplicates, get_args(Duplicates)),
        ):
            if value not in allowed:
                expected = " or ".join(str(one) for one in allowed if one)
                raise TableError(f"invalid {name} '{value}': expected {expected}",
                                 code=f"table.{name}", found=value)  # fmt: skip
        if self.spread != "se" and not re.fullmatch(r"sd:[1-9]\d{0,5}", self.spread):
            raise TableError(
                f"invalid spread '{self.spread}': expected se (standard errors) or sd:N (standard "
                "deviations over N runs), for example sd:5",
                code="table.spread", found=self.spread,
            )  # fmt: skip

    @property
    def runs(self) -> int:
        """Number of runs whose standard deviation is given; 1 for standard errors."""
        return int(self.spread.removeprefix("sd:")) if self.spread != "se" else 1


@dataclass(frozen=True)
class Options:
    """The choices that an analysis leaves to its user.

    Parameters
    ----------
    error_bars
        "morey" (within-dataset standard errors, unbiased) or "cousineau" (as the paper drew them).
    correction
        For many comparisons at once: "simultaneous", by which all intervals of one family of
        comparisons hold together at `level` (Bonferroni's inequality), or "none", each by itself.
        Always printed with the tests.
    resamples
        Bootstrap resamples, and permutations of a permutation test.
    seed
        Of the bootstrap and the permutations.
    pairs
        Whether pairs of models over datasets are written also where there are many models.
    groups
        Dataset -> group of datasets that is analysed apart; None: by the size of their training
        sets, in each setting.
    weights
        What a dataset weighs in means over datasets, and so in correlations, ranks and comparisons
        of models: "equal", or its number of test images, "n_test". The mixed model and differences
        of settings are not weighted.
    level
        Coverage of all intervals; 1 - level is what a p-value is held against.
    """

    error_bars: ErrorBars = "morey"
    correction: Correction = "simultaneous"
    resamples: int = 10_000
    seed: int = 0
    groups: Mapping[str, str] | None = None
    level: float = 0.95
    pairs: bool = False
    weights: Weights = "equal"

    def __post_init__(self) -> None:
        if self.error_bars not in ("morey", "cousineau"):
            raise AnalysisError(f"error bars: expected morey or cousineau, found {self.error_bars}")
        if self.correction not in ("simultaneous", "none"):
            raise AnalysisError(
                f"correction: expected simultaneous or none, found {self.correction}",
                code="analysis.correction_unknown",
                found=self.correction,
            )
        if self.weights not in get_args(Weights):
            raise AnalysisError(
                f"invalid weights '{self.weights}': expected equal or n_test",
                code="analysis.weights",
                found=self.weights,
            )
        if not isinstance(self.resamples, int) or self.resamples < 100:
            raise AnalysisError(
                f"resamples: expected a whole number of at least 100, found {self.resamples}"
            )
        if not isinstance(self.seed, int) or self.seed < 0:
            raise AnalysisError(f"seed: expected a whole number from 0 on, found {self.seed}")

    @property
    def corrected(self) -> bool:
        """Whether comparisons are corrected for how many there are."""
        return self.correction == "simultaneous"
