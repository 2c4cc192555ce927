"""Logs: what is written is read back by each tool's own reader."""

import json
import shutil
import struct
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from conftest import MODEL, NETWORK, require
from headstart import datasets, methods, models
from headstart.context import TrainingProgress
from headstart.logs import NAMES, CurveReporter, open_log, trackers
from headstart.logs.trackers import file_name
from headstart.spec import Candidate, Measurement, Result, Selection, Trial
from refusals import ended, refused

# MLflow's own use of SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

FIRST = {"learning_rate": 0.1, "weight_decay": 0.0, "steps": 30.0}
SECOND = {"learning_rate": 1.0, "weight_decay": 0.0, "steps": 30.0}
FIRST_NAME, SECOND_NAME = (
    f"learning rate {rate}, weight decay 0, steps 30" for rate in ("0.1", "1")
)


@dataclass
class Read:
    """A run, as its tool gives it."""

    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    outcome: str = ""
    # Of what it is a part.
    parent: str = ""


def read_tensorboard(folder: Path) -> dict[str, Read]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

    found = {}
    for place in {file.parent for file in folder.rglob("events.out.tfevents.*")}:
        events = EventAccumulator(str(place)).Reload()
        run = Read(parent="" if place.parent == folder else place.parent.name)
        for name in events.Tags()["scalars"]:
            points = [(each.step, each.value) for each in events.Scalars(name)]
            run.curves[name], run.metrics[name] = points, points[-1][1]
        content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        for name, value in parse_session_start_info_plugin_data(content).hparams.items():
            kind = value.WhichOneof("kind")
            run.parameters[name] = str(getattr(value, kind))
        run.outcome = run.parameters.pop("outcome")
        found[place.name] = run
    return found


def read_mlflow(folder: Path) -> dict[str, Read]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = (e for e in client.search_experiments() if e.name == "headstart")
    runs = client.search_runs([experiment.experiment_id])
    titles = {run.info.run_id: run.info.run_name for run in runs}
    return {
        run.info.run_name: Read(
            {
                name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
                for name in run.data.metrics
            },
            run.data.metrics,
            run.data.params,
            run.data.tags["headstart.outcome"],
            titles.get(run.data.tags.get("mlflow.parentRunId"), ""),
        )
        for run in runs
    }


def wandb_records(file: Path):
    """Records of a run's file: LevelDB's log format, in blocks of 32 KiB, behind a header."""
    from wandb.proto import wandb_internal_pb2

    content, place, whole = file.read_bytes(), 7, b""
    assert content[:4] == b":W&B"
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        # Whole, or the last of several pieces.
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def read_wandb(folder: Path) -> dict[str, Read]:
    import wandb

    # Its service writes the files: they are whole when it has ended.
    wandb.teardown()
    found = {}
    for file in folder.glob("wandb/offline-run-*/run-*.wandb"):
        run, name = Read(), ""
        for record in wandb_records(file):
            if record.HasField("run"):
                name, run.parent = record.run.display_name, record.run.run_group
                updates = record.run.config.update
                run.parameters |= {u.key: json.loads(u.value_json) for u in updates}
            if record.HasField("config"):
                updates = record.config.update
                run.parameters |= {u.key: json.loads(u.value_json) for u in updates}
            if record.HasField("summary"):
                updates = record.summary.update
                run.metrics |= {u.key or u.nested_key[0]: json.loads(u.value_json) for u in updates}
            if record.HasField("history"):
                row = {i.key or i.nested_key[0]: i.value_json for i in record.history.item}
                step = int(row.pop("_step", record.history.step.num))
                for key, value in row.items():
                    if not key.startswith("_"):
                        run.curves.setdefault(key, []).append((step, json.loads(value)))
        run.outcome = run.metrics.pop("outcome")
        run.parameters = {key: str(value) for key, value in run.parameters.items()}
        found[name] = run
    return found


READERS = {"tensorboard": read_tensorboard, "mlflow": read_mlflow, "wandb": read_wandb}


