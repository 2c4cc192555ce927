"""Version 4: leases, failures, and results that are superseded and stay."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision, down_revision = "4", "3"

Text = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Remake three tables with a generation, so that a key may stand several times; lay three."""
    for name, columns in remade().items():
        _remake(name, columns)
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
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("machine", sa.String, nullable=False),
        sa.Column("started_at", sa.Float(53), nullable=False),
        sa.Column("expires_at", sa.Float(53), nullable=False),
    )
    op.create_index("ix_leases_owner", "leases", ["owner"])
    op.create_table(
        "failures",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("trial", sa.String(64), nullable=False),
        sa.Column("created_at", Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_index("ix_failures_trial", "failures", ["trial"])


def remade() -> dict[str, list[Any]]:
    """Return the columns and constraints of the tables that change."""
    return {
        "results": [
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("key", sa.String(64), nullable=False),
            sa.Column("generation", sa.Integer, nullable=False, server_default="0"),
            *(sa.Column(name, Text, nullable=False) for name in ("model", "dataset", "setting")),
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


def _remake(name: str, columns: list[Any]) -> None:
    """Copy a table: SQLite cannot change what is unique. Rows keep their numbers, and so order."""
    server = op.get_bind().dialect.name == "postgresql"
    op.rename_table(name, f"{name}_old")
    if server:
        # Names of indexes are free only when the old table is gone.
        op.execute(f"ALTER INDEX {name}_pkey RENAME TO {name}_old_pkey")
    op.create_table(name, *columns)
    kept = ", ".join(c.name for c in columns if isinstance(c, sa.Column) and c.name != "generation")
    op.execute(f"INSERT INTO {name} ({kept}) SELECT {kept} FROM {name}_old")  # noqa: S608
    op.drop_table(f"{name}_old")
    if server and name != "selections":
        # The next row's number comes after those that were copied.
        following = "coalesce(max(id), 0) + 1"
        sequence = f"pg_get_serial_sequence('{name}', 'id')"
        op.execute(f"SELECT setval({sequence}, {following}, false) FROM {name}")  # noqa: S608
