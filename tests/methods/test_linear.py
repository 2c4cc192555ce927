import numpy as np
import pytest

import small_network
from headstart import datasets, methods, models
from headstart.context import ProgressReporter, RunContext
from headstart.datasets import ArrayImages, SealedTest, Split, Splits
from headstart.features import Features, feature_table
from headstart.methods import open_trial
from headstart.methods.linear import LinearSetting
from headstart.methods.on_features import TrialFeatures
from headstart.spec import Candidate, Selection, Trial
from headstart.trial import run_trial
from refusals import refused
from watched import Listener

N = {"train": 30, "validation": 30, "test": 24}


def prepared_trial(setting=None, broken=None, reporter=None, flip_test=False, spread=2.0):
    """A linear trial on made-up features of three classes."""
    random = np.random.RandomState(0)
    centres = random.randn(3, 16)
    labels = {name: np.arange(n) % 3 for name, n in N.items()}
    blocks = [spread * centres[y] + random.randn(len(y), 16) for y in labels.values()]
    values = np.concatenate(blocks).astype(np.float32)
    if flip_test:
        values[-N["test"] :] *= -1
    broken = broken or {}
    values[list(broken)] = np.nan
    parts = {
        name: Split(ArrayImages(np.zeros((n, 4, 4), np.uint8)), labels[name], np.arange(n))
        for name, n in N.items()
    }
    splits = Splits(
        parts["train"],
        parts["validation"],
        SealedTest(parts["test"], "r"),
        n_classes=3,
        revision="r",
        places=np.arange(sum(N.values())),
    )
    dataset = datasets.find("digits").model_copy(update={"classes": ("a", "b", "c")})
    trial = Trial(
        model=models.find("efficientnet_lite0"),
        dataset=dataset,
        setting=setting or LinearSetting(),
    )
    features = Features(values, broken, "sha", "key", {"device": "none"})
    names = {f"image {row}": reason for row, reason in broken.items()}
    prepared = open_trial(trial, RunContext(reporter=reporter or ProgressReporter()))
    # In the place of the features of its images, which are read when they are first needed.
    prepared.__dict__["features"] = TrialFeatures(trial, splits, features, names)
    return prepared


def curve_of(prepared):
    return prepared.measure(Candidate()).curve


def selected_by(prepared):
    return prepared.select([prepared.measure(Candidate())])


def with_lambda(lam):
    return Selection(examples="r", chosen={"lambda": lam}, validation_curve=({"lambda": lam},))


def test_the_best_on_validation_is_chosen_and_of_equals_the_simplest():
    selection = selected_by(prepared_trial())
    curve = selection.validation_curve
    assert [row["lambda"] for row in curve] == list(LinearSetting().lambdas)
    best = max(row["accuracy"] for row in curve)
    equals = [row["lambda"] for row in curve if row["accuracy"] == best]
    assert len(equals) > 1
    assert selection.chosen == {"lambda": max(equals)}
    assert all(row["converged"] == 1.0 and row["relative_gap"] <= 1e-4 for row in curve)


def test_ties_can_go_to_the_smallest_log_loss():
    setting = LinearSetting(ties="log_loss")
    assert "ties" not in LinearSetting().identity
    assert setting.identity["ties"] == "log_loss"
    prepared, usual = prepared_trial(setting), prepared_trial()
    selection = selected_by(prepared)
    curve = selection.validation_curve
    assert [row["accuracy"] for row in curve] == [row["accuracy"] for row in curve_of(usual)]
    best = max(row["accuracy"] for row in curve)
    equals = {row["log_loss"]: row["lambda"] for row in curve if row["accuracy"] == best}
    assert len(equals) > 1
    assert selection.chosen == {"lambda": equals[min(equals)]}
    assert prepared.test(selection).scores.std() > usual.test(selected_by(usual)).scores.std()


def test_the_refit_uses_train_and_validation():
    prepared = prepared_trial()
    selection = selected_by(prepared)
    curve = selection.validation_curve
    facts = prepared.test(selection).facts["refit"]
    # With lambda held, twice the examples cost more than the selection's fit on half of them.
    chosen = {row["lambda"]: row for row in curve}[facts["lambda"]]
    assert facts["objective"] > 1.2 * chosen["objective"]


def test_the_refit_has_the_chosen_lambda_however_the_grid_is_given():
    setting = LinearSetting(lambdas=(1e-2, 100.0, 1.0, 1.0))
    assert setting.lambdas == (100.0, 1.0, 1e-2)
    for chosen in setting.lambdas:
        tested = prepared_trial(setting).test(with_lambda(chosen))
        assert tested.facts["refit"]["lambda"] == chosen


