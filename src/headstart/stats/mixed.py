"""Crossed random effects: models and datasets are both samples."""

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

if TYPE_CHECKING:
    from statsmodels.regression.mixed_linear_model import MixedLMResults

__all__ = ["MixedModel", "mixed_model"]

Floats = npt.NDArray[np.float64]
# A start on the boundary would stay there: the smallest ratio of variances that one begins with.
SMALLEST_START = 1e-3


class MixedModel(NamedTuple):
    """The slope with its standard error and interval, and the standard deviations."""

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
    component a factor (statsmodels' `MixedLM`). Cells may be missing. Upstream accuracy varies
    between models alone, so the interval of its slope is Student's with M - 2 degrees of freedom:
    exact for a complete table, where the slope is the least-squares slope of the models' means,
    unless the variance of models is estimated as 0: it then errs to the wide side.

    Parameters
    ----------
    log_odds, upstream
        (n,) the transfer log odds of each cell, and its model's upstream logit.
    model, dataset
        (n,) integer codes 0..M-1 and 0..D-1.

    Raises
    ------
    ValueError
        Under three models, or too few cells to tell the two intercepts and the residual apart.
    """
    # Imported here: it takes longer than all the rest, and not every table needs it.
    from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

    y, x = np.asarray(log_odds, dtype=np.float64), np.asarray(upstream, dtype=np.float64)
    indicators = [_indicators(codes) for codes in (dataset, model)]
    n_models = indicators[1].shape[1]
    start, spread = _moments(y, x, *indicators)
    if n_models < 3 or not spread > 0:
        raise ValueError("expected three models, and more cells than models and datasets")
    names = [[str(i) for i in range(one.shape[1])] for one in indicators]
    components = VCSpec(["dataset", "model"], [[name] for name in names], [[i] for i in indicators])
    # The slope does not change when x is centred; the optimiser's path gets shorter.
    design = np.column_stack([np.ones(len(y)), x - x.mean()])
    fitted = _best_fit(MixedLM(y, design, groups=np.ones(len(y)), exog_vc=components), start)
    slope, se = float(fitted.fe_params[1]), float(fitted.bse_fe[1])
    half = float(stdtrit(n_models - 2, (1 + level) / 2)) * se
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


def _best_fit(problem: Any, start: Floats) -> "MixedLMResults":
    """Maximise the likelihood from the moment estimates, first without gradients, then with.

    From its own start, statsmodels' optimiser often stops on a ridge of this likelihood and says
    that it converged.
    """
    from statsmodels.regression.mixed_linear_model import MixedLMParams

    begin = MixedLMParams.from_components(
        fe_params=np.zeros(2), cov_re=np.zeros((0, 0)), vcomp=start
    )
    with warnings.catch_warnings():
        # A variance of 0 is an answer here; whether it converged is in the outcome.
        warnings.simplefilter("ignore")
        coarse = problem.fit(start_params=begin, reml=True, method=["nm"], maxiter=2000)
        fine = problem.fit(start_params=coarse.params_object, reml=True, method=["bfgs"])
        best = fine if fine.llf >= coarse.llf else coarse
        # Computed when first asked for, with warnings of its own.
        _ = best.bse_fe
    return best


def _moments(y: Floats, x: Floats, of_dataset: Floats, of_model: Floats) -> tuple[Floats, float]:
    """Estimate the variances of datasets and models, over the residual's, and the residual's.

    From the additive two-way fit: the variance of its effects, less what the residual adds.
    """
    both = np.hstack([of_dataset, of_model])
    effects = np.linalg.lstsq(both, y, rcond=None)[0]
    residual = y - both @ effects
    n_datasets, n_models = of_dataset.shape[1], of_model.shape[1]
    freedom = len(y) - n_datasets - n_models + 1
    if freedom < 1:
        return np.zeros(2), 0.0
    spread = float((residual**2).sum() / freedom)
    # What rounding leaves of no residual is none.
    if spread <= 1e-20 * float((y**2).mean()):
        return np.zeros(2), 0.0
    upstream = (of_model.T @ x) / of_model.sum(axis=0)
    by_model = effects[n_datasets:]
    line = np.polyfit(upstream, by_model, 1)
    beyond = ((by_model - np.polyval(line, upstream)) ** 2).sum() / max(n_models - 2, 1)
    variances = np.array([effects[:n_datasets].var(ddof=1), beyond])
    less = spread / np.array([len(y) / n_datasets, len(y) / n_models])
    return np.maximum((variances - less) / spread, SMALLEST_START), spread


def _indicators(codes: npt.ArrayLike) -> Floats:
    """(n, levels) with a 1 where the observation is of that level."""
    codes = np.asarray(codes)
    return np.asarray(codes[:, None] == np.arange(codes.max() + 1), dtype=np.float64)
