"""Tables of results; `headstart results show`: what a trial tried, chose and reached."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from headstart import datasets, methods, models
from headstart.cli import results_tables
from headstart.spec import Candidate, Measurement, Prediction, Result, Selection, Trial
from headstart.store import ResultStore
from refusals import ended
from stores import N_TEST, add_result, make_store

RATES, DECAYS = (0.001, 0.01, 0.1), (0.0, 1e-5)
# Percent, by rate and decay; the highest rate diverged without decay.
REACHED = {(0.001, 0.0): 50, (0.001, 1e-5): 52, (0.01, 0.0): 60, (0.01, 1e-5): 70, (0.1, 1e-5): 65}


def measurements(steps: int = 40) -> list[Measurement]:
    found = []
    for rate in RATES:
        for decay in DECAYS:
            values = {"learning_rate": rate, "weight_decay": decay, "steps": float(steps)}
            best = REACHED.get((rate, decay))
            rows = [
                {**values, "crop": crop, "accuracy": (best - less) / 100}
                for crop, less in (("full", 3), ("central", 0))
                if best
            ]
            found.append(
                Measurement(
                    candidate=Candidate(values=values),
                    examples="r",
                    status="complete" if best else "diverged",
                    curve=tuple(rows or [{**values, "accuracy": 0.0}]),
                )
            )
    return found


def add_training(store: ResultStore, name="finetune", chosen=(0.01, 1e-5), curve=None) -> Result:
    measured = [row for measurement in measurements() for row in measurement.curve]
    label = np.arange(N_TEST, dtype=np.int64) % 10
    trial = Trial(
        model=models.find("efficientnet_lite0"),
        dataset=datasets.find("digits", limit=N_TEST),
        setting=methods.find(name, protocol="quick"),
    )
    result = Result(
        trial=trial,
        metrics={
            "top-1": 0.9125,
            "mean-per-class": 0.905,
            "log-loss": 0.34567,
            "calibration-error": 0.0321,
        },
        n_test=N_TEST,
        selection=Selection(
            examples="r",
            chosen={"learning_rate": chosen[0], "weight_decay": chosen[1], "crop": "central"},
            validation_curve=tuple(curve or measured),
        ),
        predictions=Prediction(label, label, np.eye(10, dtype=np.float32)[label]),
    )
    assert store.add(result)
    return result


def cells(out: str) -> dict[str, list[str]]:
    """The surface's rows by their learning rate."""
    lines = out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.split()[:1] == ["learning"])
    return {line.split()[0]: line.split()[1:] for line in lines[first + 2 : first + 5]}


def test_the_surface_has_the_best_crop_of_each_pair_and_marks_the_choice(cli, store):
    key = add_training(store).trial.key
    out = cli("results", "show", key[:8], "--store", store.path).out
    assert out.splitlines()[0] == "efficientnet_lite0, digits, finetune, 40 steps"
    assert f"key {key}" in out
    assert "validation accuracy in percent after 40 steps" in out
    assert cells(out) == {
        "0.001": ["50.00", "52.00"],
        "0.01": ["60.00", "70.00*"],
        "0.1": ["diverged", "65.00"],
    }
    assert "* chosen: learning rate 0.01, weight decay 1e-05, crop central" in out
    assert "on 200 test images: top-1 91.25 %" in out
    assert "log loss 0.3457 nats, calibration error 3.21 %" in out
    # 1e-05 is the strongest decay that was tried; 0.01 lies between two others.
    assert (
        "weight decay 1e-05 is at the edge of the search grid: a better one may lie beyond" in out
    )
    assert "learning rate 0.01 is at the edge" not in out


def test_each_number_of_steps_has_a_surface_of_its_own(cli, store):
    curve = [row for steps in (40, 10) for m in measurements(steps) for row in m.curve]
    add_training(store, curve=curve)
    out = cli("results", "show", "finetune", "--store", store.path).out
    assert out.index("after 40 steps") < out.index("after 10 steps")
    # The choice is that of the longest runs.
    assert out.count("70.00*") == 1
    assert out.count("70.00") == 2


def test_a_path_of_lambdas(cli, store):
    result = add_result(store, "net_a", 0.8)
    rows = [{"lambda": lam, "accuracy": a} for lam, a in ((10.0, 0.25), (1.0, 0.5), (0.1, 0.75))]
    selection = Selection(examples="r", chosen={"lambda": 0.1}, validation_curve=tuple(rows))
    trial = result.trial.model_copy(update={"seed": 1})
    store.add(
        result.model_copy(update={"trial": trial, "selection": selection}),
    )
    out = cli("results", "show", trial.key[:10], "--store", store.path).out
    assert [line.split() for line in out.splitlines() if line.split()[:1] == ["0.1"]] == [
        ["0.1", "75.00*"]
    ]
    assert "lambda 0.1 is at the edge of the search grid" in out
    assert (
        "1 trial selected a value at the edge of the search grid"
        in cli("results", "--store", store.path).out
    )


