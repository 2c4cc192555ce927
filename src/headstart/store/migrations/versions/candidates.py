"""Version 2: what candidates of a trial reached, and what was selected, before its result."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "2", "1"


def upgrade() -> None:
    """Lay two tables."""
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
