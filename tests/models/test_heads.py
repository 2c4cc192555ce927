"""Classifiers that are no linear layer: what becomes of them, against the libraries' logits."""

import copy
import json

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from headstart import models
from headstart.models.model_source import Head, Part
from headstart.models.network import Network
from networks import images, load, seeded

# Name: width of the features, side of the images. A convolution behind the pooling, in a head of
# its own or not; two heads on two tokens, on one vector, each behind a batch norm; one head a
# branch, one a stage and teacher.
NETWORKS = {
    "timm:resnetv2_18": (512, 64),
    "timm:dla46x_c": (256, 64),
    "timm:deit_tiny_distilled_patch16_224": (2 * 192, 224),
    "timm:levit_128s": (384, 224),
    "timm:efficientformerv2_s0": (176, 224),
    "timm:repvit_m0_9": (384, 64),
    "timm:crossvit_tiny_240": (96 + 192, 240),
    "timm:efficientvim_m1": (128 + 192 + 320 + 320, 224),
}
# float32 through a whole network, relative to the largest logit.
CLOSE = 1e-5


def randomised(module):
    """Give tensors other values than those that many a network begins with: zeros and ones."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.running_mean.normal_(0, 0.1, generator=generator)
                part.running_var.uniform_(0.8, 1.2, generator=generator)
    return module.eval()


def built(name):
    return randomised(timm.create_model(name.removeprefix("timm:")))


def assert_close(found, expected):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= CLOSE * expected.abs().max()


@pytest.fixture(scope="module", params=NETWORKS)
def network(request, tmp_path_factory):
    """A network's name, its library's module, and ours with the same weights, from a file."""
    library = built(request.param)
    file = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(library.state_dict(), file)
    name = f"checkpoint:{file}?arch={request.param}"
    return request.param, library, load(name)


def test_the_classifier_gives_the_librarys_logits_of_the_features(network):
    name, library, ours = network
    width, side = NETWORKS[name]
    with torch.inference_mode():
        features = ours.penultimate(images(side, 3))
        assert features.shape == (3, width)
        assert ours.feature_dim == width == models.find(f"{name}?weights=random").feature_dim
        assert_close(ours.classifier(features), library(images(side, 3)))
        assert_close(ours(images(side, 3)), library(images(side, 3)))
        # A feature is of one image, whichever images are beside it.
        assert_close(ours.penultimate(images(side, 3)[1:2]), features[1:2])
    assert ours.trained_classifier


def test_a_fresh_classifier_is_trained_and_can_be_kept(network):
    name, _, ours = network
    side = NETWORKS[name][1]
    backbone = dict(ours.backbone.named_parameters())
    fresh = ours.with_head(7, 0)
    assert all(p is backbone[n] for n, p in fresh.backbone.named_parameters())
    assert len(list(fresh.batch_norms())) == len(list(ours.batch_norms()))
    fresh = copy.deepcopy(fresh).train()
    (logits,) = fresh.all_logits(images(side, 3))
    assert logits.shape == (3, 7)
    nn.functional.cross_entropy(logits, torch.tensor([0, 3, 6])).backward()
    torch.optim.SGD(fresh.parameters(), 0.01).step()
    changed = [not torch.equal(p, backbone[n]) for n, p in fresh.backbone.named_parameters()]
    assert sum(changed) > len(changed) / 2
    # The library, given what is kept, answers as ours does.
    other = timm.create_model(name.removeprefix("timm:"), num_classes=7)
    state, own = fresh.eval().state_as_built(), other.state_dict()
    assert {n: t.shape for n, t in state.items()} == {n: t.shape for n, t in own.items()}
    other.load_state_dict(state)
    with torch.inference_mode():
        assert_close(other.eval()(images(side, 3)), fresh(images(side, 3)))


def test_a_backbone_without_a_classifier_gets_one(tmp_path, own_cache, monkeypatch):
    name, whole = "timm:vit_small_patch16_dinov3", timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *a, **o: whole(*a, **{**o, "depth": 2}))
    library = randomised(timm.create_model(name.removeprefix("timm:")))
    save_file(library.state_dict(), tmp_path / "w.safetensors")
    model = models.find(f"checkpoint:{tmp_path / 'w.safetensors'}?arch={name}")
    assert model.feature_dim == 384
    ours = models.load(model)
    with torch.inference_mode():
        assert_close(ours.penultimate(images(64, 3)), library(images(64, 3)))
    assert not ours.trained_classifier


@pytest.mark.parametrize(("name", "side", "gone"), [
    ("torchvision:squeezenet1_1", 64, ()),
    ("timm:volo_d1_224", 224, ("aux_head.weight", "aux_head.bias")),
])  # fmt: skip
def test_what_is_no_linear_map_is_not_taken_for_one(name, side, gone):
    model = models.find(f"{name}?weights=random")
    ours = models.load(model)
    assert not ours.head.exact
    assert not ours.trained_classifier
    with torch.inference_mode():
        features = ours.penultimate(images(side, 3))
        assert features.shape == (3, model.feature_dim)
        assert ours.with_head(7, 0)(images(side, 3)).shape == (3, 7)
    assert not set(gone) & set(ours.state_as_built())


def test_squeezenets_features_are_the_mean_over_places():
    from torchvision.models import squeezenet1_1

    library = randomised(squeezenet1_1())
    expected = library.features(images(64, 3)).mean((2, 3))
    ours = Network(library, Head.at("classifier.1", exact=False))
    assert_close(ours.penultimate(images(64, 3)), expected)


CONVOLUTIONAL = """
from torch import nn


