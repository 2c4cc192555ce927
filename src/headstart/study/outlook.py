"""What a study needs before it is run: what is here, what is missing, how much it takes.

Nothing is built, downloaded or decoded.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart import datasets, models, settings
from headstart.errors import HeadstartError
from headstart.spec import Dataset, LinearSetting, Model, Sizes, Trial
from headstart.store import ResultStore
from headstart.study.study import Study

__all__ = ["Need", "Outlook", "outlook"]

FLOAT32_BYTES = 4
# Of a network's arithmetic against one large product of matrices, both in float32 on a processor:
# what benchmarks/features.py reached lies from 0.3 to 0.9 of it.
EFFICIENCY = 0.5
PRODUCT_SIDE = 1024
PRODUCT_SECONDS = 0.3


@dataclass(frozen=True)
class Need:
    """A model, a dataset or a setting that a study names.

    Parameters
    ----------
    kind
        ``"model"``, ``"dataset"`` or ``"setting"``.
    name
        As the study has it.
    present
        Whether it can be used now.
    place
        Where it is; of what is missing how to get it.
    """

    kind: str
    name: str
    present: bool
    place: str


@dataclass(frozen=True)
class Outlook:
    """What a study needs.

    Parameters
    ----------
    needs
        Every model, dataset and setting.
    n_trials, n_stored, n_ready
        Trials in all; those that are stored; those for which nothing is missing.
    weight_bytes, feature_bytes
        To download: float32 weights of the models that are missing. To keep on disk: features of
        the trials that are not stored.
    multiply_adds
        Of the forward passes of the trials that are not stored, None where a network's are unknown.
    unknown_sizes
        Datasets whose number of images shows only when they are there: the bytes are without them.
    """

    needs: tuple[Need, ...]
    n_trials: int
    n_stored: int
    n_ready: int
    weight_bytes: int
    feature_bytes: int
    multiply_adds: float | None
    unknown_sizes: tuple[str, ...]

    def hours(self, rate: float) -> float | None:
        """Estimate the hours of the forward passes from multiply-adds a second."""
        if self.multiply_adds is None:
            return None
        return self.multiply_adds / (EFFICIENCY * rate) / 3600


def matrix_rate() -> float:
    """Measure the multiply-adds a second of large products of matrices, float32, here and now."""
    A = np.ones((PRODUCT_SIDE, PRODUCT_SIDE), dtype=np.float32)
    A @ A
    start, products = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < PRODUCT_SECONDS:
        A @ A
        products += 1
    return products * PRODUCT_SIDE**3 / spent
