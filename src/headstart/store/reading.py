"""What a store holds, read: results by pages, measurements, predictions, and raw rows."""

import json
import re
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, overload

import sqlalchemy as sa
from pydantic import BaseModel

from headstart.errors import StoreError, UnknownNameError
from headstart.spec import Failure, Measurement, Prediction, Result, Selection, Trial, digest
from headstart.spec.formatting import count
from headstart.store import schema
from headstart.store.backend import open_backend
from headstart.store.leases import Lease, Leases
from headstart.store.predictions import PredictionFolder
from headstart.store.sqlite import SQLite

__all__ = ["SORTABLE", "Page", "StoredResults", "parse_record"]

# Columns of the table of results to sort by.
SORTABLE = (
    "model", "dataset", "setting", "seed", "metric", "accuracy", "n_test", "created_at",
)  # fmt: skip
# Values of a statement: SQLite takes 999 in its older releases.
VALUES = 900
WILDCARD = re.compile(r"[*?\[]")
# Rows that are read at once where all are.
BATCH = 1000
# Rows that a database can count.
LARGEST = 2**63 - 1
# Results that are read at once where the last ones are.
NEWEST = 50
Record = TypeVar("Record", bound=BaseModel)
# Some are made for a version of the database.
Query = sa.Select[Any] | Callable[[int], sa.Select[Any]]


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


