"""Names of datasets with options."""

import pytest

from headstart.datasets.names import DatasetName


@pytest.mark.parametrize(
    ("query", "options"),
    [("train=train+extra&test=test", {"train": "train+extra", "test": "test"}),
     ("sep=+", {"sep": "+"}), ("path=a b", {"path": "a b"}), ("path=a%20b%2Bc", {"path": "a b+c"})],
)  # fmt: skip
def test_options_are_taken_as_they_are_typed(query, options):
    """A plus is a plus: it joins splits of a repository. The title means the same again."""
    asked = DatasetName.parse(f"x?{query}")
    assert asked.options == options
    assert DatasetName.parse(asked.titled("x")) == asked
