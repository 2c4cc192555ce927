"""The reference solver gives what the solver gives: the solution is unique."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from headstart import LogisticRegressionPath
from probes import many_labels, problem


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize(("n", "d"), [(80, 20), (30, 60)])
def test_both_solvers_reach_the_same_solution(n, d, multilabel):
    X, y = many_labels(n, d) if multilabel else problem(n, d, spread=0.5)
    options = {"lambdas": [30.0, 1.0, 0.03], "tol": 1e-12, "multilabel": multilabel}
    ours = LogisticRegressionPath(**options).fit(X, y)
    reference = LogisticRegressionPath(**options, solver="lbfgs", max_passes=100_000).fit(X, y)
    np.testing.assert_allclose(ours.coef_path_, reference.coef_path_, atol=1e-5)
    difference = ours.intercept_path_ - reference.intercept_path_
    if not multilabel:
        difference -= difference.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(difference, 0, atol=1e-4)
    np.testing.assert_allclose(ours.objective_path_, reference.objective_path_, rtol=1e-9)
    assert (reference.gap_path_ <= 1e-12).all()


def test_neither_solver_ends_at_weights_of_zero():
    """These are within the tolerance of large lambdas, and tell no classes apart."""
    X, y = problem(30, 64, 3, spread=0.5)
    for solver in ("newton", "lbfgs"):
        probe = LogisticRegressionPath(lambdas=[1e5], solver=solver).fit(1e-4 * X, y)
        assert probe.converged_path_.all()
        assert probe.score(1e-4 * X, y) > 0.9


def test_it_says_where_it_ran_out_of_passes():
    X, y = problem(80, 200, 5)
    reference = LogisticRegressionPath(lambdas=[1e4, 1e-6], solver="lbfgs", max_passes=40)
    with pytest.warns(ConvergenceWarning, match=r"\b1 of 2\b.* 1e-06\b.*\bmax_passes\b"):
        reference.fit(X, y)
    assert reference.converged_path_.tolist() == [True, False]
    assert reference.gap_path_[1] > 1e-4
