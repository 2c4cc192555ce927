"""A PostgreSQL server of our own: on a free port of this machine, in a folder that goes with it."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg

FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def as_other() -> dict[str, object]:
    """Return options of a process: the server refuses to run as root."""
    nobody = {"user": "nobody", "group": "nogroup", "extra_groups": []}
    return nobody if os.getuid() == 0 else {}


def end_with_parent() -> None:
    """Have the kernel end this process at once when the tests end, however they end."""
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


class PostgresServer:
    """A running server; `url` names a fresh, empty schema of its database."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._schemas = folder, 0
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._run("initdb", "--auth=trust", "--no-sync", "--username=tester", "--locale=C.UTF-8")
        options = f"listen_addresses='127.0.0.1'\nport={self.port}\nunix_socket_directories=''\n"
        with (folder / "data" / "postgresql.conf").open("a") as file:
            file.write(f"{options}fsync=off\nmax_connections=200\n")
        self.start()

    def start(self) -> None:
        with (self.folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [FOLDERS[-1] / "postgres", "-D", self.folder / "data"], cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=end_with_parent, **as_other(),
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while True:
            try:
                self.execute("SELECT 1")
                return
            except psycopg.OperationalError:
                ended = self._process.poll() is not None or time.monotonic() > deadline
                assert not ended, (self.folder / "log").read_text()[-2000:]
                time.sleep(0.05)

    def stop(self, mode: str = "immediate") -> None:
        """Stop it at once, as a crash does, unless given ``fast`` or ``smart``."""
        self._run("pg_ctl", "--wait", "--mode", mode, "stop")
        self._process.wait()

    def url(self, password: str = "") -> str:
        self._schemas += 1
        self.execute(f"CREATE SCHEMA s{self._schemas}")
        user = f"tester:{password}" if password else "tester"
        place = f"{user}@127.0.0.1:{self.port}/postgres"
        return f"postgresql+psycopg://{place}?options={quote(f'-csearch_path=s{self._schemas}')}"

    @staticmethod
    def shown(url: str) -> str:
        """The URL as a person may see it."""
        user, _, rest = url.partition("tester")
        return f"{user}tester:***{rest[rest.index('@') :]}" if ":" in rest.split("@")[0] else url

    def execute(self, statement: str, url: str = "") -> list[tuple]:
        target = url.replace("+psycopg", "") or (
            f"postgresql://tester@127.0.0.1:{self.port}/postgres"
        )
        with psycopg.connect(target, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _run(self, program: str, *arguments: str) -> None:
        command = [FOLDERS[-1] / program, "--pgdata", self.folder / "data", *arguments]
        with (self.folder / "pg_ctl.log").open("a") as log:
            done = subprocess.run(
                command, check=False, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, **as_other(),
            )  # fmt: skip
        assert done.returncode == 0, [file.read_text()[-2000:] for file in self.folder.glob("*og")]


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    folder = Path(tempfile.mkdtemp(prefix="headstart-postgres-"))
    if os.getuid() == 0:
        shutil.chown(folder, "nobody", "nogroup")
    server = None
    try:
        server = PostgresServer(folder)
        yield server
    finally:
        if server and (folder / "data" / "postmaster.pid").exists():
            server.stop()
        shutil.rmtree(folder)