class StoredResults:
    """All of `ResultStore` that reads."""

    def __init__(
        self,
        place: Path | str,
        *,
        create: bool = False,
        predictions: Path | str | None = None,
        lease_seconds: float | None = None,
    ) -> None:
        self._options: dict[str, Any] = {
            "create": create, "predictions": predictions, "lease_seconds": lease_seconds,
        }  # fmt: skip
        self._backend = open_backend(place, create=create)
        self.name = self._backend.name
        self._leases = Leases(self._backend, lease_seconds)
        # Where `headstart run --keep` keeps final networks; a server has no folder beside it.
        self.models_place: Path | None = None
        is_sqlite = isinstance(self._backend, SQLite)
        if is_sqlite:
            predictions = predictions or self.path.with_name(f"{self.path.name}.predictions")
            self.models_place = self.path.with_name(f"{self.path.name}.models")
        self._predictions = PredictionFolder(predictions, self.name)
        self.predictions_place = self._predictions.shown
        # Not tried again: who starts with a server that is not there learns it at once.
        found = self._backend.exists()
        version = self._backend.read(self._backend.recognised, tries=1) if found else 0
        if not (version or (found and is_sqlite) or create):
            raise StoreError(
                f"no results at {self.name}: run something first, or give --store PATH",
                code="store.missing",
                path=self.name,
            )

    def __repr__(self) -> str:
        return f"ResultStore({self.name!r})"

    @property
    def path(self) -> Path:
        """The file of a SQLite database.

        Raises
        ------
        StoreError
            The database is on a server.
        """
        if isinstance(self._backend, SQLite):
            return self._backend.path
        raise StoreError(
            f"{self.name} is not a file: give the path of a SQLite database",
            code="store.no_path",
            name=self.name,
        )

    def exists(self) -> bool:
        """Return whether the database is there; one on a server is, whatever it holds."""
        return self._backend.exists()

    def kept_open(self) -> AbstractContextManager[None]:
        """Return a context in which the database stays open, for many reads and writes in turn.

        A copy of a SQLite file that is made meanwhile needs the files beside it, too.
        """
        return self._backend.kept_open()

    def keys(self, among: Collection[str] | None = None) -> set[str]:
        """Return the keys of all stored trials, or of those among these that are stored."""
        key = schema.results.c.key
        return set(self._rows_among(key, among, sa.select(key), schema.results))

    def __contains__(self, key: str) -> bool:
        columns = schema.results.c
        return bool(self._rows(sa.select(columns.id).where(columns.key == key), schema.results))

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
        return [result for result, _ in self._stored(keys, page or Page())]

    def with_superseded(self, page: Page | None = None) -> list[tuple[Result, bool]]:
        """Return results as `results` does, those that are superseded, too, which are marked."""
        return self._stored(None, page or Page(), superseded=True)

    def _stored(
        self, keys: Collection[str] | None, page: Page, *, superseded: bool = False
    ) -> list[tuple[Result, bool]]:
        """Return results, and whether each is superseded."""
        columns = schema.results.c
        where = [
            columns[name].in_(self._matching(name, patterns))
            for name in ("model", "dataset", "setting")
            if (patterns := getattr(page, f"{name}s"))
        ]
        order: list[sa.ColumnElement[Any]] = [columns.id]
        if page.sort:
            if page.sort not in SORTABLE:
                raise UnknownNameError("column to sort by", page.sort, SORTABLE)
            column = columns[page.sort]
            order.insert(0, column.desc() if page.descending else column.asc())

        def counting(version: int) -> sa.ColumnElement[bool]:
            return sa.true() if superseded else schema.current(schema.results, version)

        def query(version: int) -> sa.Select[Any]:
            old = ~schema.current(schema.results, version) if superseded else sa.false()
            found = sa.select(columns.record, old.label("superseded"))
            return found.where(*where, counting(version)).order_by(*order)

        def of_page(version: int) -> sa.Select[Any]:
            """Find the page in the index, and read its records alone."""
            numbers = sa.select(columns.id).where(*where, counting(version)).order_by(*order)
            limit = None if page.limit is None else min(page.limit, LARGEST)
            numbers = numbers.limit(limit).offset(min(page.offset, LARGEST)).correlate(None)
            return query(version).where(columns.id.in_(numbers))

        if keys is None:
            whole = page.limit is None and not page.offset
            rows = self._rows(query if whole else of_page)
        else:
            end = None if page.limit is None else page.offset + page.limit
            rows = self._rows_among(columns.key, keys, query)[page.offset : end]
        return [(self._parsed(Result, record), bool(old)) for record, old in rows]

    def in_order(self, keys: Sequence[str]) -> Sequence[Result]:
        """Return the results of trials that are stored now, in this order.

        They are read when they are asked for: of each, a number is kept in memory. They stay the
        same, though their trials may be superseded later.
        """
        columns, numbers = schema.results.c, array("q")
        for first in range(0, len(keys), VALUES):
            part = keys[first : first + VALUES]
            query = sa.select(columns.key, columns.id).where(columns.key.in_(part))
            known = dict(self._rows(query, schema.results))
            numbers.extend(known[key] for key in part if key in known)
        return OrderedResults(self, numbers)

    def of_numbers(self, numbers: Sequence[int]) -> list[Result]:
        """Return the results in the rows of these numbers, `VALUES` at most, in this order."""
        columns = schema.results.c
        query = sa.select(columns.id, columns.record).where(columns.id.in_(numbers))
        records = dict(self._rows(query))
        return [self._parsed(Result, records[number]) for number in numbers]

    def newest(self, dataset: str) -> Iterator[Result]:
        """Yield the results on a dataset, those that were stored last first."""
        columns = schema.results.c
        query = sa.select(columns.id, columns.record).where(columns.dataset == dataset)
        query = query.order_by(columns.id.desc()).limit(NEWEST)
        part = query
        while rows := self._rows(part, schema.results):
            yield from (self._parsed(Result, record) for _, record in rows)
            part = query.where(columns.id < rows[-1][0])

    def count(self) -> int:
        """Return the number of stored results."""
        stored, old = schema.results, schema.superseded

        def query(version: int) -> sa.Select[Any]:
            """Take few superseded ones from all: to look each result up costs ten times as much."""
            every = sa.select(sa.func.count()).select_from(stored).scalar_subquery()
            if version < 4:
                return sa.select(every)
            ends = sa.and_(old.c.trial == stored.c.key, old.c.generation == stored.c.generation)
            ended = sa.select(sa.func.count()).select_from(old.join(stored, ends))
            return sa.select(every - ended.scalar_subquery())

        return sum(self._rows(query))

    def superseded(self, key: str) -> list[Result]:
        """Return the results of a trial that count no longer, the oldest first."""
        columns, old = schema.results.c, schema.superseded.c
        once = sa.and_(old.trial == columns.key, old.generation == columns.generation)
        query = sa.select(columns.record).join(schema.superseded, once).where(columns.key == key)
        found = self._rows(query.order_by(columns.generation), since=4)
        return [self._parsed(Result, record) for record in found]

    def leases(self) -> list[Lease]:
        """Return which trials are being measured, where, and since when; the oldest first."""
        if not self._backend.exists():
            return []
        return self._backend.read(
            lambda connection: (
                self._leases.all(connection) if self._backend.recognised(connection) >= 4 else []
            )
        )

    def _matching(self, column: str, patterns: Sequence[str]) -> list[str]:
        """Return the stored names that patterns (as of file names) match."""
        names = schema.results.c[column]
        plain = {pattern for pattern in patterns if not WILDCARD.search(pattern)}
        stored = sa.select(names).distinct()
        found = set(self._rows(stored.where(names.in_(plain)), schema.results))
        if found == plain == set(patterns):
            return sorted(found)
        known = self._rows(stored, schema.results)
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
        return digest(self._rows(query, schema.results))

    def with_predictions(self, among: Collection[str] | None = None) -> set[str]:
        """Return the keys of the results (or of those among these) whose predictions are there."""
        columns = schema.results.c
        query = sa.select(columns.key, columns.predictions_file)
        rows = self._rows_among(columns.key, among, query, schema.results)
        there = self._predictions.names()
        return {row.key for row in rows if row.predictions_file in there}

    def predictions(self, key: str) -> Prediction:
        """Read the per-example predictions of a stored trial, checked against their checksum."""
        columns = schema.results.c
        query = sa.select(columns.predictions_file, columns.predictions_sha256)
        rows = self._rows(query.where(columns.key == key), schema.results)
        if not rows:
            raise self._unknown(key)
        return self._predictions.get(rows[0].predictions_file, rows[0].predictions_sha256)

    def measurements(self, trial: str) -> list[Measurement]:
        """Return what candidates of a trial reached so far, in the order of storing."""
        records = self._rows(_measured, since=2, of=trial)
        return [self._parsed(Measurement, record) for record in records]

    def partly_measured(self, among: Collection[str] | None = None) -> dict[str, int]:
        """Count the measurements of each trial (or of each of these) that has no result yet."""
        columns, results = schema.measurements.c, schema.results.c

        def query(version: int) -> sa.Select[Any]:
            counting = schema.current(schema.results, version)
            stored = sa.exists().where(results.key == columns.trial, counting)
            found = sa.select(columns.trial, sa.func.count()).where(~stored)
            return found.group_by(columns.trial).order_by(sa.func.min(columns.id))

        return dict(self._rows_among(columns.trial, among, query, schema.measurements, since=2))

    def trial(self, key: str) -> Trial | None:
        """Return a trial whose candidates are measured; None if the store is too old to hold it."""
        columns = schema.trials.c
        found = self._rows(sa.select(columns.record).where(columns.key == key), since=3)
        return self._parsed(Trial, found[0]) if found else None

    def failures(self) -> dict[str, Failure]:
        """Return the last failure of each trial that has failed, by its key, in their order."""
        columns = schema.failures.c
        # Those that came from another store may be older than ours.
        query = sa.select(columns.trial, columns.record).order_by(columns.created_at, columns.id)
        rows = self._rows(query, since=4)
        return {row.trial: self._parsed(Failure, row.record) for row in rows}

    def times(self, keys: Collection[str]) -> dict[str, tuple[datetime, float]]:
        """Return when the results of these trials were stored, and the seconds that they took.

        Without what else is in their records, so that there may be thousands.
        """
        columns, found = schema.results.c, dict[str, tuple[datetime, float]]()
        query = sa.select(columns.key, columns.created_at, columns.record)
        rows = self._rows_among(columns.key, keys, query, schema.results)
        for key, stored, record in rows:
            try:
                seconds = sum(json.loads(record)["seconds"].values())
            except (ValueError, TypeError, KeyError, AttributeError):
                # Says what is wrong with it.
                seconds = sum(self._parsed(Result, record).seconds.values())
            found[key] = datetime.fromisoformat(stored), seconds
        return found

    def selection(self, trial: str) -> Selection | None:
        """Return what was chosen for a trial, if that was stored."""
        columns = schema.selections.c
        query = sa.select(columns.record).where(columns.trial == trial)
        found = self._rows(query, schema.selections, since=2)
        return self._parsed(Selection, found[0]) if found else None

    def rows(self, table: sa.Table, key: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield the rows of one of the tables `schema.GUARDED`, superseded ones, too.

        In the order of storing where there is one, without their numbers; of one trial if `key` is
        given.
        """
        last: Sequence[Any] = ()

        def some(connection: sa.Connection) -> Sequence[sa.Row[Any]]:
            version = self._backend.recognised(connection)
            if version < schema.GUARDED[table]:
                return []
            there = [c for c in table.columns if c.name != "generation" or version >= 4]
            order = [column for column in there if column.primary_key]
            query = sa.select(*there).order_by(*order).limit(BATCH)
            if key is not None:
                query = query.where(schema.trial_key(table) == key)
            if last:
                query = query.where(sa.tuple_(*order) > sa.tuple_(*last))
            return connection.execute(query).all()

        while self._backend.exists() and (batch := self._backend.read(some)):
            for row in batch:
                found = row._asdict()
                if "generation" in table.c:
                    found.setdefault("generation", 0)
                found.pop("id", None)
                yield found
            last = [
                row._mapping[column] for column in table.primary_key if column.name in row._mapping
            ]

    def predictions_file(self, key: str, generation: int) -> Path:
        """Return a local file of predictions, checked; of what is superseded, too."""
        for row in self.rows(schema.results, key):
            if row["generation"] == generation:
                return self._predictions.file(row["predictions_file"], row["predictions_sha256"])
        raise self._unknown(key)

    def prediction_files(self) -> set[str]:
        """Return the names of all files of predictions, those that no result names among them."""
        return self._predictions.names()

    def _rows_among(
        self,
        column: sa.Column[str],
        among: Collection[str] | None,
        query: Query,
        table: sa.Table | None = None,
        since: int = 1,
    ) -> list[Any]:
        """Return what `_rows` does, of the rows with one of these values in a column; None: all."""
        if among is None:
            return list(self._rows(query, table, since))
        wanted, found = sorted(among), list[Any]()
        for first in range(0, len(wanted), VALUES):
            where = column.in_(wanted[first : first + VALUES])
            found += self._rows(query, table, since, where)
        return found

    def _rows(
        self,
        query: Query,
        table: sa.Table | None = None,
        since: int = 1,
        where: sa.ColumnElement[bool] | None = None,
        **values: Any,
    ) -> Sequence[Any]:
        """Return what a query, maybe made for a version, finds among the rows that count.

        It may have parameters, with these values. Values where it asks for one column. Nothing
        where there is no database yet, or one older than the version of its table.
        """
        if not self._backend.exists():
            return []

        def found(connection: sa.Connection) -> Sequence[Any]:
            version = self._backend.recognised(connection)
            if version < since:
                return []
            asked = query(version) if callable(query) else query
            if where is not None:
                asked = asked.where(where)
            if table is not None:
                asked = asked.where(schema.current(table, version))
            rows = connection.execute(asked, values)
            return rows.scalars().all() if len(asked.selected_columns) == 1 else rows.all()

        return self._backend.read(found)

    def _parsed(self, kind: type[Record], record: Any) -> Record:
        return parse_record(kind, record, self.name)

    def _unknown(self, key: str) -> StoreError:
        return StoreError(
            f"no result with key {key[:12]}... in {self.name}", code="store.key_unknown", key=key
        )


class OrderedResults(Sequence[Result]):
    """Results of a store by the numbers of their rows, read as they are asked for."""

    def __init__(self, store: StoredResults, numbers: "array[int]") -> None:
        self._store, self._numbers = store, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> Result: ...
    @overload
    def __getitem__(self, place: slice) -> "OrderedResults": ...
    def __getitem__(self, place: int | slice) -> "Result | OrderedResults":
        if isinstance(place, slice):
            return OrderedResults(self._store, self._numbers[place])
        (result,) = self._store.of_numbers([self._numbers[place]])
        return result

    def __iter__(self) -> Iterator[Result]:
        for first in range(0, len(self), VALUES):
            yield from self._store.of_numbers(self._numbers[first : first + VALUES])

    def __repr__(self) -> str:
        return f"{count(len(self), 'result')} of {self._store.name}"


@cache
def _measured(version: int) -> sa.Select[Any]:
    """Return the query of what candidates of a trial reached, made once: a run asks per trial."""
    columns = schema.measurements.c
    query = sa.select(columns.record).where(columns.trial == sa.bindparam("of"))
    return query.where(schema.current(schema.measurements, version)).order_by(columns.id)


def parse_record(kind: type[Record], record: Any, store: str) -> Record:
    """Read a record; one that is damaged or that another version wrote is a StoreError."""
    try:
        return kind.model_validate_json(record)
    except (ValueError, TypeError) as error:
        raise StoreError(
            f"cannot read a {kind.__name__.lower()} in {store}: the database is damaged, or "
            "another version of headstart wrote it; restore it from a copy",
            code="store.record",
            path=store,
            kind=kind.__name__,
        ) from error
