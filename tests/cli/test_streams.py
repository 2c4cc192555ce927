"""Outputs that are full, closed, broken or lack letters; interrupts; a cache that cannot be one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import MODEL
from headstart.store import ResultStore
from processes import Forked, headstart_process
from refusals import ended
from stores import add_result


def run(arguments, stdout, **variables):
    return subprocess.run(
        [sys.executable, "-m", "headstart", *map(str, arguments)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=os.environ | variables,
        timeout=300,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [["models"], ["models", "--json"]])
def test_an_output_that_is_full_is_one_line(arguments):
    with open("/dev/full", "w") as full:
        ended = run(arguments, full)
    assert ended.returncode == 2
    said = ended.stderr.decode()
    assert "(No space left on device)" in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_letters_that_the_output_lacks_are_escaped():
    arguments = ["analyze", "kornblith2019", "--resamples", "100"]
    ended = run(arguments, subprocess.PIPE, PYTHONIOENCODING="ascii")
    assert ended.returncode == 0, ended.stderr
    assert rb"1.533 \xb1 0.0" in ended.stdout


@pytest.fixture
def store(tmp_path):
    opened = ResultStore(tmp_path / "r.db", create=True)
    for number in range(3):
        add_result(opened, f"model{number}", 0.5 + number / 10)
    return opened.path


def shell(line, **variables):
    """Run a line of a shell in which $H is headstart."""
    command = f"{sys.executable} -m headstart"
    return subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        env=os.environ | {"H": command} | variables,
        timeout=120,
    )


@pytest.mark.parametrize("command", ["results --store {}", "results --csv --store {}", "models"])
def test_a_closed_output_is_one_line(store, command):
    ended = shell(f"$H {command.format(store)} >&-")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("error: cannot write to the standard output (it is closed)")


@pytest.mark.parametrize("closed", ["2>&- <&-", ">&- 2>&- <&-"])
def test_with_closed_streams_a_file_is_written_and_nothing_else(tmp_path, closed):
    file = tmp_path / "splits.csv"
    ended = shell(f"$H datasets splits digits --export {file} {closed}")
    # What it prints is lost where the output is closed: that is reported, and the file is there.
    assert ended.returncode == (2 if ">&-" in closed.split() else 0)
    assert "Traceback" not in ended.stderr
    assert file.read_text().count("\n") == 1798


def test_an_error_with_the_error_stream_closed_is_told_by_the_exit_code():
    ended = shell("$H results --store nowhere.db 2>&-")
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", "")


# Closes streams, and some that Python takes for open; looks at each descriptor in a command.
CLOSED = """
import os, sys
from headstart.cli.output import errors_in_words

closed, unknown, file = sys.argv[1:]
for descriptor in map(int, closed + unknown):
    os.close(descriptor)
for descriptor in map(int, closed):
    setattr(sys, ("stdin", "stdout", "stderr")[descriptor], None)
with errors_in_words():
    null = os.stat(os.devnull).st_rdev
    for descriptor in map(int, closed):
        assert os.fstat(descriptor).st_rdev == null, descriptor
    assert sys.stdin.read() == "" or "0" not in closed
    assert sys.stderr.write("lost") == 4
    sys.stderr.flush()
    for descriptor in map(int, unknown):
        assert os.open(file, os.O_CREAT) == descriptor
"""


@pytest.mark.parametrize(("closed", "unknown"), [("0", ""), ("2", ""), ("012", ""), ("1", "0")])
def test_a_closed_stream_is_the_null_device_on_its_own_descriptor(tmp_path, closed, unknown):
    process = Forked(CLOSED, closed, unknown, tmp_path / "file")
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert (tmp_path / "file").exists() == bool(unknown)


@pytest.mark.parametrize("command", ["models", "models --json"])
def test_a_reader_that_has_gone_ends_a_command_quietly(command):
    ended = shell(f"$H {command} | true; exit ${{PIPESTATUS[0]}}", PYTHONUNBUFFERED="1")
    assert ended.returncode == 141
    assert ended.stderr == ""


def test_head_reads_one_line(store):
    ended = shell(f"set -o pipefail; $H results --store {store} | head -n 1")
    assert ended.stdout.startswith("model ")
    assert ended.stderr == ""
    # All of it may be in the pipe before the reader goes.
    assert ended.returncode in (0, 141)


# Presses Ctrl-C at an event of Python's audit hooks: a module's import, or an opened store.
INTERRUPTING = """
import os, signal, sys

def interrupt(event, args):
    if (args[0] if event == "import" else event) == os.environ.get("INTERRUPT_AT"):
        del os.environ["INTERRUPT_AT"]
        os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(interrupt)
"""


def interrupted(folder, event, *arguments, more=""):
    """Run a command that is interrupted at an event, with more code: exit code and both streams."""
    (folder / "sitecustomize.py").write_text(INTERRUPTING + more)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"INTERRUPT_AT": event, "PYTHONPATH": path}
    process = headstart_process(*arguments, cwd=folder, env=environment)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize(("arguments", "event"), [
    ("results --store {}", "headstart.cli.main"), ("results --store {}", "typer"),
    ("results --store {}", "sqlite3.connect"), ("analyze {}", "sqlite3.connect"),
])  # fmt: skip
def test_an_early_interrupt_is_one_line(store, tmp_path, arguments, event):
    ended = interrupted(tmp_path, event, *arguments.format(store).split())
    assert ended == (130, "", "interrupted\n")


@pytest.mark.parametrize("event", ["headstart.cli.main", "sqlite3.connect"])
def test_a_second_interrupt_ends_it_at_once(store, tmp_path, event):
    """While Python ends; a shell reports 130 then, too."""
    again = "\nimport atexit\natexit.register(os.kill, os.getpid(), signal.SIGINT)\n"
    ended = interrupted(tmp_path, event, "results", "--store", store, more=again)
    assert ended == (-signal.SIGINT, "", "interrupted\n")


@pytest.mark.parametrize("what", ["file", "below a file", "broken symlink", "below a symlink"])
@pytest.mark.parametrize("arguments", [
    ("run", "--models", "small:vgg6_w8?weights=random", "--datasets", "digits", "--limit", 60),
    ("run", "--models", MODEL, "--datasets", "digits", "--dry-run"), ("models",), ("datasets",),
    ("datasets", "verify", "digits"),
])  # fmt: skip
def test_a_cache_that_cannot_be_a_folder(cli, tmp_path, monkeypatch, what, arguments):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "gone" / "away")
    place = tmp_path / ("file" if "file" in what else "link")
    monkeypatch.setenv("HEADSTART_CACHE", str(place / "inside" if "below" in what else place))
    monkeypatch.chdir(tmp_path)
    ended(cli(*arguments), "cache.not_folder", path=str(place))
    assert {path.name for path in tmp_path.iterdir()} == {"file", "link"}
