import pytest
import torch

import headstart as hs
from conftest import MODEL, write_folder
from headstart import methods
from headstart.context import ProgressReporter
from headstart.errors import (
    StudyError,
    UnknownNameError,
)
from headstart.study import Study, run
from refusals import refused


def test_a_study_expands_dataset_by_dataset():
    study = Study(
        models=["efficientnet_lite0", "efficientnet_lite1"],
        datasets=["digits", "glyphs"],
        seeds=[0, 1],
        limit=100,
        settings=["linear", "linear"],
    )
    titles = [trial.title for trial in study.trials()]
    assert len(titles) == len(set(titles)) == 8
    assert titles[:3] == [
        "efficientnet_lite0, digits, linear",
        "efficientnet_lite1, digits, linear",
        "efficientnet_lite0, digits, linear, seed 1",
    ]
    assert len({trial.key for trial in study.trials()}) == 8


def test_a_study_is_the_same_as_a_file(tmp_path):
    study = Study(
        models=["efficientnet_lite0"],
        datasets=["digits"],
        settings=["linear", {"name": "linear", "resize": "center-crop"}],
        limit=100,
        precision="bf16",
    )
    (tmp_path / "study.toml").write_text(study.to_toml())
    again = Study.from_toml(tmp_path / "study.toml")
    assert again == study
    assert [trial.key for trial in again.trials()] == [trial.key for trial in study.trials()]


@pytest.mark.parametrize(("changed", "kind", "code", "values"), [
    ({"datasets": None}, StudyError, "study.missing", {"name": "datasets"}),
    ({"settings": []}, StudyError, "study.missing", {"name": "settings"}),
    ({"sedes": [0]}, UnknownNameError, "name.unknown", {"near": ["seeds", "steps"]}),
    ({"seeds": [2**32]}, StudyError, "study.value", {"name": "seeds"}),
    ({"seeds": [True]}, StudyError, "study.value", {"name": "seeds"}),
    ({"seeds": ["1"]}, StudyError, "study.value", {"name": "seeds"}),
    ({"steps": [1.0]}, StudyError, "study.value", {"name": "steps"}),
    ({"limit": True}, StudyError, "study.value", {"name": "limit"}),
])  # fmt: skip
def test_studies_that_cannot_be(changed, kind, code, values):
    fields = {"models": [MODEL], "datasets": ["digits"]} | changed
    with pytest.raises(kind) as caught:
        Study(**{name: value for name, value in fields.items() if value is not None})
    assert caught.value.code == code
    assert {name: caught.value.values[name] for name in values} == values


@pytest.mark.parametrize(("fields", "code", "values"), [
    (
        {"settings": [{"name": "linear", "protocl": "simclr2020"}]},
        "name.unknown",
        {"name": "protocl", "near": ["protocol"]},
    ),
    ({"limit": 10**6}, "dataset.limit", {"found": 10**6}),
    ({"seeds": [0, 1]}, "study.seeds_unused", {"seeds": (0, 1), "dataset": "digits"}),
])  # fmt: skip
def test_names_are_looked_up_before_anything_runs(fields, code, values, tmp_path):
    study = Study(**{"models": [MODEL], "datasets": ["digits"], **fields})
    with refused(code, **values):
        study.run(tmp_path / "results.db")
    assert list(tmp_path.iterdir()) == []


RANDOM = "timm:resnet18?weights=random"