def before(n=5):
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, n, 1),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten())


def wide():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""


def test_a_convolution_of_ones_own(tmp_path, own_cache):
    file = tmp_path / "net.py"
    file.write_text(CONVOLUTIONAL)
    ours = load(f"{file}:before?size=8")
    assert ours.trained_classifier
    with seeded():
        namespace = {}
        exec(CONVOLUTIONAL, namespace)
        expected = namespace["before"]()(images(8))
    assert_close(ours(images(8)), expected)
    # A convolution of 3 x 3 is no linear map of one place: what comes of it is the feature.
    backbone = load(f"{file}:wide?size=8")
    assert backbone.feature_dim == 8
    assert not backbone.trained_classifier


def test_shares_and_vectors():
    """A sum of three layers with shares of their own, two of them on one vector."""

    class Three(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(2, 4), nn.Linear(3, 4), nn.Linear(3, 4, bias=False)

        def forward(self, x):
            left, right = x[:, :2], x[:, 2:]
            return self.a(left) / 2 + self.b(right) / 4 + self.c(right) / 4

    library, x = Three(), torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    parts = (Part("a", share=0.5), Part("b", takes=1, share=0.25), Part("c", takes=1, share=0.25))
    ours = Network(copy.deepcopy(library), Head(parts))
    assert_close(ours(x), library(x))
    torch.testing.assert_close(ours.penultimate(x), x)


def test_a_distilled_network_of_several_classes_is_found_again(tmp_path):
    """What was kept with 7 classes is loaded with 7, in place of the library's 1,000."""
    ours, file = load("timm:levit_128s?weights=random").with_head(7, 0), tmp_path / "w.safetensors"
    save_file({n: t.contiguous().clone() for n, t in ours.state_as_built().items()}, file)
    again = load(f"checkpoint:{file}?arch=timm:levit_128s")
    assert again.trained_classifier
    with torch.inference_mode():
        assert_close(again(images(224, 1)), ours(images(224, 1)))


def test_weights_of_a_class_that_asks_for_its_version(tmp_path):
    from torchvision.models import mnasnet0_5

    library, file = randomised(mnasnet0_5()), tmp_path / "w.safetensors"
    save_file(library.state_dict(), file)
    ours = load(f"checkpoint:{file}?arch=torchvision:mnasnet0_5")
    with torch.inference_mode():
        assert_close(ours(images(64, 3)), library(images(64, 3)))


def test_the_linear_setting_takes_them(cli, tmp_path):
    name, store = "timm:dla46x_c", tmp_path / "r.db"
    arguments = ("run", "--models", f"{name}?weights=random", "--datasets", "digits",
                 "--limit", 10, "--store", store, "--keep-models", tmp_path / "kept")  # fmt: skip
    outcome = cli(*arguments)
    assert outcome.code == 0, outcome.err
    (row,) = json.loads(cli("results", "--store", store, "--json").out)
    assert 0 <= row["accuracy"] <= 1
    (kept,) = (tmp_path / "kept").glob("*/model.safetensors")
    ours = load(f"checkpoint:{kept}?arch={name}")
    assert ours.classifier.out_features == 10
