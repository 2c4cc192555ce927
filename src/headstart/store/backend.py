"""What a store asks of a database, whichever it is; each kind is one module with a subclass."""

import os
import random
import re
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import sqlalchemy as sa

from headstart.errors import StorageError, StoreError
from headstart.local_cache import is_url
from headstart.shown_text import url_without_credentials
from headstart.store import schema

__all__ = ["Backend", "is_store_url", "open_backend"]

Value = TypeVar("Value")
Work = Callable[[sa.Connection], Value]
# Backends by the scheme of their URLs: a new one is a module and a line.
BACKENDS = {"sqlite": "headstart.store.sqlite", "postgresql": "headstart.store.postgresql"}
# Refused at once where the server has just gone, so the first waits are short.
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0


class Backend(ABC):
    """A database of one kind.

    Attributes
    ----------
    name
        The database for a person: a path, or a URL without its password.
    engine
        Makes connections.
    clock
        The database's time as an expression of SQL: seconds since 1970.
    tries
        Number of times that a transaction is tried before its error is raised: what lies between
        the tries adds up to a minute.
    """

    name: str
    engine: sa.Engine
    clock: ClassVar[sa.ColumnElement[float]]
    tries: ClassVar[int] = 1

    @property
    @abstractmethod
    def place(self) -> Path | str:
        """What opens it again, a password and all: never shown."""

    def exists(self) -> bool:
        """Return whether there is a database to look into."""
        return True

    def prepare(self) -> None:  # noqa: B027 - of a server writing shows it
        """Make what the database lies in, and prove that it can be written."""

    def check_place(self) -> None:  # noqa: B027 - a server was asked already
        """Prove that what is not there yet can be made; make nothing."""

    def finish(self, connection: sa.Connection) -> None:  # noqa: B027 - most are done
        """Do what is due once after the tables were laid, outside of a transaction."""

    @abstractmethod
    def version(self, connection: sa.Connection) -> int | None:
        """Return the version of our tables: 0 of an empty database, None of another program's."""

    def mark(self, connection: sa.Connection) -> None:  # noqa: B027 - the tables of most say it
        """Have the database say that it is ours, and of which version."""

    @abstractmethod
    def guard(self, connection: sa.Connection, table: sa.Table) -> None:
        """Have the database itself refuse to edit what a table holds."""

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for other threads of this process that write, where that is worth it."""
        yield

    def lock(self, connection: sa.Connection, *, durable: bool) -> None:  # noqa: B027 - most lock keys
        """Begin a transaction that writes, as `write` says."""

    def execute(
        self, connection: sa.Connection, statement: sa.Executable, values: Mapping[str, Any]
    ) -> Sequence[Any]:
        """Run a statement that is a constant; return its rows, whose fields have names.

        For those of each trial: a kind may have a way that is faster than SQLAlchemy's.
        """
        result = connection.execute(statement, values)
        return result.all() if result.returns_rows else ()

    def begin(self, connection: sa.Connection, key: str) -> None:  # noqa: B027 - `lock` may do
        """Begin to write what belongs to a key: nobody else does until the commit."""

    @staticmethod
    @abstractmethod
    def insert_new(table: sa.Table) -> sa.Insert:
        """Return the statement that stores rows unless one of their key is there."""

    @abstractmethod
    def storage_error(self, error: sa.exc.DBAPIError) -> StorageError:
        """Return our error for what the database says."""

    def is_passing(self, error: sa.exc.DBAPIError) -> bool:  # noqa: ARG002
        """Return whether the same transaction may succeed a little later."""
        return False

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Keep connections inside the block, for many transactions after each other."""
        yield

    def release(self) -> None:  # noqa: B027 - most leave nothing open
        """Close what a transaction left open."""

    def read(self, work: Work[Value], *, tries: int | None = None) -> Value:
        """Return what `work` finds; it is given a connection, maybe several times.

        Raises
        ------
        StorageError
            What the database says, in our words.
        """

        def once() -> Value:
            with self.engine.connect() as connection:
                return work(connection)

        return self._tried(once, tries or self.tries)

    def write(
        self, work: Work[Value], key: str = "", *, tries: int | None = None, durable: bool = True
    ) -> Value:
        """Do `work` in one transaction, after the tables were laid or brought up if need be.

        Parameters
        ----------
        work
            Given a connection; several times, if a transaction failed for a reason that passes. It
            may have succeeded then without anybody knowing.
        key
            Of the trial that it is about: nobody else writes about that meanwhile.
        durable
            Whether it must be there after a power failure, too; else the next durable transaction
            makes it so. Either way it is there after a crash of this or any other program.
        """

        def once() -> Value:
            self.prepare()
            with self.turn(), self.engine.connect() as connection, connection.begin():
                self.lock(connection, durable=durable)
                version = self.recognised(connection)
                if version < schema.SCHEMA_VERSION:
                    self.begin(connection, "")
                    # Looked at again, so that two do not both find an empty database.
                    version = self.recognised(connection)
                    self.bring_up(connection, version)
                if key:
                    self.begin(connection, key)
                value = work(connection)
            if version < schema.SCHEMA_VERSION:
                with self.engine.connect() as connection:
                    self.finish(connection)
            return value

        return self._tried(once, tries or self.tries)

    def bring_up(self, connection: sa.Connection, version: int) -> None:
        """Lay the tables into an empty database (version 0), or migrate an older one.

        All rows stay.
        """
        if version == schema.SCHEMA_VERSION:
            return
        if version:
            # Here, since it is seldom due and slow to import.
            from headstart.store.migrations import migrate

            migrate(connection, version)
        else:
            schema.metadata.create_all(connection)
            laid = schema.version_table.insert().values(version_num=str(schema.SCHEMA_VERSION))
            connection.execute(laid)
        for table in schema.GUARDED:
            self.guard(connection, table)
        self.mark(connection)

    def recognised(self, connection: sa.Connection) -> int:
        """Return the version of our tables, 0 of an empty database.

        Raises
        ------
        StoreError
            The database is another program's, or of a newer headstart.
        """
        version = self.version(connection)
        if version is None:
            raise self.foreign()
        if version > schema.SCHEMA_VERSION:
            raise StoreError(
                f"{self.name} was written by a newer headstart (store version {version}, "
                f"this one reads up to {schema.SCHEMA_VERSION}): upgrade headstart",
                code="store.newer",
                found=version,
                known=schema.SCHEMA_VERSION,
            )
        return version

    def foreign(self) -> StoreError:
        """Return the error for a database that is not ours."""
        return StoreError(
            f"{self.name} is not a headstart database: give another --store",
            code="store.foreign",
            path=self.name,
        )

    def _use(self, engine: sa.Engine) -> None:
        """Take connections from an engine; a child that was forked makes its own."""
        self.engine = engine

        @sa.event.listens_for(engine, "connect")
        def note(_: Any, record: Any) -> None:
            record.info["pid"] = os.getpid()

        @sa.event.listens_for(engine, "checkout")
        def own(_: Any, record: Any, proxy: Any) -> None:
            # Two processes on one connection would read each other's answers.
            if record.info["pid"] != os.getpid():
                record.dbapi_connection = proxy.dbapi_connection = None
                raise sa.exc.DisconnectionError("made by another process")

        weakref.finalize(self, _close, engine, os.getpid())

    def _tried(self, once: Callable[[], Value], tries: int) -> Value:
        wait = FIRST_WAIT
        for left in reversed(range(tries)):
            try:
                return once()
            except UnicodeDecodeError as error:
                # SQLite quotes damaged bytes of the file in its own message.
                raise StoreError(
                    f"cannot use {self.name}: the file is damaged; restore it from a copy",
                    code="store.damaged",
                ) from error
            except sa.exc.DBAPIError as error:
                if not (left and self.is_passing(error)):
                    # A cause could quote a URL with its password.
                    raise self.storage_error(error) from None
            finally:
                self.release()
            # Those that were refused together come back apart.
            time.sleep(wait * random.uniform(0.75, 1))  # noqa: S311
            wait = min(2 * wait, LONGEST_WAIT)
        raise AssertionError("a store tries at least once")


