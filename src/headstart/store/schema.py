"""The database's tables, one schema for every backend."""

import sqlalchemy as sa

__all__ = [
    "GUARDED",
    "SCHEMA_VERSION",
    "current",
    "failures",
    "leases",
    "measurements",
    "metadata",
    "results",
    "selections",
    "superseded",
    "trial_key",
    "trials",
    "version_table",
]

# Raised when a table changes, with a migration in `migrations`.
SCHEMA_VERSION = 4
# What a database says that refuses to change a result.
NEVER_EDITED = "a stored result is never edited"

metadata = sa.MetaData()

# Sorted byte by byte on every backend, whatever the language of the database.
Text = sa.String().with_variant(sa.String(collation="C"), "postgresql")
# Times by the database's own clock: seconds since 1970.
Seconds = sa.Float(53)

results = sa.Table(
    "results",
    metadata,
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
    # The whole Result as JSON: what the columns above say, and everything else.
    sa.Column("record", sa.Text, nullable=False),
    sa.Column("predictions_file", sa.String, nullable=False),
    sa.Column("predictions_sha256", sa.String(64), nullable=False),
    sa.UniqueConstraint("key", "generation", name="results_key_generation"),
    # All that is filtered and sorted by, so that no long record is read for it.
    sa.Index(
        "results_page",
        "model",
        "dataset",
        "setting",
        "seed",
        "metric",
        "accuracy",
        "n_test",
        "created_at",
        "key",
        "generation",
    ),
)

# What each candidate of a trial reached on validation: a sweep that is interrupted keeps them.
measurements = sa.Table(
    "measurements",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("trial", sa.String(64), nullable=False),
    sa.Column("generation", sa.Integer, nullable=False, server_default="0"),
    sa.Column("candidate", sa.String(64), nullable=False),
    sa.Column("created_at", Text, nullable=False),
    # The whole Measurement as JSON.
    sa.Column("record", sa.Text, nullable=False),
    sa.UniqueConstraint("trial", "generation", "candidate", name="measurements_candidate"),
)

# What was chosen for a trial: here before its test labels are opened.
selections = sa.Table(
    "selections",
    metadata,
    sa.Column("trial", sa.String(64), primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True, server_default="0", autoincrement=False),
    sa.Column("created_at", Text, nullable=False),
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

# Generations of trials that count no longer: their rows stay, and the trial is measured again.
superseded = sa.Table(
    "superseded",
    metadata,
    sa.Column("trial", sa.String(64), primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("created_at", Text, nullable=False),
)

# Attempts at trials that failed: why, and where. They are tried again.
failures = sa.Table(
    "failures",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("trial", sa.String(64), nullable=False, index=True),
    sa.Column("created_at", Text, nullable=False),
    # The whole Failure as JSON.
    sa.Column("record", sa.Text, nullable=False),
)

# Who measures a trial now. The one table whose rows change.
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("trial", sa.String(64), primary_key=True),
    # Of one claim, of which the store of one process may have many.
    sa.Column("token", sa.String(32), nullable=False),
    sa.Column("owner", sa.String, nullable=False, index=True),
    # Where the number of the process means something: this start of this machine.
    sa.Column("machine", sa.String, nullable=False),
    sa.Column("started_at", Seconds, nullable=False),
    sa.Column("expires_at", Seconds, nullable=False),
)

# The version alone: the name of the table says whose the database is.
version_table = sa.Table(
    "headstart_version", metadata, sa.Column("version_num", sa.String(32), primary_key=True)
)

# Tables whose rows the database itself refuses to change, and since which version there are any.
GUARDED = {results: 1, measurements: 2, selections: 2, trials: 3, failures: 4, superseded: 4}


def trial_key(table: sa.Table) -> sa.Column[str]:
    """Return the column that holds the key of a trial."""
    return table.c.key if "key" in table.c else table.c.trial


def current(table: sa.Table, version: int) -> sa.ColumnElement[bool]:
    """Return the condition that a row counts still: its generation is not superseded.

    Of `results`, `measurements` or `selections`; before version 4 of the database every row counts.
    """
    if version < 4:
        return sa.true()
    old = superseded.c
    return ~sa.exists().where(old.trial == trial_key(table), old.generation == table.c.generation)
