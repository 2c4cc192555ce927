"""Studies of steps and of images a class: what they measure, told before they run."""

import pytest

import headstart as hs
from conftest import MODEL, NETWORK, write_folder
from headstart import datasets
from headstart.context import default_cache
from headstart.spec import Trial
from headstart.store import ResultStore
from headstart.study import Study, estimate_study, sweep_study
from refusals import refused

DIGITS = {"models": [NETWORK], "datasets": ["digits"]}
BOTH = ["finetune:quick", "scratch:quick"]


def told(trials: list[Trial]) -> list[tuple]:
    """Give setting, steps, images a class and seed of each."""
    return [
        (t.setting.name, t.setting.columns.get("steps"), t.dataset.examples_per_class, t.seed)
        for t in trials
    ]


def test_each_number_of_steps_is_a_trial_of_each_setting_that_trains():
    study = Study(**DIGITS, settings=["linear", *BOTH], steps=[5, 40, 5])
    trials = study.trials()
    assert told(trials) == [
        ("linear", None, None, 0),
        ("finetune", 5, None, 0), ("finetune", 40, None, 0),
        ("scratch", 5, None, 0), ("scratch", 40, None, 0),
    ]  # fmt: skip
    # The protocol's own number is no departure from it; the trial is that of any other study.
    assert [t.setting.protocol for t in trials[1:3]] == ["quick (steps)", "quick"]
    (plain,) = Study(**DIGITS, settings=["finetune:quick"]).trials()
    assert trials[2].key == plain.key
    assert trials[1].title.endswith(":build?size=16&mean=0.5,0.5,0.5&std=0.25,0.25,0.25, digits, "
                                    "finetune, 5 steps")  # fmt: skip


def test_a_setting_keeps_steps_of_its_own():
    tables = [
        {"name": "finetune", "protocol": "quick"},
        {"name": "scratch", "protocol": "quick", "steps": [10, 80]},
        {"name": "scratch", "protocol": "quick", "steps": 60},
    ]
    steps = [one[:2] for one in told(Study(**DIGITS, settings=tables, steps=[20]).trials())]
    assert steps == [("finetune", 20), ("scratch", 10), ("scratch", 80), ("scratch", 60)]


def test_images_a_class_are_a_subset_for_each_seed():
    study = Study(**DIGITS, settings=["linear"], examples_per_class=[1, 8], seeds=[0, 1])
    assert told(study.trials()) == [
        ("linear", None, 1, 0), ("linear", None, 1, 1),
        ("linear", None, 8, 0), ("linear", None, 8, 1),
    ]  # fmt: skip
    assert study.trials()[2].title.endswith("linear, 8 per class")


def test_a_dataset_has_the_sizes_that_its_smallest_class_has(tmp_path):
    each = {"a": 3, "b": 9}
    folder = write_folder(tmp_path / "p", {"train": each, "validation": each, "test": each})
    study = Study(
        models=[MODEL], datasets=["digits", str(folder)], examples_per_class=[1, 2, 4, 200]
    )
    found = [(t.dataset.name, t.dataset.examples_per_class) for t in study.trials()]
    assert found == [("digits", 1), ("digits", 2), ("digits", 4), ("p", 1), ("p", 2)]
    assert datasets.find(str(folder)).smallest_class == 3
    with refused("study.examples_too_many", dataset="digits", most=104):
        Study(models=[MODEL], datasets=["digits"], examples_per_class=[105]).trials()
    with refused("dataset.too_few_per_class", found=105, most=104):
        datasets.find("digits", examples_per_class=105)
    # A limit leaves each class as many.
    with refused("dataset.too_few_per_class", found=6, most=5):
        datasets.find("digits", limit=59, examples_per_class=6)


@pytest.mark.parametrize(("settings", "axes", "code", "values"), [
    (["linear"], {"steps": [5]}, "study.steps_unused", {"steps": (5,)}),
    (["finetune:short"], {"steps": [5]}, "study.steps_of_protocol", {"protocol": "short"}),
    (["finetune"], {"steps": [0]}, "study.value", {"name": "steps", "value": "0"}),
    ([{"name": "linear", "steps": [5]}], {}, "name.unknown", {"name": "steps"}),
    ([{"name": "finetune", "steps": []}], {}, "setting.value", {"value": "[]"}),
    (["linear"], {"examples_per_class": ["few"]}, "study.value", {"value": "'few'"}),
])  # fmt: skip
def test_axes_that_cannot_be(settings, axes, code, values):
    with refused(code, **values):
        Study(**DIGITS, settings=settings, **axes).trials()


