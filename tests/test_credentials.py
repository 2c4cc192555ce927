"""Credentials of caches, databases, trackers: in no output, file or list of processes of a run."""

import os
import subprocess
import time
import uuid
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

import pytest

import engines
from conftest import NETWORK, require
from processes import headstart_process

# Others of these tests may run beside this one, and one of them gives its secret as an argument,
# which every process sees: each run has its own.
TOKEN = uuid.uuid4().hex[:8]
SECRET = f"Sup3r{TOKEN}%2Fcret%25%40%3A%C3%A9nd{TOKEN}"
STUDY = ("--models", NETWORK, "--datasets", "digits", "--limit", "60", "--settings", "knn")
# Each of a part of what is secret.
PARTS = SECRET, unquote(SECRET), f"Sup3r{TOKEN}", f"%C3%A9nd{TOKEN}", f"\u00e9nd{TOKEN}"
SECRETS = tuple(part.encode() for part in PARTS)


def listed() -> bytes:
    """Return the command lines of all processes, as every user of this machine sees them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.append((entry / "cmdline").read_bytes())
            except OSError:
                continue
    return b"\n".join(found)


def ran(*arguments: object, env: dict[str, str], code: int = 0) -> tuple[bytes, bytes]:
    """Run a command; return what it printed, and all command lines seen while it ran."""
    process, seen = headstart_process(*arguments, env=env), set()
    while process.poll() is None:
        seen.add(listed())
        time.sleep(0.2)
    out, err = process.communicate()
    assert process.returncode == code, (out, err)
    return (out + err).encode(), b"".join(seen)


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes", "slurm", "ray"])
def test_the_secret_of_a_cache_is_shown_nowhere(executor, bucket, tmp_path, monkeypatch, request):
    options: tuple[str, ...] = ("--workers", "1")
    if executor != "processes":
        request.getfixturevalue({"ray": "ray_cluster", "slurm": "slurm_here"}[executor])
        options += ("--executor", executor)
    if executor == "ray":
        options += ("--address", os.environ["TEST_RAY_ADDRESS"])
    url = bucket.replace("s3://", f"s3://somekey:{SECRET}@")
    env = {
        **os.environ, "HEADSTART_CACHE": f"{url}/cache", "PYTHONPATH": engines.python_path(),
        "HEADSTART_LOCAL_CACHE": str(tmp_path / "local"), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        env.pop(name)
    store = ("--store", tmp_path / "r.db")
    trials = (*STUDY, "--trust", *store)
    commands = [
        ("run", *trials, "--device", "cpu", "--log", "tensorboard", "--log-folder",
         tmp_path / "logs", "--verbose", *options),
        ("status", *trials, "--json"), ("results", *store, "--json"), ("cache",),
        ("store", "check", *store), ("store", "export", tmp_path / "r.db", tmp_path / "exported"),
        ("report", tmp_path / "r.db", "--out", tmp_path / "report.html"),
    ]  # fmt: skip
    shown = []
    for command in commands:
        shown += ran(*command, env=env)
    # Nobody is there: what the error says.
    env |= {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "HEADSTART_RETRY_SECONDS": "0"}
    shown += ran("cache", "size", "--remote", env=env, code=2)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"r.db", "report.html"} <= {path.name for path in files}
    shown += [path.read_bytes() for path in files]
    shown += [str(path).encode() for path in files]
    assert not [text for text in shown if any(secret in text for secret in SECRETS)]
    # Those of Ray itself.
    if executor == "ray":
        logs = Path("/tmp/ray/session_latest/logs")
        found = subprocess.run(
            ["grep", "-rlF", f"Sup3r{TOKEN}", logs], capture_output=True, check=False
        )
        assert found.stdout == b""


TRACKERS = "mlflow", "wandb"
FAILING = """
import multiprocessing
import os

import small_network


def build():
    if multiprocessing.parent_process() is not None and "TEST_URL" in os.environ:
        password = os.environ["PGPASSWORD"]
        raise ValueError(f"cannot reach {os.environ['TEST_URL']} with {password}")
    return small_network.build()
"""


@pytest.mark.slow
def test_the_secrets_of_a_failing_trial_a_database_and_trackers_are_shown_nowhere(
    postgres, tmp_path
):
    """A library quotes URLs in its error; trackers and a database have secrets in variables."""
    for log in TRACKERS:
        require(find_spec(log) is not None, log)
    failing, artifacts = tmp_path / "failing.py", tmp_path / "artifacts"
    failing.write_text(FAILING)
    url = f"postgresql://me:{SECRET}@host/db and https://hub/x?token={SECRET}&revision=1"
    env = {
        **os.environ, "PYTHONPATH": engines.python_path(), "OMP_NUM_THREADS": "1",
        "HEADSTART_CACHE": str(tmp_path / "cache"), "HEADSTART_ARTIFACTS": str(artifacts),
        "PGPASSWORD": unquote(SECRET), "TEST_URL": url,
        "MLFLOW_TRACKING_URI": f"https://me:{SECRET}@127.0.0.1:1",
        "MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": SECRET,
        "WANDB_API_KEY": f"{'0' * 26}{SECRET[:14]}", "WANDB_BASE_URL": f"https://me:{SECRET}@127.0.0.1:1",
    }  # fmt: skip
    options = NETWORK.rpartition("build")[2]
    networks = f"{failing}:build{options}&name=failing,{NETWORK}&name=whole"
    study = ("--models", networks, *STUDY[2:-1], "linear")
    store = ("--store", postgres.url())
    run = ("run", *study, "--trust", "--device", "cpu", "--workers", "1", "--verbose")
    # The second run tries the trial that failed again.
    commands = [
        *(((*run, "--log", log, "--log-folder", tmp_path / log, *store), 2) for log in TRACKERS),
        (("status", *study, "--trust", "--json", *store), 0),
        (("status", *study, "--trust", *store), 0), (("results", "--json", *store), 0),
        (("store", "check", *store), 0), (("store", "export", store[1], tmp_path / "exported"), 0),
        (("report", store[1], "--out", tmp_path / "report.html"), 0),
    ]  # fmt: skip
    shown = [text for command, code in commands for text in ran(*command, env=env, code=code)]
    # A failure is shown, and what it says apart from the secret.
    assert any(
        b"cannot reach postgresql://me:***@host/db and https://hub/x" in one for one in shown
    )
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"report.html"} <= {path.name for path in files}
    assert all(any((tmp_path / log).rglob("*")) for log in TRACKERS)
    shown += [path.read_bytes() for path in files] + [str(path).encode() for path in files]
    rows = postgres.execute("SELECT record FROM failures", store[1])
    assert len(rows) == 2
    shown += [str(row).encode() for row in rows]
    # Nor where the URL itself is given: what the command says of it.
    for given in (("--store", f"postgresql://me:{SECRET}@host/db"),
                  ("--log", "mlflow", "--log-folder", f"https://me:{SECRET}@host")):  # fmt: skip
        shown.append(ran(*run, *given, env=env, code=2)[0])
    found = [text for text in shown if any(secret in text for secret in SECRETS)]
    assert not found, found[0][:2000]
