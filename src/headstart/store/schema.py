"""The database's tables, and all that is SQLite's own: another database is another such module."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from headstart.errors import DiskFullError, NotWritableError, StorageError, StoreError

__all__ = [
    "APPLICATION_ID",
    "SCHEMA_VERSION",
    "begin_writing",
    "bring_up",
    "foreign",
    "insert_new",
    "let_readers_in",
    "measurements",
    "open_engine",
    "read_version",
    "results",
    "selections",
    "storage_error",
    "trials",
]

WAIT_SECONDS = 60

# "hdst" in ASCII, in SQLite's header field for the application that a file belongs to.
APPLICATION_ID = 0x68647374
# Kept in the header's user_version; raised when a table changes.
SCHEMA_VERSION = 3

metadata = sa.MetaData()

results = sa.Table(
    "results",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", sa.String(64), nullable=False, unique=True),
    sa.Column("model", sa.String, nullable=False),
    sa.Column("dataset", sa.String, nullable=False),
    sa.Column("setting", sa.String, nullable=False),
    sa.Column("seed", sa.Integer, nullable=False),
    sa.Column("metric", sa.String, nullable=False),
    sa.Column("accuracy", sa.Float, nullable=False),
    sa.Column("n_test", sa.Integer, nullable=False),
    sa.Column("created_at", sa.String, nullable=False),
    # The whole Result as JSON: what the columns above say, and everything else.
    sa.Column("record", sa.Text, nullable=False),
    sa.Column("predictions_file", sa.String, nullable=False),
    sa.Column("predictions_sha256", sa.String(64), nullable=False),
)

# What each candidate of a trial reached on validation: a sweep that is interrupted keeps them.
measurements = sa.Table(
    "measurements",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("trial", sa.String(64), nullable=False),
    sa.Column("candidate", sa.String(64), nullable=False),
    sa.Column("created_at", sa.String, nullable=False),
    # The whole Measurement as JSON.
    sa.Column("record", sa.Text, nullable=False),
    sa.UniqueConstraint("trial", "candidate"),
)

# What was chosen for a trial: here before its test labels are opened.
selections = sa.Table(
    "selections",
    metadata,
    sa.Column("trial", sa.String(64), primary_key=True),
    sa.Column("created_at", sa.String, nullable=False),
    sa.Column("record", sa.Text, nullable=False),
)

# What a trial is whose candidates are measured: a result has it, too, but comes last.
trials = sa.Table(
    "trials",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("created_at", sa.String, nullable=False),
    # The whole Trial as JSON.
    sa.Column("record", sa.Text, nullable=False),
)


def open_engine(path: Path, *, writable: bool) -> sa.Engine:
    """Return connections to a database file; one that is not writable is never changed."""
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=path.absolute().as_uri(), query={"uri": "true"}),
        # Transactions are begun by the listener below, so sqlite3 must not begin its own.
        connect_args={"timeout": WAIT_SECONDS, "isolation_level": None},
        poolclass=sa.NullPool,
    )

    @sa.event.listens_for(engine, "do_connect")
    def reading(_: Any, __: Any, arguments: list[Any], ___: Any) -> None:
        if not writable:
            # Where the folder cannot be written, SQLite cannot keep its shared memory beside the
            # file, and reads only what nobody changes, as it learns.
            log = path.with_name(path.name + "-wal")
            shared = os.access(path.parent, os.W_OK) or log.exists()
            arguments[0] += "?mode=ro" if shared else "?immutable=1"

    @sa.event.listens_for(engine, "connect")
    def synchronous(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous = FULL")

    @sa.event.listens_for(engine, "begin")
    def immediate(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("writing"):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@contextmanager
def begin_writing(connection: sa.Connection) -> Iterator[sa.Connection]:
    """Hold the lock of the only writer from before the first look until the commit."""
    with connection.execution_options(writing=True).begin():
        yield connection


def read_version(connection: sa.Connection) -> int | None:
    """Return the version of our tables: 0 of an empty file, None of another application's."""
    # Tables first: another process lays them and the header in one transaction, so that where
    # there are tables the header is read with them.
    tables = sa.inspect(connection).get_table_names()
    application = connection.scalar(sa.text("PRAGMA application_id"))
    version = int(connection.scalar(sa.text("PRAGMA user_version")) or 0)
    if application == 0 and not tables:
        return 0
    return version if application == APPLICATION_ID else None


def bring_up(connection: sa.Connection, version: int) -> None:
    """Lay the tables into an empty database, or those that a version lacks; all rows stay."""
    if not version:
        metadata.create_all(connection)
        for table in (results, measurements, selections, trials):
            _guard(connection, table)
        connection.execute(sa.text(f"PRAGMA application_id = {APPLICATION_ID}"))
    for step in range(version or SCHEMA_VERSION, SCHEMA_VERSION):
        STEPS[step](connection)
    if version < SCHEMA_VERSION:
        connection.execute(sa.text(f"PRAGMA user_version = {SCHEMA_VERSION}"))


def let_readers_in(connection: sa.Connection) -> None:
    """Keep a write-ahead log from now on: readers and a writer do not wait for each other."""
    connection.execute(sa.text("PRAGMA journal_mode = WAL"))


def insert_new(connection: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> None:
    """Store a row, unless one of its key is there."""
    connection.execute(sqlite.insert(table).values(**row).on_conflict_do_nothing())


def storage_error(path: Path, cause: str) -> StorageError:
    """Return our error for what SQLite says."""
    if "not a database" in cause:
        return foreign(path)
    if "full" in cause:
        return DiskFullError(
            f"no space left to write {path}: free some space and run the same command again to "
            "resume",
            path=str(path),
        )
    if "readonly" in cause or "unable to open" in cause:
        return NotWritableError(
            f"cannot write {path} ({cause}): choose a folder you may write to", path=str(path)
        )
    remedy = ": check that the disk is sound and has space" if "I/O" in cause else ""
    if "malformed" in cause:
        remedy = ": the file is damaged; restore it from a copy"
    return StoreError(f"cannot use {path}: {cause}{remedy}", code="store.sqlite", cause=cause)


def foreign(path: Path) -> StoreError:
    """Return the error for a file that is not a headstart database."""
    return StoreError(
        f"{path} is not a headstart database: give another --store",
        code="store.foreign",
        path=str(path),
    )


def _guard(connection: sa.Connection, table: sa.Table) -> None:
    """Have the database itself refuse to edit what is stored."""
    for verb in ("UPDATE", "DELETE"):
        connection.execute(
            sa.text(
                f"CREATE TRIGGER {table.name}_no_{verb} BEFORE {verb} ON {table.name} "
                "BEGIN SELECT RAISE(ABORT, 'a stored result is never edited'); END"
            )
        )


def _add_candidates(connection: sa.Connection) -> None:
    """From version 1, which knew complete results alone."""
    for table in (measurements, selections):
        table.create(connection)
        _guard(connection, table)


def _add_trials(connection: sa.Connection) -> None:
    """From version 2, which knew of a trial without a result no more than its key."""
    trials.create(connection)
    _guard(connection, trials)


# By the version that they start from.
STEPS: Mapping[int, Callable[[sa.Connection], None]] = {1: _add_candidates, 2: _add_trials}
