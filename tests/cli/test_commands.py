import csv
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import headstart as hs
import small_network
from conftest import MODEL, write_folder
from headstart import models
from headstart.cli import demo
from headstart.datasets.sources import embedded
from headstart.store import ResultStore
from processes import forked_command, signalled
from refusals import ended
from stores import add_result

RUN = ("run", "--models", MODEL, "--datasets", "digits", "--limit", "100")
NETWORK = f"{Path(small_network.__file__)}:build?mean=0.5,0.5,0.5&std=0.25,0.25,0.25"


@pytest.fixture
def small_demo(monkeypatch):
    """The demo with few steps on few images, and small ones."""
    monkeypatch.setattr(demo, "LIMIT", 62)
    monkeypatch.setattr(demo, "STEPS", 2)
    monkeypatch.setattr(models, "EMBEDDED", tuple(f"{name}?size=64" for name in models.EMBEDDED))


@pytest.fixture
def measured(cli, tmp_path):
    """A store with one real result."""
    store = tmp_path / "results.db"
    outcome = cli(*RUN, "--store", store)
    assert outcome.code == 0, outcome.err
    return store


# One command after the other: what one imports would be there for all that follow.
LIGHT = """
import sys
from headstart.cli.main import main

for line in sys.stdin.read().splitlines():
    sys.argv = ["headstart", *line.split()]
    try: main()
    except SystemExit as e: assert not e.code, line
    heavy = {"torch", "torchvision", "timm"} & set(sys.modules)
    if line.startswith("results"):
        heavy |= {"pandas", "pyarrow", "PIL", "headstart.datasets"} & set(sys.modules)
    if line.startswith("analyze"):
        # Takes most of a second to import.
        heavy |= {"scipy.stats"} & set(sys.modules)
    assert not heavy, (line, heavy)
    # Help needs none of the nouns either.
    assert (line == "--help") <= ("pydantic" not in sys.modules)
"""


def test_help_and_results_do_not_import_torch(measured):
    lines = ("--help", f"results --store {measured}", "models", "datasets",
             "run kornblith2019 --dry-run", "analyze kornblith2019 --resamples 100")  # fmt: skip
    command = [sys.executable, "-c", LIGHT]
    subprocess.run(command, check=True, capture_output=True, text=True, input="\n".join(lines))


# Walks the commands as typer has them: one that is new is looked at, too.
HELP = """
import sys
from typer.main import get_command
from headstart.cli.main import app, main

def walk(command, names):
    sys.argv = ["headstart", *names, "--help"]
    try: main()
    except SystemExit as e: assert not e.code, names
    heavy = {"torch", "torchvision", "timm", "pandas"} & set(sys.modules)
    assert not heavy, (names, heavy)
    print("looked at", *names)
    for name, below in getattr(command, "commands", {}).items():
        walk(below, [*names, name])

walk(get_command(app), [])
"""


def test_the_help_of_every_command_imports_nothing_slow():
    command = [sys.executable, "-c", HELP]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    for name in ("", " run", " pretrain", " ablate", " models show", " results show"):
        assert f"looked at{name}\n" in done.stdout


