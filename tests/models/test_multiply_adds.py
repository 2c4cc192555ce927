"""The arithmetic of networks: the catalogue's, and that of any network at any input size."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from headstart import models
from headstart.context import default_cache

SMALL = ("efficientnet_lite0", "mobilenet_v1", "resnet50")
# Published sizes, and others; convolutional networks and transformers.
SIZED = (
    "resnet50?size=96",
    "efficientnet_lite0?size=64",
    "timm:vit_tiny_patch16_224?size=96",
    "timm:swin_tiny_patch4_window7_224",
    "small:vgg6_w8",
    "small:vgg6_w8?size=64",
)


def counted(model) -> int:
    """Return torch's count of a network that is loaded as for a trial."""
    # Shapes alone are counted: nothing has to be computed.
    network = models.load(model).to("meta")
    image = torch.zeros(1, 3, model.input_size, model.input_size, device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network.penultimate(image)
    return counter.get_total_flops()


@pytest.mark.parametrize("name", SMALL)
def test_multiply_adds_are_torchs(name):
    model = models.find(f"{name}?weights=random")
    # torch counts a multiplication and an addition as two.
    assert counted(model) == 2 * model.multiply_adds == 2 * models.multiply_adds(model, None)


@pytest.mark.parametrize("name", SIZED)
def test_multiply_adds_follow_the_input_size(name, monkeypatch):
    model = models.find(f"{name}{'&' if '?' in name else '?'}weights=random")
    found = models.multiply_adds(model, default_cache())
    assert 2 * found == counted(model)
    # Counted once.
    monkeypatch.setattr("headstart.models.facts._arithmetic", lambda _: pytest.fail("again"))
    assert models.multiply_adds(model, default_cache()) == found


def test_a_transformer_takes_more_than_the_square_of_its_size():
    """Attention grows with the square of the number of patches: by hand, for ViT-Ti/16.

    Of each of 12 blocks with t tokens of width 192: 12 * 192^2 t for its projections and its MLP,
    and 2 * 192 t^2 for the products of attention; before them 768 * 192 for each patch.
    """
    for size in (96, 224):
        model = models.find(f"timm:vit_tiny_patch16_224?weights=random&size={size}")
        patches = (size // 16) ** 2
        tokens = patches + 1
        blocks = 12 * (12 * 192**2 * tokens + 2 * 192 * tokens**2)
        assert models.multiply_adds(model, default_cache()) == blocks + 768 * 192 * patches


def test_a_network_that_cannot_be_built_has_unknown_arithmetic(tmp_path):
    model = models.find("small:vgg6_w8?weights=random")
    broken = model.model_copy(update={"head": "no.such.layer"})
    assert models.multiply_adds(broken, tmp_path) is None
