"""All that is PostgreSQL's own: locks by trial, connections that drop, and its errors in words."""

from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from headstart.errors import DiskFullError, NotWritableError, StorageError, StoreError
from headstart.shown_text import url_without_credentials, without_credentials
from headstart.store import schema
from headstart.store.backend import Backend

__all__ = ["PostgreSQL", "open_url"]

# Seconds until a connection to a server that does not answer is given up, when it is made and when
# it is there; and until the server ends a transaction whose client was stopped in the middle.
CONNECT_SECONDS, SILENT_SECONDS, STOPPED_SECONDS = 10, 30, 60
# First digits of SQLSTATE: connection gone; transaction rolled back for the sake of others; server
# ended, starting, or out of connections.
PASSING = ("08", "40", "57P", "53300")
# Advisory lock of those who lay the tables: "hdst" in ASCII, in 64 bits.
LAYING = 0x68647374


def open_url(url: sa.URL, *, create: bool) -> Backend:
    """Open the database of a URL."""
    # Ours is the one driver; others have other arguments.
    url = url.set(drivername="postgresql+psycopg")
    try:
        return PostgreSQL(url, create=create)
    except ImportError:
        raise StoreError(
            f"--store {url_without_credentials(url.render_as_string())}: its driver psycopg is not "
            "installed: pip install 'headstart[postgresql]'",
            code="store.driver",
            driver="psycopg",
        ) from None


class PostgreSQL(Backend):
    """A database on a server.

    Transactions are READ COMMITTED; those that write about a trial hold its advisory lock, so that
    they follow each other. One that is refused for the sake of others, or whose connection drops,
    is tried again for a minute: a server may be restarted.
    """

    clock: ClassVar[sa.ColumnElement[float]] = sa.literal_column(
        "CAST(extract(epoch FROM clock_timestamp()) AS double precision)", sa.Float
    )
    tries = 18

    def __init__(self, url: sa.URL, *, create: bool) -> None:
        self._url = url
        self.name = url_without_credentials(url.render_as_string(hide_password=True))
        engine = sa.create_engine(
            url,
            isolation_level="READ COMMITTED",
            pool_size=8,
            max_overflow=-1,
            connect_args={
                "connect_timeout": CONNECT_SECONDS,
                "tcp_user_timeout": 1000 * SILENT_SECONDS,
                "application_name": "headstart",
                # Poolers between us and the server hand out other connections in between.
                "prepare_threshold": None,
            }
            | dict(url.query),
        )

        @sa.event.listens_for(engine, "connect")
        def limit(connection: Any, _: Any) -> None:
            with connection.cursor() as cursor:
                cursor.execute(f"SET idle_in_transaction_session_timeout = '{STOPPED_SECONDS}s'")
                if not create:
                    cursor.execute("SET default_transaction_read_only = on")
            connection.commit()

        self._use(engine)

    @property
    def place(self) -> Path | str:
        return self._url.render_as_string(hide_password=False)

    def version(self, connection: sa.Connection) -> int | None:
        ours, others = connection.execute(
            sa.text(
                "SELECT to_regclass('headstart_version') IS NOT NULL, "
                "EXISTS (SELECT FROM pg_tables WHERE schemaname = current_schema())"
            )
        ).one()
        if not ours:
            return None if others else 0
        return int(connection.scalar(sa.text("SELECT version_num FROM headstart_version")) or 0)

    def foreign(self) -> StoreError:
        return StoreError(
            f"{self.name} holds tables that are not headstart's: give another database, or a "
            "schema of its own, ?options=-csearch_path%3DNAME",
            code="store.foreign",
            path=self.name,
        )

    def guard(self, connection: sa.Connection, table: sa.Table) -> None:
        connection.execute(
            sa.text(
                "CREATE OR REPLACE FUNCTION headstart_never_edited() RETURNS trigger AS $$ BEGIN "
                f"RAISE EXCEPTION '{schema.NEVER_EDITED}'; END $$ LANGUAGE plpgsql"
            )
        )
        for events, each in (("UPDATE OR DELETE", "ROW"), ("TRUNCATE", "STATEMENT")):
            connection.execute(
                sa.text(
                    f"CREATE OR REPLACE TRIGGER {table.name}_no_{each.lower()} BEFORE {events} ON "
                    f"{table.name} FOR EACH {each} EXECUTE FUNCTION headstart_never_edited()"
                )
            )

    def begin(self, connection: sa.Connection, key: str) -> None:
        number = int.from_bytes(key.encode()[:8], "big", signed=True) if key else LAYING
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})

    @staticmethod
    @cache
    def insert_new(table: sa.Table) -> sa.Insert:
        return postgresql.insert(table).on_conflict_do_nothing()

    def is_passing(self, error: sa.exc.DBAPIError) -> bool:
        if error.connection_invalidated:
            return True
        state = getattr(error.orig, "sqlstate", None)
        # Without a state the server did not get to say anything: no connection was made.
        return state.startswith(PASSING) if state else isinstance(error, sa.exc.OperationalError)

    def storage_error(self, error: sa.exc.DBAPIError) -> StorageError:
        state = getattr(error.orig, "sqlstate", None) or ""
        cause = " ".join(without_credentials(str(error.orig)).split())
        if state == "53100":
            return DiskFullError(
                f"no space left to write {self.name}: free some space on the server and run the "
                "same command again to resume",
                path=self.name,
            )
        if state in ("42501", "25006"):
            return NotWritableError(
                f"cannot write {self.name} ({cause}): grant this user the right to", path=self.name
            )
        if self.is_passing(error):
            return StoreError(
                f"cannot reach {self.name}: {cause}; start the server and run the same command "
                "again to resume",
                code="store.unreachable",
                cause=cause,
            )
        return StoreError(f"cannot use {self.name}: {cause}", code="store.postgresql", cause=cause)
