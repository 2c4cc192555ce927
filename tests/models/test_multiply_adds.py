"""The arithmetic that the catalogue says a network takes, counted by torch."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from headstart import models

SMALL = ("efficientnet_lite0", "mobilenet_v1", "resnet50")


@pytest.mark.parametrize("name", SMALL)
def test_multiply_adds_are_torchs(name):
    model = models.find(f"{name}?weights=random")
    # Shapes alone are counted: nothing has to be computed.
    network = models.load(model).to("meta")
    image = torch.zeros(1, 3, model.input_size, model.input_size, device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network.penultimate(image)
    # torch counts a multiplication and an addition as two.
    assert counter.get_total_flops() == 2 * model.multiply_adds
