"""A study of networks of every library, from their names to the stored rows and the page."""

import json

import pytest
import torch

import headstart as hs
from headstart import models

DRAWN = (
    "torchvision:shufflenet_v2_x0_5?weights=random&size=64",
    "pytorchcv:resnet10?weights=random",
    "timm:vit_tiny_patch16_224?weights=random&size=64",
)


@pytest.fixture
def checkpoint(tmp_path):
    """Weights of a network that was trained for other classes, as a training program keeps them."""
    state = models.load(models.find("timm:resnet10t?weights=random&seed=7")).backbone.state_dict()
    file = tmp_path / "trained.pth"
    state |= {"fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}
    torch.save({"state_dict": {f"module.{name}": t for name, t in state.items()}}, file)
    return f"checkpoint:{file}?arch=timm:resnet10t&size=64"


def test_networks_of_every_library_are_measured(cli, checkpoint, tmp_path):
    store = tmp_path / "results.db"
    arguments = ("run", "--models", ",".join((*DRAWN, checkpoint)), "--datasets", "digits",
                 "--limit", 10, "--store", store)  # fmt: skip
    outcome = cli(*arguments)
    assert outcome.code == 0, outcome.err
    assert "4 measured, 0 already stored, 0 failed" in outcome.out
    rows = {row["model"]: row for row in json.loads(cli("results", "--store", store, "--json").out)}
    assert set(rows) == {*DRAWN, "trained?size=64"}
    for name in DRAWN:
        assert rows[name]["weights"] == "random"
        assert rows[name]["upstream_accuracy"] is None
        assert 0 <= rows[name]["accuracy"] <= 1
    digest = models.find(checkpoint).weights.sha256
    assert rows["trained?size=64"]["weights"] == digest[:12]
    stored = hs.ResultStore(store).results()
    tags = {result.trial.model.name: result.trial.model.tags for result in stored}
    assert all(tags[name]["weights"] == "random" for name in DRAWN)
    # The same names are the same trials; another seed of random weights is another network.
    assert "0 measured, 4 already stored" in cli(*arguments).out
    assert models.find(f"{DRAWN[0]}&seed=1").identity != models.find(DRAWN[0]).identity
    assert hs.results(store)["weights"].tolist().count("random") == 3
    page = tmp_path / "report.html"
    assert cli("report", store, "--out", page).code == 0
    assert "pytorchcv:resnet10" in page.read_text()


@pytest.mark.parametrize(("name", "word"), [
    ("efficientnet_lite0", "579344248a93"),
    ("resnet50", "tv_in1k"),
    ("resnet50?weights=random", "random"),
    ("timm:resnet18.tv_in1k", "tv_in1k"),
    ("pytorchcv:resnet10", "https://github.com/osmr/imgclsmob/releases/download/"),
])  # fmt: skip
def test_weights_in_a_word(name, word):
    assert models.find(name).weights_name.startswith(word)
