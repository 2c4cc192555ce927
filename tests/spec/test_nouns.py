import hashlib
import re
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from headstart import datasets, methods, models
from headstart.methods.linear import KORNBLITH_LAMBDAS, LinearSetting
from headstart.spec import (
    Model,
    Prediction,
    Recipe,
    Setting,
    TrainingConfig,
    Trial,
    Weights,
    digest,
)
from headstart.spec.formatting import html_table
from headstart.spec.noun import first_invalid
from refusals import invalid


def make_trial(**changes) -> Trial:
    fields = {
        "model": models.find("efficientnet_lite0"),
        "dataset": datasets.find("digits"),
        "setting": methods.find("linear"),
        "seed": 0,
    }
    return Trial(**{**fields, **changes})


def test_digest_is_sha256_of_canonical_json():
    expected = hashlib.sha256(b'{"a":[1,2.5],"b":null}').hexdigest()
    assert digest({"b": None, "a": [1, 2.5]}) == expected
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest(float("nan"))


def test_lambdas_are_the_papers():
    # PROTOCOL: 45 values, log-spaced from 1e-6 to 1e5.
    np.testing.assert_allclose(KORNBLITH_LAMBDAS, np.logspace(5, -6, 45), rtol=1e-11)


def test_nouns_are_frozen_and_validated():
    trial = make_trial()
    with invalid("frozen_instance", "seed"):
        trial.seed = 1
    with invalid("extra_forbidden", "learning_rate"):
        LinearSetting(learning_rate=1.0)
    with invalid("greater_than_equal", "seed"):
        make_trial(seed=-1)
    with invalid("string_pattern_mismatch", "weights", "sha256"):
        Model(**{**trial.model.model_dump(), "weights": {"locator": "x", "sha256": "abc"}})


def test_predictions_are_frozen():
    label = np.zeros(1, np.int64)
    found = Prediction(label, label, np.zeros((1, 2), np.float32))
    for name in ("example", "label", "scores"):
        with pytest.raises(FrozenInstanceError):
            setattr(found, name, label)


def test_trial_survives_json():
    trial = make_trial(dataset=datasets.find("digits", limit=100))
    again = Trial.model_validate_json(trial.model_dump_json())
    assert again == trial
    assert again.key == trial.key


@pytest.mark.parametrize("kind", [int | str, str | int, float | str])
def test_the_place_of_what_is_invalid_names_no_alternative(kind):
    with pytest.raises(ValidationError) as error:
        TypeAdapter(dict[str, list[kind]]).validate_python({"a": [1, b"\xff", None]})
    found = first_invalid(error.value)
    assert (found.place, found.shown) == (("a", 1), repr(b"\xff"))


def changed(noun: str, change: dict) -> Trial:
    value = getattr(make_trial(), noun)
    return make_trial(**{noun: type(value)(**{**value.model_dump(), **change})})


@pytest.mark.parametrize(("noun", "change"), [
    ("model", {"architecture": "resnet50"}),
    ("model", {"weights": {"locator": "x", "sha256": "0" * 64}}), ("model", {"input_size": 192}),
    ("model", {"interpolation": "bilinear"}), ("model", {"mean": (0.4, 0.5, 0.5)}),
    ("model", {"std": (0.4, 0.5, 0.5)}), ("model", {"bn_scale": False}),
    ("model", {"dropout": 0.0}), ("model", {"tags": {"auxiliary_head": "kept"}}),
    ("dataset", {"revision": "other"}), ("dataset", {"metric": "mean-per-class"}),
    ("dataset", {"limit": 100}), ("dataset", {"skip_broken": True}),
    ("setting", {"precision": "bf16"}), ("setting", {"resize": "center-crop"}),
    ("setting", {"lambdas": (1.0,)}), ("setting", {"tolerance": 1e-5}),
])  # fmt: skip
def test_key_depends_on_all_that_may_change_the_number(noun, change):
    assert changed(noun, change).key != make_trial().key


def test_the_seed_is_in_the_key_where_it_may_change_the_number():
    limited = datasets.find("digits", limit=100)
    assert make_trial(dataset=limited).key != make_trial(dataset=limited, seed=1).key
    # Nothing is random about the linear setting on a whole dataset.
    assert make_trial().key == make_trial(seed=1).key
    assert not make_trial().uses_seed


