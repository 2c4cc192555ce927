import pytest
from pydantic import ValidationError

from headstart.spec import SGD, TrainingConfig


@pytest.mark.parametrize(
    "fields",
    [
        {"steps": 0},
        {"batch_size": 0},
        {"micro_batch": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"label_smoothing": 1.0},
        {"label_smoothing": -0.1},
        {"auxiliary_weight": -1.0},
        {"auxiliary_weight": float("nan")},
        {"crop_area": (0.0, 1.0)},
        {"batch_norm_window": 0.0},
        {"optimizer": {"kind": "adam"}},
        {"optimizer": {"weight_decay": -1.0}},
        {"optimizer": {"momentum": 1.0}},
    ],
)
def test_invalid_configurations(fields):
    with pytest.raises(ValidationError) as error:
        TrainingConfig(**{"steps": 1, **fields})
    (found,) = error.value.errors()
    assert found["loc"][0] in fields


def test_smoothing_needs_a_distribution_over_classes():
    with pytest.raises(ValidationError) as error:
        TrainingConfig(steps=1, loss="binary", label_smoothing=0.1)
    assert error.value.errors()[0]["type"] == "value_error"


def test_options_are_all_fields_in_one():
    config = TrainingConfig(steps=3, optimizer=SGD(momentum=0.5))
    assert (config.options["steps"], config.options["momentum"]) == (3, 0.5)
    assert config.options["optimizer"] == "sgd"
    assert config.replace(batch_size=4).options == {**config.options, "batch_size": 4}
