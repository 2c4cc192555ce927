"""What public tables let expect of a network."""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import linregress

import headstart
from headstart import models
from headstart.ranking import candidates
from headstart.ranking.candidates import expected_accuracy, prior_line

PUBLISHED = Path(headstart.__file__).parent / "analysis" / "published"


def clip_mean(name: str) -> float:
    """Mean log odds over the twelve datasets of Radford et al. (2021), Table 10."""
    with (PUBLISHED / "clip2021.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == name]
    assert len(rows) == 12
    return float(np.mean([logit(float(row["accuracy"]) / 100) for row in rows]))


def test_weights_that_were_probed_have_their_published_mean():
    found = expected_accuracy(models.find("timm:vit_base_patch16_clip_224.openai"))
    assert found.accuracy == pytest.approx(expit(clip_mean("CLIP-ViT-B/16")))
    assert "clip2021" in found.source


def test_other_weights_lie_on_the_line_through_the_published_probes():
    places = candidates._public()["measured"] | candidates._public()["fitted"]
    pairs = [
        (logit(candidates._imagenet()[weights]), clip_mean(place.removeprefix("clip2021:")))
        for weights, place in places.items()
        if weights in candidates._imagenet() and place.startswith("clip2021")
    ]
    x, y = np.array(pairs).T
    line = linregress(x, y)
    assert prior_line()[:2] == pytest.approx((line.intercept, line.slope))
    without = [linregress(np.delete(x, i), np.delete(y, i)) for i in range(len(x))]
    error = [y[i] - one.intercept - one.slope * x[i] for i, one in enumerate(without)]
    assert prior_line().left_out == pytest.approx(np.sqrt(np.mean(np.square(error))))
    # EfficientNet-Lite 0: 74.83 % on ImageNet-1k (models/catalogue.toml).
    expected = expit(line.intercept + line.slope * logit(0.7483))
    assert expected_accuracy(models.find("efficientnet_lite0")).accuracy == pytest.approx(expected)


def test_weights_without_a_classifier_of_imagenet_1k_have_that_of_their_fine_tuned_ones():
    found = expected_accuracy(models.find("timm:convnext_tiny.in12k"))
    tuned = expected_accuracy(models.find("timm:convnext_tiny.in12k_ft_in1k"))
    assert found.accuracy == pytest.approx(tuned.accuracy, abs=1e-6)
    assert "convnext_tiny.in12k_ft_in1k" in found.source


@pytest.mark.parametrize(
    "name", ["timm:resnet18?weights=random", "timm:vit_small_patch16_224.dino"]
)
def test_no_prior_where_nothing_is_known(name):
    assert expected_accuracy(models.find(name)) is None


def test_the_input_size_leaves_the_prior():
    assert expected_accuracy(models.find("efficientnet_lite0?size=128")) == expected_accuracy(
        models.find("efficientnet_lite0")
    )


def test_every_weights_of_the_table_is_in_timm_and_in_its_public_table():
    import timm

    known = set(timm.list_pretrained())
    for weights, place in (
        candidates._public()["measured"] | candidates._public()["fitted"]
    ).items():
        table, _, name = place.partition(":")
        assert weights in known
        assert (table, name) in candidates._probes()
