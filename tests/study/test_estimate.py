"""What a study takes, from its trials and from measured rates."""

from pathlib import Path

import pytest

import small_network
from headstart import datasets, models, training
from headstart.cli import plan_tables as command
from headstart.context import default_cache
from headstart.errors import ModelError
from headstart.spec import Candidate, Measurement
from headstart.store import ResultStore
from headstart.study import (
    Study,
    Throughput,
    Workload,
    complete_throughput,
    estimate_study,
    measure_throughput,
)
from watched import Listener

NETWORK = f"{Path(small_network.__file__)}:build?size=16"
QUICK = {"name": "finetune", "protocol": "quick"}
LITE0, LITE2 = (models.find(f"efficientnet_lite{i}") for i in (0, 2))


def planned(store: ResultStore, **fields):
    study = Study(**{"models": ["efficientnet_lite0"], "datasets": ["digits"], **fields})
    return study, estimate_study(study, store, default_cache())


def test_the_whole_study_is_counted_before_anything_is_here(store, own_cache, tmp_path):
    study = Study.from_toml(Path("kornblith2019"))
    found = estimate_study(study, store, default_cache())
    assert len(found.workloads) == 16 * 3
    assert found.batch_size == 256
    assert found.problems == ()
    images = {"linear": 0, "finetune": 0, "scratch": 0}
    for load in found.workloads:
        assert load.trials == 12
        name = load.setting.split()[0]
        # 7 x 8 candidates and the final training, 20,000 steps each.
        assert load.steps == (0 if name == "linear" else 12 * 57 * 20_000)
        assert load.trained == 256 * load.steps
        images[name] += load.evaluated
    assert images["linear"] == 16 * sum(sum(dict(sizes).values()) for sizes in _sizes(study))
    assert (
        images["finetune"]
        == images["scratch"]
        == 16 * sum(56 * 2 * sizes.validation + sizes.test for sizes in _sizes(study))
    )
    assert found.feature_bytes == pytest.approx(40.9e9, rel=1e-3)
    assert list(tmp_path.iterdir()) == []


def _sizes(study):
    return [datasets.describe(name).sizes for name in study.datasets]


def test_features_of_the_same_images_are_counted_once(store):
    linear = [{"name": "linear"}, {"name": "linear", "tolerance": 1e-3}]
    _, found = planned(store, limit=100, settings=linear)
    assert [load.evaluated for load in found.workloads] == [300, 0]
    # Another seed draws other images; there are 1,797 in all.
    _, found = planned(store, limit=100, seeds=range(7), settings=["linear"])
    assert [load.evaluated for load in found.workloads] == [1797]


def test_rates_are_measured_in_the_precision_that_the_settings_ask_for(store):
    both = ["linear", QUICK]
    assert planned(store, settings=both)[1].precision == "fp32"
    assert planned(store, settings=both, precision="bf16")[1].precision == "bf16"
    own = {"name": "finetune", "protocol": "quick", "precision": "bf16"}
    assert planned(store, settings=[own])[1].precision == "bf16"
    assert planned(store, settings=["linear", own])[1].precision == "fp32"


def test_what_was_measured_of_a_trial_is_not_counted_again(store):
    study, before = planned(store, limit=100, settings=[QUICK])
    # 6 candidates and the final training of 40 steps of 32 images.
    (load,) = before.workloads
    assert (load.steps, load.trained, load.evaluated) == (7 * 40, 7 * 40 * 32, 6 * 2 * 100 + 100)
    (trial,) = study.trials()
    for rate in (0.001, 0.01):
        values = {"learning_rate": rate, "weight_decay": 0.0, "steps": 40.0}
        row = {**values, "crop": "full", "accuracy": 0.5}
        store.add_measurement(
            trial.key,
            Measurement(candidate=Candidate(values=values), examples="r", curve=(row,)),
        )
    (load,) = estimate_study(study, store, default_cache()).workloads
    assert (load.steps, load.evaluated) == (5 * 40, 4 * 2 * 100 + 100)


def test_rungs_are_counted_as_they_are(store):
    rungs = {
        "name": "finetune",
        "steps": 40,
        "batch_size": 32,
        "learning_rates": [0.01, 0.1],
        "decays": [0.0],
        "search": "rungs",
        "rungs": [[2, 10], [1, 20]],
    }
    (load,) = planned(store, limit=100, settings=[rungs])[1].workloads
    assert (load.steps, load.evaluated) == (2 * 10 + 20 + 40, 3 * 2 * 100 + 100)


def test_what_the_study_would_be_refused_for_is_told(store):
    _, found = planned(store, limit=100, settings=["linear", "finetune"])
    (problem,) = found.problems
    assert problem.startswith("digits: setting 'finetune': a batch of 256 is larger than the data")


