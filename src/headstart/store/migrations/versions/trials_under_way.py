"""Version 3: what a trial is that has no result yet."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "3", "2"


def upgrade() -> None:
    """Lay the table."""
    op.create_table(
        "trials",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )
