"""Version 1: complete results alone."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "1", None


def upgrade() -> None:
    """Lay the table."""
    op.create_table(
        "results",
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
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("predictions_file", sa.String, nullable=False),
        sa.Column("predictions_sha256", sa.String(64), nullable=False),
    )
