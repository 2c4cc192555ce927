"""Leases: who measures a trial now, kept in the database, so that a dead worker's trial is taken.

A lease ends some seconds after its holder was last heard of. A holder that was stopped meanwhile
and comes back has lost it, and can write nothing more about the trial.
"""

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from headstart.errors import StorageError, StoreError
from headstart.store import schema
from headstart.store.backend import Backend

__all__ = ["Lease", "Leases"]

# Seconds after which a lease ends whose holder is not heard of, and how often in that time it is.
LEASE_SECONDS, BEATS = 60.0, 4
# Seconds between two looks at a lease that is waited for.
FIRST_LOOK, LAST_LOOK = 0.05, 1.0
# Statements are made once: it takes as long as running them.
HELD: sa.BindParameter[str] = sa.bindparam("held")
STORED = sa.exists().where(
    schema.results.c.key == HELD, schema.current(schema.results, schema.SCHEMA_VERSION)
)
END = schema.leases.delete().where(
    schema.leases.c.trial == HELD, schema.leases.c.token == sa.bindparam("by")
)


@dataclass(frozen=True)
class Lease:
    """Who holds a trial.

    Parameters
    ----------
    trial
        Its key.
    host, pid
        The machine and the process.
    started_at, expires_at
        When it was taken, and when it ends unless it is renewed; by the database's clock.
    is_live
        Whether it holds: others may take one that has expired, or whose process is dead.
    age
        Seconds since it was taken.
    """

    trial: str
    host: str
    pid: int
    started_at: datetime
    expires_at: datetime
    is_live: bool
    age: float


class Leases:
    """The leases of one store in one process; a thread renews them while there are any.

    `seconds` after which a lease ends whose holder is not heard of: $HEADSTART_LEASE_SECONDS or 60
    if None.
    """

    def __init__(self, backend: Backend, seconds: float | None = None) -> None:
        self._backend = backend
        self.seconds = seconds if seconds is not None else _seconds()
        self._statements = _statements(backend.clock, self.seconds)
        # The store's clock against this machine's, in seconds, as of the last claim.
        self._ahead = 0.0
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._owner = f"{socket.gethostname()}:{self._pid}:{secrets.token_hex(6)}"
        # Trial -> token.
        self._held: dict[str, str] = {}
        self._changing = threading.Lock()
        self._is_beating = False

    def now(self) -> datetime:
        """Return the time of the store's clock, as far as it is known from the last claim."""
        return _time(time.time() + self._ahead)

    @contextmanager
    def claim(self, trial: str, *, wait: bool) -> Iterator[bool]:
        """Hold a trial; False when it has a result, or when another holds it and `wait` is false.

        With `wait`, so, until there is a result or nobody else measures the trial any more.
        """
        if self._pid != os.getpid():
            # In a child that was forked: the leases are its parent's.
            self._begin()
        token, look = secrets.token_hex(16), FIRST_LOOK
        while (mine := self._take(trial, token)) is None and wait:
            time.sleep(look)
            look = min(2 * look, LAST_LOOK)
        if not mine:
            yield False
            return
        with self._changing:
            self._held[trial] = token
            if not self._is_beating:
                self._is_beating = True
                threading.Thread(target=self._renew, daemon=True, name="leases").start()
        try:
            yield True
        finally:
            self._let_go(trial, token)

    def check(self, connection: sa.Connection, trial: str) -> None:
        """Refuse to write about a trial that is not, or no longer, ours to measure.

        In the transaction that writes, which nobody else's claim can overtake.

        Raises
        ------
        StoreError
            Another holds the trial: it took over since we were not heard of, or it was first.
        """
        mine = self._held.get(trial) if self._pid == os.getpid() else None
        found = self._backend.execute(connection, self._statements.of_trial, {"held": trial})
        row = next(iter(found), None)
        if mine and (row is None or row.token != mine):
            raise StoreError(
                f"lease of trial {trial[:12]} lost: this process was not heard of for "
                f"{self.seconds:g} s, and another took the trial over; nothing of it was stored",
                code="store.lease_lost",
                key=trial,
            )
        if not mine and row is not None and _is_live(row):
            host, pid = _where(row)
            raise StoreError(
                f"trial {trial[:12]} is being measured by process {pid} on {host}: nothing of it "
                "was stored",
                code="store.leased",
                key=trial,
                host=host,
                pid=pid,
            )

    def all(self, connection: sa.Connection) -> list[Lease]:
        """Return all leases, the oldest first."""
        columns = schema.leases.c
        query = self._statements.rows.order_by(columns.started_at, columns.trial)
        return [
            Lease(row.trial, *_where(row), _time(row.started_at), _time(row.expires_at),
                  _is_live(row), max(0.0, row.now - row.started_at))
            for row in connection.execute(query)
        ]  # fmt: skip

    def _take(self, trial: str, token: str) -> bool | None:
        """Take a trial; None if another holds it, False if it has a result.

        Again with the same token changes nothing.
        """

        def taken(connection: sa.Connection) -> bool | None:
            (row,) = self._backend.execute(connection, self._statements.before, {"held": trial})
            self._ahead = row.now - time.time()
            if row.stored:
                return False
            if row.trial is not None:
                if row.token == token or _is_live(row):
                    return True if row.token == token else None
                self._backend.execute(connection, END, {"held": trial, "by": row.token})
            values = {"trial": trial, "token": token, "owner": self._owner, "machine": _machine()}
            self._backend.execute(connection, self._statements.begun, values)
            return True

        return self._backend.write(taken, trial, durable=False)

    def end(self, connection: sa.Connection, trial: str) -> None:
        """End our lease of a trial, if there is one, with the transaction that needs it last."""
        if (token := self._held.get(trial)) and self._pid == os.getpid():
            self._backend.execute(connection, END, {"held": trial, "by": token})

    def ended(self, trial: str) -> None:
        """Note that the transaction with `end` is through."""
        with self._changing:
            self._held.pop(trial, None)

    def _let_go(self, trial: str, token: str) -> None:
        with self._changing:
            if self._held.get(trial) != token:
                # Ended with the result; or another claim of this process followed it.
                return
            del self._held[trial]
        try:
            ours = {"held": trial, "by": token}
            self._backend.write(lambda c: self._backend.execute(c, END, ours), trial, durable=False)
        except StorageError:
            # Of a database that is gone it ends by itself.
            return

    def _renew(self) -> None:
        """Renew all leases until none is left for some time: runs take one after the other."""
        columns = schema.leases.c
        later = {"expires_at": self._backend.clock + self.seconds}
        query = schema.leases.update().where(columns.owner == self._owner).values(later)
        while True:
            time.sleep(self.seconds / BEATS)
            with self._changing:
                if not self._held:
                    self._is_beating = False
                    return
            try:
                # A store that was removed meanwhile is not made anew.
                if self._backend.exists():
                    self._backend.write(lambda c: c.execute(query), tries=1, durable=False)
            except StorageError:
                # The next beat tries again; who writes meanwhile learns whether it is lost.
                continue