@pytest.fixture(scope="module")
def empty_mlflow(tmp_path_factory) -> Path:
    """A log without runs: to lay its tables takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow") / "logs"
    open_log("mlflow", folder)
    return folder


@pytest.fixture(params=NAMES)
def log(request, tmp_path):
    """A log by its name, and a reader of it: its runs by name."""
    name, folder = request.param, tmp_path / "logs"
    for package in trackers.PACKAGES[name]:
        require(trackers.find_spec(package) is not None, package)
    if name == "mlflow":
        shutil.copytree(request.getfixturevalue("empty_mlflow"), folder)
    return open_log(name, folder), lambda: READERS[name](folder)


def named(runs: dict[str, Read], name: str) -> Read:
    """Find a run by its name, of which TensorBoard makes one for a folder."""
    slug = file_name(name)
    (run,) = (run for found, run in runs.items() if found == name or found.startswith(slug))
    return run


def test_a_name_of_any_letters_is_a_short_name_of_a_file():
    # Of four bytes each.
    name = file_name("../" + "\U00020000" * 100)
    assert name == "\U00020000" * 50
    assert file_name("a/../b c") == "a-..-b-c"


def make_trial(setting: str = "finetune") -> Trial:
    options = {"steps": 30, "batch_size": 10} if setting == "finetune" else {}
    return Trial(
        model=models.find(NETWORK),
        dataset=datasets.find("digits", limit=100),
        setting=methods.find(setting, **options),
    )


def progress(values, step: int, part="candidate") -> TrainingProgress:
    rate = None if step == 1 else 250.0
    return TrainingProgress(part, values, step, 30, 1 / step, 0.1 - step / 1000, rate)


def measurement(values, accuracy: float | None) -> Measurement:
    rows = [
        {**values, "crop": crop, "accuracy": accuracy - less}
        for crop, less in (("full", 0.125), ("central", 0.0))
        if accuracy
    ]
    return Measurement(
        candidate=Candidate(values=values),
        examples="r",
        status="complete" if rows else "diverged",
        curve=tuple(rows or [{**values, "accuracy": 0.0}]),
    )


def make_result(trial: Trial, chosen: dict) -> Result:
    return Result(
        trial=trial,
        metrics={"top-1": 0.75, "log-loss": 0.5},
        n_test=100,
        selection=Selection(examples="r", chosen=chosen, validation_curve=(chosen,)),
    )


def test_a_search_beside_each_other_and_what_it_chose(log):
    opened, read = log
    trial = make_trial()
    with CurveReporter(opened) as whole:
        reporter = whole.trial_started(trial.title, 1, 1)
        reporter.search_started(trial, [])
        for step in (1, 10):
            reporter.trained(progress(FIRST, step))
            reporter.trained(progress(SECOND, step))
        reporter.measured(measurement(SECOND, None))
        reporter.trained(progress(FIRST, 30))
        reporter.measured(measurement(FIRST, 0.625))
        for step in (1, 30):
            reporter.trained(progress(FIRST, step, "refit"))
        reporter.tested(make_result(trial, {"learning_rate": 0.1, "crop": "central"}))
        reporter.trial_finished()
    runs = read()
    assert len(runs) == 3
    first, second, own = (named(runs, n) for n in (FIRST_NAME, SECOND_NAME, trial.title))
    assert [step for step, _ in first.curves["loss"]] == [1, 10, 30]
    assert [loss for _, loss in first.curves["loss"]] == pytest.approx([1, 0.1, 1 / 30])
    assert [r for _, r in first.curves["learning_rate"]] == pytest.approx([0.099, 0.09, 0.07])
    assert first.curves["images_per_second"] == [(10, 250), (30, 250)]
    assert {n: v for n, v in first.metrics.items() if n.startswith("validation")} == {
        "validation/top-1": 0.625,
        "validation/full/top-1": 0.5,
        "validation/central/top-1": 0.625,
    }
    assert float(first.parameters["learning_rate"]) == 0.1
    assert float(first.parameters["batch_size"]) == 10
    assert first.parameters["dataset"] == "digits"
    assert (first.outcome, second.outcome, own.outcome) == ("complete", "diverged", "complete")
    assert [step for step, _ in second.curves["loss"]] == [1, 10]
    assert not any(name.startswith("validation") for name in second.metrics)
    assert [step for step, _ in own.curves["loss"]] == [1, 30]
    assert (own.metrics["test/top-1"], own.metrics["test/log-loss"]) == (0.75, 0.5)
    assert (own.parameters["crop"], own.parameters["trial"]) == ("central", trial.key)
    # Both are parts of the trial.
    assert first.parent == second.parent != ""


def test_a_path_of_lambdas_is_a_curve_of_the_trial(log):
    opened, read = log
    trial = make_trial("linear")
    rows = ({"lambda": 10.0, "accuracy": 0.25}, {"lambda": 1.0, "accuracy": 0.5})
    with CurveReporter(opened) as reporter:
        reporter.search_started(trial, [])
        reporter.measured(Measurement(candidate=Candidate(), examples="r", curve=rows))
        reporter.tested(make_result(trial, {"lambda": 1.0}))
        reporter.trial_finished()
    ((_, run),) = read().items()
    assert run.curves["validation/top-1"] == [(0, 0.25), (1, 0.5)]
    assert run.curves["lambda"] == [(0, 10), (1, 1)]
    assert float(run.parameters["lambda"]) == 1
    assert run.metrics["test/top-1"] == 0.75


@pytest.mark.parametrize("interrupted", [False, True])
def test_what_does_not_come_to_its_end_is_told(log, interrupted):
    opened, read = log
    trial = make_trial()
    reporter = CurveReporter(opened)
    reporter.search_started(trial, [])
    reporter.trained(progress(FIRST, 1))
    if interrupted:
        reporter.__exit__(KeyboardInterrupt, None, None)
    else:
        reporter.trial_finished()
    outcomes = {run.outcome for run in read().values()}
    assert outcomes == {"interrupted" if interrupted else "failed"}


@pytest.mark.parametrize("log", ["tensorboard", "mlflow"], indirect=True)
def test_a_run_that_is_taken_up_again_goes_on_in_its_log(log):
    opened, read = log
    trial = make_trial()
    for steps in ((1, 10), (20, 30)):
        reporter = CurveReporter(opened)
        reporter.search_started(trial, [])
        for step in steps:
            reporter.trained(progress(FIRST, step))
        if step == 30:
            reporter.measured(measurement(FIRST, 0.625))
        reporter.__exit__(KeyboardInterrupt, None, None)
    runs = read()
    assert len(runs) == 2
    first = named(runs, FIRST_NAME)
    assert [step for step, _ in first.curves["loss"]] == [1, 10, 20, 30]
    assert first.metrics["validation/top-1"] == 0.625


def test_trials_that_were_measured_elsewhere_have_their_results(log):
    opened, read = log
    with CurveReporter(opened) as reporter:
        for setting, chosen in (("finetune", {"crop": "full"}), ("linear", {"lambda": 1.0})):
            reporter.tested(make_result(make_trial(setting), chosen))
    assert [run.metrics["test/top-1"] for run in read().values()] == [0.75, 0.75]


def test_a_log_that_fails_does_not_end_the_run():
    class Full:
        def run(self, about):
            raise OSError("no space left on device\nand more")

    notes = []
    with CurveReporter(Full(), notes.append) as reporter:
        reporter.search_started(make_trial(), [])
        reporter.trained(progress(FIRST, 1))
        reporter.measured(measurement(FIRST, 0.5))
    assert notes == ["the log ends here, the run goes on: no space left on device"]


def test_a_log_that_is_not_installed_or_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda package: None)
    with refused("log.not_installed", name="mlflow", missing=["mlflow", "alembic"]) as error:
        open_log("mlflow", tmp_path / "logs")
    assert "pip install 'headstart[mlflow]'" in str(error.value)
    assert not (tmp_path / "logs").exists()
    with refused("name.unknown", kind="log", near=["tensorboard"]):
        open_log("tensorbord", tmp_path)


def test_the_command_logs_what_workers_do(cli, tmp_path, forked_workers):
    require(trackers.find_spec("tensorboard") is not None, "tensorboard")
    study = tmp_path / "study.toml"
    study.write_text(
        f'models = ["{NETWORK}"]\ndatasets = ["digits"]\nlimit = 50\n[[settings]]\n'
        'name = "finetune"\nsteps = 12\nbatch_size = 10\n'
        "learning_rates = [0.1]\ndecays = [0.0, 1e-4]\n"
    )
    logs = tmp_path / "logs"
    places = ("--store", tmp_path / "r.db", "--log", "tensorboard", "--log-folder", logs)
    outcome = cli("run", study, "--trust", "--workers", 1, *places)
    assert outcome.code == 0, outcome.err
    assert "2/2 rate 0.1, decay 1e-4, 12 steps: validation " in outcome.out
    runs = read_tensorboard(logs)
    assert len(runs) == 3
    for run in runs.values():
        steps = [step for step, _ in run.curves["loss"]]
        assert (steps[0], steps[-1]) == (1, 12)
        assert run.outcome == "complete"


def test_a_folder_alone_is_no_log(cli, tmp_path):
    arguments = ("--models", MODEL, "--datasets", "digits", "--store", tmp_path / "r.db")
    ended(cli("run", *arguments, "--log-folder", tmp_path), "log.folder_alone")
