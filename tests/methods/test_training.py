"""Fine-tuning and training from scratch, with a small network on real digits."""

import numpy as np
import pytest
import torch

from conftest import NETWORK, write_folder
from headstart import datasets, methods, models
from headstart.context import ProgressReporter, RunContext
from headstart.executors import Processes
from headstart.methods import open_trial
from headstart.methods.finetune import (
    FINETUNE,
    FineTune,
    FinetuneSetting,
    PreparedTraining,
)
from headstart.registry import METHODS
from headstart.spec import Candidate, Selection, Trial
from headstart.store import ResultStore
from headstart.training import cosine, pixels
from headstart.trial import run_trial
from refusals import refused

QUICK = {"steps": 40, "batch_size": 50, "learning_rates": [0.03, 0.3], "decays": [0.0, 1e-4]}


def make_trial(name="finetune", seed=0, limit=200, **options) -> Trial:
    return Trial(
        model=models.find(NETWORK),
        dataset=datasets.find("digits", limit=limit),
        setting=methods.find(name, **{**QUICK, **options}),
        seed=seed,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> ResultStore:
    return ResultStore(tmp_path_factory.mktemp("store") / "r.db", create=True)


@pytest.fixture(scope="module")
def result(store):
    return run_trial(make_trial(), RunContext(), store)


def test_a_grid_is_measured_chosen_from_and_tested(result, store):
    assert result.accuracy > 0.3
    assert result.n_test == 200
    measured = store.measurements(result.trial.key)
    assert len(measured) == 4
    rows = [row for measurement in measured for row in measurement.curve]
    assert len(rows) == 8
    assert {row["crop"] for row in rows} == {"full", "central"}
    chosen = result.selection.chosen
    best = max(row["accuracy"] for row in rows)
    (row,) = [
        row
        for row in rows
        if all(row[name] == chosen[name] for name in ("learning_rate", "weight_decay", "crop"))
    ]
    assert row["accuracy"] == best
    assert store.selection(result.trial.key) == result.selection
    refit = result.provenance["refit"]
    assert refit["steps"] == 40
    assert refit["losses"][-1] < refit["losses"][0]
    assert result.provenance["skipped_images"] == {}
    assert set(result.seconds) == {"prepare", "select", "refit", "test"}


def test_a_sweep_that_ends_goes_on_at_the_candidate_where_it_was(result, store, tmp_path):
    trial, second = make_trial(), ResultStore(tmp_path / "r.db", create=True)
    for measurement in store.measurements(trial.key)[:3]:
        second.add_measurement(trial.key, measurement)
    asked = []

    class Counting(PreparedTraining):
        def measure(self, candidate):
            asked.append(candidate)
            return super().measure(candidate)

    class Opening(FineTune):
        def open(self, trial, context, splits):
            return Counting(trial, context, splits)

    method = Opening("finetune", FINETUNE.setting, FINETUNE.protocols)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS._loaded, "finetune", method)
        again = run_trial(trial, RunContext(), second)
    assert len(asked) == 1
    # The same bits, whether measured in one go or not.
    assert again.selection == result.selection
    assert again.metrics == result.metrics
    np.testing.assert_array_equal(again.predictions.scores, result.predictions.scores)


def test_pixels_are_uploaded_once_per_trial(result, monkeypatch):
    """Not per candidate, nor per crop; the final training has those of train and validation."""
    uploads, shapes = [], []
    upload, look = pixels.ResidentPixels.__init__, pixels._shapes

    def counting(self, images, *rest):
        uploads.append(len(images))
        upload(self, images, *rest)

    monkeypatch.setattr(pixels.ResidentPixels, "__init__", counting)
    monkeypatch.setattr(pixels, "_shapes", lambda images: shapes.append(images) or look(images))
    again = run_trial(make_trial(), RunContext())
    assert uploads == [400, 200]
    # An index has the shapes of the images: none is opened for them.
    assert shapes == []
    np.testing.assert_array_equal(again.predictions.scores, result.predictions.scores)