@pytest.mark.parametrize(("noun", "change"), [
    ("model", {"name": "renamed"}), ("model", {"upstream": ()}),
    ("model", {"tags": {"family": "another"}}),
    ("model", {"tags": {"auxiliary_head": "dropped after training"}}),
    ("model", {"bn_scale": True, "dropout": None}), ("dataset", {"name": "renamed"}),
    ("dataset", {"location": "/elsewhere"}), ("setting", {"protocol": "renamed"}),
])  # fmt: skip
def test_key_depends_on_nothing_else(noun, change):
    assert changed(noun, change).key == make_trial().key


class FromScratch(Setting):
    """A setting that starts from random weights."""

    pretrained = False


def test_a_setting_says_what_of_a_model_it_depends_on():
    model = models.find("efficientnet_lite0")
    other = model.model_copy(update={"weights": Weights(locator="random:0")})
    scratch, tuned = (kind(name="some", protocol="some") for kind in (FromScratch, Setting))
    assert scratch.identity_of(model) == scratch.identity_of(other)
    assert tuned.identity_of(model) != tuned.identity_of(other)
    larger = model.model_copy(update={"input_size": 256})
    assert scratch.identity_of(model) != scratch.identity_of(larger)
    # Only the linear setting sees features.
    assert "features_implementation" not in scratch.identity
    assert "features_implementation" in LinearSetting().identity


def test_titles_name_what_differs():
    model, digits = models.find("efficientnet_lite0"), datasets.find("digits")
    assert make_trial().title == "efficientnet_lite0, digits, linear"
    trial = make_trial(
        model=model.model_copy(update={"tags": {"configuration": "plain"}}),
        dataset=digits.model_copy(update={"examples_per_class": 1000}),
        seed=3,
    )
    assert trial.title == "efficientnet_lite0 (plain), digits, linear, 1,000 per class, seed 3"


@pytest.mark.parametrize(("locator", "seed"), [
    ("random:7", 7), ("https://x.org/7", None), ("timm:resnet50", None), ("7", None),
])  # fmt: skip
def test_only_random_weights_have_a_seed(locator, seed):
    assert Weights(locator=locator).random_seed == seed


@pytest.mark.parametrize(("aux_head", "tag"), [(True, "dropped after training"), (False, "none")])
def test_a_recipe_says_what_became_of_auxiliary_classifiers(aux_head, tag):
    recipe = Recipe(
        model=models.find("efficientnet_lite0?weights=random"),
        dataset=datasets.find("digits"),
        training=TrainingConfig(steps=1),
        aux_head=aux_head,
    )
    assert recipe.tags["auxiliary_head"] == tag


@pytest.mark.parametrize(("options", "sides"), [({}, "lrr"), ({"names": 2}, "llr")])
def test_columns_of_numbers_are_aligned_right(options, sides):
    found = re.findall("text-align: ([lr])", html_table("", "abc", ["def"], **options))
    assert "".join(found) == sides * 2


# As the release wrote them that knew no switches.
KEYS = {
    ("efficientnet_lite0", "linear"): "610d966eee09c44d66e0b3604eebdce3",
    ("efficientnet_lite0", "finetune"): "9bd18ec3990bc55b315fe2f025b53841",
    ("efficientnet_lite0", "scratch"): "9c09e9639608b4eedffb4edb9feca6fb",
    ("inception_v1", "linear"): "9e3391f2d47bb672a91bbef86cbd2ed8",
    ("inception_v1", "finetune"): "6d46d9a8d43432fcaac35bff8cf0dada",
    ("inception_v1", "scratch"): "2f26c509b19efb24998e0036488f2998",
}


@pytest.mark.parametrize(("model", "setting"), KEYS)
def test_stored_results_keep_their_keys(model, setting):
    trial = make_trial(model=models.find(model), setting=methods.find(setting))
    assert trial.key.startswith(KEYS[model, setting])


@pytest.mark.parametrize(
    "change", [{"bn_scale": False}, {"dropout": 0.2}, {"tags": {"auxiliary_head": "kept"}}]
)
def test_a_switch_counts_from_random_weights_too(change):
    model = models.find("inception_v1")
    switched = Model(**{**model.model_dump(), **change})
    assert switched.untrained_identity != model.untrained_identity


@pytest.mark.parametrize(("rate", "kind"), [(-0.1, "greater_than_equal"), (1.0, "less_than")])
def test_a_rate_of_dropout_that_will_not_do(rate, kind):
    with invalid(kind, "dropout"):
        Model(**{**models.find("inception_v1").model_dump(), "dropout": rate})
