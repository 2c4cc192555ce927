"""The ablation of regularizers: its five recipes, and what is left of them."""

import csv
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import NETWORK
from headstart import results
from headstart.context import RunContext
from headstart.pretraining import make_recipe, run_job
from headstart.study import CONFIGURATIONS, Study, ablate, configurations
from headstart.study.sweep_studies import different
from refusals import refused
from watched import Listener

SWITCHES = ("bn_scale", "label_smoothing", "dropout", "aux_head")


@pytest.fixture(scope="module")
def recipe():
    return make_recipe(NETWORK, "digits", steps=10, batch_size=50, label_smoothing=0.3)


def switches(recipe):
    return recipe.bn_scale, recipe.training.label_smoothing, recipe.dropout, recipe.aux_head


def test_the_five_configurations_of_the_paper(recipe):
    five = configurations(recipe)
    # Kornblith et al. 2019, Figure 3: what is switched from one to the next.
    assert [switches(each) for each in five.values()] == [
        (False, 0.1, 0.2, True),
        (True, 0.1, 0.2, True),
        (True, 0.0, 0.2, True),
        (True, 0.0, 0.0, True),
        (True, 0.0, 0.0, False),
    ]
    rest = {each.model_dump_json(exclude=set(SWITCHES)) for each in five.values()}
    assert len(rest) == 1
    stronger = configurations(recipe, label_smoothing=0.2, dropout=0.5)
    assert [switches(each)[1:3] for each in stronger.values()][:2] == [(0.2, 0.5)] * 2


def test_their_names_are_those_of_the_digitised_figure():
    (file,) = Path(__file__).parents[2].rglob("*regularizer*.csv")
    names = [row["training_setting"] for row in csv.DictReader(file.read_text().splitlines())]
    assert list(dict.fromkeys(names)) == list(CONFIGURATIONS)


@pytest.mark.parametrize(("batch_norm", "auxiliary", "left"), [
    (True, True, ["S1", "S2", "S3", "S4", "S5"]), (True, False, ["S1", "S2", "S3", "S4"]),
    (False, True, ["S2", "S3", "S4", "S5"]), (False, False, ["S2", "S3", "S4"]),
])  # fmt: skip
def test_what_an_architecture_lacks_is_measured_once(recipe, batch_norm, auxiliary, left):
    found = different(configurations(recipe), batch_norm=batch_norm, auxiliary=auxiliary)
    assert [name[:2] for name in found] == left
    assert len({each.key for each in found.values()}) == len(left)
    assert any(each.aux_head for each in found.values()) == auxiliary


class Backwards:
    """Workers of whom the one that began last ends first."""

    def map(self, function, items, on_message):
        for item in reversed(items):
            yield item, function(item, on_message)


def test_who_ends_first_does_not_show(own_cache, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "headstart.study.sweep_studies.executor_of", lambda *_, **__: nullcontext(Backwards())
    )
    reporter, study = Listener(), Study(models=[NETWORK], datasets=["glyphs"], limit=124)
    found = ablate(
        study, "digits", tmp_path / "r.db", RunContext("cpu", own_cache, reporter=reporter),
        steps=4, batch_size=50, learning_rate=0.1,
    )  # fmt: skip
    trained = [each.model.tags["configuration"][:2] for each in found.pretrained]
    assert trained == ["S1", "S2", "S3", "S4"]
    assert ("pretraining networks", 4, "networks") in reporter.stages
    stored = results(tmp_path / "r.db")["configuration"]
    assert [name[:2] for name in stored] == trained


def test_a_place_for_a_store_is_proven_before_anything_is_trained(own_cache, tmp_path):
    (tmp_path / "file").touch()
    reporter, study = Listener(), Study(models=[NETWORK], datasets=["glyphs"], limit=124)
    context = RunContext("cpu", own_cache, reporter=reporter)
    with refused("storage.not_folder"):
        ablate(study, "digits", tmp_path / "file" / "r.db", context, steps=4, batch_size=50)
    assert reporter.stages == []


@pytest.mark.parametrize("strengths", [{"label_smoothing": 0}, {"dropout": 1}])
def test_strengths_that_switch_nothing(recipe, strengths):
    (name,) = strengths
    with refused("ablation.strength", name=name, value=strengths[name]):
        configurations(recipe, **strengths)


def test_what_diverges_does_not_stop_the_others(own_cache, tmp_path, monkeypatch):
    reporter = Listener()

    def failing(job, context):
        rate = 1e20 if job.recipe.training.label_smoothing else 0.1
        recipe = job.recipe.replace(learning_rate=rate)
        return run_job(replace(job, recipe=recipe), context)

    monkeypatch.setattr("headstart.pretraining.run_job", failing)
    found = ablate(
        Study(models=[NETWORK], datasets=["glyphs"], limit=124), "digits", tmp_path / "r.db",
        RunContext("cpu", own_cache, reporter=reporter),
        steps=10, batch_size=50, learning_rate=0.1,
    )  # fmt: skip
    assert [each.model.tags["configuration"][:2] for each in found.pretrained] == ["S3", "S4"]
    assert len(found.failures) == 2
    assert all("diverged at step" in error for error in found.failures.values())
    assert len(found.run.results) == 2
    assert sum("failed: pretraining" in note for note in reporter.notes) == 2