def test_the_trial_key_knows_weights_only_where_they_count():
    pretrained, random = models.find(NETWORK), models.find(f"{NETWORK}&weights=random&seed=3")
    tuned = [make_trial().model_copy(update={"model": m}).key for m in (pretrained, random)]
    scratch = [
        make_trial("scratch").model_copy(update={"model": m}).key for m in (pretrained, random)
    ]
    assert len(set(tuned)) == 2
    assert len(set(scratch)) == 1
    assert len({make_trial(seed=seed).key for seed in (0, 1)}) == 2


@pytest.fixture
def begun(trainings):
    """Give what a trial trains first."""

    def begin(trial: Trial):
        values = {"learning_rate": 0.1, "weight_decay": 0.0, "steps": 5.0}
        with pytest.raises(KeyboardInterrupt):
            open_trial(trial, RunContext()).measure(Candidate(values=values))
        return trainings[-1]

    return begin


def test_finetuning_starts_from_the_weights_and_a_fresh_head(begun):
    trial = make_trial()
    network = models.load(trial.model)
    first = dict(begun(trial).network.named_parameters())
    pretrained = dict(network.named_parameters())
    for name, value in first.items():
        assert torch.equal(value, pretrained[name]) == (not name.startswith("classifier")), name


def test_scratch_starts_from_random_weights_of_the_trials_seed(begun):
    embedded = models.find("efficientnet_lite0")
    trial = make_trial("scratch").model_copy(update={"model": embedded})
    trials = (trial, trial, trial.model_copy(update={"seed": 1}))
    first, again, other = (dict(begun(each).network.named_parameters()) for each in trials)
    pretrained = dict(models.load(embedded).named_parameters())
    kernels = [name for name, value in first.items() if value.ndim == 4]
    assert kernels
    for name in kernels:
        assert (first[name] == again[name]).all()
        assert (first[name] != other[name]).any()
        assert (first[name] != pretrained[name]).any()


def test_the_decay_is_divided_by_the_rate():
    training = open_trial(make_trial(), RunContext())
    values = {"learning_rate": 0.01, "weight_decay": 1e-4, "steps": 7.0}
    config = training.config_of(values)
    assert config.optimizer.weight_decay == pytest.approx(1e-2)
    assert (config.steps, config.learning_rate, config.loss) == (7, 0.01, "softmax")
    assert (config.optimizer.momentum, config.optimizer.nesterov) == (0.9, True)
    assert config.batch_norm_window == 10.0


def test_the_final_training_has_validation_too_unless_sizes_are_studied(trainings):
    trial = make_trial()
    few = trial.model_copy(update={"dataset": datasets.find("digits", examples_per_class=6)})
    for each in (trial, few):
        chosen = {"learning_rate": 0.1, "weight_decay": 0.0, "crop": "full"}
        selection = Selection(examples="r", chosen=chosen, validation_curve=(chosen,))
        with pytest.raises(KeyboardInterrupt):
            open_trial(each, RunContext()).test(selection)
    assert [training.sizes for training in trainings] == [(400, 400), (60, 60)]


def test_all_that_diverges_is_recorded_and_told(tmp_path):
    trial = make_trial(learning_rates=[1e20], decays=[0.0], steps=10)
    store = ResultStore(tmp_path / "r.db", create=True)
    with refused("training.all_diverged", n=1):
        run_trial(trial, RunContext(), store)
    (measured,) = store.measurements(trial.key)
    assert measured.status == "diverged"
    assert measured.facts["diverged_at"] is not None


@pytest.mark.parametrize(("fields", "code", "values"), [
    ({"batch_size": 300}, "training.batch_too_large", {"batch_size": 300, "n_images": 200}),
    ({"batch_size": 50, "steps": 3}, "training.less_than_epoch", {"steps": 3, "epoch": 4}),
    (
        {"batch_size": 50, "steps": 9, "search": "rungs", "rungs": ((56, 2), (1, 9))},
        "training.less_than_epoch",
        {"steps": 2, "epoch": 4},
    ),
])  # fmt: skip
def test_budgets_that_cannot_train(fields, code, values):
    with refused(code, **values):
        FinetuneSetting(**fields).check_budget(200, whole_epoch=True)


def test_too_many_broken_images(tmp_path):
    each = {"dark": 3, "light": 3}
    folder = write_folder(tmp_path / "p", {"train": each, "validation": each, "test": each})
    for file in (folder / "validation").rglob("*.png"):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
    trial = make_trial(batch_size=2).model_copy(
        update={"dataset": datasets.find(str(folder), skip_broken=True)}
    )
    with refused("dataset.split_empty", split="validation"):
        _ = open_trial(trial, RunContext(cache=tmp_path / "cache")).images


