"""The results database: one row per result, never edited, with its predictions in files."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

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
# Statements of each trial: making one takes as long as running it.
OF: sa.BindParameter[str] = sa.bindparam("of")
KNOWN_FILE = sa.select(schema.results.c.predictions_file).where(
    schema.results.c.key == OF, schema.current(schema.results, schema.SCHEMA_VERSION)
)
GENERATION = (
    sa.select(sa.func.count()).select_from(schema.superseded).where(schema.superseded.c.trial == OF)
)
PRESENT = GENERATION.scalar_subquery()
INSERT_RESULT = schema.results.insert().values(generation=PRESENT)


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
        return partial(ResultStore, self._backend.place, **self._options), ()

    @cached_property
    def _begun(self) -> dict[str, Trial]:
        """Trials of which nothing is stored yet, by their keys."""
        return {}

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
            self.check_place()

    def check_place(self) -> None:
        """Prove that a database that is not there yet can be made; make nothing.

        Raises
        ------
        NotWritableError, DiskFullError, StoreError
        """
        self._backend.check_place()

    def begin(self, trial: Trial) -> list[Measurement]:
        """Return what was measured of a trial; what it is is stored with its first record.

        One that is stored already stays.
        """
        self._begun[trial.key] = trial
        return self.measurements(trial.key)

    def add_measurement(self, trial: str, measurement: Measurement) -> None:
        """Store what a candidate of a trial reached; what is stored of it already stays.

        Raises
        ------
        StoreError
            Another process holds the trial, as of `add_selection` and `add`.
        """
        self._add(trial, [measurement])

    def add_selection(
        self, trial: str, selection: Selection, measurement: Measurement | None = None
    ) -> None:
        """Store what was chosen for a trial, and what its last candidate reached if that is given.

        A choice that is stored already stays.
        """
        self._add(trial, [measurement, selection] if measurement else [selection])

    def add_failure(self, trial: Trial, failure: Failure) -> None:
        """Store that an attempt at a trial failed; it has no result by that, and is tried again."""
        row = {"trial": trial.key, "created_at": self._now(), "record": failure.model_dump_json()}

        def stored(connection: sa.Connection) -> None:
            connection.execute(self._backend.insert_new(schema.trials), self._trial_row(trial))
            connection.execute(schema.failures.insert(), row)

        self._backend.write(stored, trial.key, durable=False)
        self._begun.pop(trial.key, None)

    def add(self, result: Result) -> bool:
        """Store a complete result with its predictions; False if its key was stored already.

        The predictions are written, whole, before the row that names them: after a crash in
        between the trial is simply not stored. A claim of the trial ends with it.

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
            "created_at": self._now(),
            "record": result.model_dump_json(),
            "predictions_file": file,
            "predictions_sha256": sha256,
        }

        def stored(connection: sa.Connection) -> str:
            if known := self._known_file(connection, trial.key):
                # Ours, if nobody knew that the transaction had succeeded: then the claim has ended.
                if known != file:
                    self._leases.check(connection, trial.key)
                return known
            self._leases.check(connection, trial.key)
            self._backend.execute(connection, INSERT_RESULT, row | {"of": trial.key})
            self._leases.end(connection, trial.key)
            return file

        with self._removed_if_refused([file]):
            named = self._backend.write(stored, trial.key)
        if named != file:
            self._predictions.remove(file)
            return False
        self._leases.ended(trial.key)
        return True

    def supersede(self, key: str) -> None:
        """Have a trial measured again by the next run; its result and all of it stay, as history.

        Raises
        ------
        StoreError
            No such result, or another process is measuring the trial.
        """

        def retire(connection: sa.Connection) -> None:
            self._leases.check(connection, key)
            if not self._known_file(connection, key):
                raise self._unknown(key)
            connection.execute(schema.superseded.insert(), self._retired(connection, key))

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
            self._leases.check(connection, key)
            known = self._known_file(connection, key)
            if _generation(connection, key) != generation or (files and known and not supersede):
                raise StoreError(
                    f"trial {key[:12]} in {self.name} has changed meanwhile: run the same command "
                    "again",
                    code="store.changed",
                    key=key,
                )
            if supersede:
                connection.execute(schema.superseded.insert(), self._retired(connection, key))
            for table, row in rows:
                if table is schema.results:
                    row = row | {"predictions_file": names[row["generation"]]}
                connection.execute(self._backend.insert_new(table), row)

        with self._removed_if_refused(names.values()):
            self._backend.write(stored, key)

    def claim(self, key: str, *, wait: bool) -> AbstractContextManager[bool]:
        """Hold a trial for this store; False when another holds it and `wait` is false.

        False, too, when it has a result: there is nothing to measure then.

        A thread renews the claim. It ends with the block, and with the process: then, or when
        nothing was heard of it for `lease_seconds`, another can take the trial over, and what this
        one would still write about it is refused.
        """
        return self._leases.claim(key, wait=wait)

    def _now(self) -> str:
        return self._leases.now().isoformat(timespec="seconds")

    def _retired(self, connection: sa.Connection, key: str) -> dict[str, Any]:
        return {"trial": key, "generation": _generation(connection, key), "created_at": self._now()}

    def _trial_row(self, trial: Trial) -> dict[str, str]:
        return {"key": trial.key, "created_at": self._now(), "record": trial.model_dump_json()}

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
        """Return the file of predictions of a stored result, "" if there is none."""
        found = self._backend.execute(connection, KNOWN_FILE, {"of": key})
        return str(found[0].predictions_file) if found else ""

    def _add(self, trial: str, records: Sequence[Measurement | Selection]) -> None:
        """Store records of a trial, in one transaction, unless one of their key is there."""
        rows, durable = list[tuple[sa.Table, dict[str, Any]]](), False
        begun = self._begun.get(trial)
        for record in records:
            row = {"trial": trial, "created_at": self._now(), "record": record.model_dump_json()}
            if isinstance(record, Selection):
                rows.append((schema.selections, row))
            else:
                durable |= sum(record.seconds.values()) > CHEAP_SECONDS
                row["candidate"] = record.candidate.key
                rows.append((schema.measurements, row))

        def stored(connection: sa.Connection) -> None:
            self._leases.check(connection, trial)
            if begun:
                insert = self._backend.insert_new(schema.trials)
                self._backend.execute(connection, insert, self._trial_row(begun))
            for table, row in rows:
                insert = _of_present(self._backend.insert_new(table))
                self._backend.execute(connection, insert, row | {"of": trial})

        self._backend.write(stored, trial, durable=durable)
        self._begun.pop(trial, None)


@cache
def _of_present(insert: sa.Insert) -> sa.Insert:
    """Return the statement that stores a record as one of the present generation."""
    return insert.values(generation=PRESENT)


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


def _generation(connection: sa.Connection, trial: str) -> int:
    """Return the number of a trial's present generation: of those before it, all superseded."""
    return connection.scalar(GENERATION, {"of": trial}) or 0
