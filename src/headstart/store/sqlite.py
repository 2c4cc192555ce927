"""All that is SQLite's own: a file, opened for reading alone where nothing is to be written."""

import os
import sqlite3
import time
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import cache, lru_cache, partial
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import dialect, insert

from headstart.errors import NotWritableError, StorageError, StoreError
from headstart.files import check_folder, disk_full, free_bytes, storage_errors, writable_folder
from headstart.interrupts import interrupts_wait
from headstart.store import schema
from headstart.store.backend import Backend

__all__ = ["DATABASE_NAME", "SQLite", "open_url"]

DATABASE_NAME = "headstart.db"
WAIT_SECONDS = 60
# How often, and after how long, a lock is asked for again that SQLite does not wait for.
LOOKS, LOOK_SECONDS = 100, 0.05
# Connections that a writer keeps open.
KEPT = 4
# Bytes: a page of the database, its log, and the log's index fit.
LEAST_FREE = 1 << 20
# The function of our own that statements ask for the time.
CLOCK = "headstart_clock"
# "hdst" in ASCII, in SQLite's header field for the application that a file belongs to.
APPLICATION_ID = 0x68647374


def open_url(url: sa.URL, *, create: bool) -> Backend:
    """Open the file of a URL."""
    if not url.database or url.database == ":memory:" or url.query:
        raise StoreError(
            "a SQLite URL of a store is sqlite:/// and the path of a file",
            code="store.url",
            url=url.render_as_string(),
        )
    return SQLite(_place(Path(url.database)), create=create)


class SQLite(Backend):
    """A database in a file, which is never changed unless it may be made (`create`)."""

    clock: ClassVar[sa.ColumnElement[float]] = sa.literal_column(f"{CLOCK}()", sa.Float)

    def __init__(self, path: Path, *, create: bool) -> None:
        self.path, self.name = path, str(path)
        self._use(_engine(path, writable=create))
        # Of the schema as it was read last, and which version that is.
        self._known: tuple[int | None, int | None] = (None, None)
        # Runs that keep connections open now.
        self._keeping, self._changing, self._pid = 0, Lock(), os.getpid()
        self._turn = Lock()

    @property
    def place(self) -> Path | str:
        return self.path.absolute()

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        with self._changing:
            self._keeping += 1
        try:
            yield
        finally:
            with self._changing:
                self._keeping -= 1
            self.release()

    def release(self) -> None:
        # The last to be closed copies the log into the database: what is copied of the file then is
        # whole.
        if not self._keeping:
            self.engine.dispose(close=os.getpid() == self._pid)

    def exists(self) -> bool:
        # Asked for with each transaction.
        if os.path.exists(self.path):
            return True
        with storage_errors(self.path, reading=True):
            return self.path.exists()

    def prepare(self) -> None:
        # Where the file is there, it says itself whether it can be written.
        if not self.exists():
            writable_folder(self.path.parent, self.path)

    def check_place(self) -> None:
        if not self.exists():
            check_folder(self.path.parent, self.path)

    def finish(self, connection: sa.Connection) -> None:
        # A write-ahead log from now on: readers and a writer do not wait for each other. SQLite
        # does not wait for others here, and another may have begun to write already.
        for _ in range(LOOKS):
            with suppress(sa.exc.OperationalError):
                connection.execute(sa.text("PRAGMA journal_mode = WAL"))
                return
            time.sleep(LOOK_SECONDS)

    def version(self, connection: sa.Connection) -> int | None:
        # Changes with each table, and so with each version.
        ((cookie,),) = _run(connection, "PRAGMA schema_version")
        if cookie and cookie == self._known[0]:
            return self._known[1]
        version = self._read_version(connection)
        self._known = (cookie, version)
        return version

    def _read_version(self, connection: sa.Connection) -> int | None:
        # Tables first: another process lays them and the header in one transaction, so that where
        # there are tables the header is read with them.
        tables = sa.inspect(connection).get_table_names()
        application = connection.scalar(sa.text("PRAGMA application_id"))
        version = int(connection.scalars(sa.text("PRAGMA user_version")).one())
        if application == 0 and not tables:
            return 0
        return version if application == APPLICATION_ID else None

    def mark(self, connection: sa.Connection) -> None:
        connection.execute(sa.text(f"PRAGMA application_id = {APPLICATION_ID}"))
        connection.execute(sa.text(f"PRAGMA user_version = {schema.SCHEMA_VERSION}"))

    def guard(self, connection: sa.Connection, table: sa.Table) -> None:
        for verb in ("UPDATE", "DELETE"):
            connection.execute(
                sa.text(
                    f"CREATE TRIGGER IF NOT EXISTS {table.name}_no_{verb} BEFORE {verb} ON "
                    f"{table.name} BEGIN SELECT RAISE(ABORT, '{schema.NEVER_EDITED}'); END"
                )
            )

    @contextmanager
    def turn(self) -> Iterator[None]:
        # SQLite itself would sleep, and look again up to a tenth of a second later. It decides
        # where a fork has copied the lock of another thread.
        mine = self._turn.acquire(timeout=WAIT_SECONDS)
        try:
            yield
        finally:
            if mine:
                self._turn.release()

    def lock(self, connection: sa.Connection, *, durable: bool) -> None:
        # Syncing takes milliseconds, in which no other process can write.
        synchronous = "FULL" if durable else "NORMAL"
        if connection.info.get("synchronous") != synchronous:
            _run(connection, f"PRAGMA synchronous = {synchronous}")
            connection.info["synchronous"] = synchronous
        # The lock of the only writer is held from before the first look until the commit.
        _run(connection, "BEGIN IMMEDIATE")

    def execute(
        self, connection: sa.Connection, statement: sa.Executable, values: Mapping[str, Any]
    ) -> Sequence[Any]:
        text, names, fixed, row = _compiled(statement, tuple(values))
        values = {**fixed, **values}
        return [row(found) for found in _run(connection, text, [values[name] for name in names])]

    @staticmethod
    @cache
    def insert_new(table: sa.Table) -> sa.Insert:
        return insert(table).on_conflict_do_nothing()

    def storage_error(self, error: sa.exc.DBAPIError) -> StorageError:
        cause = str(error.orig)
        if "not a database" in cause:
            return self.foreign()
        # On a full disk the files beside it cannot grow first: an error of input/output.
        if "full" in cause or ("I/O" in cause and free_bytes(self.path) < LEAST_FREE):
            return disk_full(self.path)
        if "readonly" in cause or "unable to open" in cause:
            return NotWritableError(
                f"cannot write {self.name} ({cause}): choose a folder you may write to",
                path=self.name,
            )
        remedy = ""
        if "I/O" in cause:
            kind = getattr(error.orig, "sqlite_errorname", "")
            remedy = (
                f" ({kind}; {free_bytes(self.path) / 1e6:,.1f} MB free): the disk fails, a network "
                "drive is gone, or a quota or limit is reached: see the system's log, or copy the "
                "store elsewhere"
            )
        if "malformed" in cause:
            remedy = ": the file is damaged; restore it from a copy"
        return StoreError(
            f"cannot use {self.name}: {cause}{remedy}", code="store.sqlite", cause=cause
        )