def test_python_without_docstrings_is_refused_in_a_line():
    command = [sys.executable, "-OO", "-m", "headstart", "-v", "explain", "storage.full"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    command[1] = "-O"
    assert subprocess.run(command, capture_output=True, text=True).returncode == 0


def test_a_run_shows_its_table_and_a_second_run_finds_it(cli, measured):
    outcome = cli(*RUN, "--store", measured)
    assert outcome.code == 0
    assert "0 measured, 1 already stored, 0 failed" in outcome.out
    assert "setting linear, protocol kornblith2019, metric top-1" in outcome.out
    assert MODEL in outcome.out


def test_results_as_table_csv_and_json(cli, measured):
    expected = hs.results(measured).iloc[0]
    screen = cli("results", "--store", measured).out
    assert f"{100 * expected['accuracy']:.2f}" in screen
    assert f"converged (largest relative duality gap {expected['relative_gap']:.1e})" in screen
    (row,) = csv.DictReader(io.StringIO(cli("results", "--store", measured, "--csv").out))
    assert float(row["accuracy"]) == expected["accuracy"]
    assert {"model", "upstream_accuracy", "dataset", "setting", "metric", "n_test", "seed"} <= set(
        row
    )
    (record,) = json.loads(cli("results", "--store", measured, "--json").out)
    assert record["lambda"] == expected["lambda"]
    assert record["key"] == expected["key"]


def test_a_study_file_is_the_same_as_options(cli, measured, tmp_path):
    printed = cli(*RUN, "--print-study")
    assert printed.code == 0
    (tmp_path / "study.toml").write_text(printed.out)
    outcome = cli("run", tmp_path / "study.toml", "--store", measured)
    assert "0 measured, 1 already stored" in outcome.out


def test_datasets_are_listed(cli):
    assert "glyphs" in cli("datasets").out
    records = {record["name"]: record for record in json.loads(cli("datasets", "--json").out)}
    assert records["digits"]["sizes"] == {"train": 1079, "validation": 359, "test": 359}
    assert {"digits", "glyphs", "fashion_mnist", "food101", "voc2007"} < set(records)


def test_the_demo_leaves_a_csv_a_database_and_predictions(cli, tmp_path, monkeypatch, small_demo):
    monkeypatch.setattr(embedded, "SYSTEM_FOLDER", tmp_path / "none")
    out = tmp_path / "out"
    outcome = cli("demo", "--out", out)
    assert outcome.code == 0, outcome.err
    assert "digits: 62 of 1,079 train, 62 of 359 validation, 62 of 359 test" in outcome.out
    assert "fashion_mnist: left out (Debian package dataset-fashion-mnist" in outcome.out
    assert "6 measured, 0 already stored" in outcome.out
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert {row["dataset"] for row in rows} == {"digits", "glyphs"}
    assert "3 measured, 0 already stored" in outcome.out
    trained = hs.results(out / "settings.db")
    assert trained["setting"].tolist() == ["linear", "finetune", "scratch"]
    assert trained["model"].unique().tolist() == ["efficientnet_lite0?size=64"]
    store = hs.ResultStore(out)
    for row in rows:
        predictions = store.predictions(row["key"])
        right = float((predictions.label == predictions.predicted).mean())
        assert right == pytest.approx(float(row["accuracy"]))
    # Its last line names the page.
    assert outcome.out.rstrip().splitlines()[-1] == f"Report: {(out / 'report.html').resolve()}"
    page = (out / "report.html").read_text()
    assert len(page) < 5e6
    assert "By logistic regression on 2 datasets, " in page
    # Of three models there is no interval, and so no sentence.
    assert "intervals of correlations" in page
    assert "exact McNemar" in page
    # A second time nothing is new, and the page stays; a page that is damaged is drawn anew.
    with monkeypatch.context() as patch:
        patch.setattr("headstart.analysis.analyze", lambda *_: pytest.fail("analysed again"))
        second = cli("demo", "--out", out)
    assert "0 measured, 6 already stored" in second.out
    assert "0 measured, 3 already stored" in second.out
    assert second.out.rstrip().splitlines()[-1] == outcome.out.rstrip().splitlines()[-1]
    (out / "report.html").write_text(page.replace("McNemar", "MacNemar"))
    assert cli("demo", "--out", out).code == 0
    assert (out / "report.html").read_text() == page


# Where a run does not even begin: an environment, options, a code, a value.
REFUSED = [
    ({"HEADSTART_BFLOAT16": "off"}, ["--precision", "bf16"], "device.bfloat16_slow", {}),
    ({"HEADSTART_RUNTIME": "onnx"}, [], "device.runtime_unknown", {"runtime": "onnx"}),
    ({"CUDA_VISIBLE_DEVICES": ""}, ["--device", "cuda"], "device.missing", {}),
]


@pytest.mark.parametrize(("variables", "options", "code", "values"), REFUSED)
def test_what_this_machine_lacks_is_found_before_anything_is_computed(
    cli, tmp_path, monkeypatch, variables, options, code, values
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    outcome = cli(*RUN, *options, "--store", tmp_path / "results.db")
    ended(outcome, code, **values)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("made", "code"), [
    ("CREATE TABLE songs (title TEXT)", "store.foreign"), ("PRAGMA user_version = 7", "store.newer")
])  # fmt: skip
def test_a_store_that_cannot_be_used(cli, tmp_path, made, code):
    store = tmp_path / "results.db"
    if code == "store.newer":
        hs.ResultStore(store, create=True).make()
    sqlite3.connect(store).execute(made).connection.close()
    for arguments in (RUN, ("results",)):
        ended(cli(*arguments, "--store", store), code)


@pytest.mark.parametrize("arguments", [(*RUN, "--store"), ("demo", "--out")])
def test_a_read_only_folder(cli, tmp_path, arguments):
    folder = tmp_path / "locked"
    folder.mkdir()
    # Root may write to a folder of mode 0555, but not here.
    place = "/sys/headstart" if os.geteuid() == 0 else folder / "inside"
    folder.chmod(0o555)
    outcome = cli(*arguments, place)
    ended(outcome, "storage.not_writable")
    assert str(place) in outcome.err
    assert not list(folder.iterdir())


def test_a_place_for_a_store_is_proven_before_images_are_looked_at(cli, photos, tmp_path):
    (photos / "test" / "dark" / "0.png").write_bytes(b"not an image")
    (tmp_path / "file").touch()
    for place, code in (
        (tmp_path / "file" / "r.db", "storage.not_folder"),
        (Path("/sys/headstart/r.db"), "storage.not_writable"),
    ):
        outcome = cli("run", "--models", MODEL, "--datasets", photos, "--store", place)
        ended(outcome, code)
        assert str(place) in outcome.err
    # A mistyped name leaves no folder.
    place = tmp_path / "new" / "r.db"
    wrong = cli("run", "--models", "efficientnet_lite9", "--datasets", photos, "--store", place)
    ended(wrong, "name.unknown")
    assert not place.parent.exists()


def test_a_broken_image_and_skip_broken(cli, photos, tmp_path):
    (photos / "test" / "dark" / "0.png").write_bytes(b"not an image")
    place = tmp_path / "r.db"
    arguments = ("run", "--models", MODEL, "--datasets", photos, "--store", place)
    outcome = cli(*arguments)
    ended(outcome, "dataset.images_broken", found=1)
    assert f"test {photos}/test/dark/0.png: " in outcome.err
    assert not (tmp_path / "r.db").exists()
    outcome = cli(*arguments, "--skip-broken")
    assert outcome.code == 0
    assert "broken images left out: 1" in outcome.out
    assert hs.results(tmp_path / "r.db")["n_test"].tolist() == [5]
    # What was warned of stays with the result.
    assert "data warnings: photos: broken images (" in cli("results", "--store", place).out
    shown = cli("results", "show", "photos", "--store", place)
    assert "data warning: 1 of 18 images cannot be used" in shown.out
    (record,) = json.loads(cli("results", "show", "photos", "--store", place, "--json").out)
    assert [warning["code"] for warning in record["data_warnings"]] == ["broken-images"]


# Images of the classes of the splits, a code, a value.
FOLDERS = [
    ({"a": 1, "b": 1}, {"a": 1}, {"z": 1}, "dataset.class_unknown", {"found": "z"}),
    ({"a": 1, "b": 1}, {"a": 0}, {"a": 1}, "dataset.split_empty", {"split": "validation"}),
    ({"a": 1, "b": 0}, {"a": 1}, {"a": 1}, "dataset.class_empty", {"found": "b"}),
]


@pytest.mark.parametrize(("train", "validation", "test", "code", "values"), FOLDERS)
def test_bad_folders(cli, tmp_path, train, validation, test, code, values):
    counts = {"train": train, "validation": validation, "test": test}
    folder = write_folder(tmp_path / "photos", counts)
    outcome = cli("run", "--models", MODEL, "--datasets", folder, "--store", tmp_path / "r.db")
    ended(outcome, code, **values)
    assert not (tmp_path / "r.db").exists()


def test_a_lambda_is_shown_with_three_digits(cli, tmp_path):
    store = ResultStore(tmp_path / "r.db", create=True)
    add_result(store, "a", 0.5, lam=3.1623e-6)
    assert "3.16e-06" in cli("results", "--store", store.path).out.split()
    page = tmp_path / "report.html"
    assert cli("report", store.path, "--out", page).code == 0
    assert "lambda 3.16e-06" in page.read_text()


def test_a_read_only_cache(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", "/sys/headstart")
    ended(cli(*RUN, "--store", tmp_path / "r.db"), "storage.not_writable")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_trial_does_not_cost_the_demo_its_csv(cli, tmp_path, monkeypatch):
    from headstart.errors import FeatureError
    from headstart.study import run

    real = run.run_trial

    def failing(trial, context, *others):
        if trial.model.name == "b":
            raise FeatureError("why", code="features.not_finite")
        return real(trial, context, *others)

    monkeypatch.setattr(run, "run_trial", failing)
    monkeypatch.setattr(demo, "DATASETS", ("digits",))
    monkeypatch.setattr(demo, "LIMIT", 62)
    monkeypatch.setattr(demo, "STEPS", 2)
    monkeypatch.setattr(demo, "TRAINED_MODEL", f"{NETWORK}&size=16")
    three = [f"{NETWORK}&size={size}&name={n}" for n, size in {"a": 16, "b": 18, "c": 20}.items()]
    monkeypatch.setattr(models, "EMBEDDED", three)
    outcome = cli("demo", "--out", tmp_path / "out")
    assert outcome.code == 2
    assert "error: b, digits, linear: why\n" in outcome.err
    with (tmp_path / "out" / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2


def test_nan_in_features(cli, tmp_path, own_cache, monkeypatch):
    from headstart.features import extract

    load = extract.models.load

    def poisoned(model, *cache, **options):
        network = load(model, *cache, **options)
        network.backbone.conv_head.weight.data[:] = float("nan")
        return network

    monkeypatch.setattr(extract.models, "load", poisoned)
    outcome = cli(*RUN, "--store", tmp_path / "r.db")
    assert outcome.code == 2
    store = ResultStore(tmp_path / "r.db")
    assert [one.code for one in store.failures().values()] == ["features.not_finite"]
    assert store.results() == []


def test_a_damaged_feature_file_is_told_and_rebuilt(cli, tmp_path, own_cache):
    assert cli(*RUN, "--store", tmp_path / "a.db").code == 0
    (file,) = (own_cache / "features").glob("*.npy")
    content = bytearray(file.read_bytes())
    content[5000] ^= 255
    file.write_bytes(content)
    outcome = cli(*RUN, "--store", tmp_path / "b.db")
    assert outcome.code == 0
    assert "are damaged (checksum): extracting them again" in outcome.out.replace("\n", " ")
    first, second = (hs.results(tmp_path / name)["accuracy"].tolist() for name in ("a.db", "b.db"))
    assert first == second


def test_a_disk_that_fills_up_while_features_are_written(cli, tmp_path, own_cache):
    # 300 rows of 1,280 float32 are 1.5 MB; the kernel refuses at 500 kB.
    limited = "import processes\nprocesses.limit_file_size(500_000)"
    process = forked_command(*RUN, "--store", tmp_path / "r.db", before=limited)
    _, err = process.communicate()
    assert process.returncode == 2
    store = ResultStore(tmp_path / "r.db")
    assert [one.code for one in store.failures().values()] == ["storage.full"], err
    assert store.results() == []
    assert not list((own_cache / "features").glob("*.json"))
    assert cli(*RUN, "--store", tmp_path / "r.db").code == 0
    assert len(hs.results(tmp_path / "r.db")) == 1


# The first features are written but not kept; kept, and nothing stored; as the first, with the
# results of the first dataset; with all features and three results.
APPENDER, STORE = "headstart.files:Appender", "headstart.store:ResultStore"
MOMENTS = [(APPENDER, "sync", 0, 0), (STORE, "add", 0, 0), (APPENDER, "sync", 0, 2),
           (STORE, "add", 1, 3)]  # fmt: skip


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """Two networks on two datasets."""
    each = {"dark": 31, "light": 31}
    counts = {"train": each, "validation": each, "test": each}
    photos = write_folder(tmp_path_factory.mktemp("grid") / "photos", counts)
    models = f"{NETWORK}&size=16&name=a,{NETWORK}&size=20&name=b"
    datasets = f"digits,{photos}"
    return ("run", "--models", models, "--datasets", datasets, "--limit", 62, "--trust", "--store")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, grid):
    folder = tmp_path_factory.mktemp("undisturbed")
    process = forked_command(*grid, folder / "r.db", HEADSTART_CACHE=str(folder / "cache"))
    _, err = process.communicate()
    assert process.returncode == 0, err
    return hs.results(folder / "r.db")


def numbers(table):
    return table.sort_values("key")[["key", "accuracy", "lambda", "n_test"]].to_dict("records")


def test_killed_at_any_moment_the_same_command_completes(tmp_path, own_cache, grid, undisturbed):
    command = (*grid, tmp_path / "r.db")
    done: set[str] = set()
    for owner, name, after, n_stored in MOMENTS:
        process = forked_command(*command, before=signalled(owner, name, after))
        _, err = process.communicate()
        assert process.returncode == -signal.SIGKILL, err
        stored = hs.ResultStore(tmp_path / "r.db")
        # What was finished stays, and is whole.
        assert done <= stored.keys()
        done = stored.keys()
        assert len(done) == n_stored
        for key in done:
            assert len(stored.predictions(key).label) == 62
    process = forked_command(*command)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert f"{4 - len(done)} measured, {len(done)} already stored, 0 failed" in out
    assert numbers(hs.results(tmp_path / "r.db")) == numbers(undisturbed)


def test_two_runs_at_once_share_the_work(tmp_path, own_cache, grid, undisturbed):
    pair = [forked_command(*grid, tmp_path / "r.db") for _ in range(2)]
    outputs = [process.communicate() for process in pair]
    assert [process.returncode for process in pair] == [0, 0], outputs
    assert numbers(hs.results(tmp_path / "r.db")) == numbers(undisturbed)
    measured = [int(out.split(" measured")[0].split()[-1]) for out, _ in outputs]
    assert sum(measured) == 4


def test_ctrl_c_says_that_nothing_is_lost(tmp_path, own_cache, grid):
    interrupted = signalled(APPENDER, "sync", signal="SIGINT")
    process = forked_command(*grid, tmp_path / "r.db", before=interrupted)
    out, err = process.communicate()
    assert process.returncode == 130, (out, err)
    assert "Traceback" not in err
