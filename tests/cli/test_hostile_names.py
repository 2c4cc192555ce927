"""Names that a stranger chose, in a store and a cache: every command that prints them.

In the browser: tests/report/test_browser.py and test_embedding.py; in LaTeX: test_tables.py there.
"""

import csv
import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from headstart.cli.plan_tables import needs
from headstart.cli.run_command import status_lines
from headstart.shown_text import CONTROLS
from headstart.spec import Failure, Trial
from headstart.store import ResultStore
from headstart.study import Study, estimate_study
from headstart.study.estimate import Requirement
from headstart.study.status import RunningTrial, StudyStatus
from stores import add_result, make_result

# It clears a screen, writes backwards, begins another line, a formula, a script, a folder above.
HOSTILE = "a\x1b[2Jb\u202ec\u200fd\n=cmd|' /C calc'!A0 <script>ran=1</script> ../../x\x9b2J"
FORMULAS = (
    *("=HYPERLINK(1)", "+1", "-1+1", "@SUM(1)", "\t=1", " =2", '"=1', "\uff1d1", "\uff201"),
    # Where a semicolon or a tab divides cells.
    *("a;=1", "a;\uff0b1", 'a; "@SUM(1)', "a\t-1"),
)


def renamed(trial: Trial, **names: str) -> Trial:
    """A trial whose model and dataset have other names."""
    return trial.model_copy(
        update={
            what: getattr(trial, what).model_copy(update={"name": name})
            for what, name in names.items()
        }
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> ResultStore:
    found = ResultStore(tmp_path_factory.mktemp("hostile") / "r.db", create=True)
    for number, name in enumerate((HOSTILE, *FORMULAS)):
        add_result(found, name, 0.4 + number / 40)
    result = make_result(seed=3)
    trial = renamed(result.trial, model=HOSTILE, dataset=HOSTILE)
    assert found.add(result.model_copy(update={"trial": trial}))
    found.add_failure(renamed(make_result(seed=4).trial, model=HOSTILE), Failure(error=HOSTILE))
    return found


def harmless(text: str) -> None:
    """Assert that no terminal takes a part for a command, and no line begins with the name's."""
    assert not CONTROLS.search(text)
    assert not [line for line in text.splitlines() if line.startswith("=cmd")]


@pytest.mark.parametrize(
    "command",
    ["results", "results show +1", "results show script", "store check",
     "results --model =HYPERLINK(1)"],
)  # fmt: skip
def test_tables_of_a_store(cli, store, command):
    outcome = cli(*command.split(), "--store", store.path)
    # Two trials have such a name.
    assert outcome.code == (2 if "script" in command else 0), outcome.err
    harmless(outcome.out + outcome.err)


def test_a_store_is_written_read_and_merged(cli, store, tmp_path):
    other = ResultStore(tmp_path / "other.db", create=True)
    result = make_result(seed=3)
    trial = renamed(result.trial, model=HOSTILE, dataset=HOSTILE)
    # The same trial with other numbers.
    other.add(result.model_copy(update={"trial": trial, "metrics": {"top-1": 0.1}}))
    copy = tmp_path / "copy.db"
    for code, *command in (
        (0, "store", "export", store.path, tmp_path / "folder"),
        (0, "store", "import", tmp_path / "folder", copy),
        (2, "store", "merge", store.path, other.path),
        (0, "store", "redo", trial.key, "--store", copy),
    ):
        outcome = cli(*command)
        assert outcome.code == code, outcome.err
        harmless(outcome.out + outcome.err)
    # No name became a name of a file.
    names = {path.name for path in tmp_path.rglob("*")}
    assert not [name for name in names if "cmd" in name or "script" in name or name == "x"]
    text = b"".join(p.read_bytes() for p in (tmp_path / "folder").rglob("*.jsonl"))
    assert not CONTROLS.search(text.decode())


def test_files_of_results_have_no_formulas(cli, store):
    outcome = cli("results", "--store", store.path, "--csv")
    harmless(outcome.out.replace("\n=cmd", ""))
    names = [row["model"] for row in csv.DictReader(io.StringIO(outcome.out))]
    assert len(names) == 2 + len(FORMULAS)
    cells = [cell.strip(' "') for name in names for cell in re.split(r"[;\t\r\n]", name)]
    assert not [cell for cell in cells if cell and cell[0] in "=+-@\uff1d\uff0b\uff0d\uff20"]
    found = json.loads(cli("results", "--store", store.path, "--json").out)
    assert {one["model"] for one in found} == {HOSTILE, *FORMULAS}


@pytest.mark.parametrize("suffix", ["csv", "tex", "json", "html", "md"])
def test_reports(cli, store, tmp_path, suffix):
    form = ("--format", "card") if suffix == "md" else ()
    outcome = cli("report", store.path, "--out", tmp_path / f"r.{suffix}", *form)
    assert outcome.code == 0, outcome.err
    harmless(outcome.out + outcome.err)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    for file in files:
        if file.suffix in (".pdf", ".png"):
            continue
        # The page's data is read by its own script.
        text = file.read_text()
        if suffix in ("html", "md"):
            assert "<script>ran" not in text
            text = re.sub(r"<script.*?</script>", "", text, flags=re.S)
        assert not CONTROLS.search(text)


def test_the_analysis(cli, store):
    outcome = cli("analyze", store.path)
    assert outcome.code == 0, outcome.err
    harmless(outcome.out + outcome.err)


def test_what_a_study_needs_and_how_far_it_is(tmp_path):
    store = ResultStore(tmp_path / "r.db", create=True)
    found = estimate_study(
        Study(models=["efficientnet_lite0"], datasets=["digits"]), store, tmp_path
    )
    need = Requirement("dataset", HOSTILE, False, HOSTILE)
    shown = needs(replace(found, needs=(need,)))
    harmless("\n".join(shown))
    trial = renamed(make_result().trial, model=HOSTILE, dataset=HOSTILE)
    since = datetime(2026, 1, 1, tzinfo=UTC)
    running = RunningTrial(trial, HOSTILE, 1, since, 0, 1, 500, 3, 1)
    failed = (trial, Failure(error=HOSTILE))
    status = StudyStatus(3, 0, (running,), (failed,), 1, None, None, 0.0)
    shown = status_lines(status, absent=HOSTILE)
    assert len(shown) == 5
    assert not [line for line in shown if "\n" in line]


def test_the_cache(cli, own_cache):
    features = own_cache / "features"
    features.mkdir(parents=True)
    name = HOSTILE.replace("/", "_")
    for suffix in (".npy", ".json"):
        (features / f"{name}{suffix}").write_text("damaged")
    for command in (("cache",), ("cache", "verify"), ("cache", "prune", "--dry-run")):
        outcome = cli(*command)
        harmless(outcome.out + outcome.err)


@pytest.mark.parametrize("command", [["analyze"], ["results", "--store"], ["report"]])
def test_a_path_that_is_not_utf8_is_shown_by_its_bytes(cli, tmp_path, command):
    outcome = cli(*command, tmp_path / "caf\udce9")
    assert outcome.code == 2
    assert r"caf\xe9" in outcome.err