@pytest.mark.parametrize(("named", "taken"), [
    ([RANDOM, "timm:resnet34?weights=random&name=mine"], None),
    ([RANDOM + "&name=mine", "timm:resnet34?weights=random&name=mine"], "mine"),
    ([RANDOM + "&name=mine", RANDOM + "&seed=1&name=mine"], "mine"),
    # Twice the same is measured once.
    ([RANDOM + "&name=mine", RANDOM + "&name=mine"], None),
    ([RANDOM + "&configuration=plain", RANDOM + "&seed=1&configuration=with dropout"], None),
    ([RANDOM + "&configuration=plain", RANDOM + "&seed=1&configuration=plain"], "timm:resnet18"),
    (["checkpoint:one/a/best.pth?arch=timm:resnet18",
      "checkpoint:two/a/best.pth?arch=timm:resnet18"],
     "a/best"),
    (["checkpoint:one/a/best.pth?arch=timm:resnet18",
      "checkpoint:two/a/best.pth?arch=timm:resnet18&name=second"], None),
])  # fmt: skip
def test_two_networks_of_one_name(named, taken, own_cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, folder in enumerate(("one", "two")):
        (tmp_path / folder / "a").mkdir(parents=True)
        torch.save({"x": torch.full((2,), i)}, tmp_path / folder / "a" / "best.pth")
    study = Study(models=named, datasets=["digits"])
    if taken is None:
        assert len(study.trials()) == len(set(named))
        return
    with pytest.raises(StudyError) as error:
        study.trials()
    assert (error.value.code, error.value.values["name"]) == ("study.name_taken", taken)
    assert error.value.values["models"] == named
    assert "\n" not in str(error.value)


SMALL = {"models": [MODEL], "datasets": ["digits"], "limit": 100}


def test_what_is_stored_is_not_done_again(tmp_path, monkeypatch):
    first = Study(**SMALL).run(tmp_path / "results.db")
    assert (first.measured, len(first.results), first.failures) == (1, 1, ())

    def never(*arguments):
        raise AssertionError("measured again")

    monkeypatch.setattr(run, "run_trial", never)
    second = Study(**SMALL).run(tmp_path / "results.db")
    assert second.measured == 0
    assert tuple(second.results) == tuple(
        r.model_copy(update={"predictions": None}) for r in first.results
    )
    table = hs.results(tmp_path / "results.db")
    assert table["accuracy"].tolist() == [first.results[0].accuracy]


@pytest.mark.parametrize("share", [{}, {"workers": 1}])
def test_a_failing_trial_stops_no_other_and_is_tried_again(tmp_path, forked_workers, share):
    each = {"dark": 3, "light": 3}
    counts = {"train": each, "validation": each, "test": each}
    bad = write_folder(tmp_path / "bad", counts)
    good = write_folder(tmp_path / "good", counts, seed=1)
    file = bad / "train" / "dark" / "1.png"
    # Its header and its end are whole: that it does not decode shows only when it is decoded.
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    study = Study(models=[MODEL], datasets=[str(bad), str(good)])
    first = study.run(tmp_path / "results.db", **share)
    assert first.measured == 1
    assert [result.trial.dataset.name for result in first.results] == ["good"]
    (failure,) = first.failures
    assert failure.status == "failed"
    assert "1.png does not decode" in failure.error
    assert len(hs.results(tmp_path / "results.db")) == 1

    skipping = study.model_copy(update={"skip_broken": True}).run(tmp_path / "results.db")
    assert not skipping.failures
    table = hs.results(tmp_path / "results.db").set_index("dataset")
    assert table.loc["bad", "skipped_images"] == 1
    result = next(r for r in skipping.results if r.trial.dataset.name == "bad")
    (name,) = result.provenance["skipped_images"]
    assert name.endswith("bad/train/dark/1.png")


def test_a_trial_that_another_process_holds_is_waited_for(tmp_path):
    """The other one stores it meanwhile: it is not measured twice."""
    other = hs.ResultStore(tmp_path / "results.db", create=True)
    result = hs.run_trial(Study(**SMALL).trials()[0], hs.RunContext())
    claim = other.claim(result.trial.key, wait=False)
    claim.__enter__()

    class Finisher(ProgressReporter):
        def stage(self, name, total=None, unit=""):
            if name.startswith("fetching the weights"):
                return
            assert name == "waiting for another process"
            other.add(result)
            claim.__exit__(None, None, None)

    outcome = Study(**SMALL).run(tmp_path / "results.db", reporter=Finisher())
    assert (outcome.measured, len(outcome.results)) == (0, 1)


def test_early_checks_come_before_any_trial(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "run_trial", lambda *arguments: pytest.fail("a trial ran"))
    study = Study(**SMALL)
    with monkeypatch.context() as patch:
        patch.setattr("headstart.features.bytes_needed", lambda model, n: 10**18)
        with refused("storage.full"):
            study.run(tmp_path / "results.db")
    with monkeypatch.context() as patch:
        patch.setattr("headstart.models.weights.locate", lambda model, cache: None)
        with refused("weights.missing", model=MODEL):
            study.run(tmp_path / "results.db")
    with monkeypatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", "/proc/headstart")
        with refused("storage.unusable", path="/proc/headstart/features"):
            study.run(tmp_path / "results.db")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with refused("device.missing"):
        study.run(tmp_path / "results.db", device="cuda")
    assert list(tmp_path.iterdir()) == []


def test_each_way_to_decode_a_dataset_is_looked_at(tmp_path, monkeypatch):
    """Of two ways to decode the same images, what is wrong with either comes before any trial."""
    monkeypatch.setattr(run, "run_trial", lambda *arguments: pytest.fail("a trial ran"))
    counts = {split: {"a": 2, "b": 2} for split in ("train", "validation", "test")}
    folder = write_folder(tmp_path / "photos", counts)
    study = Study(models=[MODEL], datasets=[f"{folder}?max_pixels=5", str(folder)])
    with refused("dataset.images_broken", found=12) as caught:
        study.run(tmp_path / "results.db")
    assert "photos?max_pixels=5" in str(caught.value)


def test_the_space_check_counts_each_table_of_features_once():
    twice = Study(**SMALL, settings=["linear", {"name": "linear", "lambdas": [1.0]}]).trials()
    assert len(twice) == 2

    def kept(trials):
        return run.bytes_kept([methods.needs(trial) for trial in trials])

    assert kept(twice) == kept(twice[:1]) == 300 * 1280 * 4
    # Another seed's images may all be others; but no table is larger than its dataset.
    seeds = Study(**SMALL, seeds=[0, 1]).trials()
    assert kept(seeds) == 2 * 300 * 1280 * 4
    many = Study(**SMALL, seeds=list(range(40))).trials()
    assert kept(many) == 1797 * 1280 * 4
    # Of neither the digest of the weights is known before they are fetched.
    two = Study(**{**SMALL, "models": ["resnet50", "resnet101"]}).trials()
    assert kept(two) == 2 * 300 * 2048 * 4


def test_an_unexpected_error_ends_its_trial_alone(tmp_path, monkeypatch):
    real = run.run_trial

    def failing(trial, context, *others):
        if trial.seed == 0:
            raise MemoryError("out of memory\nin some library")
        return real(trial, context, *others)

    monkeypatch.setattr(run, "run_trial", failing)
    outcome = Study(**SMALL, seeds=[0, 1]).run(tmp_path / "results.db")
    assert [result.trial.seed for result in outcome.results] == [1]
    (failure,) = outcome.failures
    assert failure.error.startswith("unexpected MemoryError at ")
    assert failure.error.endswith(": out of memory")


def test_seeds_draw_other_subsets(tmp_path):
    outcome = Study(**SMALL, seeds=[0, 1]).run(tmp_path / "results.db")
    first, second = outcome.results
    assert first.provenance["examples"] != second.provenance["examples"]


def test_a_class_that_the_limit_starves_is_found(tmp_path):
    counts = {"train": {"a": 5, "b": 5}, "validation": {"a": 1}, "test": {"a": 1}}
    folder = write_folder(tmp_path / "photos", counts)
    with refused("dataset.limit", found=1, n_classes=2):
        Study(models=[MODEL], datasets=[str(folder)], limit=1).trials()
    with refused("dataset.missing"):
        Study(models=[MODEL], datasets=[str(tmp_path / "none")]).trials()


def test_studies_and_results_are_short_in_a_notebook():
    study = Study(models=["efficientnet_lite0"], datasets=["digits"], limit=50)
    assert repr(study) == (
        "Study(models: efficientnet_lite0; datasets: digits; settings: linear; seeds: 0; limit: 50)"
    )
    (trial,) = study.trials()
    result = hs.Result(trial=trial, metrics={"top-1": 0.9}, n_test=40)
    failed = hs.Result(trial=trial, status="failed", error="<no space>")
    assert repr(result) == f"Result({trial.title}: top-1 90.00 % on 40 test images)"
    run = hs.StudyRun((result,), 1, (failed,))
    assert repr(run).splitlines() == [
        "StudyRun: 1 result, 1 measured in this run, 1 failed",
        f"  Result({trial.title}: <no space>)",
    ]
    for shown in (study, result, failed, run):
        html = shown._repr_html_()
        assert html.startswith("<table>")
        assert "<no space>" not in html
