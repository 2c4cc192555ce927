"""Which features are computed together, and that trials then find them."""

import pickle

import pytest

import small_network
from headstart import datasets, methods, models
from headstart.context import RunContext
from headstart.features import extract
from headstart.methods.on_features import extract_group, plan_extractions
from headstart.spec import Trial
from headstart.trial import run_trial

NETWORK = f"{small_network.__file__}:build?mean=0.5,0.5,0.5&std=0.25,0.25,0.25&size="


def trials(sizes=(16, 24), limit=100, seeds=(0,), settings=("linear",)) -> list[Trial]:
    return [
        Trial(
            model=models.find(f"{NETWORK}{size}"),
            dataset=datasets.find("digits", limit=limit),
            setting=methods.find(setting),
            seed=seed,
        )
        for seed in seeds
        for size in sizes
        for setting in settings
    ]


@pytest.fixture
def context(tmp_path) -> RunContext:
    return RunContext(cache=tmp_path, device="cpu")


def test_trials_find_what_their_group_computed(context, monkeypatch):
    # knn crops the centre: another table of the same images.
    asked = trials(settings=("linear", "knn"))
    (group,) = plan_extractions(asked, context)
    assert group.trials == tuple(asked)
    extract_group(pickle.loads(pickle.dumps(group)), context)
    assert len(list((context.cache / "features").glob("*.npy"))) == 4
    assert plan_extractions(asked, context) == []
    monkeypatch.setattr(extract.models, "load", lambda *_, **__: 1 / 0)
    assert run_trial(asked[0], context).n_test == 100


def test_one_group_per_set_of_images(context):
    everything = [
        *trials(seeds=(0, 1)),
        *trials(settings=("finetune",)),
        *trials(limit=None, seeds=(0, 1)),
        *trials(sizes=(16,), limit=120),
    ]
    groups = plan_extractions(everything, context)
    # Without a limit both seeds see all images.
    assert [(group.trials[0].dataset.limit, len(group.trials)) for group in groups] == [
        (100, 2),
        (100, 2),
        (None, 4),
    ]
    assert "2 models" in groups[0].title


def test_what_a_single_table_lacks_is_left_to_the_trial(context):
    asked = trials(sizes=(16, 24, 32))
    for trial in asked[:2]:
        run_trial(trial, context)
    assert plan_extractions(asked, context) == []
    # Of another seed's images, all three tables lack some, though two hold as many rows.
    (group,) = plan_extractions(trials(sizes=(16, 24, 32), seeds=(1,)), context)
    assert len(group.trials) == 3


def test_errors_are_left_to_the_trials(context, monkeypatch):
    (group,) = plan_extractions(trials(), context)
    monkeypatch.setattr(extract.models, "load", lambda *_, **__: 1 / 0)
    extract_group(group, RunContext(cache=context.cache), lambda _: None)
    assert len(plan_extractions(trials(), context)) == 1