def _engine(path: Path, *, writable: bool) -> sa.Engine:
    def connect() -> sqlite3.Connection:
        uri = path.absolute().as_uri()
        if not writable:
            # Where the folder cannot be written, SQLite cannot keep its shared memory beside the
            # file, and reads only what nobody changes, as it learns.
            log = path.with_name(path.name + "-wal")
            shared = os.access(path.parent, os.W_OK) or log.exists()
            uri += "?mode=ro" if shared else "?immutable=1"
        # Transactions are begun by `lock`, so sqlite3 must not begin its own.
        connection = sqlite3.connect(
            uri, WAIT_SECONDS, isolation_level=None, check_same_thread=False, uri=True
        )
        connection.create_function(CLOCK, 0, partial(_time_at, path.parent))
        return connection

    return sa.create_engine(
        "sqlite://",
        # Not by a listener: each statement would look for others.
        creator=connect,
        # For runs, whose threads share connections (`kept_open`).
        **(
            {"poolclass": sa.QueuePool, "pool_size": KEPT, "max_overflow": -1}
            if writable
            else {"poolclass": sa.NullPool}
        ),
    )


def _time_at(folder: Path) -> float:
    """Return the time, in seconds since 1970, by the clock of the file system of a folder.

    Machines that share the folder have this one in common, whatever their own are.
    """
    try:
        with TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        # Of a folder that is only read.
        return time.time()


def _run(connection: sa.Connection, text: str, values: Sequence[Any] = ()) -> list[Any]:
    """Run a statement as the driver has it: SQLAlchemy's way takes several times as long."""
    driver: Any = connection.connection.dbapi_connection
    # SQLite takes a `KeyboardInterrupt` in the function for a failure of it.
    waits = interrupts_wait if CLOCK in text else nullcontext
    try:
        with waits():
            found: list[Any] = driver.execute(text, values).fetchall()
    except sqlite3.Error as error:
        raise sa.exc.DBAPIError.instance(text, None, error, sqlite3.Error) from error
    return found


# Bounded: a program may make statements again and again.
@lru_cache(maxsize=256)
def _compiled(
    statement: Any, given: tuple[str, ...]
) -> tuple[str, Sequence[str], Mapping[str, Any], Callable[[Any], Any]]:
    """Return a statement's text, its parameters, values of those not given, and what makes rows."""
    if statement.is_insert:
        # Nobody asks for the number of the new row.
        statement = statement.inline()
    compiled = statement.compile(dialect=dialect(), column_keys=list(given))
    columns = statement.selected_columns if statement.is_select else ()
    row: Any = namedtuple("Row", [c.key for c in columns], rename=True)  # type: ignore[misc]
    return str(compiled), compiled.positiontup, compiled.params, row._make


def _place(path: Path) -> Path:
    """Return the database's own place: in a folder, and behind a symlink, under its real name.

    Predictions lie beside it, whichever way it is spelled.
    """
    path = path.expanduser()
    if path.is_dir() or not (path.suffix or path.is_file()):
        path = path / DATABASE_NAME
    if path.is_symlink():
        if not path.exists():
            raise StorageError(
                f"store {path} is a broken symlink to {path.readlink()}: give another --store",
                code="storage.broken_symlink",
                path=str(path),
            )
        path = path.resolve()
    if path.exists() and not path.is_file():
        raise StoreError(
            f"store {path} is neither a file nor a folder: give another --store",
            code="store.not_file",
            path=str(path),
        )
    return path
