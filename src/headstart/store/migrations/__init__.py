"""Migrations by Alembic from every earlier version of the store; imported when one is due."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from headstart.store import schema

__all__ = ["migrate"]


def migrate(connection: sa.Connection, version: int, to: str = "head") -> None:
    """Bring an older database up in the connection's transaction; all rows stay.

    Parameters
    ----------
    connection
        In a transaction that others cannot come between.
    version
        Of the database. Those up to 3 were made without Alembic, and learn their version first.
    to
        Version to end with.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    if version and not sa.inspect(connection).has_table(schema.version_table.name):
        command.stamp(config, str(version))
    command.upgrade(config, to)
