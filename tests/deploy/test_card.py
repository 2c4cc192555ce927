"""What a network began with, as its cards say it."""

import pytest

from headstart import methods, models
from headstart.deploy.card import _licence, weights_licence
from headstart.models.saved_networks import _text, card_front_matter
from stores import make_result

HUB = "timm:resnet18.a1_in1k"


@pytest.mark.parametrize(
    ("model", "setting", "began"),
    [
        (HUB, "finetune", "apache-2.0"),
        (HUB, "scratch", None),
        ("timm:resnet18?weights=random", "linear", None),
    ],
)
def test_licence_and_base_are_those_of_weights_that_it_began_with(model, setting, began):
    plain = make_result()
    trial = plain.trial.replace(model=models.find(model), setting=methods.find(setting))
    result = plain.model_copy(update={"trial": trial})
    assert weights_licence(trial) == began
    front = card_front_matter(result, "network", weights_licence(trial))
    assert ("base_model: timm/resnet18.a1_in1k" in front) == (began is not None)
    assert ("license: apache-2.0" in front) == (began is not None)
    assert ("random weights" in _licence(trial)[0]) == (began is None)
    assert ("(weights random)" in _text(result)) == (began is None)
    assert ("licence of the images holds" in _text(result)) == (began is None)
