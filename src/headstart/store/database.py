"""The results database: one row per result, never edited, with its predictions in files."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel

from headstart.errors import StoreError
from headstart.spec import Failure, Measurement, Result, Selection, Trial
from headstart.store import schema
from headstart.store.reading import StoredResults
from headstart.store.sqlite import SQLite

__all__ = ["ResultStore", "columns_of"]

# Codes of errors after which surely nothing was stored.
REFUSALS = ("store.lease_lost", "store.leased", "store.changed")
# Measurements that took less are not worth the wait for the disk: after a power failure they may be
# measured again.
CHEAP_SECONDS = 1.0


class ResultStore(StoredResults):
    """A results database, and the predictions that belong to it.

    Any number of processes may read and write one store at once. A store that is pickled is opened
    anew where it arrives.

    Parameters
    ----------
    place
        A SQLite file, a folder that holds (or will hold) ``headstart.db``, or a URL:
        ``sqlite:///results.db``, ``postgresql+psycopg://user@host/database``.
    create
        Whether the database may be missing: it is made by the first write, or by `make`. Nothing
        is written before that. Without `create` the database is opened for reading alone.
    predictions
        Folder of the predictions, or its URL; beside a SQLite file, and for a server in
        $HEADSTART_ARTIFACTS, unless given.
    lease_seconds
        Seconds after which a claim ends whose process is not heard of; 60, or
        $HEADSTART_LEASE_SECONDS, unless given.

    Attributes
    ----------
    name
        The database for a person: a path, or a URL without its password.
    predictions_place
        Where the predictions lie, for a person.
    models_place
        Folder for the final networks of trials, beside a SQLite file; None for a server.

    Raises
    ------
    StoreError
        Not a headstart database, of a newer version, missing, or out of reach.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self._backend.place, *self._arguments)

    def make(self) -> None:
        """Make the database or bring an older one up, and prove that all can be written.

        Raises
        ------
        NotWritableError, DiskFullError, StoreError
        """
        if not isinstance(self._backend, SQLite):
            # Found now, and not when the first result is there.
            self._predictions.check_writable()
        self._backend.write(lambda _: None)

    def check_writable(self) -> None:
        """Prove that results can be written, and make no database that is not there.

        Raises
        ------
        NotWritableError, DiskFullError, StoreError
        """
        if self._backend.exists():
            self.make()
        else:
            self._backend.prepare()

    def add_trial(self, trial: Trial) -> None:
        """Store what a trial is, before its first candidate; one that is stored already stays."""
        row = {"key": trial.key, "created_at": _now(), "record": trial.model_dump_json()}
        insert = self._backend.insert_new(schema.trials, row)
        self._backend.write(lambda c: c.execute(insert), trial.key, durable=False)

    def add_measurement(self, trial: str, measurement: Measurement) -> None:
        """Store what a candidate of a trial reached; what is stored of it already stays.

        Raises
        ------
        StoreError
            Another process holds the trial, as of `add_selection` and `add`.
        """
        costly = sum(measurement.seconds.values()) > CHEAP_SECONDS
        columns = {"candidate": measurement.candidate.key}
        self._add(trial, schema.measurements, measurement, columns, durable=costly)

    def add_selection(self, trial: str, selection: Selection) -> None:
        """Store what was chosen for a trial; a choice that is stored already stays."""
        self._add(trial, schema.selections, selection, durable=False)

    def add_failure(self, trial: Trial, failure: Failure) -> None:
        """Store that an attempt at a trial failed; it has no result by that, and is tried again."""
        trial_row = {"key": trial.key, "created_at": _now(), "record": trial.model_dump_json()}
        row = {"trial": trial.key, "created_at": _now(), "record": failure.model_dump_json()}

        def stored(connection: sa.Connection) -> None:
            connection.execute(self._backend.insert_new(schema.trials, trial_row))
            connection.execute(schema.failures.insert().values(**row))

        self._backend.write(stored, trial.key, durable=False)

    def add(self, result: Result) -> bool:
        """Store a complete result with its predictions; False if its key was stored already.

        The predictions are written, whole, before the row that names them: after a crash in
        between the trial is simply not stored.

        Raises
        ------
        StoreError
            Another process holds the trial.
        """
        trial = result.trial
        if result.status != "complete" or result.predictions is None or result.accuracy is None:
            raise ValueError("only a complete result with its predictions can be stored")
        file, sha256 = self._predictions.put(trial.key, result.predictions)
        row = columns_of(result) | {
            "key": trial.key,
            "created_at": _now(),
            "record": result.model_dump_json(),
            "predictions_file": file,
            "predictions_sha256": sha256,
        }

        def stored(connection: sa.Connection) -> str:
            if known := self._known_file(connection, trial.key):
                return known
            own = row | {"generation": _generation(connection, trial.key)}
            connection.execute(schema.results.insert().values(**own))
            return file

        with self._removed_if_refused([file]):
            named = self._backend.write(stored, trial.key)
        if named != file:
            self._predictions.remove(file)
        return named == file

    def supersede(self, key: str) -> None:
        """Have a trial measured again by the next run; its result and all of it stay, as history.

        Raises
        ------
        StoreError
            No such result, or another process is measuring the trial.
        """

        def retire(connection: sa.Connection) -> None:
            if not self._known_file(connection, key):
                raise self._unknown(key)
            row = {"trial": key, "generation": _generation(connection, key), "created_at": _now()}
            connection.execute(schema.superseded.insert().values(**row))

        self._backend.write(retire, key)

    def load(self, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
        """Store all rows of a table as they are, into a store that has none."""
        if rows:
            self._backend.write(lambda connection: connection.execute(table.insert(), rows))

    def adopt(
        self,
        key: str,
        rows: Sequence[tuple[sa.Table, dict[str, Any]]],
        files: Mapping[int, Path],
        *,
        generation: int,
        supersede: bool = False,
    ) -> None:
        """Store rows about a trial that come from another store, in one transaction.

        Parameters
        ----------
        key
            Of the trial.
        rows
            Tables with what `rows` gives; one that is there already stays.
        files
            Files of predictions of the results among them, by their generation.
        generation
            Of the trial here, when it was decided what is stored.
        supersede
            Whether the result that is here is superseded first.

        Raises
        ------
        StoreError
            Another process holds the trial, or has changed it meanwhile.
        """
        names = {number: self._predictions.put_file(key, file) for number, file in files.items()}

        def stored(connection: sa.Connection) -> None:
            known = self._known_file(connection, key)
            if _generation(connection, key) != generation or (files and known and not supersede):
                raise StoreError(
                    f"trial {key[:12]} in {self.name} has changed meanwhile: run the same command "
                    "again",
                    code="store.changed",
                    key=key,
                )
            if supersede:
                old = {"trial": key, "generation": generation, "created_at": _now()}
                connection.execute(schema.superseded.insert().values(**old))
            for table, row in rows:
                if table is schema.results:
                    row = row | {"predictions_file": names[row["generation"]]}
                connection.execute(self._backend.insert_new(table, row))

        with self._removed_if_refused(names.values()):
            self._backend.write(stored, key)

    def claim(self, key: str, *, wait: bool) -> AbstractContextManager[bool]:
        """Hold a trial for this store; False when another holds it and `wait` is false.

        A thread renews the claim. It ends with the block, and with the process: then, or when
        nothing was heard of it for `lease_seconds`, another can take the trial over, and what this
        one would still write about it is refused.
        """
        return self._leases.claim(key, wait=wait)

    @contextmanager
    def _removed_if_refused(self, files: Iterable[str]) -> Iterator[None]:
        """Remove files of predictions if the rows that name them were surely not stored."""
        try:
            yield
        except StoreError as error:
            # Any other error may have come after the commit.
            if error.code in REFUSALS:
                for file in files:
                    self._predictions.remove(file)
            raise

    def _known_file(self, connection: sa.Connection, key: str) -> str:
        """Return the file of predictions of a stored result, "" if there is none.

        Refuses a trial that another process holds.
        """
        self._leases.check(connection, key)
        columns = schema.results.c
        query = sa.select(columns.predictions_file).where(columns.key == key)
        counting = schema.current(schema.results, schema.SCHEMA_VERSION)
        return connection.scalar(query.where(counting)) or ""

    def _add(
        self,
        trial: str,
        table: sa.Table,
        record: BaseModel,
        columns: Mapping[str, str] = MappingProxyType({}),
        *,
        durable: bool,
    ) -> None:
        """Store a record of a trial, unless one of its key is there."""
        row = {"trial": trial, "created_at": _now(), "record": record.model_dump_json(), **columns}

        def stored(connection: sa.Connection) -> None:
            self._leases.check(connection, trial)
            own = row | {"generation": _generation(connection, trial)}
            connection.execute(self._backend.insert_new(table, own))

        self._backend.write(stored, trial, durable=durable)


def columns_of(result: Result) -> dict[str, Any]:
    """Return what the columns of the database say of a complete result."""
    trial = result.trial
    return {
        "model": trial.model.name,
        "dataset": trial.dataset.name,
        "setting": trial.setting.name,
        "seed": trial.seed,
        "metric": trial.dataset.metric,
        "accuracy": result.accuracy,
        "n_test": result.n_test,
    }


def _opened(*arguments: Any) -> ResultStore:
    place, create, predictions, lease_seconds = arguments
    return ResultStore(place, create=create, predictions=predictions, lease_seconds=lease_seconds)


def _generation(connection: sa.Connection, trial: str) -> int:
    """Return the number of a trial's present generation: of those before it, all superseded."""
    columns = schema.superseded.c
    count = sa.select(sa.func.count()).select_from(schema.superseded).where(columns.trial == trial)
    return connection.scalar(count) or 0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
