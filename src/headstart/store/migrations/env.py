"""What Alembic runs: the migrations that are due, on the connection that it is given."""

from alembic import context

from headstart.store.schema import version_table

context.configure(
    connection=context.config.attributes["connection"], version_table=version_table.name
)
with context.begin_transaction():
    context.run_migrations()
