import numpy as np
import pytest

from headstart import datasets, models, settings
from headstart.datasets import ArrayImages, SealedTest, Split, Splits
from headstart.errors import DatasetError, StudyError, UnknownNameError
from headstart.features import Features
from headstart.settings.linear import LinearTransfer, LinearWay
from headstart.spec import Candidate, LinearSetting, Measurement, Trial
from headstart.workspace import Watcher, Workspace

N = {"train": 30, "validation": 30, "test": 24}


def make_transfer(setting=None, broken=None, watcher=None, flip_test=False, spread=2.0):
    """Linear transfer on made-up features of three classes."""
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
    transfer = LinearTransfer(
        trial, splits, features, names, Workspace(watcher=watcher or Watcher())
    )
    return transfer, splits


def chosen_by(transfer):
    measured = Measurement(
        candidate=Candidate(), examples=transfer.revision, curve=transfer.curve()
    )
    return LinearWay().choose(None, [measured])


def test_the_best_on_validation_is_chosen_and_of_equals_the_simplest():
    selection = chosen_by(make_transfer()[0])
    curve = selection.validation_curve
    assert [row["lambda"] for row in curve] == list(LinearSetting().lambdas)
    best = max(row["accuracy"] for row in curve)
    equals = [row["lambda"] for row in curve if row["accuracy"] == best]
    assert len(equals) > 1
    assert selection.chosen == {"lambda": max(equals)}
    assert all(row["converged"] == 1.0 and row["relative_gap"] <= 1e-4 for row in curve)


def test_the_refit_uses_train_and_validation():
    transfer, _ = make_transfer()
    curve = transfer.curve()
    transfer.refit(chosen_by(transfer).chosen["lambda"])
    facts = transfer.provenance()["refit"]
    # With lambda held, twice the examples cost more than the selection's fit on half of them.
    chosen = {row["lambda"]: row for row in curve}[facts["lambda"]]
    assert facts["objective"] > 1.2 * chosen["objective"]


def test_the_refit_has_the_chosen_lambda_however_the_grid_is_given():
    setting = LinearSetting(lambdas=(1e-2, 100.0, 1.0, 1.0))
    assert setting.lambdas == (100.0, 1.0, 1e-2)
    for chosen in setting.lambdas:
        transfer, _ = make_transfer(setting)
        transfer.refit(chosen)
        assert transfer.provenance()["refit"]["lambda"] == chosen


def test_the_choice_does_not_depend_on_the_test_set():
    assert make_transfer()[0].curve() == make_transfer(flip_test=True)[0].curve()


def test_scores_come_after_the_refit():
    transfer, _ = make_transfer()
    with pytest.raises(RuntimeError, match=r"refit\(\) comes before"):
        transfer.test_scores()
    transfer.refit(chosen_by(transfer).chosen["lambda"])
    places, scores = transfer.test_scores()
    assert places.tolist() == list(range(24))
    assert scores.shape == (24, 3)
    assert (scores.argmax(axis=1) == np.arange(24) % 3).mean() > 0.9


def test_broken_images_are_left_out_everywhere():
    broken = {0: "bad", 31: "bad", 62: "worse"}
    transfer, _ = make_transfer(broken=broken)
    transfer.check_enough()
    transfer.refit(chosen_by(transfer).chosen["lambda"])
    places, scores = transfer.test_scores()
    # Row 62 is the third test image.
    assert places.tolist() == [0, 1, *range(3, 24)]
    assert np.isfinite(scores).all()
    skipped = transfer.provenance()["skipped_images"]
    assert skipped == {"image 0": "bad", "image 31": "bad", "image 62": "worse"}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (range(0, 30, 3), "a class with no training example that decodes: 'a'"),
        (range(30, 60), "no validation image that decodes"),
        (range(60, 84), "no test image that decodes"),
    ],
)
def test_too_many_broken_images(rows, words):
    transfer, _ = make_transfer(broken=dict.fromkeys(rows, "bad"))
    with pytest.raises(DatasetError, match=words):
        transfer.check_enough()


def test_a_fit_that_does_not_converge_is_told():
    notes = []

    class Listener(Watcher):
        def note(self, message):
            notes.append(message)

    transfer, _ = make_transfer(LinearSetting(lambdas=(1e-3,), tolerance=1e-40), watcher=Listener())
    (row,) = transfer.curve()
    assert row["converged"] == 0.0
    assert "lambda 0.001 did not converge" in notes[0]


def test_presets_fill_every_choice():
    assert settings.find("linear") == LinearSetting()
    simclr = settings.find("linear", protocol="simclr2020")
    assert (simclr.protocol, simclr.resize) == ("simclr2020", "center-crop")
    departed = settings.find("linear", resize="center-crop", lambdas=[1.0])
    assert departed.protocol == "kornblith2019 (lambdas, resize)"
    assert settings.find("linear", precision="bf16").protocol == "kornblith2019"


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"name": "finetun"}, UnknownNameError, "unknown setting 'finetun': did you mean finetune"),
        (
            {"name": "linear", "protocol": "kornblit"},
            UnknownNameError,
            "did you mean kornblith2019",
        ),
        ({"name": "linear", "resise": "whole"}, UnknownNameError, "did you mean resize"),
        ({"name": "linear", "resize": "half"}, StudyError, "resize = 'half' will not do"),
        ({"name": "linear", "lambdas": [0.0]}, StudyError, r"lambdas.0 = 0.0 will not do"),
        ({"name": "linear", "lambdas": []}, StudyError, "lambdas"),
        ({"name": "linear", "lambdas": [float("inf")]}, StudyError, "finite number"),
        ({"name": "linear", "protocol": ["x"]}, UnknownNameError, "unknown protocol"),
        ({"name": 1}, UnknownNameError, "unknown setting '1'"),
    ],
)
def test_settings_that_cannot_be(options, kind, words):
    with pytest.raises(kind, match=words):
        settings.find(**options)
