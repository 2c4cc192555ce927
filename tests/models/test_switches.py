"""What the switches of a model do to real networks of each library, seen from outside."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from headstart import models
from headstart.models.model_source import Head
from headstart.models.network import Network, check_switches, set_dropout
from headstart.spec import SGD, TrainingConfig
from headstart.training import InputSpec, train
from headstart.training.pixels import Batch
from networks import images, seeded
from refusals import refused

CPU = torch.device("cpu")
# Dropout as a function, as a module of the head, of the whole network, and none at all.
PLACES = (
    "timm:resnet18", "timm:mobilenetv3_small_050", "timm:regnetx_002", "torchvision:googlenet",
    "torchvision:mobilenet_v3_small", "torchvision:resnet18", "pytorchcv:mobilenet_wd4",
)  # fmt: skip


def switched(name, tags=None, **changes):
    model = models.find(f"{name}?weights=random&seed=1")
    return model.model_copy(update={**changes, "tags": tags or {}})


def side_of(name):
    # pytorchcv's pool windows of a fixed size.
    return 224 if name.startswith("pytorchcv") else 96


def classifier_inputs(network, x, seed=0):
    """What the classifier is given of x."""
    given = []
    hook = network.classifier.register_forward_pre_hook(lambda _, a: given.append(a[0].detach()))
    with torch.no_grad(), seeded(seed):
        network(x)
    hook.remove()
    return given[0].numpy()


def with_fixed_statistics(network):
    """Train but for batch norms: so that a pass differs from evaluation by dropout alone."""
    network.train()
    for norm in network.batch_norms():
        norm.eval()
    return network


@pytest.mark.parametrize("name", PLACES)
def test_dropout_is_at_the_classifiers_input_in_training_alone(name):
    x, rate = images(side_of(name), 8), 0.4
    network = models.load(switched(name, dropout=rate))
    plain = classifier_inputs(network.eval(), x)
    # Other modules that are random in training are of rate 0 in these networks.
    dropped = classifier_inputs(with_fixed_statistics(network), x)
    alive = plain != 0
    share = (dropped[alive] == 0).mean()
    # Binomial: six standard deviations.
    assert abs(share - rate) < 6 * np.sqrt(rate * (1 - rate) / alive.sum())
    left = alive & (dropped != 0)
    np.testing.assert_allclose(dropped[left], plain[left] / (1 - rate), rtol=1e-3)
    np.testing.assert_array_equal(classifier_inputs(network.eval(), x, seed=1), plain)
    # A fresh classifier has the same before it.
    fresh = with_fixed_statistics(network.with_head(3, 0))
    assert (classifier_inputs(fresh, x)[alive] == 0).mean() == pytest.approx(share, abs=0.1)


@pytest.mark.parametrize("name", ["torchvision:googlenet", "torchvision:mobilenet_v3_small"])
def test_dropout_that_is_switched_off(name):
    x = images(96)
    own = models.load(switched(name))
    assert (classifier_inputs(with_fixed_statistics(own), x) == 0).mean() > 0.1
    off = models.load(switched(name, dropout=0.0))
    plain = classifier_inputs(off.eval(), x)
    np.testing.assert_array_equal(classifier_inputs(with_fixed_statistics(off), x), plain)


def test_only_the_classifiers_own_dropout_is_meant():
    network = models.load(switched("timm:vit_tiny_patch16_224"))
    set_dropout(network, 0.3)
    rates = {n: m.p for n, m in network.backbone.named_modules() if isinstance(m, nn.Dropout)}
    assert rates["head_drop"] == 0.3
    assert {rate for name, rate in rates.items() if name != "head_drop"} == {0.0}


class SomeImages:
    """Eight images in memory."""

    def __init__(self, side):
        with seeded():
            self.images = torch.randint(0, 256, (8, 3, side, side)).to(torch.uint8)

    def __len__(self):
        return len(self.images)

    def batch(self, rows):
        side = self.images.shape[-1]
        return Batch(self.images[torch.from_numpy(rows)], np.full((len(rows), 2), side))

    def batches(self, plan):
        return map(self.batch, plan)


def trained(network, side):
    sgd = SGD(weight_decay=0.01, decayed="all")
    made = TrainingConfig(steps=2, learning_rate=0.1, optimizer=sgd, batch_size=4)
    input_spec = InputSpec(side, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bilinear")
    labels = np.arange(8, dtype=np.int64) % 3
    return train(network, SomeImages(side), labels, input_spec, made, device=CPU)


@pytest.mark.parametrize("name", ["timm:resnet18", "timm:mobilenetv3_small_050"])
def test_scales_stay_one(name):
    # timm begins with scales of 0 at the end of residual branches.
    network = models.load(switched(name, bn_scale=False)).with_head(3, 0)
    norms = list(network.batch_norms())
    before = [norm.bias.detach().clone() for norm in norms]
    trained(network, 64)
    assert norms
    for norm, bias in zip(norms, before, strict=True):
        assert torch.equal(norm.weight, torch.ones_like(norm.weight))
        assert norm.weight.grad is None
        assert not torch.equal(norm.bias, bias)
    usual = models.load(switched(name)).with_head(3, 0)
    trained(usual, 64)
    assert any((norm.weight != 1).any() for norm in usual.batch_norms())


def test_trained_scales_are_not_thrown_away(tmp_path):
    network = models.load(switched("timm:resnet18", bn_scale=False))
    file = tmp_path / "weights.safetensors"
    save_file(network.state_as_built(), file)
    fits = models.find(f"checkpoint:{file}?arch=timm:resnet18").model_copy(
        update={"bn_scale": False}
    )
    assert not models.load(fits).backbone.bn1.weight.requires_grad
    state = network.state_as_built()
    state["bn1.weight"] = state["bn1.weight"] * 2
    save_file(state, file)
    model = models.find(f"checkpoint:{file}?arch=timm:resnet18")
    models.load(model)
    with refused("weights.scales", model=model.name):
        models.load(model.model_copy(update={"bn_scale": False}))


@pytest.mark.parametrize(("name", "side", "auxiliary", "weight"), [
    ("torchvision:googlenet", 96, ("aux1", "aux2"), 0.3),
    ("torchvision:inception_v3", 299, ("AuxLogits",), 0.4),
    ("timm:inception_v3", 299, ("AuxLogits",), 0.4),
])  # fmt: skip
def test_auxiliary_classifiers_that_are_kept(name, side, auxiliary, weight):
    model = switched(name, tags={"auxiliary_head": "kept"})
    assert models.auxiliary_weight(model) == weight
    assert models.auxiliary_weight(switched(name)) == 0
    network = models.load(model)
    fresh = network.with_head(3, 0)
    assert fresh.auxiliary == network.auxiliary == auxiliary
    every = fresh.train().all_logits(images(side))
    assert [tuple(logits.shape) for logits in every] == [(2, 3)] * (1 + len(auxiliary))
    # All but the last layers are shared, and the network that it came from keeps its own.
    own = dict(network.backbone.named_parameters())
    other = {n for n, p in fresh.backbone.named_parameters() if p is not own[n]}
    assert {n.rpartition(".")[2] for n in other} == {"weight", "bias"}
    assert len(other) == 2 * len(auxiliary)
    sizes = [p.shape[0] for n, p in own.items() if n in other]
    assert set(sizes) == {1000}
    # The same seed draws the same.
    again = dict(network.with_head(3, 0).backbone.named_parameters())
    assert all(torch.equal(again[n], p) for n, p in fresh.backbone.named_parameters())
    # The auxiliary losses alone reach their heads and the backbone.
    sum(logits.sum() for logits in every[1:]).backward()
    assert all(p.grad is not None for n, p in fresh.backbone.named_parameters() if n in other)
    first = next(p for p in fresh.backbone.parameters())
    assert first.grad is not None
    assert first.grad.abs().sum() > 0
    assert fresh.classifier.weight.grad is None
    with torch.no_grad():
        (alone,) = fresh.eval().all_logits(images(side))
        assert torch.equal(alone, fresh(images(side)))
    # What is saved without them is what the network without them has.
    kept = fresh.state_as_built()
    left = fresh.state_as_built(auxiliary=False)
    assert set(kept) - set(left) == {n for n in kept if n.startswith(auxiliary)}
    assert set(left) == set(models.load(switched(name)).state_as_built())


def test_switches_without_a_place():
    plain = Network(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), Head.at("1"))
    check_switches(plain, dropout=0.5)
    for options, code in [
        ({"bn_scale": False}, "model.no_batch_norm"),
        ({"aux_head": True}, "model.no_auxiliary"),
        ({"dropout": 1.0}, "model.dropout_invalid"),
    ]:
        with refused(code):
            check_switches(plain, **options)
    with refused("model.no_batch_norm"):
        models.load(switched("timm:vit_tiny_patch16_224", bn_scale=False))
    with refused("model.no_auxiliary"):
        models.load(switched("timm:resnet18", tags={"auxiliary_head": "kept"}))
