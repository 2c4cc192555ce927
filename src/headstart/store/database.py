"""The results database: SQLite with a write-ahead log, one row a result, never edited."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from filelock import FileLock, Timeout

from headstart.errors import DiskFullError, NotWritableError, StoreError
from headstart.files import writable_folder
from headstart.spec import Prediction, Result
from headstart.store import schema
from headstart.store.predictions import read_predictions, write_predictions

__all__ = ["DATABASE_NAME", "ResultStore"]

DATABASE_NAME = "headstart.db"
WAIT_SECONDS = 60


class ResultStore:
    """A results database and the folder of predictions beside it.

    Any number of processes may read and write one store at once.

    Parameters
    ----------
    path
        The database file, or a folder that holds (or will hold) ``headstart.db``.
    create
        Make the database when there is none; else a missing one is an error.

    Raises
    ------
    StoreError
        Not a headstart database, of a newer version, or missing.
    NotWritableError
        The folder cannot be written.
    """

    def __init__(self, path: Path | str, *, create: bool = False) -> None:
        path = Path(path)
        self.path = path / DATABASE_NAME if path.is_dir() or not path.suffix else path
        self._predictions = self.path.with_suffix(".predictions")
        if not self.path.exists() and not create:
            raise StoreError(
                f"no results at {self.path}: run something first, or give --store PATH"
            )
        if create:
            writable_folder(self.path.parent)
        self._engine = sa.create_engine(f"sqlite:///{self.path}")
        sa.event.listen(self._engine, "connect", _configure)
        with self._session() as connection:
            self._open(connection)

    def keys(self) -> set[str]:
        """Give the keys of all stored trials."""
        with self._session() as connection:
            return set(connection.scalars(sa.select(schema.results.c.key)))

    def __contains__(self, key: str) -> bool:
        query = sa.select(schema.results.c.id).where(schema.results.c.key == key)
        with self._session() as connection:
            return connection.scalar(query) is not None

    def results(self) -> list[Result]:
        """Give all results in the order in which they were stored, without predictions."""
        query = sa.select(schema.results.c.record).order_by(schema.results.c.id)
        with self._session() as connection:
            return [Result.model_validate_json(record) for record in connection.scalars(query)]

    def predictions(self, key: str) -> Prediction:
        """Read the per-example predictions of a stored trial, checked against their checksum."""
        columns = schema.results.c
        query = sa.select(columns.predictions_file, columns.predictions_sha256)
        with self._session() as connection:
            row = connection.execute(query.where(columns.key == key)).one_or_none()
        if row is None:
            raise StoreError(f"no result with key {key[:12]}... in {self.path}")
        return read_predictions(self._predictions / row[0], row[1])

    def add(self, result: Result) -> bool:
        """Store a complete result with its predictions; False if its key was stored already.

        The predictions are on disk, whole, before the row that names them: after a crash in
        between the trial is simply not stored.
        """
        trial, accuracy = result.trial, result.accuracy
        if result.status != "complete" or result.predictions is None or accuracy is None:
            raise ValueError("only a complete result with its predictions can be stored")
        writable_folder(self._predictions)
        name = f"{trial.key}.parquet"
        row = {
            "key": trial.key,
            "model": trial.model.name,
            "dataset": trial.dataset.name,
            "setting": trial.setting.name,
            "seed": trial.seed,
            "metric": trial.dataset.metric,
            "accuracy": accuracy,
            "n_test": result.n_test,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "record": result.model_dump_json(),
            "predictions_file": name,
        }
        with self._session() as connection, connection.begin():
            connection.execute(sa.text("BEGIN IMMEDIATE"))
            known = sa.select(schema.results.c.id).where(schema.results.c.key == trial.key)
            if connection.scalar(known) is not None:
                return False
            row["predictions_sha256"] = write_predictions(
                self._predictions / name, result.predictions
            )
            connection.execute(schema.results.insert().values(**row))
        return True

    @contextmanager
    def claim(self, key: str, *, wait: bool) -> Iterator[bool]:
        """Hold a trial for this process; False when another holds it and `wait` is false.

        The operating system lets go of the claim when the process ends, however it ends.
        """
        locks = writable_folder(self.path.with_suffix(".locks"))
        lock = FileLock(locks / key, timeout=-1 if wait else 0)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()
            (locks / key).unlink(missing_ok=True)

    def _open(self, connection: sa.Connection) -> None:
        """Lay the tables into an empty file, or check that the file is a store of ours."""
        with connection.begin():
            # Taken before the look, so that two processes do not both find an empty file.
            connection.execute(sa.text("BEGIN IMMEDIATE"))
            application = connection.scalar(sa.text("PRAGMA application_id"))
            version = connection.scalar(sa.text("PRAGMA user_version"))
            if application == 0 and not sa.inspect(connection).get_table_names():
                schema.create(connection)
            elif application != schema.APPLICATION_ID:
                raise StoreError(f"{self.path} is not a headstart database: give another --store")
            elif version > schema.SCHEMA_VERSION:
                raise StoreError(
                    f"{self.path} was written by a newer headstart (store version {version}, "
                    f"this one reads up to {schema.SCHEMA_VERSION}): upgrade headstart"
                )

    @contextmanager
    def _session(self) -> Iterator[sa.Connection]:
        """Connect, and say in words what SQLite may complain about."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            raise _in_words(self.path, error) from error


def _configure(connection: Any, _record: Any) -> None:
    # Transactions are begun by hand (BEGIN IMMEDIATE), so sqlite3 must not begin its own.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {WAIT_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _in_words(path: Path, error: sa.exc.DBAPIError) -> Exception:
    cause = str(error.orig)
    if "not a database" in cause:
        return StoreError(f"{path} is not a headstart database: give another --store")
    if "full" in cause:
        return DiskFullError(
            f"no space left to write {path}: free some space and run the same command, "
            "it carries on"
        )
    if "readonly" in cause or "unable to open" in cause:
        return NotWritableError(f"cannot write {path} ({cause}): choose a folder you may write to")
    return StoreError(f"cannot use {path}: {cause}")
