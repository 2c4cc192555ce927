"""The database's tables, and how a headstart database is known from any other file."""

from collections.abc import Callable, Mapping

import sqlalchemy as sa

__all__ = [
    "APPLICATION_ID",
    "SCHEMA_VERSION",
    "create",
    "measurements",
    "results",
    "selections",
    "trials",
    "upgrade",
]

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


def create(connection: sa.Connection) -> None:
    """Lay the tables and the header fields into an empty database."""
    metadata.create_all(connection)
    for table in (results, measurements, selections, trials):
        _guard(connection, table)
    connection.execute(sa.text(f"PRAGMA application_id = {APPLICATION_ID}"))
    connection.execute(sa.text(f"PRAGMA user_version = {SCHEMA_VERSION}"))


def upgrade(connection: sa.Connection, version: int) -> None:
    """Bring the tables of an older version up to this one, a step a version; all rows stay."""
    for step in range(version, SCHEMA_VERSION):
        STEPS[step](connection)
    connection.execute(sa.text(f"PRAGMA user_version = {SCHEMA_VERSION}"))


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
