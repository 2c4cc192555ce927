"""What all commands share: version, help, how much is printed, damaged stores."""

import io
import os
import re
import signal
import sqlite3
import sys
import time
from importlib.machinery import ExtensionFileLoader, SourceFileLoader
from importlib.metadata import version

import pytest
from rich.console import Console

import headstart as hs
from conftest import MODEL
from headstart.cli import progress
from headstart.cli.command_group import PANELS, reset_verbosity, set_verbosity
from headstart.cli.output import console, echo
from headstart.cli.progress import LiveReporter
from headstart.cli.terminal_tables import column_table
from headstart.interrupts import interrupt
from headstart.report.page_model import named
from headstart.shown_text import CONTROLS
from headstart.store import ResultStore
from refusals import ended
from stores import add_result

RUN = ["run", "--models", MODEL, "--datasets", "digits", "--limit", "60"]


def test_the_version(cli):
    assert hs.__version__ == version("headstart")
    assert cli("--version").out.split()[-1] == hs.__version__


@pytest.mark.parametrize("arguments", [[], ["run"], ["models"], ["datasets", "show"], ["cache"]])
def test_help_has_a_short_name_and_no_types_of_flags(cli, arguments):
    shown = cli(*arguments, "-h")
    assert (shown.code, shown.err) == (0, "")
    assert "--quiet" in shown.out
    assert "<bool>" not in shown.out


def test_ctrl_c_waits_for_the_import_of_a_compiled_module(monkeypatch):
    """Torch aborts the process otherwise, and onnxruntime calls it a failure of its own."""
    again = []
    monkeypatch.setattr("threading.Timer.start", lambda timer: again.append(timer.args))
    importing = {}
    exec("def exec_module(self, inner):\n    inner()", importing)
    press = lambda: interrupt(signal.SIGINT, sys._getframe())  # noqa: E731
    importing["exec_module"](ExtensionFileLoader("name", "name.so"), press)
    assert again == [(os.getpid(), signal.SIGINT)]
    for loader in (None, SourceFileLoader("name", "name.py")):
        with pytest.raises(KeyboardInterrupt):
            importing["exec_module"](loader, press)
    assert len(again) == 1


def test_commands_are_listed_by_use(cli):
    shown = cli("--help").out
    listed = re.findall(r"^\W ([a-z]+) +[A-Z]", shown, re.M)
    assert listed == list(PANELS)
    assert [shown.index(f" {panel} ") for panel in dict.fromkeys(PANELS.values())] == sorted(
        shown.index(f" {panel} ") for panel in dict.fromkeys(PANELS.values())
    )


@pytest.mark.parametrize("group", ["cache", "datasets", "models", "results", "store"])
def test_the_commands_of_a_group_are_one_list(cli, group):
    shown = cli(group, "--help").out
    assert " Commands " in shown
    assert not [panel for panel in PANELS.values() if f" {panel} ─" in shown]


@pytest.mark.parametrize("name", ["", " ", "\t"])
@pytest.mark.parametrize("option", ["--store", "--models", "--keep-models"])
def test_an_empty_value_is_refused(cli, tmp_path, monkeypatch, name, option):
    monkeypatch.chdir(tmp_path)
    outcome = cli(*RUN, option, name)
    ended(outcome, "command.value_empty", name=option)
    assert not any(tmp_path.iterdir())


def test_no_name_reaches_the_terminal_as_a_command(cli):
    outcome = cli("models", "show", "a\x1b[2Jb\u202ec\nd")
    assert outcome.code == 2
    assert outcome.err.rstrip("\n").isprintable()


HOSTILE = "a\x1b[2Jb\u202ec"


def test_names_of_strangers_are_text_in_tables_and_progress(cli, tmp_path, capsys):
    """Of a folder of images, and of a table of results."""
    shown = r"a\x1b[2Jb\u202ec"
    with LiveReporter(console) as reporter:
        reporter.trial_started(HOSTILE, 1, 1).note(HOSTILE)
    console.print(column_table([named("name", "name")], [{"name": HOSTILE}]))
    echo(HOSTILE)
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [
        f"[1/1] {shown}", shown, "name", shown, shown
    ]  # fmt: skip
    file = tmp_path / "t.csv"
    rows = "".join(f"m{i},{HOSTILE},0.{i}\n=1+{i},d,0.{i}\n" for i in range(1, 5))
    file.write_text(f"model,dataset,accuracy\n{rows}")
    assert not CONTROLS.search(cli("analyze", file).out)


def test_what_is_quiet_and_what_is_verbose(cli, tmp_path):
    normal, quiet, verbose = (
        cli(*RUN, *more, "--store", tmp_path / f"{len(more)}{more[-1:]}.db").out.splitlines()
        for more in ([], ["-q"], ["--verbose"])
    )
    # The table alone; a line for the trial; a line for each of its stages.
    assert any(line.startswith("[1/1]") for line in normal)
    assert not any(line.startswith("[1/1]") for line in quiet)
    assert len(verbose) > len(normal) > len(quiet)
    failed = cli("models", "show", "nothing", "-v")
    assert failed.err.rstrip().endswith("[name.unknown]")
    assert "[name.unknown]" not in cli("models", "show", "nothing").err


def watched(monkeypatch, silence, *, quiet=False):
    """Return what is printed, where there is no terminal, while a stage takes its time."""
    monkeypatch.setattr(progress, "SILENCE", silence)
    set_verbosity(quiet=quiet, verbose=False)
    screen = io.StringIO()
    try:
        with LiveReporter(Console(file=screen, force_terminal=False, width=200)) as reporter:
            reporter.stage("fitting", total=2000, unit="images")
            reporter.advance(500)
            deadline = time.monotonic() + 60
            while silence < 1 and not quiet and time.monotonic() < deadline:
                if "500/2,000" in screen.getvalue():
                    break
                time.sleep(0.01)
    finally:
        reset_verbosity()
    return screen.getvalue()


def test_a_long_stage_is_not_silent(monkeypatch):
    assert "500/2,000" in watched(monkeypatch, 0.02)
    assert watched(monkeypatch, 1000.0) == ""
    assert watched(monkeypatch, 0.02, quiet=True) == ""


@pytest.mark.parametrize(
    "record", ["", "{", "[]", "null", '{"trial": 3}', "\x00", b"\xff\xfe", 7, 1.5]
)
def test_a_damaged_record_is_one_line(cli, tmp_path, record):
    store = ResultStore(tmp_path / "r.db", create=True)
    add_result(store, MODEL, 0.9)
    with sqlite3.connect(store.path) as connection:
        # Triggers keep anybody from editing a result; damage asks nobody.
        for (name,) in list(
            connection.execute("select name from sqlite_master where type = 'trigger'")
        ):
            connection.execute(f"drop trigger {name}")
        connection.execute("update results set record = ?", (record,))
    for command in (["results", "--store"], ["results", "show", "--store"], ["analyze"]):
        ended(cli(*command, store.path), "store.record")
