"""Credentials in the URL of a cache: in no output, file or list of processes of a run."""

import os
import subprocess
import time
from pathlib import Path

import pytest

import engines
import small_network
from processes import headstart_process

SECRET = "Sup3rSe%2Fcret"
NETWORK = f"{small_network.__file__}:build?size=16&mean=0.5,0.5,0.5&std=0.25,0.25,0.25"
STUDY = ("--models", NETWORK, "--datasets", "digits", "--limit", "60", "--settings", "knn")
# Each of a part of what is secret.
SECRETS = (SECRET.encode(), SECRET.replace("%2F", "/").encode(), b"Sup3rSe")


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
        found = subprocess.run(["grep", "-rlF", "Sup3rSe", logs], capture_output=True, check=False)
        assert found.stdout == b""
