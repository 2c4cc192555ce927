"""What timm's authors measured of their weights."""

import pytest

from headstart import models
from headstart.models.sources.timm import timm_upstream


def test_a_weight_has_its_accuracy_at_its_size():
    # timm's results-imagenet.csv: resnet50.a1_in1k, 80.382 % at 224 pixels, 81.24 % at 288.
    at_224, at_288 = (timm_upstream("resnet50.a1_in1k", size)[0] for size in (224, 288))
    assert (at_224.value, at_288.value) == (0.80382, 0.8124)
    assert "224 px" in at_224.source
    assert timm_upstream("resnet50.a1_in1k", 225) == timm_upstream("no_such_network", 224) == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timm:resnet50.a1_in1k", 0.80382),
        ("timm:resnet50", 0.80382),
        ("timm:resnet50.a1_in1k?size=288", 0.8124),
        ("timm:resnet50.a1_in1k?weights=random", None),
        # Trained on ImageNet-21k alone: no ImageNet-1k accuracy is known.
        ("timm:vit_tiny_patch16_224.augreg_in21k", None),
    ],
)
def test_models_of_timm_have_it(name, value):
    assert models.find(name).upstream_accuracy == value
