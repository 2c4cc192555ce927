"""The results database: one row per result, never edited, with its predictions beside it.

Predictions per example are compressed Parquet files, written whole, checked when read.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from filelock import FileLock, Timeout
from pydantic import BaseModel

from headstart.errors import StorageError, StoreError, UnknownNameError
from headstart.files import replaced, sha256_file, storage_errors, writable_folder
from headstart.spec import Measurement, Prediction, Result, Selection, Trial, digest
from headstart.store import schema

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "DATABASE_NAME",
    "SORTABLE",
    "Page",
    "ResultStore",
    "read_predictions",
    "write_predictions",
]

DATABASE_NAME = "headstart.db"
# Columns of the table of results to sort by.
SORTABLE = (
    "model", "dataset", "setting", "seed", "metric", "accuracy", "n_test", "created_at",
)  # fmt: skip
# Values of a statement: SQLite takes 999 in its older releases.
VALUES = 900
Record = TypeVar("Record", bound=BaseModel)


@dataclass(frozen=True)
class Page:
    """Which results of a store, and in which order.

    Parameters
    ----------
    models, datasets, settings
        Names, or patterns as of file names (``resnet*``); all if empty.
    sort, descending
        Column, one of `SORTABLE`; equal ones, and all without it, in the order of storing.
    limit, offset
        Number of results, and of those to leave out before the first.
    """

    models: Sequence[str] = ()
    datasets: Sequence[str] = ()
    settings: Sequence[str] = ()
    sort: str = ""
    descending: bool = False
    limit: int | None = None
    offset: int = 0


class ResultStore:
    """A results database and the folder of predictions beside it.

    Any number of processes may read and write one store at once.

    Parameters
    ----------
    path
        The database file, or a folder that holds (or will hold) ``headstart.db``.
    create
        Whether the database may be missing: it is made by the first write, or by `make`. Nothing
        is written before that. Without `create` the database is opened for reading alone.

    Raises
    ------
    StoreError
        Not a headstart database, of a newer version, or missing.
    """

    def __init__(self, path: Path | str, *, create: bool = False) -> None:
        self.path = _place(Path(path))
        self._engine = schema.open_engine(self.path, writable=create)
        if self.path.exists():
            with storage_errors(self.path, reading=True), self._session() as connection:
                self._recognise(connection)
        elif not create:
            raise StoreError(
                f"no results at {self.path}: run something first, or give --store PATH",
                code="store.missing",
                path=str(self.path),
            )

    def make(self) -> None:
        """Make the database or bring an older one up, and prove that it can be written.

        Raises
        ------
        NotWritableError, DiskFullError, StoreError
        """
        writable_folder(self.path.parent)
        with self._session() as connection, schema.begin_writing(connection):
            # Locked before the look, so that two processes do not both find an empty file.
            schema.bring_up(connection, self._recognise(connection))
        with self._session() as connection:
            schema.let_readers_in(connection)

    def keys(self) -> set[str]:
        """Return the keys of all stored trials."""
        return {str(key) for key in self._column(sa.select(schema.results.c.key))}

    def __contains__(self, key: str) -> bool:
        query = sa.select(schema.results.c.id).where(schema.results.c.key == key)
        return bool(self._column(query))

    def results(
        self, keys: Collection[str] | None = None, page: Page | None = None
    ) -> list[Result]:
        """Return results without predictions: all, or those of these trials, or of a page.

        Parameters
        ----------
        keys
            Of trials; those that are not stored are left out.
        page
            Which results, in which order; that of storing unless given.

        Raises
        ------
        UnknownNameError
            A pattern that no stored model, dataset or setting has, or no such column to sort by.
        """
        page = page or Page()
        columns = schema.results.c
        query = sa.select(columns.record)
        for name in ("model", "dataset", "setting"):
            if patterns := getattr(page, f"{name}s"):
                query = query.where(columns[name].in_(self._matching(name, patterns)))
        if page.sort:
            if page.sort not in SORTABLE:
                raise UnknownNameError("column to sort by", page.sort, SORTABLE)
            column = columns[page.sort]
            query = query.order_by(column.desc() if page.descending else column.asc())
        query = query.order_by(columns.id).limit(page.limit).offset(page.offset)
        if keys is None:
            return [self._parsed(Result, record) for record in self._column(query)]
        wanted, found = sorted(keys), list[Result]()
        # A statement takes a limited number of values.
        for first in range(0, len(wanted), VALUES):
            some = query.where(columns.key.in_(wanted[first : first + VALUES]))
            found += [self._parsed(Result, record) for record in self._column(some)]
        return found

    def count(self) -> int:
        """Return the number of stored results."""
        return sum(self._column(sa.select(sa.func.count()).select_from(schema.results)))

    def _matching(self, column: str, patterns: Sequence[str]) -> list[str]:
        """Return the stored names that patterns (as of file names) match."""
        known = self._column(sa.select(schema.results.c[column]).distinct())
        found = set[str]()
        for pattern in patterns:
            # A name may hold characters that are a pattern's.
            some = {name for name in known if name == pattern or fnmatchcase(name, pattern)}
            if not some:
                raise UnknownNameError(f"stored {column}", pattern, known)
            found |= some
        return sorted(found)

    def revision(self) -> str:
        """Digest of all results in their order, and of their predictions by their checksums."""
        columns = schema.results.c
        query = sa.select(columns.record + columns.predictions_sha256).order_by(columns.id)
        return digest(self._column(query))

    def with_predictions(self) -> set[str]:
        """Return the keys of the results whose file of predictions is there."""
        columns = schema.results.c
        if not self.path.exists():
            return set()
        with self._session() as connection:
            rows = connection.execute(sa.select(columns.key, columns.predictions_file)).all()
        folder = self._beside(".predictions")
        return {key for key, name in rows if (folder / str(name)).exists()}

    def predictions(self, key: str) -> Prediction:
        """Read the per-example predictions of a stored trial, checked against their checksum."""
        columns = schema.results.c
        query = sa.select(columns.predictions_file, columns.predictions_sha256)
        if key not in self:
            raise StoreError(
                f"no result with key {key[:12]}... in {self.path}",
                code="store.key_unknown",
                key=key,
            )
        with self._session() as connection:
            row = connection.execute(query.where(columns.key == key)).one()
        return read_predictions(self._beside(".predictions") / str(row[0]), str(row[1]))

    def measurements(self, trial: str) -> list[Measurement]:
        """Return what candidates of a trial reached so far, in the order of storing."""
        columns = schema.measurements.c
        query = sa.select(columns.record).where(columns.trial == trial).order_by(columns.id)
        return [self._parsed(Measurement, record) for record in self._column(query, since=2)]

    def partly_measured(self) -> dict[str, int]:
        """Count the measurements of each trial, by its key, that has no result yet."""
        columns = schema.measurements.c
        query = sa.select(columns.trial).order_by(columns.id)
        stored = self.keys()
        return dict(Counter(key for key in self._column(query, since=2) if key not in stored))

    def trial(self, key: str) -> Trial | None:
        """Return a trial whose candidates are measured; None if the store is too old to hold it."""
        columns = schema.trials.c
        query = sa.select(columns.record).where(columns.key == key)
        found = self._column(query, since=3)
        return self._parsed(Trial, found[0]) if found else None

    def add_trial(self, trial: Trial) -> None:
        """Store what a trial is, before its first candidate; one that is stored already stays."""
        row = {"key": trial.key, "created_at": _now(), "record": trial.model_dump_json()}
        self._insert(schema.trials, row)

    def add_measurement(self, trial: str, measurement: Measurement) -> None:
        """Store what a candidate of a trial reached; what is stored of it already stays."""
        row = {
            "trial": trial,
            "candidate": measurement.candidate.key,
            "created_at": _now(),
            "record": measurement.model_dump_json(),
        }
        self._insert(schema.measurements, row)

    def add_selection(self, trial: str, selection: Selection) -> None:
        """Store what was chosen for a trial; a choice that is stored already stays."""
        row = {"trial": trial, "created_at": _now(), "record": selection.model_dump_json()}
        self._insert(schema.selections, row)

    def selection(self, trial: str) -> Selection | None:
        """Return what was chosen for a trial, if that was stored."""
        columns = schema.selections.c
        query = sa.select(columns.record).where(columns.trial == trial)
        found = self._column(query, since=2)
        return self._parsed(Selection, found[0]) if found else None

    def add(self, result: Result) -> bool:
        """Store a complete result with its predictions; False if its key was stored already.

        The predictions are on disk, whole, before the row that names them: after a crash in
        between the trial is simply not stored.
        """
        trial, accuracy = result.trial, result.accuracy
        if result.status != "complete" or result.predictions is None or accuracy is None:
            raise ValueError("only a complete result with its predictions can be stored")
        self.make()
        writable_folder(self._beside(".predictions"))
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
            "created_at": _now(),
            "record": result.model_dump_json(),
            "predictions_file": name,
        }
        with self._session() as connection, schema.begin_writing(connection):
            known = sa.select(schema.results.c.id).where(schema.results.c.key == trial.key)
            if connection.scalar(known) is not None:
                return False
            row["predictions_sha256"] = write_predictions(
                self._beside(".predictions") / name, result.predictions
            )
            connection.execute(schema.results.insert().values(**row))
        return True

    @contextmanager
    def claim(self, key: str, *, wait: bool) -> Iterator[bool]:
        """Hold a trial for this process; False when another holds it and `wait` is false.

        The operating system lets go of the claim when the process ends, however it ends.
        """
        locks = writable_folder(self._beside(".locks"))
        lock = FileLock(locks / key, timeout=-1 if wait else 0)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        # The empty file stays: were it removed, a process that waits at it and one that makes it
        # anew would both hold the trial.
        try:
            yield True
        finally:
            lock.release()

    def _insert(self, table: sa.Table, row: dict[str, Any]) -> None:
        """Store a row, unless one of its key is there."""
        self.make()
        with self._session() as connection, schema.begin_writing(connection):
            schema.insert_new(connection, table, row)

    def _column(self, query: sa.Select[Any], since: int = 1) -> list[Any]:
        """Return the first column of what a query finds.

        Nothing where there is no database yet, or one older than the version of its table.
        """
        if not self.path.exists():
            return []
        with self._session() as connection:
            if self._recognise(connection) < since:
                return []
            return list(connection.scalars(query))

    def _parsed(self, kind: type[Record], record: Any) -> Record:
        """Read a record; one that is damaged or that another version wrote is a StoreError."""
        try:
            return kind.model_validate_json(record)
        except (ValueError, TypeError) as error:
            raise StoreError(
                f"cannot read a {kind.__name__.lower()} in {self.path}: the file is damaged, or "
                "another version of headstart wrote it; restore it from a copy",
                code="store.record",
                path=str(self.path),
                kind=kind.__name__,
            ) from error

    def _recognise(self, connection: sa.Connection) -> int:
        """Return the version of our tables (0 if the file is empty)."""
        version = schema.read_version(connection)
        if version is None:
            raise schema.foreign(self.path)
        if version > schema.SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} was written by a newer headstart (store version {version}, "
                f"this one reads up to {schema.SCHEMA_VERSION}): upgrade headstart",
                code="store.newer",
                found=version,
                known=schema.SCHEMA_VERSION,
            )
        return version

    def _beside(self, suffix: str) -> Path:
        """Name a file or folder that belongs to the database."""
        return self.path.with_name(self.path.name + suffix)

    @contextmanager
    def _session(self) -> Iterator[sa.Connection]:
        """Connect, and raise errors of the database as ours."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except UnicodeDecodeError as error:
            # SQLite quotes damaged bytes of the file in its own message.
            raise schema.storage_error(self.path, "malformed") from error
        except sa.exc.DBAPIError as error:
            raise schema.storage_error(self.path, str(error.orig)) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _place(path: Path) -> Path:
    """Return the database's own place: in a folder, and behind a symlink, under its real name.

    Predictions and locks lie beside it, whichever way it is spelled.
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


def write_predictions(path: Path, predictions: Prediction) -> str:
    """Write `path` whole or not at all; give its SHA-256.

    Columns: ``example``, ``label``, ``predicted`` (int64; lists of K where an image may show
    several classes), ``scores`` (lists of K float32).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    def column(values: npt.NDArray[Any]) -> pa.Array:
        """Make a column of an array: (n, K) is a list of K a row."""
        flat = pa.array(np.ascontiguousarray(values).ravel())
        lists = pa.FixedSizeListArray.from_arrays
        return flat if values.ndim == 1 else lists(flat, values.shape[1])

    table = pa.table(
        {
            "example": predictions.example,
            "label": column(predictions.label),
            "predicted": column(predictions.predicted),
            "scores": column(predictions.scores.astype(np.float32)),
        }
    )
    with replaced(path) as temporary:
        # An open file: Arrow takes no name that is not UTF-8.
        with temporary.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
        return sha256_file(temporary)


