"""Networks for 32 pixels: made by timm's and torchvision's classes, small, of several families."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from headstart import models
from headstart.contrib.miniature.networks import ARCHITECTURES
from headstart.errors import UnknownNameError
from networks import images

SIDE = 32


@pytest.fixture(scope="module", params=ARCHITECTURES)
def built(request):
    model = models.find(f"small:{request.param}")
    return model, models.load(model)


def multiply_adds(network: nn.Module) -> int:
    """Count those of convolutions and linear layers by hooks, from the shapes that they see."""
    counted = 0

    def count(layer, inputs, output):
        nonlocal counted
        # Each output is a sum over the weights of its channel.
        counted += output.numel() * layer.weight[0].numel()

    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.inference_mode():
        network(images(SIDE, 1))
    for hook in hooks:
        hook.remove()
    return counted


def test_families_and_widths():
    families = [architecture.family for architecture in ARCHITECTURES.values()]
    assert len(ARCHITECTURES) >= 14
    assert len(set(families)) >= 5
    assert all(families.count(family) >= 2 for family in families)


def test_facts_are_those_of_the_network(built):
    model, network = built
    assert model.input_size == SIDE
    assert network.feature_dim == model.feature_dim
    assert sum(p.numel() for p in network.backbone.parameters()) == model.parameters
    assert model.tags["family"] == ARCHITECTURES[model.architecture].family
    assert any(True for _ in network.batch_norms())
    assert not network.auxiliary
    assert multiply_adds(network.eval()) <= 5e6


def convolution(inputs: int, outputs: int, side: int = 3) -> int:
    """Count the weights of a convolution without bias."""
    return side**2 * inputs * outputs


def vgg_parameters(*widths: int) -> int:
    """Convolutions with biases, scales and shifts."""
    return sum(convolution(i, o) + 3 * o for i, o in pairwise((3, *widths)))


def resnet_parameters(width: int, depth: int) -> int:
    """Stem of three convolutions, four stages of basic blocks; a scale and a shift after each."""
    half = width // 2
    pairs = [(3, half, 3), (half, half, 3), (half, width, 3)]
    stages = [width * 2**stage for stage in range(4)]
    for before, after in pairwise((width, *stages)):
        pairs += [(before, after, 3)] + (2 * depth - 1) * [(after, after, 3)]
        pairs += [(before, after, 1)] if after != before else []
    return sum(convolution(*pair) + 2 * pair[1] for pair in pairs)


def densenet_parameters(growth: int, *blocks: int) -> int:
    """Norm before convolution; a bottleneck of four times the growth; half is left between."""
    channels = 2 * growth
    total = convolution(3, channels, 7) + 2 * channels
    for place, layers in enumerate(blocks, start=1):
        for _ in range(layers):
            total += 2 * channels + convolution(channels, 4 * growth, 1)
            total += 2 * 4 * growth + convolution(4 * growth, growth)
            channels += growth
        total += 2 * channels
        if place < len(blocks):
            total += convolution(channels, channels // 2, 1)
            channels //= 2
    return total


@pytest.mark.parametrize(("name", "parameters"), [
    ("vgg6_w8", vgg_parameters(8, 16, 32, 64, 64)),
    ("vgg6_w16", vgg_parameters(16, 32, 64, 128, 128)),
    ("resnet10_w4", resnet_parameters(4, depth=1)),
    ("resnet18_w16", resnet_parameters(16, depth=2)),
    ("densenet22_g4", densenet_parameters(4, 3, 3, 3)),
    ("densenet22_g16", densenet_parameters(16, 3, 3, 3)),
])  # fmt: skip
def test_parameters_are_those_of_the_papers_layers(name, parameters):
    assert models.find(f"small:{name}").parameters == parameters


def test_features_are_what_the_classifier_sees(built):
    model, network = built
    both = images(SIDE)
    with torch.inference_mode():
        features, logits = network.penultimate(both), network(both)
        torch.testing.assert_close(network.classifier(features), logits)
        # The second image gives what it gives alone.
        alone = network.penultimate(both[1:])
    assert features.shape == (2, model.feature_dim)
    torch.testing.assert_close(features[1:], alone, rtol=1e-3, atol=1e-4)


def test_a_fresh_head_trains_the_whole_network(built):
    _, network = built
    fresh = network.with_head(7, seed=0).train()
    loss = nn.functional.cross_entropy(fresh(images(SIDE, 4)), torch.arange(4))
    loss.backward()
    assert fresh(images(SIDE, 4)).shape == (4, 7)
    assert all(p.grad is not None for p in fresh.parameters())
    network.zero_grad(set_to_none=True)
    network.eval()


def test_weights_are_a_function_of_the_seed():
    one, same, other = (
        models.load(models.find(f"small:vgg6_w8?weights=random&seed={seed}")).state_as_built()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["0.0.weight"], other["0.0.weight"])


def test_they_are_found_by_search_and_a_wrong_name_is_told(cli):
    assert "small:inception_w8" in models.search("inception_w8")
    assert models.search("small:") == [f"small:{name}" for name in ARCHITECTURES]
    with pytest.raises(UnknownNameError) as caught:
        models.find("small:resnet10_w17")
    assert caught.value.values["name"] == "resnet10_w17"
    assert "resnet10_w16" in caught.value.values["near"]
    shown = cli("models", "show", "small:resnet10_w16")
    assert shown.code == 0
    assert "ResNet" in shown.out


@pytest.mark.parametrize("name", ["inception_w8", "inception_w16"])
def test_the_auxiliary_classifier_is_kept_where_that_is_asked(name):
    plain = models.find(f"small:{name}")
    model = plain.model_copy(update={"tags": {**plain.tags, "auxiliary_head": "kept"}})
    network = models.load(model).with_head(7, seed=0).train()
    logits, auxiliary = network.all_logits(images(SIDE, 4))
    assert logits.shape == auxiliary.shape == (4, 7)
    (auxiliary.sum()).backward()
    stem = next(p for name, p in network.named_parameters() if "stem" in name)
    assert stem.grad.abs().sum() > 0
    assert len(network.eval().all_logits(images(SIDE, 4))) == 1
    assert models.auxiliary_weight(model) == 0.3
    assert models.auxiliary_weight(plain) == 0


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_one_has_places_for_the_switches(name):
    plain = models.find(f"small:{name}")
    zeros = []
    for rate in (0.0, 0.5):
        network = models.load(plain.model_copy(update={"bn_scale": False, "dropout": rate}))
        scales = [norm.weight for norm in network.batch_norms()]
        assert all((scale == 1).all() and not scale.requires_grad for scale in scales)
        seen: list[torch.Tensor] = []
        network.classifier.register_forward_pre_hook(lambda _, given, to=seen: to.append(given[0]))
        torch.manual_seed(0)
        network.train()(images(SIDE, 32))
        zeros.append(float((seen[0] == 0).float().mean()))
    whole, dropped = zeros
    # Half of what is not 0 already; a mean over 32 images of 23 features or more.
    assert dropped == pytest.approx(whole + (1 - whole) / 2, abs=0.1)