def _close(engine: sa.Engine, pid: int) -> None:
    """Close connections; a child that was forked leaves its parent's alone."""
    engine.dispose(close=os.getpid() == pid)


def is_store_url(place: object) -> bool:
    """Whether this is a URL of a database that there is a backend for."""
    scheme = re.match(r"(\w+)(\+\w+)?://", str(place))
    return isinstance(place, str) and scheme is not None and scheme[1] in BACKENDS


def open_backend(place: Path | str, *, create: bool) -> Backend:
    """Open a database by its path or its URL; nothing is written before `create` allows it.

    Raises
    ------
    StoreError
        A URL that cannot be read, a database that there is no backend for, or no driver for it.
    """
    text, shown = str(place), url_without_credentials(str(place))
    if isinstance(place, Path) or not is_url(place):
        url = sa.URL.create("sqlite", database=text)
    else:
        try:
            url = sa.make_url(text)
        except (sa.exc.ArgumentError, ValueError):
            # Without its cause, which may quote the URL.
            raise StoreError(
                f"invalid --store '{shown}': expected a path, or a URL such as "
                "postgresql+psycopg://user@host/database",
                code="store.url",
                url=shown,
            ) from None
    scheme = url.get_backend_name()
    if scheme not in BACKENDS:
        raise StoreError(
            f"--store '{shown}': no backend for {scheme}; expected a path, or a URL that begins "
            f"with {' or '.join(BACKENDS)}",
            code="store.backend",
            scheme=scheme,
            known=list(BACKENDS),
        )
    backend: Backend = import_module(BACKENDS[scheme]).open_url(url, create=create)
    return backend
