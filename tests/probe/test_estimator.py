"""The estimator as scikit-learn checks it, and as people use and misuse it."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import headstart as hs
from headstart.methods.linear import KORNBLITH_LAMBDAS
from headstart.metrics import voc_map_11point
from headstart.probe.estimator import LAMBDAS
from probes import many_labels, objective, problem
from refusals import refused


@parametrize_with_checks([hs.LogisticRegressionPath(lambdas=[1.0, 0.1])])
# scikit-learn's own checks cast to integers and skip the array API where it is not set up.
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    """Pixels of handwritten digits: 400 to train on, 400 to validate on, 997 to test on."""
    X, y = load_digits(return_X_y=True)
    return (X[:400], y[:400]), (X[400:800], y[400:800]), (X[800:], y[800:])


@pytest.fixture(scope="module")
def probe(digits):
    return hs.LogisticRegressionPath().fit(*digits[0])


def test_the_default_path_is_the_papers(probe):
    assert LAMBDAS == KORNBLITH_LAMBDAS
    assert probe.lambdas_.tolist() == list(KORNBLITH_LAMBDAS)
    assert probe.coef_path_.shape == (45, 10, 64)
    assert probe.intercept_path_.shape == (45, 10)
    assert probe.objective_path_.shape == probe.gap_path_.shape == probe.passes_path_.shape == (45,)
    assert (probe.gap_path_ <= 1e-4).all()
    assert (probe.passes_path_ >= 1).all()


def test_objectives_are_those_of_the_weights(digits, probe):
    for i in (0, 22, 44):
        value = objective(*digits[0], probe.coef_path_[i], probe.intercept_path_[i], LAMBDAS[i])
        assert probe.objective_path_[i] == pytest.approx(value, rel=1e-6)


def test_select_takes_the_best_on_validation(digits, probe):
    _, (X_val, y_val), (X_test, y_test) = digits
    probe.select(X_val, y_val)
    accuracies = [
        np.mean((X_val @ coef.T + bias).argmax(1) == y_val)
        for coef, bias in zip(probe.coef_path_, probe.intercept_path_, strict=True)
    ]
    np.testing.assert_allclose(probe.validation_scores_, accuracies)
    # Of equals the largest lambda.
    assert probe.best_index_ == int(np.argmax(accuracies))
    assert probe.lambda_ == probe.lambdas_[probe.best_index_]
    assert probe.score(X_test, y_test) > 0.85
    np.testing.assert_allclose(probe.predict_proba(X_test).sum(axis=1), 1)
    by_class = probe.select(X_val, y_val, "mean-per-class").validation_scores_
    own = probe.select(X_val, y_val, balanced_accuracy_score).validation_scores_
    np.testing.assert_allclose(by_class, own)


def test_classes_may_be_missing_from_validation(digits, probe):
    X_val, y_val = digits[1]
    few = y_val < 3
    assert probe.select(X_val[few], y_val[few]).validation_scores_.max() > 0.8


def test_labels_of_any_kind_are_given_back(digits):
    (X, y), (X_val, y_val), _ = digits
    names = np.array([f"digit {k}" for k in range(10)])
    named = hs.LogisticRegressionPath(lambdas=[10.0]).fit(X, names[y])
    plain = hs.LogisticRegressionPath(lambdas=[10.0]).fit(X, y)
    np.testing.assert_array_equal(named.predict(X_val), names[plain.predict(X_val)])
    assert named.select(X_val, names[y_val]).validation_scores_[0] == plain.score(X_val, y_val)


def test_two_classes_have_one_decision_value():
    X, y = problem(k=2)
    probe = hs.LogisticRegressionPath(lambdas=[1.0]).fit(X, y)
    values = probe.decision_function(X)
    assert values.shape == (60,)
    np.testing.assert_array_equal(probe.predict(X), (values > 0).astype(int))
    np.testing.assert_allclose(probe.predict_proba(X)[:, 1], 1 / (1 + np.exp(-values)))


def test_labels_apart():
    X, Y = many_labels(200, 20, 3)
    probe = hs.LogisticRegressionPath(multilabel=True).fit(X[:100], Y[:100])
    assert probe.coef_path_.shape == (45, 3, 20)
    scores = probe.select(X[100:], Y[100:]).decision_function(X[100:])
    assert probe.validation_scores_[probe.best_index_] == voc_map_11point(scores, 2 * Y[100:] - 1)
    assert probe.validation_scores_.max() > 0.6
    np.testing.assert_array_equal(probe.predict(X), (probe.predict_proba(X) > 0.5).astype(int))
    assert 0 < probe.score(X[100:], Y[100:]) < 1
    by_count = probe.select(X[100:], Y[100:], lambda y, s: float(((s > 0) == y).mean()))
    assert by_count.validation_scores_.max() > 0.7


def test_one_label_apart_is_allowed():
    X, Y = many_labels(k=1)
    probe = hs.LogisticRegressionPath(lambdas=[1.0], multilabel=True).fit(X, Y)
    assert probe.predict(X).shape == (60, 1)


def test_early_stop_leaves_out_what_validation_loses_by(digits):
    (X, y), (X_val, y_val), _ = digits
    short = hs.LogisticRegressionPath(early_stop=True).fit(X, y, X_val, y_val)
    whole = hs.LogisticRegressionPath().fit(X, y)
    assert 10 < len(short.lambdas_) < 45
    np.testing.assert_array_equal(short.lambdas_, whole.lambdas_[: len(short.lambdas_)])
    assert short.select(X_val, y_val).validation_scores_.max() == pytest.approx(
        whole.select(X_val, y_val).validation_scores_.max(), abs=0.011
    )


def test_it_works_in_pipelines_and_cross_validation(digits):
    X, y = digits[0]
    model = make_pipeline(StandardScaler(), hs.LogisticRegressionPath(lambdas=[30.0]))
    assert cross_val_score(model, X, y, cv=3).mean() > 0.85


def test_tensors_go_in_and_arrays_come_out():
    X, y = problem(dtype=np.float32)
    plain = hs.LogisticRegressionPath(lambdas=[1.0]).fit(X, y)
    tensor = torch.from_numpy(X).requires_grad_()
    probe = hs.LogisticRegressionPath(lambdas=[1.0]).fit(tensor, torch.from_numpy(y))
    np.testing.assert_array_equal(probe.coef_, plain.coef_)
    np.testing.assert_array_equal(probe.predict(tensor), plain.predict(X))
    assert probe.score(tensor, torch.from_numpy(y)) == plain.score(X, y)
    # What was given is not touched.
    np.testing.assert_array_equal(tensor.detach().numpy(), problem(dtype=np.float32)[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_precision_of_products_can_be_chosen(dtype):
    X, y = problem()
    probe = hs.LogisticRegressionPath(lambdas=[1.0, 1e-4], dtype=dtype).fit(X, y)
    assert (probe.gap_path_ <= 1e-4).all()


X, Y = problem()[0], problem()[1]
HOLE = X.copy()
HOLE[7, 3] = np.nan
INFINITE = X.copy()
INFINITE[2, 1] = -np.inf


@pytest.mark.parametrize(("options", "data", "code", "values"), [
    ({}, (HOLE, Y), "features_not_finite", {"row": 7, "column": 3}),
    ({}, (INFINITE, Y), "features_not_finite", {"row": 2, "column": 1}),
    ({}, (torch.from_numpy(HOLE), Y), "features_not_finite", {"row": 7, "column": 3}),
    ({}, (X, Y[:-1]), "labels_count", {"labels": 59, "examples": 60}),
    ({}, (X, np.zeros(60, int)), "one_class", {}),
    ({}, (X, None), "labels_missing", {}),
    ({}, (torch.zeros(60), Y), "features_shape", {"shape": (60,)}),
    ({}, (torch.zeros(60, 2, dtype=torch.int64), Y), "features_shape", {"dtype": "torch.int64"}),
    ({}, (torch.zeros(60, 0), Y), "features_shape", {"shape": (60, 0)}),
    ({}, (torch.zeros(60, 2, device="meta"), Y), "features_device", {"device": "meta"}),
    ({"lambdas": [1.0, 0.0]}, (X, Y), "lambdas_invalid", {"lambdas": [1.0, 0.0]}),
    ({"lambdas": [-1.0]}, (X, Y), "lambdas_invalid", {"lambdas": [-1.0]}),
    ({"lambdas": [np.inf]}, (X, Y), "lambdas_invalid", {}),
    ({"lambdas": []}, (X, Y), "lambdas_invalid", {"lambdas": []}),
    ({"tol": None}, (X, Y), "option_invalid", {"value": (None, 3000)}),
    ({"device": "cuda:1"}, (X, Y), "option_invalid", {"option": "device", "value": "cuda:1"}),
    ({"solver": "lbfgs", "dtype": "float32"}, (X, Y), "options_conflict", {}),
    ({"multilabel": True}, (X, np.full((60, 2), 3)), "labels_invalid", {"row": 0}),
    ({"multilabel": True}, (X, np.zeros((60, 0))), "labels_shape", {"shape": (60, 0)}),
    ({"tol": 0.0}, (X, Y), "option_invalid", {"value": (0.0, 3000)}),
    ({"max_passes": 0}, (X, Y), "option_invalid", {"value": (1e-4, 0)}),
    ({"dtype": "bfloat16"}, (X, Y), "option_invalid", {"option": "dtype"}),
    ({"solver": "sag"}, (X, Y), "option_invalid", {"option": "solver"}),
    ({"early_stop": True}, (X, Y), "options_conflict", {"options": ("early_stop", "solver")}),
    ({"multilabel": True}, (X, Y), "labels_shape", {"shape": (60,)}),
    ({"multilabel": True}, (X, np.zeros((60, 2), int)), "label_constant", {"column": 0}),
])  # fmt: skip
def test_bad_input_gets_one_line(options, data, code, values):
    probe = hs.LogisticRegressionPath(**options)
    with refused(f"probe.{code}", **values) as caught:
        probe.fit(*data)
    # As scikit-learn's own estimators raise.
    assert isinstance(caught.value, ValueError)
    assert not hasattr(probe, "coef_path_")


def test_a_failed_fit_leaves_nothing_of_the_one_before():
    probe = hs.LogisticRegressionPath(lambdas=[2.0, 1.0]).fit(X, Y).select(X, Y)
    with refused("probe.labels_count"):
        probe.fit(X[:, :3], Y[:-1])
    with pytest.raises(NotFittedError):
        probe.predict(X)
    probe.set_params(lambdas=1.0).fit(X, Y)
    assert probe.lambdas_.tolist() == [1.0]
    assert not hasattr(probe, "validation_scores_")


def test_bad_validation_data_gets_one_line():
    probe = hs.LogisticRegressionPath(lambdas=[1.0]).fit(X, Y)
    with refused("probe.labels_unknown", labels=[9]):
        probe.select(X, np.full(60, 9))
    with refused("probe.features_count", expected=20, found=3):
        probe.select(torch.zeros(60, 3), Y)
    with refused("probe.metric_unknown", metric="f1"):
        probe.select(X, Y, "f1")
    with refused("probe.metric_not_finite"):
        probe.select(X, Y, lambda *_: np.nan)
    with pytest.raises(NotFittedError):
        hs.LogisticRegressionPath().select(X, Y)
    several = many_labels()
    apart = hs.LogisticRegressionPath(lambdas=[1.0], multilabel=True).fit(*several)
    with refused("probe.metric_unknown", metric="top-1"):
        apart.select(*several, "top-1")
    with refused("probe.labels_shape", shape=(60, 2)):
        apart.select(several[0], several[1][:, :2])


def test_a_gpu_that_is_not_there_is_named():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with refused("device.missing"):
        hs.LogisticRegressionPath(device="cuda").fit(X, Y)


def test_what_did_not_converge_is_told():
    wide, labels = problem(80, 200, 5)
    probe = hs.LogisticRegressionPath(lambdas=[1e-5, 1e-6], tol=1e-9, max_passes=1)
    with pytest.warns(ConvergenceWarning, match=r"\b2 of 2\b"):
        probe.fit(wide, labels)
    assert not probe.converged_path_.any()
    assert (probe.gap_path_ > 1e-9).all()


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize(("n", "d"), [(80, 20), (30, 60)])
def test_both_solvers_reach_the_same_solution(n, d, multilabel):
    X, y = many_labels(n, d) if multilabel else problem(n, d, spread=0.5)
    options = {"lambdas": [30.0, 1.0, 0.03], "tol": 1e-12, "multilabel": multilabel}
    ours = hs.LogisticRegressionPath(**options).fit(X, y)
    reference = hs.LogisticRegressionPath(**options, solver="lbfgs", max_passes=100_000).fit(X, y)
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
        probe = hs.LogisticRegressionPath(lambdas=[1e5], solver=solver).fit(1e-4 * X, y)
        assert probe.converged_path_.all()
        assert probe.score(1e-4 * X, y) > 0.9


def test_it_says_where_it_ran_out_of_passes():
    X, y = problem(80, 200, 5)
    reference = hs.LogisticRegressionPath(lambdas=[1e4, 1e-6], solver="lbfgs", max_passes=40)
    with pytest.warns(ConvergenceWarning, match=r"\b1 of 2\b.* 1e-06\b.*\bmax_passes\b"):
        reference.fit(X, y)
    assert reference.converged_path_.tolist() == [True, False]
    assert reference.gap_path_[1] > 1e-4