def test_only_what_is_studied_may_be_less_than_an_epoch_or_a_batch():
    # An epoch of digits is 34 steps of 32 images.
    short = {"name": "finetune", "protocol": "quick", "steps": 5}
    with refused("training.less_than_epoch", steps=5, epoch=34):
        Study(**DIGITS, settings=[short]).trials()
    assert Study(**DIGITS, settings=[{**short, "steps": [5]}]).trials()
    assert Study(**DIGITS, settings=["finetune:quick"], steps=[5]).trials()
    with refused("training.batch_too_large", batch_size=32, n_images=20):
        Study(**DIGITS, settings=["finetune:quick"], steps=[5], limit=20).trials()
    assert Study(**DIGITS, settings=[short], examples_per_class=[1, 64]).trials()


PAPER = [76, 152, 305, 610, 1220, 2441, 4882, 9765, 19531]


@pytest.mark.parametrize(("protocol", "finetune", "scratch"), [
    ("kornblith2019", PAPER, [*PAPER, 39062, 78125]), ("simclr2020", PAPER, [*PAPER, 39062, 78125]),
    ("quick", [5, 10, 20, 40], [5, 10, 20, 40, 80, 160]),
])  # fmt: skip
def test_convergence_takes_the_papers_numbers_of_steps(protocol, finetune, scratch):
    study = sweep_study(
        "convergence",
        {**DIGITS, "settings": [f"{name}:{protocol}" for name in ("finetune", "scratch")]},
    )
    assert [one[1] for one in told(study.trials())] == finetune + scratch
    if protocol == "kornblith2019":
        assert sweep_study("convergence", DIGITS).trials() == study.trials()


def test_convergence_leaves_what_is_given():
    fields = {**DIGITS, "settings": ["linear", {"name": "scratch", "protocol": "quick",
                                                "steps": [40]}]}  # fmt: skip
    assert [one[:2] for one in told(sweep_study("convergence", fields).trials())] == [
        ("linear", None), ("scratch", 40),
    ]  # fmt: skip
    fields = {**DIGITS, "settings": BOTH, "steps": [7]}
    assert {one[1] for one in told(sweep_study("convergence", fields).trials())} == {7}


def test_dataset_size_takes_doublings_three_subsets_and_all_settings():
    trials = sweep_study("dataset-size", DIGITS).trials()
    assert {t.setting.name for t in trials} == {"linear", "finetune", "scratch"}
    assert {t.seed for t in trials} == {0, 1, 2}
    sizes = [1, 2, 4, 8, 16, 32, 64]
    assert sorted({t.dataset.examples_per_class for t in trials}) == sizes
    assert len(trials) == 3 * 3 * len(sizes)
    # All are tested on the whole test set.
    assert {t.dataset.used_sizes.test for t in trials} == {359}
    fields = {**DIGITS, "seeds": [4], "examples_per_class": [3], "settings": ["linear"]}
    assert told(sweep_study("dataset-size", fields).trials()) == [("linear", None, 3, 4)]


