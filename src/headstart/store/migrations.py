"""Migrations, by Alembic's operations, from every earlier version of the store.

Imported when one is due. All earlier versions are SQLite files: servers begin with version 4.
Tables are written as they were when their version came, whatever `schema` says later.
"""

from typing import Any

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations

from headstart.store import schema

__all__ = ["migrate"]

Text = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def migrate(connection: sa.Connection, version: int) -> None:
    """Bring an older database up in the connection's transaction; all rows stay."""
    op = Operations(MigrationContext.configure(connection))
    for to in range(version + 1, schema.SCHEMA_VERSION + 1):
        UPGRADES[to](op)
    # Databases up to version 3 do not have this table.
    schema.version_table.create(connection, checkfirst=True)
    connection.execute(schema.version_table.delete())
    connection.execute(schema.version_table.insert().values(version_num=str(schema.SCHEMA_VERSION)))


def add_candidates(op: Operations) -> None:
    """Version 2: what candidates of a trial reached, and what was selected, before its result."""
    op.create_table(
        "measurements",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("trial", sa.String(64), nullable=False),
        sa.Column("candidate", sa.String(64), nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.UniqueConstraint("trial", "candidate"),
    )
    op.create_table(
        "selections",
        sa.Column("trial", sa.String(64), primary_key=True),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )


def add_trials(op: Operations) -> None:
    """Version 3: what a trial is that has no result yet."""
    op.create_table(
        "trials",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )


def add_generations(op: Operations) -> None:
    """Version 4: leases, failures, and results that are superseded and stay.

    Three tables are remade with a generation, so that a key may stand several times.
    """
    # SQLite cannot change what is unique. Rows keep their numbers, and so their order.
    for name, columns in WITH_GENERATIONS.items():
        op.rename_table(name, f"{name}_old")
        op.create_table(name, *columns)
        kept = [c.name for c in columns if isinstance(c, sa.Column) and c.name != "generation"]
        listed = ", ".join(kept)
        op.execute(f"INSERT INTO {name} ({listed}) SELECT {listed} FROM {name}_old")  # noqa: S608
        op.drop_table(f"{name}_old")
    page = ["model", "dataset", "setting", "seed", "metric", "accuracy", "n_test", "created_at"]
    op.create_index("results_page", "results", [*page, "key", "generation"])
    op.create_table(
        "superseded",
        sa.Column("trial", sa.String(64), primary_key=True),
        sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("created_at", Text, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("trial", sa.String(64), primary_key=True),
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("owner", sa.String, nullable=False, index=True),
        sa.Column("machine", sa.String, nullable=False),
        sa.Column("started_at", sa.Float(53), nullable=False),
        sa.Column("expires_at", sa.Float(53), nullable=False),
    )
    op.create_table(
        "failures",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("trial", sa.String(64), nullable=False, index=True),
        sa.Column("created_at", Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )


UPGRADES = {2: add_candidates, 3: add_trials, 4: add_generations}
WITH_GENERATIONS: dict[str, list[Any]] = {
    "results": [
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False, server_default="0"),
        sa.Column("model", Text, nullable=False),
        sa.Column("dataset", Text, nullable=False),
        sa.Column("setting", Text, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("metric", Text, nullable=False),
        sa.Column("accuracy", sa.Float(53), nullable=False),
        sa.Column("n_test", sa.Integer, nullable=False),
        sa.Column("created_at", Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("predictions_file", sa.String, nullable=False),
        sa.Column("predictions_sha256", sa.String(64), nullable=False),
        sa.UniqueConstraint("key", "generation", name="results_key_generation"),
    ],
    "measurements": [
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("trial", sa.String(64), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False, server_default="0"),
        sa.Column("candidate", sa.String(64), nullable=False),
        sa.Column("created_at", Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.UniqueConstraint("trial", "generation", "candidate", name="measurements_candidate"),
    ],
    "selections": [
        sa.Column("trial", sa.String(64), primary_key=True),
        sa.Column(
            "generation", sa.Integer, primary_key=True, server_default="0", autoincrement=False
        ),
        sa.Column("created_at", Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    ],
}