def read_predictions(path: Path, sha256: str) -> Prediction:
    """Read a file that `write_predictions` wrote.

    Raises
    ------
    StoreError
        The file is missing, or its bytes are not those that were written.
    """
    import pyarrow.parquet as pq

    if not path.exists():
        raise StoreError(
            f"predictions {path} are missing: restore the file from a copy",
            code="store.predictions_missing",
            path=str(path),
        )
    if (found := sha256_file(path)) != sha256:
        raise StoreError(
            f"predictions {path} are damaged: expected SHA-256 {sha256[:12]}..., "
            f"found {found[:12]}...; restore the file from a copy",
            code="store.predictions_damaged",
            path=str(path),
        )
    # ParquetFile, not read_table: the latter takes folder names such as "a=b" for partition keys.
    with storage_errors(path, reading=True), path.open("rb") as file:
        table = pq.ParquetFile(file).read()
    columns = (table[name].combine_chunks() for name in ("example", "label", "scores"))
    return Prediction(*map(_array, columns))


def _array(column: "pa.Array") -> npt.NDArray[Any]:
    """(n,) or, where the column holds lists, (n, K)."""
    several = hasattr(column, "flatten")
    array: npt.NDArray[Any] = (column.flatten() if several else column).to_numpy()
    return array.reshape(len(column), -1) if several else array