@pytest.mark.slow
def test_both_studies_from_the_command_line_to_their_figures(tmp_path, cli):
    """A small network on real digits, from random weights all; minutes."""
    arguments = ("--models", NETWORK, "--datasets", "digits", "--store")
    steps, sizes = tmp_path / "steps.db", tmp_path / "sizes.db"
    quick = ("--settings", "finetune:quick,scratch:quick")
    outcome = cli("run", "--study", "convergence", *quick, *arguments, steps)
    assert outcome.code == 0, outcome.err
    analysis = hs.analyze(steps, resamples=1000)
    by = analysis.convergence.set_index(["setting", "steps"])["mean"]
    assert by["scratch"].index.tolist() == [5, 10, 20, 40, 80, 160]
    assert by["finetune"].index.tolist() == [5, 10, 20, 40]
    assert by["scratch"][160] > by["scratch"][5] + 0.5
    (row,) = analysis.speedup.to_dict("records")
    assert (row["setting"], row["other"], row["sampled"]) == (
        "finetune", "scratch", "test images",
    )  # fmt: skip
    assert 0 < row["low"] <= row["speedup"] <= row["high"]
    # Train and validation, 32 images a step.
    assert row["epochs"] == pytest.approx(row["steps"] * 32 / 1438)
    every = ("--settings", "linear,finetune:quick,scratch:quick", "--examples-per-class", "1,32")
    outcome = cli("run", "--study", "dataset-size", *every, *arguments, sizes)
    assert outcome.code == 0, outcome.err
    analysis = hs.analyze(sizes, resamples=1000)
    table = analysis.dataset_size.set_index(["setting", "examples_per_class"])
    assert table["n_seeds"].tolist() == [3] * 6
    assert (table["se"] > 0).all()
    # 40 steps of so small a network tell its features' sizes apart, not those of its training.
    assert table["mean"]["linear", 32] > table["mean"]["linear", 1] + 0.5
    for store, figure in ((steps, "convergence"), (sizes, "dataset-size")):
        out = tmp_path / figure
        outcome = cli("analyze", store, "--out", out, "--resamples", 1000)
        assert outcome.code == 0, outcome.err
        assert (out / "figures" / f"{figure}.pdf").stat().st_size > 5000
        assert cli("report", store, "--out", out / "page.html", "--resamples", 1000).code == 0
        assert f'id="figure-{figure}"' in (out / "page.html").read_text()


def test_a_study_that_there_is_not():
    with refused("name.unknown", kind="study", near=["convergence"]):
        sweep_study("convergense", DIGITS)


def test_axes_are_keys_of_a_study_file(tmp_path, cli):
    arguments = ("run", "--study", "convergence", "--models", MODEL, "--datasets", "digits",
                 "--settings", "linear,finetune:quick")  # fmt: skip
    text = cli(*arguments, "--print-study").out
    (tmp_path / "study.toml").write_text(text)
    study = Study.from_toml(tmp_path / "study.toml")
    assert [one[:2] for one in told(study.trials())] == [
        ("linear", None), *(("finetune", steps) for steps in (5, 10, 20, 40)),
    ]  # fmt: skip
    options = ("--steps", "5,10", "--examples-per-class", "2, 4")
    text = cli("run", *arguments[3:], *options, "--print-study").out
    (tmp_path / "study.toml").write_text(text)
    study = Study.from_toml(tmp_path / "study.toml")
    assert (study.steps, study.examples_per_class) == ((5, 10), (2, 4))
    outcome = cli("run", tmp_path / "study.toml", "--study", "convergence")
    assert (outcome.code, outcome.error.code) == (2, "command.conflict")


def test_what_a_further_study_needs_is_counted(tmp_path, cli):
    def seen(name, **fields):
        asked = sweep_study(name, {"models": [MODEL], **fields})
        return estimate_study(asked, ResultStore(tmp_path / "r.db", create=True), default_cache())

    found = seen("convergence", datasets=["digits", "dtd"], settings=["linear", *BOTH])
    assert (found.n_trials, found.n_ready) == (2 * (1 + 4 + 6), 1 + 4 + 6)
    found = seen("convergence", datasets=["digits"])
    assert (found.n_trials, found.n_ready) == (9 + 11, 9 + 11)
    # Nothing is kept of a network that is trained.
    assert (found.feature_bytes, found.multiply_adds) == (0, 0)
    # 40 training images in each of 47 classes of DTD; an unknown one has all, as far as one knows.
    found = seen("dataset-size", datasets=["digits", "dtd", "digts"])
    assert (found.n_trials, found.n_ready) == (9 * (7 + 6 + 17), 9 * 7)
    found = seen("dataset-size", datasets=["digits"], examples_per_class=[4, 2])
    assert found.feature_bytes == 4 * 1280 * (3 * 4 * 10 + 359 + 359)
    arguments = ("--models", MODEL, "--datasets", "digits", "--store", tmp_path / "r.db")
    outcome = cli("run", "--study", "dataset-size", *arguments, "--dry-run")
    assert "63 trials: 0 stored, 63 can be measured now" in outcome.out