def test_each_number_of_steps_and_of_images_is_counted(store):
    _, found = planned(store, settings=[{**QUICK, "steps": [60, 80]}])
    # 1,079 images of training, 359 of validation and test each.
    (load,) = found.workloads
    assert (load.trials, load.steps) == (2, 7 * (60 + 80))
    _, found = planned(store, settings=["linear"], examples_per_class=[1, 2], datasets=["dtd"])
    assert found.problems == ()
    # 47 classes; nothing of it is here.
    assert [load.trials for load in found.workloads] == [2]
    assert found.workloads[0].evaluated == 47 * 2 + 2 * 1880


def test_hours_are_images_divided_by_rates(store):
    load = Workload(LITE0, "finetune quick", steps=10, trained=36_000, evaluated=7_200)
    assert load.hours(Throughput(10.0, 20.0)) == pytest.approx(1.1)
    assert load.hours(Throughput(None, 20.0)) is None
    assert load.hours(None) is None
    assert Workload(LITE0, "linear", evaluated=7_200).hours(
        Throughput(None, 20.0)
    ) == pytest.approx(0.1)
    _, found = planned(store, limit=100, settings=["linear", QUICK])
    rates = {"efficientnet_lite0": Throughput(None, 10.0)}
    assert found.hours(rates) == pytest.approx(300 / 10 / 3600)
    assert found.unknown(rates) == ("efficientnet_lite0",)
    assert found.unknown({"efficientnet_lite0": Throughput(1.0, 10.0)}) == ()


def test_rates_that_were_not_measured_follow_from_multiply_adds():
    unknown = LITE2.model_copy(update={"name": "other", "multiply_adds": None})
    rates = complete_throughput({LITE0.name: Throughput(8.0, 30.0)}, [LITE0, LITE2, unknown])
    ratio = LITE0.multiply_adds / LITE2.multiply_adds
    assert rates[LITE0.name] == Throughput(8.0, 30.0)
    assert rates[LITE2.name].training == pytest.approx(8 * ratio)
    assert rates[LITE2.name].forward == pytest.approx(30 * ratio)
    assert rates[LITE2.name].estimated
    assert "other" not in rates
    assert complete_throughput({}, [LITE0])[LITE0.name] == Throughput(None, None, estimated=True)


def test_a_small_network_is_measured(monkeypatch):
    sizes, real = [], training.train

    def train(network, pixels, *arguments, **options):
        sizes.append(len(pixels))
        return real(network, pixels, *arguments, **options)

    monkeypatch.setattr(training, "train", train)
    model = models.find(NETWORK)
    rate = measure_throughput([model], "cpu", batch_size=20, seconds=60)[model.name]
    assert rate.training > 0
    assert rate.forward > 0
    assert not rate.estimated
    assert sizes == [2, 8, 20]
    # Without time there is one batch; without training none.
    sizes.clear()
    measure_throughput([model], "cpu", batch_size=20, seconds=0)
    assert sizes == [2]
    assert (
        measure_throughput([model], "cpu", batch_size=None, seconds=0)[model.name].training is None
    )
    assert sizes == [2]


def test_what_cannot_be_measured_is_told(monkeypatch):
    model, reporter = models.find(NETWORK), Listener()
    assert measure_throughput([model], "cpu", batch_size=None, all_seconds=0) == {}

    def load(model):
        raise ModelError("no such library")

    monkeypatch.setattr(models, "load", load)
    assert measure_throughput([model], "cpu", batch_size=None, reporter=reporter) == {}
    assert reporter.notes == [f"{NETWORK}: not measured: no such library"]


def test_the_plan_on_the_screen(cli, store, monkeypatch):
    monkeypatch.setattr(
        command,
        "measure_throughput",
        lambda *_, **__: {"efficientnet_lite0": Throughput(10.0, 100.0)},
    )
    asked = ("--models", "efficientnet_lite0,efficientnet_lite2", "--datasets", "digits,./none")
    rest = ("--settings", "finetune:quick,scratch", "--limit", 100, "--store", store.path)
    outcome = cli("plan", *asked, *rest, "--price", "2.50", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    rows = {line.split()[0]: line.split()[1:] for line in outcome.out.splitlines() if line}
    assert rows["efficientnet_lite0"] == ["10.0", "100.0"]
    assert all(cell.startswith("~") for cell in rows["efficientnet_lite2"])
    assert rows["finetune"][1:5] == ["2", "560", "17,920", "2,600"]
    assert rows["all"][:2] == ["4", f"{560 + 2 * 57 * 20_000:,}"]
    # What the first takes at its rates, and the second at rates by its multiply-adds.
    ratio = LITE2.multiply_adds / LITE0.multiply_adds
    tuned = (8960 / 10 + 1300 / 100) * (1 + ratio) / 3600
    assert float(rows["finetune"][-1]) == pytest.approx(tuned, rel=1e-2)
    scratch = (57 * 20_000 * 256 / 10 + (56 * 2 + 1) * 100 / 100) * (1 + ratio) / 3600
    assert f"cost: about {2.5 * (tuned + scratch):,.2f} at 2.50 per hour" in outcome.out
    refused = "the study would be refused: digits: setting 'scratch': a batch of 256 is larger"
    assert refused in outcome.out
    assert "not counted: ./none, of unknown size" in outcome.out
    # Nothing is made.
    assert not store.path.exists()
