"""A table of results without surprises, to be spoiled by the tests."""

import pytest

from tables import make_table, quick


@pytest.fixture
def table():
    return make_table()


@pytest.fixture
def analysis(table):
    return quick(table)


@pytest.fixture
def spoiled(tmp_path, table, cli):
    """Write the table as CSV after a change, and analyse it by the command."""

    def run(change=None, *options, text=None):
        file = tmp_path / "results.csv"
        frame = table if change is None else change(table.copy())
        content = frame.to_csv(index=False) if text is None else text(frame.to_csv(index=False))
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return cli("analyze", file, "--resamples", "200", *options)

    return run