@pytest.mark.parametrize(("chosen", "reached", "on_edge"), [
    (0.1, {0.1: 0.6, 1.0: 0.5, 10.0: 0.5}, True),
    (10.0, {0.1: 0.5, 1.0: 0.5, 10.0: 0.6}, True),
    (1.0, {0.1: 0.5, 1.0: 0.6, 10.0: 0.5}, False),
    (0.0, {0.0: 0.6, 1.0: 0.5}, False),
    (1.0, {0.0: 0.5, 1.0: 0.6}, True),
    (1.0, {1.0: 0.6}, False),
    ("full", {"full": 0.6, "central": 0.5}, False),
    # An edge that is no better than the inside says nothing.
    (10.0, {0.1: 0.5, 1.0: 0.6, 10.0: 0.7}, True),
    (10.0, {0.1: 0.5, 1.0: 0.7, 10.0: 0.7}, False),
    (10.0, {0.1: 0.7, 1.0: 0.6, 10.0: 0.7}, True),
])  # fmt: skip
def test_what_an_edge_is(chosen, reached, on_edge):
    rows = tuple({"x": value, "accuracy": accuracy} for value, accuracy in reached.items())
    selection = Selection(examples="r", chosen={"x": chosen}, validation_curve=rows)
    assert selection.on_edge == (("x",) if on_edge else ())


def test_the_whole_grid_as_csv_and_json(cli, store):
    add_training(store)
    curve = [row for measurement in measurements() for row in measurement.curve]
    curve[-1] = curve[-1] | {"accuracy": 0.75}
    add_training(store, "scratch", chosen=(0.1, 1e-5), curve=curve)
    text = cli("results", "show", "--store", store.path, "--csv").out
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 2 * 11
    tuned = [row for row in rows if row["setting"] == "finetune"]
    assert [row["crop"] for row in tuned if row["status"] == "diverged"] == [""]
    (chosen,) = [row for row in tuned if row["chosen"] == "True"]
    assert (chosen["learning_rate"], chosen["crop"], chosen["accuracy"]) == (
        "0.01",
        "central",
        "0.7",
    )
    (record,) = json.loads(cli("results", "show", "scratch", "--store", store.path, "--json").out)
    assert record["metrics"]["log-loss"] == 0.34567
    assert record["on_edge"] == "learning_rate weight_decay"
    assert (record["learning_rate"], record["weight_decay"], record["crop"]) == (
        0.1,
        1e-5,
        "central",
    )
    assert len(record["validation"]) == 11
    assert sum(row["chosen"] for row in record["validation"]) == 1


def test_choices_of_several_settings_share_a_column_and_no_number_is_cut(cli, store):
    add_result(store, "efficientnet_lite0", 0.5, lam=5.62e-5)
    add_training(store)
    out = cli("results", "--store", store.path).out
    header, first, second = out.splitlines()[:3]
    assert header.split()[-2:] == ["chosen", "time"]
    assert first.split()[-4:] == ["200", "5.62e-05", "1.5", "s"]
    chosen = ["0.01", "/", "1e-05", "/", "central"]
    assert second.split()[-8:] == ["200", *chosen, "0.0", "s"]
    assert "chosen: lambda, or learning rate / weight decay / crop" in out


def test_a_trial_without_a_result_is_listed_and_shown(cli, store):
    key = "ab" * 32
    for measurement in measurements()[:4]:
        store.add_measurement(key, measurement)
    add_training(store)
    assert f"under way: 4 candidates measured, key {key[:12]}" in (
        cli("results", "--store", store.path).out
    )
    out = cli("results", "show", "abab", "--store", store.path).out
    assert out.splitlines()[:2] == ["partly measured", f"key {key}"]
    assert "no result yet: 4 candidates measured" in out
    assert "70.00" in out
    assert "chosen" not in out
    (record,) = json.loads(cli("results", "show", "abab", "--store", store.path, "--json").out)
    assert (record["status"], len(record["validation"])) == ("partly measured", 8)