class Statements(NamedTuple):
    """Statements of leases: all; that of a trial; what a claim looks at first; a new one."""

    rows: sa.Select[Any]
    of_trial: sa.Select[Any]
    before: sa.Select[Any]
    begun: sa.Insert


# Of all stores that a process opens: SQLite's are compiled once each.
@lru_cache(maxsize=16)
def _statements(clock: sa.ColumnElement[float], seconds: float) -> Statements:
    rows, of_trial = sa.select(schema.leases, clock.label("now")), schema.leases.c.trial == HELD
    # A row, whether there is a lease or not.
    one = sa.select(sa.literal(1)).subquery()
    before = sa.select(STORED.label("stored"), schema.leases, clock.label("now"))
    times = {"started_at": clock, "expires_at": clock + seconds}
    return Statements(
        rows,
        rows.where(of_trial),
        before.select_from(one.outerjoin(schema.leases, of_trial)),
        schema.leases.insert().values(times),
    )


def _is_live(row: Any) -> bool:
    """Whether a lease has not expired, and its process, if it is on this machine, is there."""
    if row.expires_at <= row.now or row.machine != _machine():
        return bool(row.expires_at > row.now)
    try:
        os.kill(_where(row)[1], 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)
    return True


def _where(row: Any) -> tuple[str, int]:
    host, pid, _ = row.owner.rsplit(":", 2)
    return host, int(pid)


@cache
def _machine() -> str:
    """Name where process numbers mean the same: a start of a machine, a container on it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        # Unknown: no process of another host's is ever taken for dead.
        return f"{socket.gethostname()} {secrets.token_hex(8)}"


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _seconds() -> float:
    given = os.environ.get("HEADSTART_LEASE_SECONDS", "")
    try:
        seconds = float(given or LEASE_SECONDS)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise StoreError(
            f"invalid HEADSTART_LEASE_SECONDS '{given}': expected a number of seconds, for example "
            "60",
            code="store.lease_seconds",
            found=given,
        )
    return seconds
