"""Which networks `headstart rank` may try, and why others are not."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import linregress

import headstart
from headstart import models
from headstart.errors import HeadstartError
from headstart.ranking import candidates
from headstart.ranking.candidates import (
    default_models,
    expected_accuracy,
    find_candidates,
    prior_line,
)
from refusals import refused


def names(found) -> list[str]:
    return [one.model.name for one in found.available]


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """A hub cache without any repository, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_default_is_what_is_here_and_names_the_rest(no_hub, own_cache):
    found = find_candidates("default")
    assert sorted(names(found)) == sorted(models.EMBEDDED)
    # By the prior, best first.
    priors = [one.prior for one in found.available]
    assert priors == sorted(priors, reverse=True)
    assert {one.name for one in found.unavailable} == set(default_models())
    assert all(one.reason and one.remedy for one in found.unavailable)


def test_candidates_are_a_list_or_a_text_with_commas():
    names = ["efficientnet_lite0?size=96", "efficientnet_lite1"]
    assert find_candidates(names) == find_candidates(",".join(names))


def test_default_imports_no_torch(own_cache):
    code = (
        "import sys\nfrom headstart.ranking.candidates import find_candidates\n"
        "find_candidates('default')\nassert not {'torch', 'timm'} & sys.modules.keys()"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_paper_is_the_sixteen(no_hub, own_cache):
    found = find_candidates("paper", max_params=10e6)
    asked = {*names(found), *(one.name for one in found.unavailable)}
    assert len(asked) == 16
    assert "resnet50" in {one.name for one in found.unavailable if "over 10 M" in one.reason}


@pytest.mark.parametrize(("text", "expected"), [
    ("efficientnet_lite[01]", ["efficientnet_lite0", "efficientnet_lite1"]),
    ("efficientnet_lite0,efficientnet_lite0", ["efficientnet_lite0"]),
    (
        "efficientnet_lite0?size=128,efficientnet_lite0",
        ["efficientnet_lite0", "efficientnet_lite0?size=128"],
    ),
    ("timm:resnet18?weights=random", ["timm:resnet18?weights=random"]),
])  # fmt: skip
def test_names_and_patterns(no_hub, own_cache, text, expected):
    assert sorted(names(find_candidates(text))) == expected


def test_a_file_of_names(no_hub, own_cache, tmp_path):
    file = tmp_path / "nets.txt"
    for content in (
        b"# small ones\nefficientnet_lite0  # the smallest\n\nefficientnet_lite2\n",
        b"\xef\xbb\xbfefficientnet_lite0, efficientnet_lite2\r\nefficientnet_lite0\r\n",
    ):
        file.write_bytes(content)
        found = sorted(names(find_candidates(str(file))))
        assert found == ["efficientnet_lite0", "efficientnet_lite2"]


@pytest.mark.parametrize(("content", "code"), [
    (b"", "study.missing"), (b"# nothing\n", "study.missing"), (b"\xff\xfe\x00", "model.list_text"),
    (b"efficientnet_lite0\n{file}\n", "model.list_nested"), (b"other.list", "model.list_nested"),
    (b"efficientnet_lite9", "name.unknown"),
])  # fmt: skip
def test_invalid_files_of_names(own_cache, tmp_path, content, code):
    file = tmp_path / "nets.txt"
    file.write_bytes(content.replace(b"{file}", bytes(file)))
    with refused(code):
        find_candidates(str(file))


def test_a_file_of_python_is_no_list(own_cache, tmp_path):
    file = tmp_path / "net.py"
    file.write_text("efficientnet_lite0\n")
    with pytest.raises(HeadstartError):
        find_candidates(str(file))


@pytest.mark.parametrize(("other", "most", "remedy"), [
    ("efficientnet_lite2", 4e6, "raise --max-params"),
    ("timm:resnet18.tv_in1k", None, "hf download timm/resnet18.tv_in1k"),
])  # fmt: skip
def test_what_is_too_large_or_not_here_is_left_out(no_hub, own_cache, other, most, remedy):
    found = find_candidates(f"{other},efficientnet_lite0", max_params=most)
    assert names(found) == ["efficientnet_lite0"]
    (out,) = found.unavailable
    assert out.name == other
    assert out.remedy.startswith(remedy)


@pytest.mark.parametrize(("text", "code"), [
    ("", "study.missing"), ("no_such_*", "model.none_found"),
    ("no_such_list.txt", "model.list_missing"), ("efficientnet_lite9", "name.unknown"),
    ("timm:resnet51", "name.unknown"),
])  # fmt: skip
def test_invalid_lists(own_cache, text, code):
    with refused(code):
        find_candidates(text)


def test_the_curated_list_is_what_timm_says():
    import timm

    for name, facts in default_models().items():
        model, weights = models.find(name), name.removeprefix("timm:").partition("?")[0]
        config = timm.get_pretrained_cfg(weights)
        assert (facts["parameters"], facts["licence"]) == (model.parameters, config.license)
        # `find_candidates` looks for weights there without importing timm.
        assert config.hf_hub_id == f"timm/{weights}"
        assert facts["why"]
        assert facts["pretraining"]
    sizes = [facts["parameters"] for facts in default_models().values()]
    assert len(sizes) >= 30
    assert sizes == sorted(sizes)


PUBLISHED = Path(headstart.__file__).parent / "analysis" / "published"


def clip_mean(name: str) -> float:
    """Mean log odds over the twelve datasets of Radford et al. (2021), Table 10."""
    with (PUBLISHED / "clip2021.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == name]
    assert len(rows) == 12
    return float(np.mean([logit(float(row["accuracy"]) / 100) for row in rows]))


def test_weights_that_were_probed_have_their_published_mean():
    found = expected_accuracy(models.find("timm:vit_base_patch16_clip_224.openai"))
    assert found == pytest.approx(expit(clip_mean("CLIP-ViT-B/16")))


def test_other_weights_lie_on_the_line_through_the_published_probes():
    places = candidates._public()["measured"] | candidates._public()["fitted"]
    pairs = [
        (logit(candidates._imagenet()[weights]), clip_mean(place.removeprefix("clip2021:")))
        for weights, place in places.items()
        if weights in candidates._imagenet() and place.startswith("clip2021")
    ]
    x, y = np.array(pairs).T
    line = linregress(x, y)
    assert prior_line() == pytest.approx((line.intercept, line.slope))
    # EfficientNet-Lite 0: 74.83 % on ImageNet-1k (models/catalogue.toml).
    expected = expit(line.intercept + line.slope * logit(0.7483))
    assert expected_accuracy(models.find("efficientnet_lite0")) == pytest.approx(expected)


def test_weights_without_a_classifier_of_imagenet_1k_have_that_of_their_fine_tuned_ones():
    found = expected_accuracy(models.find("timm:convnext_tiny.in12k"))
    tuned = expected_accuracy(models.find("timm:convnext_tiny.in12k_ft_in1k"))
    assert found == pytest.approx(tuned, abs=1e-6)


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
