"""A function in a file of the user's, as a network."""

import re

import pytest
import torch

import headstart as hs
from headstart import models
from networks import load
from refusals import ended, refused

NET = """
from torch import nn

from widths import WIDTH


def small():
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 3)
    )


def other():
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 3))


def needs(argument):
    return argument


def text():
    return "no network"


def fails():
    return 1 / 0
"""


@pytest.fixture
def net(tmp_path, own_cache):
    (tmp_path / "widths.py").write_text("WIDTH = 6\n")
    file = tmp_path / "net.py"
    file.write_text(NET)
    return file


def images(size=8):
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_a_function_gives_a_network(net):
    model = models.find(f"{net}:small?size=8&mean=0,0,0.5&std=1,1,2")
    assert (model.source, model.feature_dim, model.parameters) == ("function", 6, 49 * 6)
    assert (model.input_size, model.mean, model.std) == (8, (0, 0, 0.5), (1, 1, 2))
    assert models.find(f"{net}:small").input_size == 224
    assert models.find(f"{net}:small").mean == (0.485, 0.456, 0.406)
    network = models.load(model)
    with torch.inference_mode():
        features = network.penultimate(images())
        assert features.shape == (2, 6)
        assert (features >= 0).all()
        torch.testing.assert_close(network.classifier(features), network(images()))
        # What it draws at random is drawn the same again.
        torch.testing.assert_close(models.load(model).penultimate(images()), features)
    assert models.presence(model) == (True, str(net))


def test_another_layer_as_the_classifier(net):
    model = models.find(f"{net}:small?size=8&head=2")
    assert (model.feature_dim, model.parameters) == (48, 4 * 6 - 3)
    with refused("model.no_classifier", head="3"):
        load(f"{net}:small?head=3")


def test_weights_of_ones_own(net, tmp_path):
    network = load(f"{net}:small?weights=random&seed=4")
    state = {f"4.{name}": t for name, t in network.classifier.state_dict().items()}
    state |= network.backbone.state_dict()
    torch.save(state, tmp_path / "w.pth")
    for name in (f"{net}:small?weights={tmp_path / 'w.pth'}",
                 f"checkpoint:{tmp_path / 'w.pth'}?arch={net}:small"):  # fmt: skip
        torch.testing.assert_close(load(name)(images()), network(images()))
    with refused("weights.misfit"):
        load(f"{net}:other?size=4&weights={tmp_path / 'w.pth'}")


def test_the_file_is_in_the_identity(net, tmp_path):
    model = models.find(f"{net}:small")
    assert len(model.weights.sha256) == 64
    assert models.find(f"{net}:other?size=4").identity != model.identity
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "net.py"
    copy.write_text(NET)
    (tmp_path / "elsewhere" / "widths.py").write_text("WIDTH = 7\n")
    # A module beside it is its own, not that of the same name beside another file.
    assert models.find(f"{copy}:small").feature_dim == 7
    net.write_text(NET + "\n")
    assert models.find(f"{net}:small").identity != model.identity
    with refused("model.changed", file=str(net)):
        models.load(model)


@pytest.mark.parametrize(("function", "code", "values"), [
    ("fails", "function.failed", {"line": 26, "kind": "ZeroDivisionError"}),
    ("needs", "function.failed", {"line": None, "kind": "TypeError"}),
    ("text", "model.function_result", {"found": "str"}),
    ("smal", "name.unknown", {"near": ["small"]}),
])  # fmt: skip
def test_functions_that_give_no_network(net, function, code, values):
    with refused(code, **values):
        models.find(f"{net}:{function}")


@pytest.mark.parametrize("name", ["{net}:small", "checkpoint:w.pth?arch={net}:small"])
def test_a_study_file_runs_no_function_unless_trusted(net, tmp_path, cli, name):
    proof = tmp_path / "executed"
    net.write_text(f"open({str(proof)!r}, 'w')\n" + NET)
    file = tmp_path / "study.toml"
    file.write_text(f"models = ['{name.format(net=net)}']\ndatasets = ['digits']\n")
    outcome = cli("run", file, "--store", tmp_path / "r.db")
    ended(outcome, "study.untrusted")
    assert "--trust" in outcome.err
    assert not proof.exists()
    with refused("study.untrusted"):
        hs.Study.from_toml(file)
    assert hs.Study.from_toml(file, trust=True).models == (name.format(net=net),)


def test_a_study_of_a_function_runs(net, tmp_path, cli):
    name = f"{net}:small?size=8"
    arguments = ("--datasets", "digits", "--limit", 60)
    typed = cli("run", "--models", name, *arguments, "--store", tmp_path / "r.db")
    assert typed.code == 0, typed.err
    file = tmp_path / "study.toml"
    file.write_text(cli("run", "--models", name, *arguments, "--print-study").out)
    again = cli("run", file, "--trust", "--store", tmp_path / "r.db")
    assert "0 measured, 1 already stored" in again.out


def test_a_pickle_needs_trust(net, tmp_path, cli):
    network = load(f"{net}:small")
    state = {f"4.{name}": t for name, t in network.classifier.state_dict().items()}
    # A pattern is made by a function, which might be any.
    state |= network.backbone.state_dict()
    torch.save({"model": state, "at": re.compile("x")}, tmp_path / "w.pth")
    arguments = ("run", "--models", f"checkpoint:{tmp_path / 'w.pth'}?arch={net}:small&size=8",
                 "--datasets", "digits", "--limit", 60, "--store", tmp_path / "r.db")  # fmt: skip
    refused = cli(*arguments)
    assert refused.code == 2
    assert "pass --trust" in refused.err
    assert cli(*arguments, "--trust").code == 0


def test_a_configuration_is_a_factor_of_its_own():
    plain = models.find("resnet50")
    asked = models.find("resnet50?configuration=no label smoothing&weights=random")
    # The name is the network's, so that its configurations are one line of a figure.
    assert asked.name == plain.name
    assert asked.tags["configuration"] == "no label smoothing"
    assert asked.weights.random_seed == 0
