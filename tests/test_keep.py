"""Networks that trials end with: written, and loaded again to the same predictions."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import save_file

from conftest import NETWORK
from headstart import datasets, files, models
from headstart.artifacts import ArtifactFolder
from headstart.context import RunContext
from headstart.features import FeatureRequest, penultimate_features
from headstart.methods import open_trial
from headstart.models.saved_networks import load_name
from headstart.spec import Model
from headstart.store import ResultStore
from headstart.study import Study
from refusals import refused
from watched import Listener

TUNED = {
    "name": "finetune",
    "steps": 20,
    "batch_size": 50,
    "learning_rates": [0.3],
    "decays": [0.0],
}
STUDY = Study(
    models=[NETWORK], datasets=["digits"], limit=100, settings=["linear", TUNED], precision="fp32"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    run = STUDY.run(folder / "r.db", device="cpu", keep_models=folder / "models")
    assert not run.failures
    return folder, run.results


def kept(folder: Path, result) -> tuple[Path, Model]:
    """Give the folder of a trial's network, and the model as its own config names it."""
    place = folder / "models" / result.trial.key[:12]
    name = json.loads((place / "config.json").read_text())["load"]
    return place, models.find(name.replace("FOLDER", str(place)))


def test_a_tuned_network_gives_the_stored_scores_again(run):
    folder, (_, result) = run
    _, model = kept(folder, result)
    network = models.load(model)
    assert network.trained_classifier
    training = open_trial(result.trial, RunContext(device="cpu"))
    crop = result.selection.chosen["crop"]
    scores = training.scores(network, training.images.test_rows, crop)
    stored = ResultStore(folder / "r.db").predictions(result.trial.key).scores
    np.testing.assert_allclose(scores, stored, atol=1e-4)
    assert len(np.unique(stored.argmax(axis=1))) > 1


def test_a_regression_is_the_networks_classifier(run):
    folder, (result, _) = run
    _, model = kept(folder, result)
    network, trial = models.load(model), result.trial
    context = RunContext(device="cpu")
    splits = datasets.load(trial.dataset, trial.seed, context.cache)
    request = FeatureRequest.of(trial.dataset, splits, trial.setting.resize, "fp32")
    features = penultimate_features(model, request, context).values[-100:]
    with torch.inference_mode():
        scores = network.classifier(torch.from_numpy(np.array(features))).numpy()
    stored = ResultStore(folder / "r.db").predictions(trial.key).scores
    np.testing.assert_allclose(scores, stored, atol=1e-4)


def test_card_and_config_have_the_numbers_and_the_classes(run):
    folder, results = run
    for result in results:
        place, model = kept(folder, result)
        card = ModelCard.load(place / "README.md")
        numbers = {each.metric_name: each.metric_value for each in card.data.eval_results}
        assert numbers == pytest.approx(result.metrics)
        assert {each.dataset_name for each in card.data.eval_results} == {"digits"}
        assert f"| top-1 | {result.accuracy:.4f} |" in card.text
        assert "10 classes, in the order of its outputs: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9." in card.text
        config = json.loads((place / "config.json").read_text())
        assert config["classes"] == [str(digit) for digit in range(10)]
        assert config["input"]["size"] == 16
        assert config["trial"] == result.trial.key
        assert (model.input_size, model.mean) == (16, (0.5, 0.5, 0.5))
        assert {file.name for file in place.iterdir()} == {
            "README.md",
            "config.json",
            "model.safetensors",
        }


def test_a_network_that_was_not_kept_is_told(run, tmp_path):
    folder, _ = run
    reporter = Listener()
    STUDY.run(folder / "r.db", reporter=reporter, keep_models=folder / "models")
    assert reporter.notes == []
    STUDY.run(folder / "r.db", reporter=reporter, keep_models=tmp_path)
    assert reporter.notes == [
        f"2 trials stored before, without networks in {tmp_path}: another --store measures them "
        "again"
    ]


@pytest.mark.parametrize("place", ["path", "file", "s3"])
@pytest.mark.parametrize("stored", [False, True])
def test_a_run_that_ends_between_the_network_and_the_result(
    stored, place, tmp_path, monkeypatch, request
):
    """What has the network's own name has a result; and a result has its network."""
    study = STUDY.model_copy(update={"settings": ("linear",)})
    (trial,) = study.trials()
    key, real = trial.key[:12], ResultStore.add
    url = f"{request.getfixturevalue('bucket')}/m" if place == "s3" else str(tmp_path / "models")
    folder = ArtifactFolder(f"file://{url}" if place == "file" else url, tmp_path / "copies")
    options = {"device": "cpu", "keep_models": str(folder)}
    files = ("README.md", "config.json", "model.safetensors")

    def dying(store, result):
        if stored:
            real(store, result)
        raise KeyboardInterrupt

    monkeypatch.setattr(ResultStore, "add", dying)
    with pytest.raises(KeyboardInterrupt):
        study.run(tmp_path / "r.db", **options)
    assert folder.names() == [f"{key}.partial/{file}" for file in files]
    monkeypatch.undo()
    run = study.run(tmp_path / "r.db", **options)
    assert run.measured == (0 if stored else 1)
    assert folder.names() == [f"{key}/{file}" for file in files]
    if not folder.local:
        return
    assert [each.name for each in folder.local.iterdir()] == [key]


