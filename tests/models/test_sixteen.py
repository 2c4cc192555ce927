"""The study's sixteen networks, each built in full with random weights."""

import csv
from io import StringIO
from pathlib import Path

import pytest
import torch

from headstart import models
from headstart.analysis.published import csv_bytes
from networks import images

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
