import pytest
from pydantic import ValidationError

from headstart.spec import SGD, TrainingConfig


@pytest.mark.parametrize("fields", [
    {"steps": 0}, {"batch_size": 0}, {"micro_batch": 0}, {"learning_rate": 0.0},
    {"learning_rate": float("nan")}, {"label_smoothing": 1.0}, {"label_smoothing": -0.1},
    {"auxiliary_weight": -1.0}, {"auxiliary_weight": float("nan")}, {"crop_area": (0.0, 1.0)},
    {"batch_norm_window": 0.0}, {"optimizer": {"kind": "adam"}},
    {"optimizer": {"weight_decay": -1.0}}, {"optimizer": {"momentum": 1.0}},
])  # fmt: skip
def test_invalid_configurations(fields):
    with pytest.raises(ValidationError) as error:
        TrainingConfig(**{"steps": 1, **fields})
    (found,) = error.value.errors()
    assert found["loc"][0] in fields


def test_smoothing_needs_a_distribution_over_classes():
    with pytest.raises(ValidationError) as error:
        TrainingConfig(steps=1, loss="binary", label_smoothing=0.1)
    assert error.value.errors()[0]["type"] == "value_error"


def test_what_is_not_given_is_as_in_imagenet_recipes():
    """Records leave out what is as usual: another default would be another run."""
    assert TrainingConfig(steps=9).options == {
        "steps": 9, "learning_rate": 0.1, "optimizer": "sgd", "weight_decay": 0.0,
        "decayed": "weights", "momentum": 0.9, "nesterov": True, "batch_size": 256,
        "batch_norm_window": 10.0, "loss": "softmax", "label_smoothing": 0.0,
        "auxiliary_weight": 0.0, "crop_area": (0.08, 1.0), "crop_aspect": (3 / 4, 4 / 3),
        "flip": True, "micro_batch": None, "allow_repeats": False, "precision": "fp32", "seed": 0,
    }  # fmt: skip


def test_options_are_all_fields_in_one():
    config = TrainingConfig(steps=3, optimizer=SGD(momentum=0.5))
    assert (config.options["steps"], config.options["momentum"]) == (3, 0.5)
    assert config.options["optimizer"] == "sgd"
    assert config.replace(batch_size=4).options == {**config.options, "batch_size": 4}
