"""Tables of the report on terminals of several widths."""

import pytest
from rich.console import Console

from headstart.cli import terminal_tables
from headstart.report.page_model import (
    SETTING,
    Column,
    Names,
    filled,
    mean_and_error,
    named,
)
from headstart.spec.formatting import decimals

ROWS = [
    {"setting": setting, "model": model, "mean": mean, "se": 0.02, "best": i == 0,
     "not_different": i == 1, "low": mean - 0.1, "high": mean + 0.1, "rank": i + 1}
    for setting in ("linear", "finetune")
    for i, (model, mean) in enumerate(
        [("a_network_of_a_long_name_v1", 1.25), ("a_network_of_a_long_name_v2", 1.2), ("b", -0.5)])
]  # fmt: skip
COLUMNS = [
    SETTING,
    named("Model", "model"),
    mean_and_error("Mean log odds", digits=2, marked=True),
    Column("95 % interval", ("low", "high"), decimals(2), detail=1),
    Column("Rank among all", "rank", decimals(0), detail=2),
    Column("Unknown", "nothing"),
]


def lines(monkeypatch, width: int, **options) -> list[str]:
    monkeypatch.setattr(terminal_tables, "console", Console(width=width))
    table = filled(
        "means", "Means", COLUMNS, ROWS, Names((), (), ()), marker_legend="Underlined: alike."
    )
    return [text.plain for text in terminal_tables.table_parts(table, **options)]


def test_a_wide_terminal_has_every_column_of_which_something_is_known(monkeypatch):
    assert lines(monkeypatch, 200, by_first=True) == [
        "\nMeans",
        "                                                              Rank among",
        "  Model                        Mean log odds   95 % interval         all",
        "Logistic regression",
        "  a_network_of_a_long_name_v1   1.25 ± 0.02     1.15 to 1.35           1",
        "  a_network_of_a_long_name_v2   1.20 ± 0.02*    1.10 to 1.30           2",
        "  b                            -0.50 ± 0.02   -0.60 to -0.40           3",
        "Fine-tuned",
        "  a_network_of_a_long_name_v1   1.25 ± 0.02     1.15 to 1.35           1",
        "  a_network_of_a_long_name_v2   1.20 ± 0.02*    1.10 to 1.30           2",
        "  b                            -0.50 ± 0.02   -0.60 to -0.40           3",
        "*: alike.",
    ]


def test_what_a_row_is_about_is_shortened_last_and_a_text_in_a_column_of_numbers_stays(monkeypatch):
    monkeypatch.setattr(terminal_tables, "console", Console(width=66))
    columns = [named("name", "name"), Column("n", "n"), named("remedy", "remedy")]
    row = {"name": 30 * "n", "n": "at most 3", "remedy": 40 * "r"}
    table = terminal_tables.column_table(columns, [row, {"name": "b", "n": 12, "remedy": None}])
    heading, first, second = [text.plain for text in table.renderables]
    assert heading.split() == ["name", "n", "remedy"]
    assert first.startswith(30 * "n" + "  at most 3  rrr")
    assert "…" in first
    assert len(first) == 66
    assert second.split() == ["b", "12", "-"]


@pytest.mark.parametrize("width", [38, 50, 60, 70])
def test_a_narrow_one_leaves_out_what_matters_less_and_shortens_names_only(monkeypatch, width):
    shown = lines(monkeypatch, width, by_first=True, most=2)
    rows = [line for line in shown if "±" in line]
    assert max(map(len, rows)) <= width
    assert [line.split("±")[0].split()[-1] for line in rows] == ["1.25", "1.20"] * 2
    hidden = {38: "95 % interval, Rank among all", 50: "95 % interval, Rank among all",
              60: "Rank among all", 70: "Rank among all"}[width]  # fmt: skip
    assert shown[-1] == f"Columns not shown on a narrow terminal: {hidden}."
    assert ("…" in rows[0]) == (width == 38)
    assert rows[0].split()[0].endswith("v1")
    assert sum(line.startswith("  and more") for line in shown) == 2