def test_the_choice_does_not_depend_on_the_test_set():
    assert curve_of(prepared_trial()) == curve_of(prepared_trial(flip_test=True))


def test_scores_of_the_test_images():
    prepared = prepared_trial()
    tested = prepared.test(selected_by(prepared))
    places, scores = tested.places, tested.scores
    assert places.tolist() == list(range(24))
    assert scores.shape == (24, 3)
    assert (scores.argmax(axis=1) == np.arange(24) % 3).mean() > 0.9


def test_broken_images_are_left_out_everywhere():
    broken = {0: "bad", 31: "bad", 62: "worse"}
    prepared = prepared_trial(broken=broken)
    tested = prepared.test(selected_by(prepared))
    places, scores = tested.places, tested.scores
    # Row 62 is the third test image.
    assert places.tolist() == [0, 1, *range(3, 24)]
    assert np.isfinite(scores).all()
    skipped = tested.facts["skipped_images"]
    assert skipped == {"image 0": "bad", "image 31": "bad", "image 62": "worse"}


@pytest.mark.parametrize(("rows", "code", "values"), [
    (range(0, 30, 3), "dataset.class_empty", {"name": "a"}),
    (range(30, 60), "dataset.split_empty", {"split": "validation"}),
    (range(60, 84), "dataset.split_empty", {"split": "test"}),
])  # fmt: skip
def test_too_many_broken_images(rows, code, values):
    with refused(code, **values):
        prepared_trial(broken=dict.fromkeys(rows, "bad"))


def test_a_fit_that_does_not_converge_is_told():
    reporter = Listener()
    setting = LinearSetting(lambdas=(1e-3,), tolerance=1e-40)
    (row,) = curve_of(prepared_trial(setting, reporter=reporter))
    assert row["converged"] == 0.0
    assert "lambda 0.001 did not converge" in reporter.notes[0]


def test_presets_fill_every_choice():
    assert methods.find("linear") == LinearSetting()
    simclr = methods.find("linear", protocol="simclr2020")
    assert (simclr.protocol, simclr.resize) == ("simclr2020", "center-crop")
    departed = methods.find("linear", resize="center-crop", lambdas=[1.0])
    assert departed.protocol == "kornblith2019 (lambdas, resize)"
    assert methods.find("linear", precision="bf16").protocol == "kornblith2019"


@pytest.mark.parametrize(("options", "code", "values"), [
    ({"name": "finetun"}, "name.unknown", {"kind": "setting", "near": ["finetune"]}),
    ({"protocol": "kornblit"}, "name.unknown", {"near": ["kornblith2019"]}),
    ({"resise": "whole"}, "name.unknown", {"near": ["resize"]}),
    ({"resize": "half"}, "setting.value", {"name": "resize", "value": "'half'"}),
    ({"lambdas": [0.0]}, "setting.value", {"name": "lambdas.0", "value": "0.0"}),
    ({"lambdas": []}, "setting.value", {"name": "lambdas", "value": "[]"}),
    ({"lambdas": [float("inf")]}, "setting.value", {"name": "lambdas.0", "value": "inf"}),
    ({"protocol": ["x"]}, "name.unknown", {"name": "['x']"}),
    ({"name": 1}, "name.unknown", {"kind": "setting", "name": "1"}),
])  # fmt: skip
def test_settings_that_cannot_be(options, code, values):
    with refused(code, **values):
        methods.find(**{"name": "linear", **options})


def test_a_warm_trial_hashes_no_features_and_loads_no_network(tmp_path, monkeypatch):
    # As if the table had been written long ago.
    monkeypatch.setattr(feature_table, "TICK_NANOSECONDS", -(10**18))
    trial = Trial(
        model=models.find(f"{small_network.__file__}:build?size=16&mean=0,0,0&std=1,1,1"),
        dataset=datasets.find("digits", limit=100),
        setting=LinearSetting(lambdas=(1.0,)),
    )
    context = RunContext(cache=tmp_path, device="cpu")
    # The first trial computes the features, and hashes them when it reads them.
    first, hashed = run_trial(trial, context), []
    for name in ("_start_digest", "_digest", "sha256_start"):
        monkeypatch.setattr(feature_table, name, lambda *_, name=name: hashed.append(name))
    monkeypatch.setattr(models, "load", lambda *_, **__: 1 / 0)
    again = run_trial(trial, context)
    assert hashed == []
    assert again.metrics == first.metrics
    assert again.provenance["features_sha256"] == first.provenance["features_sha256"]
