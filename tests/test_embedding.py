"""`headstart embed`: which images, which numbers, whose features, and what cannot be."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import silhouette_score

from conftest import write_folder
from headstart import datasets, models
from headstart.context import RunContext
from headstart.embedding import EmbedOptions, embed
from refusals import ended, refused
from watched import Listener

NET = f"{Path(__file__).parent / 'small_network.py'}:build?size=32"
RANDOM = f"{NET}&weights=random"
EACH = {"a": 6, "b": 6, "c": 6}


@pytest.fixture
def images(tmp_path):
    return write_folder(tmp_path / "images", dict.fromkeys(("train", "validation", "test"), EACH))


def made(dataset, *names, limit=None, **view):
    """Embed without the command line; t-SNE of few points takes no time."""
    chosen = [models.find(name) for name in names or (NET,)]
    found = datasets.find(str(dataset), limit=limit)
    return embed(chosen, found, EmbedOptions(**view), "fp32", RunContext(device="cpu"))


class TestTheCommand:
    def test_files_and_numbers(self, cli, images, tmp_path):
        out = tmp_path / "out"
        asked = ("embed", RANDOM, f"{RANDOM}&seed=1", "--dataset", images, "--out", out)
        outcome = cli(*asked, "--json")
        assert outcome.code == 0, outcome.err
        found = json.loads(outcome.out)
        assert found["images"] == 18
        assert found["classes"] == ["a", "b", "c"]
        assert found["perplexity"] == 5.6  # a third of the 17 others, down to a tenth
        assert [row["features"] for row in found["separation"]] == [16, 16]
        ((pair),) = found["similarity"]
        assert (pair["model"], pair["other"]) == (RANDOM, f"{RANDOM}&seed=1")
        assert {file.name for file in out.iterdir()} == {
            *(f"embedding.{kind}" for kind in ("csv", "html", "pdf", "png", "svg")),
            "images.csv", "separation.csv", "similarity.csv",
        }  # fmt: skip
        with (out / "images.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["where"] for row in rows[:2]] == ["0.png", "1.png"]
        points = pd.read_csv(out / "embedding.csv")
        assert points.groupby("model").size().tolist() == [18, 18]

    def test_what_is_printed(self, cli, images, tmp_path):
        outcome = cli("embed", RANDOM, "--dataset", images, "--out", tmp_path / "out")
        said = outcome.out.splitlines()
        assert "18 test images of 3 classes of " in outcome.out
        place = said.index("Separation of classes")
        headings = " ".join(said[place + 1 : place + 4])
        for name in ("Network", "Features", "Silhouette", "neighbours", "Within"):
            assert name in headings
        assert said[-1] == f"Page: {tmp_path / 'out' / 'embedding.html'}"

    def test_names_and_numbers_of_classes(self, cli, images, tmp_path):
        def classes(asked):
            more = ("--classes", asked, "--out", tmp_path / "out", "--json")
            return json.loads(cli("embed", RANDOM, "--dataset", images, *more).out)["classes"]

        assert classes("c,a") == ["a", "c"]
        assert len(classes("2")) == 2

    def test_what_cannot_be_is_one_line(self, cli, images, tmp_path):
        more = ("--out", tmp_path / "out", "--classes", "a")
        ended(cli("embed", RANDOM, "--dataset", images, *more), "embedding.few_classes")

    def test_no_model(self, cli, images):
        ended(cli("embed", "--dataset", images), "command.missing", name="MODEL")

    def test_a_folder_that_is_a_file_is_found_before_the_work(self, cli, images, tmp_path):
        (tmp_path / "file").write_text("")
        outcome = cli("embed", RANDOM, "--dataset", images, "--out", tmp_path / "file")
        assert outcome.code == 2
        ended(outcome, "storage.not_folder")
        assert outcome.out == ""

    def test_a_class_with_one_test_image(self, cli, tmp_path):
        each = {"a": 6, "b": 6, "c": 6}
        counts = {"train": each, "validation": each, "test": {**each, "c": 1}}
        root = write_folder(tmp_path / "images", counts)
        asked = ("embed", RANDOM, "--dataset", root, "--out", tmp_path / "out", "--json")
        with refused("embedding.class_small", name="c"):
            made(root, RANDOM, classes=("a", "c"))
        # Not named, it is not drawn.
        assert json.loads(cli(*asked).out)["classes"] == ["a", "b"]

    def test_broken_images_are_left_out_where_that_is_asked(self, cli, images, tmp_path):
        broken = images / "test" / "b" / "3.png"
        content = bytearray(broken.read_bytes())
        content[60:90] = bytes(30)
        broken.write_bytes(content)
        asked = ("embed", RANDOM, "--dataset", images, "--out", tmp_path / "out", "--json")
        with refused("image.broken", where=str(broken)):
            made(images, RANDOM)
        found = json.loads(cli(*asked, "--skip-broken").out)
        assert found["images"] == 17


@pytest.mark.parametrize(("options", "code", "values"), [
    ({"classes": ("a", "zebra")}, "name.unknown", {"name": "zebra"}),
    ({"classes": ("a",)}, "embedding.few_classes", {"found": 1, "expected": 2}),
    ({"classes": 1}, "embedding.few_classes", {"found": 1, "expected": 2}),
    ({"classes": 0}, "embedding.few_classes", {"found": 0, "expected": 2}),
    ({"classes": 4}, "embedding.few_classes", {"found": 3, "expected": 4}),
    ({"perplexity": 5.7}, "embedding.perplexity_invalid", {"found": 5.7, "most": 5.6}),
    ({"perplexity": 0}, "embedding.perplexity_invalid", {"found": 0}),
    ({"images": 5}, "embedding.few_images", {"found": 5, "expected": 6}),
    ({"images": 0}, "embedding.images_invalid", {"found": 0}),
    ({"seed": -1}, "embedding.seed_invalid", {"found": -1}),
])  # fmt: skip
def test_what_cannot_be_embedded(images, options, code, values):
    with refused(code, **values):
        made(images, RANDOM, **options)


def test_several_labels_per_image_are_refused(tmp_path):
    dataset = datasets.find("glyphs").model_copy(update={"metric": "voc-map-11point"})
    with refused("embedding.multilabel", dataset="glyphs"):
        embed([models.find(RANDOM)], dataset, EmbedOptions(), "fp32", RunContext())
    with refused("embedding.no_model"):
        embed([], dataset, EmbedOptions(), "fp32", RunContext())


def test_after_a_linear_run_no_feature_is_computed_anew(cli, own_cache, tmp_path, monkeypatch):
    asked = (NET, "--dataset", "digits", "--limit", 60, "--out", tmp_path / "out")
    run = ("run", "--models", NET, "--datasets", "digits", "--limit", 60)
    assert cli(*run, "--store", tmp_path / "r.db").code == 0
    before = kept_features(own_cache)
    assert before
    with monkeypatch.context() as patch:

        def refuse(*_, **__):
            raise AssertionError("a network was built though its features are kept")

        patch.setattr(models, "load", refuse)
        outcome = cli("embed", *asked)
        assert outcome.code == 0, outcome.err
        # Other images are not there: the network is what is asked for them.
        outcome = cli("embed", *asked, "--limit", 70)
        assert outcome.code == 2
        assert "network was built" in outcome.err
    assert kept_features(own_cache) == before


def kept_features(cache):
    return {file: file.read_bytes() for file in (cache / "features").rglob("*.npy")}


def test_numbers_are_of_the_features_and_not_of_the_picture(images):
    found = made(images, RANDOM)
    x, y = found.points["x"], found.points["y"]
    picture = silhouette_score(np.column_stack([x, y]), found.points["class"])
    features = read_features(images)
    expected = silhouette_score(features, found.points["class"], metric="cosine")
    assert found.separation["silhouette"].item() == pytest.approx(expected, abs=1e-6)
    assert picture != pytest.approx(expected, abs=1e-3)


def read_features(images):
    """Features of all test images, in the order of the files, by the network alone."""
    import torch

    from headstart.features.inference import Extractor
    from headstart.features.preprocess import NetworkInput

    dataset, model = datasets.find(str(images)), models.find(RANDOM)
    split = datasets.load(dataset, 0, RunContext().cache).test
    pixels = NetworkInput.of(model, "whole").decode(split.images, range(len(split)))
    return Extractor(models.load(model), model, "fp32", torch.device("cpu"))(pixels)


def test_the_seed_decides_classes_images_and_places():
    options = {"classes": 4, "images": 24, "limit": 100}
    first, same, other = (made("digits", RANDOM, seed=seed, **options) for seed in (0, 0, 1))
    for name, table in first.tables().items():
        pd.testing.assert_frame_equal(table, same.tables()[name])
    assert first.classes != other.classes
    assert first.images["class"].value_counts().tolist() == [6, 6, 6, 6]


def test_networks_see_the_same_images(images):
    found = made(images, RANDOM, NET)
    first, second = (own.reset_index() for _, own in found.points.groupby("position"))
    assert first["image"].tolist() == second["image"].tolist() == found.images["image"].tolist()
    assert first["class"].tolist() == second["class"].tolist() == found.images["class"].tolist()
    assert len(found.similarity) == 1
    assert 0 < found.similarity["cka"].item() <= 1


def test_a_network_alone_has_no_other_to_be_like(images):
    assert made(images, RANDOM).similarity.columns.tolist() == [
        "model", "other", "cka", "unbiased_cka",
    ]  # fmt: skip


def test_whoever_watches_hears_of_each_network(images):
    reporter = Listener()
    context = RunContext(device="cpu", reporter=reporter)
    chosen = [models.find(RANDOM), models.find(NET)]
    embed(chosen, datasets.find(str(images)), EmbedOptions(), "fp32", context)
    assert reporter.trials == [(RANDOM, 1, 2), (NET, 2, 2)]
