import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from headstart.stats import mixed_model


@pytest.fixture
def cells():
    random = np.random.default_rng(1)
    model, dataset = (codes.ravel() for codes in np.indices((10, 8)))
    upstream = random.normal(1.1, 0.2, 10)[model]
    y = 0.9 * upstream + random.normal(0, 1, 8)[dataset] + random.normal(0, 0.2, 10)[model]
    y = y + random.normal(0, 0.1, len(y))
    return pd.DataFrame({"y": y, "x": upstream, "model": model, "dataset": dataset})


def test_it_is_statsmodels_called_directly(cells):
    ours = mixed_model(cells.y, cells.x, cells.model, cells.dataset)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = smf.mixedlm(
            "y ~ x", cells, groups=np.ones(len(cells)),
            vc_formula={"dataset": "0 + C(dataset)", "model": "0 + C(model)"},
        ).fit(reml=True)  # fmt: skip
    assert ours.slope == pytest.approx(theirs.params["x"], rel=1e-4)
    assert ours.se == pytest.approx(theirs.bse["x"], rel=1e-3)
    low, high = theirs.conf_int().loc["x"]
    assert (ours.low, ours.high) == pytest.approx((low, high), rel=1e-3)
    assert ours.sd_dataset**2 == pytest.approx(theirs.vcomp[0], rel=1e-2)
    assert ours.sd_model**2 == pytest.approx(theirs.vcomp[1], rel=1e-2)
    assert ours.sd_residual**2 == pytest.approx(theirs.scale, rel=1e-3)
    assert ours.converged


def test_of_a_complete_table_the_slope_is_that_of_the_means(cells):
    # The design is balanced and x varies between models alone, so the estimates coincide.
    means = cells.groupby("model").mean()
    ours = mixed_model(cells.y, cells.x, cells.model, cells.dataset)
    assert ours.slope == pytest.approx(np.polyfit(means.x, means.y, 1)[0], rel=1e-6)


def test_cells_may_be_missing(cells):
    ours = mixed_model(*(cells.drop(index=[3, 17, 44])[c] for c in ("y", "x", "model", "dataset")))
    assert ours.slope == pytest.approx(0.9, abs=4 * ours.se)