def test_sizes_of_the_training_set_share_the_decoded_images(own_cache):
    for n in (2, 4):
        few = datasets.find("digits", examples_per_class=n)
        trial = make_trial(batch_size=10).model_copy(update={"dataset": few})
        found = open_trial(trial, RunContext()).images
        splits = found.splits
        parts = (splits.train, splits.validation, splits.test)
        images = [part.images.decode(row) for part in parts for row in range(len(part))]
        assert len(found.prepared) == len(images) == 10 * n + 359 + 359
        for row in range(0, len(images), 50):
            assert found.prepared.decode(row).tobytes() == images[row].tobytes()
    assert len([place for place in (own_cache / "prepared").iterdir() if place.is_dir()]) == 1


class Listening(ProgressReporter):
    def __init__(self) -> None:
        self.heard, self.order = [], []

    def search_started(self, trial, measured):
        self.order.append(f"search after {len(measured)}")

    def trained(self, progress):
        self.heard.append(progress)
        if self.order[-1] != progress.part:
            self.order.append(progress.part)

    def measured(self, measurement):
        self.order.append("measured")

    def tested(self, result):
        self.order.append("tested")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_reporter_is_told_how_each_training_goes(workers, tmp_path, forked_workers):
    trial = make_trial(learning_rates=[0.1], limit=100)
    reporter = Listening()
    context = RunContext(device="cpu", reporter=reporter)
    if workers:
        with Processes(workers) as executor:
            run_trial(trial, context, executor=executor)
    else:
        run_trial(trial, context)
    assert reporter.order == [
        "search after 0", "candidate", "measured", "candidate", "measured", "refit", "tested"
    ]  # fmt: skip
    decays = {p.values["weight_decay"] for p in reporter.heard if p.part == "candidate"}
    assert decays == set(QUICK["decays"])
    for progress in reporter.heard:
        assert progress.steps == 40
        assert progress.loss > 0
        assert progress.learning_rate == cosine(0.1, progress.step - 1, 40)
    # The first update and the last one are told whatever the time.
    for part, n in (("candidate", 2), ("refit", 1)):
        steps = [p.step for p in reporter.heard if p.part == part]
        assert (steps.count(1), steps.count(40)) == (n, n)


@pytest.mark.parametrize("name", ["finetune", "scratch"])
def test_switches_hold_in_both_settings(name, begun):
    model = models.find("small:inception_w8?weights=random").model_copy(
        update={"bn_scale": False, "dropout": 0.3, "tags": {"auxiliary_head": "kept"}}
    )
    trial = make_trial(name).model_copy(update={"model": model})
    training = begun(trial)
    # Szegedy et al. 2015: each auxiliary classifier's loss weighs 0.3.
    assert training.config.auxiliary_weight == 0.3
    network = training.network
    images = torch.zeros(2, 3, 32, 32)
    assert [logits.shape for logits in network.train().all_logits(images)] == [(2, 10)] * 2
    assert all(not norm.weight.requires_grad for norm in network.batch_norms())
    assert 0.3 in {m.p for m in network.modules() if isinstance(m, torch.nn.Dropout)}
    dropped = model.model_copy(update={"tags": {}})
    training = begun(trial.model_copy(update={"model": dropped}))
    assert training.config.auxiliary_weight == 0
    assert len(training.network.train().all_logits(images)) == 1


def test_fine_tuning_with_an_auxiliary_classifier_is_scored_without(tmp_path):
    model = models.find("small:inception_w8?weights=random").model_copy(
        update={"tags": {"auxiliary_head": "kept"}}
    )
    trial = make_trial(learning_rates=[0.1], decays=[0.0], steps=8).model_copy(
        update={"model": model}
    )
    result = run_trial(trial, RunContext())
    assert result.predictions.scores.shape == (200, 10)
    # Two losses of ten classes: 1.3 times that of a guess at the start, with the weight 0.3.
    assert result.provenance["refit"]["losses"][0] == pytest.approx(1.3 * np.log(10), rel=0.2)