def test_object_storage_gets_the_same_files(run, bucket, tmp_path):
    folder, (result, _) = run
    study = STUDY.model_copy(update={"settings": ("linear",)})
    study.run(tmp_path / "r.db", device="cpu", keep_models=f"{bucket}/models")
    kept_there = ArtifactFolder(f"{bucket}/models/{result.trial.key[:12]}", tmp_path / "copies")
    place, _ = kept(folder, result)
    assert kept_there.names() == sorted(file.name for file in place.iterdir())
    for name in kept_there.names():
        # The digest goes along when a file gets its final name.
        assert kept_there.get(name).read_bytes() == (place / name).read_bytes()


@pytest.mark.parametrize("place", ["path", "s3"])
def test_how_a_model_was_chosen_stays_when_another_store_has_the_same_trial(
    place, tmp_path, request
):
    study = STUDY.model_copy(update={"settings": ("linear",)})
    url = f"{request.getfixturevalue('bucket')}/m" if place == "s3" else str(tmp_path / "models")
    folder, options = (
        ArtifactFolder(url, tmp_path / "copies"),
        {"device": "cpu", "keep_models": url},
    )
    (result,) = study.run(tmp_path / "one.db", **options).results
    key = result.trial.key
    choice = {"date": "2026-01-02", "models": 3, "images": 80, "folds": 5, "repeats": 2,
              "complete": True, "tied": ["other"]}  # fmt: skip
    for tied in ("once", "other"):
        models.keep_choice(key, folder, choice | {"tied": [tied]})
    study.run(tmp_path / "two.db", **options)
    assert models.choice_of(key, folder) == {"trial": key, **choice}
    card = folder.get(f"{key[:12]}/README.md").read_text()
    assert card.count(models.choice_text(choice)) == card.count("## How the model was chosen") == 1
    assert f"| top-1 | {result.accuracy:.4f} |" in card


def test_a_folder_that_cannot_be_written_is_told_before_anything_runs(tmp_path):
    with refused("storage.not_writable"):
        STUDY.run(tmp_path / "r.db", keep_models="/sys/models")
    assert not (tmp_path / "r.db").exists()


def test_a_disk_without_room_is_told_before_anything_runs(tmp_path, monkeypatch):
    trials = STUDY.model_copy(update={"settings": ("linear",)})
    real = files.shutil.disk_usage

    def usage(place):
        return real(place) if "models" not in str(place) else real(place)._replace(free=5000)

    monkeypatch.setattr(files.shutil, "disk_usage", usage)
    with refused("storage.full"):
        trials.run(tmp_path / "r.db", keep_models=tmp_path / "models")
    assert not (tmp_path / "r.db").exists()


def test_the_command_keeps_networks(cli, tmp_path):
    arguments = ("--models", NETWORK, "--datasets", "digits", "--limit", 50)
    places = ("--store", tmp_path / "r.db", "--keep-models", tmp_path / "kept")
    outcome = cli("run", *arguments, *places)
    assert outcome.code == 0, outcome.err
    (place,) = (tmp_path / "kept").iterdir()
    assert (place / "model.safetensors").stat().st_size > 1000


@pytest.mark.parametrize("n_classes", [3, 1000])
def test_names_of_the_network_itself_are_not_translated(n_classes, tmp_path):
    # The file of these weights, as a package brings it, has other names than the network.
    model = models.find("efficientnet_lite0")
    network = models.load(model).with_head(n_classes, 1)
    state = {name: t.contiguous() for name, t in network.state_as_built().items()}
    save_file(state, tmp_path / "w.safetensors")
    again = models.load(
        models.find(f"checkpoint:{tmp_path / 'w.safetensors'}?arch=efficientnet_lite0")
    )
    assert again.trained_classifier
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(again(images), network(images))


@pytest.mark.parametrize(("name", "load"), [
    ("efficientnet_lite0", "arch=efficientnet_lite0"),
    ("timm:resnet10t?weights=random&seed=3&size=64", "arch=timm:resnet10t&size=64"),
])  # fmt: skip
def test_what_the_weights_began_as_is_not_in_the_name(name, load):
    assert load_name(models.find(name)) == f"checkpoint:FOLDER/model.safetensors?{load}"


def test_a_kept_network_of_a_kept_network_has_the_first_ones_architecture(run):
    folder, (result, _) = run
    _, model = kept(folder, result)
    assert load_name(model) == load_name(result.trial.model)