def test_a_trial_that_is_under_way_has_its_title_and_its_surface_so_far(cli, store):
    trial = Trial(
        model=models.find("efficientnet_lite0"),
        dataset=datasets.find("digits", limit=N_TEST),
        setting=methods.find("scratch", protocol="quick"),
    )
    store.begin(trial)
    # Nothing is measured of it.
    assert "under way" not in cli("results", "--store", store.path).out
    for measurement in measurements()[:5]:
        store.add_measurement(trial.key, measurement)
    add_training(store)
    assert (
        "under way: efficientnet_lite0, digits, scratch, 40 steps, 5 of 6 candidates measured, "
        f"key {trial.key[:12]}"
    ) in cli("results", "--store", store.path).out.replace("\n", " ")
    out = cli("results", "show", "scratch", "--store", store.path).out
    assert out.splitlines()[:3] == [
        "efficientnet_lite0, digits, scratch, 40 steps",
        f"key {trial.key}",
        "no result yet: 5 of 6 candidates measured",
    ]
    assert cells(out) == {
        "0.001": ["50.00", "52.00"],
        "0.01": ["60.00", "70.00"],
        "0.1": ["diverged", "-"],
    }
    (record,) = json.loads(cli("results", "show", "scratch", "--store", store.path, "--json").out)
    assert (record["status"], record["model"]) == ("partly measured", "efficientnet_lite0")
    rows = csv.DictReader(
        io.StringIO(cli("results", "show", "scratch", "--store", store.path, "--csv").out)
    )
    assert {row["setting"] for row in rows} == {"scratch"}


def test_words_of_a_title_name_one_trial(cli, store):
    for name in ("net", "net_b"):
        add_result(store, name, 0.5)
    assert cli("results", "show", "net", "digits", "--store", store.path).out.startswith(
        "net, digits, linear\n"
    )
    outcome = cli("results", "show", "linear", "--store", store.path)
    ended(outcome, "store.trial_ambiguous", name="linear")
    assert set(outcome.error.values["found"]) == store.keys()
    assert "(net_b, digits, linear)" in outcome.err


def test_an_empty_store(cli, store):
    store.make()
    assert cli("results", "show", "--store", store.path).out == "no results yet\n"


def shown(found) -> str:
    console = Console(width=160)
    with console.capture() as captured:
        console.print(results_tables.results(found))
    return captured.get()


def test_datasets_of_one_name_show_their_content_where_it_differs(tmp_path):
    result = add_result(ResultStore(tmp_path / "r.db", create=True), "net_a", 0.8)
    other = result.trial.dataset.model_copy(update={"revision": "9" * 64})
    trial = result.trial.model_copy(update={"dataset": other})
    both = [result, result.model_copy(update={"trial": trial})]
    assert f"digits ({result.trial.dataset.revision[:8]})" in shown(both)
    assert "digits (99999999)" in shown(both)
    assert "digits (" not in shown(both[:1])


def test_results_are_filtered_sorted_and_paged(cli, tmp_path):
    make_store(tmp_path / "r.db", {"net0": 0.5, "net1": 0.9, "other": 0.7})
    arguments = ("results", "--store", tmp_path / "r.db", "--csv")

    def models(*options):
        outcome = cli(*arguments, *options)
        assert outcome.code == 0, outcome.err
        return pd.read_csv(io.StringIO(outcome.out)).model.tolist()

    assert models("--model", "net*") == ["net0", "net1"]
    assert models("--models", "other,net1", "--sort", "accuracy:desc") == ["net1", "other"]
    assert models("--sort", "accuracy", "--limit", 1, "--offset", 1) == ["other"]
    outcome = cli("results", "--store", tmp_path / "r.db", "--dataset", "digits", "--limit", 2)
    assert outcome.out.endswith("2 of 3 results\n")


@pytest.mark.parametrize(("options", "code"), [
    (["--sort", "accuracy:up"], "command.value"),
    (["--sort", "lambda"], "name.unknown"),
    (["--setting", "linaer"], "name.unknown"),
])  # fmt: skip
def test_filters_that_match_nothing(cli, tmp_path, options, code):
    make_store(tmp_path / "r.db", {"net0": 0.5})
    ended(cli("results", "--store", tmp_path / "r.db", *options), code)


def test_all_results_are_those_that_are_superseded_too_which_are_marked(cli, store):
    first = add_result(store, "net_a", 0.5)
    add_result(store, "net_b", 0.75)
    store.supersede(first.trial.key)
    plain, every = (cli("results", *more, "--store", store.path).out for more in ((), ("--all",)))
    assert ("net_a" in plain, "net_a" in every) == (False, True)
    assert "superseded" not in plain
    (line,) = [line for line in every.splitlines() if line.endswith("superseded")]
    assert line.startswith("net_a")
    wanted = ["results", "--all", "--sort", "model:desc", "--store", store.path]
    rows = json.loads(cli(*wanted, "--json").out)
    assert [(row["model"], row["superseded"]) for row in rows] == [
        ("net_b", False), ("net_a", True)
    ]  # fmt: skip
    table = pd.read_csv(io.StringIO(cli(*wanted, "--csv").out))
    assert list(table["superseded"]) == [False, True]
    assert "superseded" not in json.loads(cli("results", "--json", "--store", store.path).out)[0]
