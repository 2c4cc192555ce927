"""The database's tables, and how a headstart database is known from any other file."""

import sqlalchemy as sa

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "create", "results"]

# "hdst" in ASCII, in SQLite's header field for the application that a file belongs to.
APPLICATION_ID = 0x68647374
# Kept in the header's user_version; raised when a table changes.
SCHEMA_VERSION = 1

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

# A result is never edited: the database itself refuses.
GUARDS = tuple(
    f"CREATE TRIGGER results_no_{verb} BEFORE {verb} ON results "
    "BEGIN SELECT RAISE(ABORT, 'a stored result is never edited'); END"
    for verb in ("UPDATE", "DELETE")
)


def create(connection: sa.Connection) -> None:
    """Lay the tables and the header fields into an empty database."""
    metadata.create_all(connection)
    for guard in GUARDS:
        connection.execute(sa.text(guard))
    connection.execute(sa.text(f"PRAGMA application_id = {APPLICATION_ID}"))
    connection.execute(sa.text(f"PRAGMA user_version = {SCHEMA_VERSION}"))
