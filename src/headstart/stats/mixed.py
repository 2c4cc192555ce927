"""Crossed random effects: models and datasets are both samples."""

import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

__all__ = ["MixedModel", "mixed_model"]


class MixedModel(NamedTuple):
    """The slope with its standard error and Wald interval, and the standard deviations."""

    slope: float
    se: float
    low: float
    high: float
    sd_dataset: float
    sd_model: float
    sd_residual: float
    converged: bool


def mixed_model(
    log_odds: npt.ArrayLike,
    upstream: npt.ArrayLike,
    model: npt.ArrayLike,
    dataset: npt.ArrayLike,
    level: float = 0.95,
) -> MixedModel:
    """Fit log odds ~ upstream + (1 | dataset) + (1 | model) by restricted maximum likelihood.

    The two random intercepts are crossed: every observation is in one group, with a variance
    component a factor (statsmodels' `MixedLM`). Cells may be missing.

    Parameters
    ----------
    log_odds, upstream
        (n,) the transfer log odds of each cell, and its model's upstream logit.
    model, dataset
        (n,) integer codes 0..M-1 and 0..D-1.
    """
    # Imported here: it takes longer than all the rest, and not every table needs it.
    from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

    y, x = np.asarray(log_odds, dtype=np.float64), np.asarray(upstream, dtype=np.float64)
    indicators = [_indicators(codes) for codes in (dataset, model)]
    names = [[str(i) for i in range(one.shape[1])] for one in indicators]
    components = VCSpec(["dataset", "model"], [[name] for name in names], [[i] for i in indicators])
    # The slope does not change when x is centred; the optimiser's path gets shorter.
    design = np.column_stack([np.ones(len(y)), x - x.mean()])
    fitted_model = MixedLM(y, design, groups=np.ones(len(y)), exog_vc=components)
    with warnings.catch_warnings():
        # A variance of 0 is an answer here; whether it converged is in the outcome.
        warnings.simplefilter("ignore")
        fitted = fitted_model.fit(reml=True)
    slope, se = float(fitted.fe_params[1]), float(fitted.bse_fe[1])
    half = float(ndtri((1 + level) / 2)) * se
    sd_dataset, sd_model = (float(v) for v in np.sqrt(np.maximum(fitted.vcomp, 0)))
    return MixedModel(
        slope=slope,
        se=se,
        low=slope - half,
        high=slope + half,
        sd_dataset=sd_dataset,
        sd_model=sd_model,
        sd_residual=float(np.sqrt(fitted.scale)),
        converged=bool(fitted.converged),
    )


def _indicators(codes: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(n, levels) with a 1 where the observation is of that level."""
    codes = np.asarray(codes)
    return np.asarray(codes[:, None] == np.arange(codes.max() + 1), dtype=np.float64)
