"""Upstream classifiers trained here: recipes, runs, and what is registered."""

import json
import socket

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import NETWORK, write_folder
from headstart import datasets, models, pretraining
from headstart.context import ProgressReporter, RunContext
from headstart.pretraining import make_recipe, pretrain
from headstart.spec import Recipe, Selection
from headstart.store import ResultStore
from headstart.study import Study
from processes import forked_command
from refusals import refused

OPTIONS = {"steps": 60, "batch_size": 50, "learning_rate": 0.3, "crop_area": (0.5, 1.0)}
# Without batch norm, without auxiliary classifiers.
BARE = """
from torch import nn


def build():
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 3))
"""


def recipe_of(arch: str = NETWORK, dataset: str = "digits", **options) -> Recipe:
    return make_recipe(arch, dataset, **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One network that was pretrained, and the cache that it lies in."""
    cache = tmp_path_factory.mktemp("cache")
    return pretrain(recipe_of(view="full"), RunContext("cpu", cache), name="digits"), cache


@pytest.fixture
def copied(trained, tmp_path):
    """The same in a cache of its own, which may be spoilt."""
    import shutil

    shutil.copytree(trained[1] / "pretrained", tmp_path / "cache" / "pretrained")
    return tmp_path / "cache"


def weights(found) -> dict[str, torch.Tensor]:
    return load_file(found.model.weights.locator.removeprefix("file:"))


def test_the_registered_network_is_the_one_that_was_tested(trained):
    found, cache = trained
    assert found.fresh
    assert found.accuracy > 0.4
    model = models.find("pretrained:digits", cache)
    assert model == found.model
    assert model.upstream_accuracy == found.accuracy
    (known,) = model.upstream
    assert (known.dataset, known.n) == ("digits test", 359)
    network = models.load(model, cache)
    assert network.trained_classifier
    # The same number without the code that measured it: Pillow resizes, NumPy counts.
    splits = datasets.load(datasets.find("digits"), 0, cache, test_labels=True)
    chosen = {"steps": 60.0}
    labels = splits.test.open(
        Selection(examples=splits.revision, chosen=chosen, validation_curve=(chosen,))
    )
    bilinear = 2
    images = [
        splits.test.images.decode(row).convert("RGB").resize((16, 16), bilinear)
        for row in range(len(labels))
    ]
    pixels = (np.stack([np.asarray(image, np.float32) for image in images]) / 255 - 0.5) / 0.25
    with torch.inference_mode():
        scores = network(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    measured = (scores.argmax(dim=1).numpy() == labels).mean()
    # Pillow rounds to whole levels: an image on the border may change sides.
    assert measured == pytest.approx(found.accuracy, abs=2.5 / 359)


def test_the_recipe_is_in_the_tags(trained):
    found, cache = trained
    assert (
        found.model.tags.items()
        >= {
            "batch_norm_scale": "yes",
            "label_smoothing": "0",
            "dropout": "0",
            "auxiliary_head": "none",
        }.items()
    )
    facts = json.loads((cache / "pretrained" / "digits" / "recipe.json").read_text())
    assert Recipe.model_validate(facts["recipe"]) == recipe_of(view="full")
    assert (facts["accuracy"], facts["n_test"]) == (found.accuracy, 359)
    assert len(facts["losses"]) == 60
    assert facts["losses"][-1] < facts["losses"][0]


def test_what_is_registered_is_not_trained_again(trained, monkeypatch):
    found, cache = trained
    monkeypatch.setattr("headstart.training.train", lambda *_, **__: pytest.fail("trained again"))
    again = pretrain(recipe_of(view="full"), RunContext("cpu", cache), name="digits")
    assert not again.fresh
    assert (again.model, again.accuracy, again.n_test) == (
        found.model, found.accuracy, found.n_test,
    )  # fmt: skip
    # Another title is no other network.
    titled = pretrain(
        recipe_of(view="full"), RunContext("cpu", cache), name="digits", title="net",
        configuration="plain",
    )  # fmt: skip
    assert titled.model.name == "net"
    assert models.find("pretrained:digits", cache).tags["configuration"] == "plain"
    assert titled.model.identity == found.model.identity
    pretrained_again = models.load(titled.model, cache)
    assert pretrained_again.trained_classifier


class Interrupting(ProgressReporter):
    """Presses Ctrl-C when so many steps are done."""

    def __init__(self, at: int) -> None:
        self.at, self.done = at, None

    def stage(self, name, total=None, unit=""):
        self.done = 0 if unit == "steps" else None

    def advance(self, steps=1):
        if self.done is not None:
            self.done += steps
            if self.done >= self.at:
                raise KeyboardInterrupt


def test_what_was_interrupted_ends_with_the_same_weights(trained, tmp_path, monkeypatch):
    found, _ = trained
    monkeypatch.setattr(pretraining, "SAVE_SECONDS", 0.0)
    cache = tmp_path / "cache"
    for at in (20, 30):
        with pytest.raises(KeyboardInterrupt):
            pretrain(recipe_of(view="full"), RunContext("cpu", cache, reporter=Interrupting(at)))
    # In the test, after the training: it is not trained again either.
    with monkeypatch.context() as patch:
        patch.setattr("headstart.training.decision_values", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pretrain(recipe_of(view="full"), RunContext("cpu", cache))
    assert len(list((cache / "training").iterdir())) == 1
    again = pretrain(recipe_of(view="full"), RunContext("cpu", cache))
    assert again.facts["resumed_at"] == 60
    assert again.accuracy == found.accuracy
    first, second = weights(found), weights(again)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    assert list((cache / "training").iterdir()) == []


def test_switches_change_the_key_and_not_the_draws():
    plain = recipe_of()
    for change in (
        {"bn_scale": False}, {"label_smoothing": 0.1}, {"dropout": 0.2}, {"aux_head": True},
    ):  # fmt: skip
        other = plain.replace(**change)
        assert other.key != plain.key
        for what in ("weights", "head", "training"):
            assert other.seed_of(what) == plain.seed_of(what)
    assert recipe_of(seed=1).seed_of("weights") != plain.seed_of("weights")
    # Weights of the architecture's own do not count: training begins at random.
    assert recipe_of(f"{NETWORK}&weights=random&seed=3").key == plain.key
    assert recipe_of(f"{NETWORK}&configuration=x").key == plain.key


def test_the_usual_choices():
    # Goyal et al. 2017: 90 epochs, 0.1 for 256 images, 1e-4. digits: 1,079 + 359 to train on.
    recipe = make_recipe(NETWORK, "digits", batch_size=128)
    training, sgd = recipe.training, recipe.training.optimizer
    assert training.steps == 1012  # ceil(90 * 1438 / 128)
    assert training.learning_rate == pytest.approx(0.05)
    assert (sgd.weight_decay, sgd.momentum, recipe.side) == (1e-4, 0.9, 256)
    assert training.crop_area == (0.08, 1.0)
    # Central views of 299 pixels are 87.5 % of 342.
    assert make_recipe("inception_v3", "digits").side == 342


def test_switches_reach_the_training_on_train_and_validation(trainings, tmp_path):
    plain = recipe_of()
    changes = ({}, {"bn_scale": False}, {"label_smoothing": 0.1}, {"dropout": 0.25})
    for change in changes:
        with pytest.raises(KeyboardInterrupt):
            pretrain(plain.replace(**change), RunContext("cpu", tmp_path))
    networks = [training.network for training in trainings]
    assert {training.sizes for training in trainings} == {(1438, 1438)}
    assert [training.config.label_smoothing for training in trainings] == [0, 0, 0.1, 0]
    scales = [[norm.weight.requires_grad for norm in n.batch_norms()] for n in networks]
    assert scales == [[True, True], [False, False], [True, True], [True, True]]
    first, *others = [network.classifier.weight for network in networks]
    assert all(torch.equal(first, other) for other in others)


def test_auxiliary_classifiers_are_trained_and_dropped(tmp_path):
    recipe = recipe_of(
        "torchvision:googlenet?size=32", limit=40, steps=1, batch_size=4, aux_head=True
    )
    found = pretrain(recipe, RunContext("cpu", tmp_path), name="aux")
    assert not any(name.startswith("aux") for name in weights(found))
    assert found.model.tags["auxiliary_head"] == "dropped after training"
    network = models.load(found.model, tmp_path)
    assert network.trained_classifier
    assert network.auxiliary == ()
    without = recipe.replace(aux_head=False)
    other = pretrain(without, RunContext("cpu", tmp_path), name="none")
    assert weights(found).keys() == weights(other).keys()
    # It had a say in the backbone.
    assert not torch.equal(weights(found)["conv1.conv.weight"], weights(other)["conv1.conv.weight"])


def test_a_network_without_scales_has_none_afterwards(tmp_path):
    found = pretrain(recipe_of(bn_scale=False, steps=5), RunContext("cpu", tmp_path), name="a")
    model = models.find("pretrained:a", tmp_path)
    assert not model.bn_scale
    assert model.tags["batch_norm_scale"] == "no"
    for norm in models.load(model, tmp_path).batch_norms():
        assert not norm.weight.requires_grad
        assert torch.equal(norm.weight, torch.ones_like(norm.weight))
    assert weights(found)["1.bias"].any()


def test_a_study_names_it(trained, own_cache, tmp_path):
    recipe = recipe_of(steps=20)
    pretrain(recipe, RunContext("cpu"), name="a", title="net", configuration="plain")
    study = Study(models=["pretrained:a"], datasets=["glyphs"], limit=124)
    run = study.run(tmp_path / "r.db", device="cpu")
    assert not run.failures
    (result,) = ResultStore(tmp_path / "r.db").results()
    assert result.trial.model.name == "net"
    assert result.trial.model.tags["configuration"] == "plain"
    assert result.trial.title == "net (plain), glyphs, linear"


@pytest.mark.parametrize(("name", "value", "found"), [
    ("steps", 0, 0), ("batch_size", 0, 0), ("learning_rate", -0.1, -0.1),
    ("label_smoothing", 1.0, 1.0), ("label_smoothing", -0.1, -0.1), ("dropout", 1.5, 1.5),
    ("crop_area", (0.0, 1.0), 0.0), ("crop_area", (1.5, 1.0), 1.5), ("seed", -1, -1),
])  # fmt: skip
def test_options_that_cannot_be(name, value, found):
    with refused("pretrain.value", name=name, value=found):
        recipe_of(**{name: value})


def test_data_that_cannot_be_trained_on(monkeypatch):
    with refused("training.batch_too_large", batch_size=2000, n_images=1438):
        recipe_of(batch_size=2000)
    several = recipe_of().dataset.model_copy(update={"metric": "voc-map-11point"})
    monkeypatch.setattr(datasets, "find", lambda *_, **__: several)
    with refused("pretrain.multilabel"):
        recipe_of()


def test_switches_that_an_architecture_lacks(tmp_path):
    (tmp_path / "bare.py").write_text(BARE)
    bare, context = f"{tmp_path / 'bare.py'}:build?size=16", RunContext("cpu", tmp_path)
    with refused("model.no_batch_norm"):
        pretrain(recipe_of(bare, bn_scale=False), context)
    with refused("model.no_auxiliary"):
        pretrain(recipe_of(bare, aux_head=True), context)


def test_a_name_that_another_recipe_has(trained):
    _, cache = trained
    larger = NETWORK.replace("size=16", "size=24")
    for changed, differences in (
        ({"steps": 80}, {"steps": (60, 80)}),
        ({"arch": larger}, {"model": (NETWORK, larger)}),
    ):
        other = recipe_of(view="full", **changed)
        with refused("pretrain.name_taken", name="digits", differences=differences) as error:
            pretrain(other, RunContext("cpu", cache), name="digits")
        assert str(cache / "pretrained" / "digits") in str(error.value)


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a,b", "a?b", ".hidden", "a b"])
def test_names_that_cannot_be(name, tmp_path):
    with refused("model.name_invalid", name=name):
        pretrain(recipe_of(), RunContext("cpu", tmp_path), name=name)


def test_weights_that_have_changed(copied):
    place = copied / "pretrained" / "digits" / "model.safetensors"
    state = load_file(place)
    save_file({name: tensor + 1 for name, tensor in state.items()}, place)
    recipe, context = recipe_of(view="full"), RunContext("cpu", copied)
    with refused("weights.changed", file=str(place)):
        pretrain(recipe, context, name="digits")
    model = models.find("pretrained:digits", copied)
    with refused("weights.changed", file=str(place)):
        models.load(model, copied)
    place.unlink()
    with refused("weights.gone", file=str(place)):
        pretrain(recipe, context, name="digits")


def test_records_that_are_damaged(copied):
    folder = copied / "pretrained" / "digits"
    (folder / "recipe.json").write_text("{")
    with refused("model.pretrained_damaged", file=str(folder / "recipe.json")):
        pretrain(recipe_of(view="full"), RunContext("cpu", copied), name="digits")
    (folder / "model.json").write_text("{}")
    with refused("model.pretrained_damaged", file=str(folder / "model.json")):
        models.find("pretrained:digits", copied)


def test_a_half_written_network_is_none(copied):
    (copied / "pretrained" / "digits" / "model.json").unlink()
    with refused("name.unknown", kind="model", name="pretrained:digits"):
        models.find("pretrained:digits", copied)
    assert models.pretrained_names(copied) == []


def test_a_cache_may_be_moved(copied):
    model = models.find("pretrained:digits", copied)
    assert str(copied) in model.weights.locator
    assert models.load(model, copied).trained_classifier


def test_what_diverges_is_told_and_not_kept(tmp_path):
    with refused("training.diverged"):
        pretrain(recipe_of(learning_rate=1e20), RunContext("cpu", tmp_path), name="far")
    assert models.pretrained_names(tmp_path) == []
    assert list((tmp_path / "training").iterdir()) == []


def test_broken_images_are_left_out_and_counted(tmp_path):
    each = {"dark": 4, "light": 4}
    folder = write_folder(tmp_path / "p", {"train": each, "validation": each, "test": each})
    for split in ("train", "test"):
        file = folder / split / "dark" / "0.png"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
    recipe = recipe_of(dataset=str(folder), batch_size=4, steps=2, skip_broken=True)
    found = pretrain(recipe, RunContext("cpu", tmp_path / "cache"), name="a")
    assert found.n_test == 7
    assert len(found.facts["skipped_images"]) == 2
    with refused("image.broken", where=str(folder / "train" / "dark" / "0.png")):
        pretrain(
            recipe_of(dataset=str(folder), batch_size=4, steps=2),
            RunContext("cpu", tmp_path / "cache"), name="b",
        )  # fmt: skip


def test_two_processes_train_one_network(tmp_path):
    (tmp_path / "bare.py").write_text(BARE)
    # Without batch norm, which would see another share of the images.
    bare = f"{tmp_path / 'bare.py'}:build?size=16"
    arguments = ("--arch", bare, "--dataset", "digits", "--steps", 5, "--batch-size", 50,
                 "--name", "both", "--device", "cpu")  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    # As torchrun starts them.
    own = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
           "MASTER_PORT": str(port), "HEADSTART_CACHE": str(tmp_path)}  # fmt: skip
    pair = [
        forked_command("pretrain", *arguments, RANK=rank, LOCAL_RANK=rank, **own) for rank in "01"
    ]
    outputs = [process.communicate() for process in pair]
    assert [process.returncode for process in pair] == [0, 0], outputs
    # One of them speaks.
    assert "".join(out for out, _ in outputs).count("pretrained:both: ") == 1
    model = models.find("pretrained:both", tmp_path)
    recipe = make_recipe(bare, "digits", steps=5, batch_size=50)
    alone = pretrain(recipe, RunContext("cpu", tmp_path), name="alone")
    both = load_file(model.weights.locator.removeprefix("file:"))
    for name, tensor in weights(alone).items():
        torch.testing.assert_close(both[name], tensor, atol=1e-5, rtol=1e-5)


@pytest.fixture
def machine(copied, remote_url, monkeypatch):
    """Change to a machine with this local folder."""

    def named(name: str) -> RunContext:
        monkeypatch.setenv("HEADSTART_CACHE", remote_url)
        monkeypatch.setenv("HEADSTART_LOCAL_CACHE", str(copied.parent / name))
        return RunContext("cpu")

    return named


def test_machines_share_what_they_train(machine, copied):
    """`copied` was trained before machines shared a cache: the next run of it shares it."""
    recipe = recipe_of(view="full")
    first = pretrain(recipe, machine("cache"), name="digits")
    assert not first.fresh
    second = pretrain(recipe, machine("two"), name="digits")
    assert not second.fresh
    assert (second.accuracy, second.facts) == (first.accuracy, first.facts)
    # It is found by its name, and by where another machine has it.
    there = machine("three")
    locator = "file:/elsewhere/pretrained/digits/model.safetensors"
    place = first.model.weights.model_copy(update={"locator": locator})
    elsewhere = first.model.model_copy(update={"weights": place})
    assert models.presence(elsewhere) == (
        True, str(there.cache / "pretrained" / "digits" / "model.safetensors"),
    )  # fmt: skip
    assert models.find("pretrained:digits").identity == first.model.identity
    expected = models.load(first.model).state_dict()
    for name, tensor in models.load(elsewhere).state_dict().items():
        assert torch.equal(tensor, expected[name])
    assert models.runs_code("pretrained:digits")
    machine("four")
    assert models.runs_code("pretrained:digits")
    with refused("name.unknown", name="pretrained:other"):
        models.find("pretrained:other")


def test_a_shared_network_that_is_damaged_is_refused(machine, copied, tmp_path):
    pretrain(recipe_of(view="full"), machine("cache"), name="digits")
    remote = machine("two").remote
    (name,) = [name for name in remote.names() if name.endswith(".safetensors")]
    (tmp_path / "file").write_bytes(b"x")
    remote.put(name, tmp_path / "file")
    with refused("storage.damaged"):
        models.find("pretrained:digits")
    assert not (tmp_path / "two" / "pretrained" / "digits" / "model.json").exists()
