"""The table of results on the screen."""

from rich.console import Console

from headstart.cli import results_tables
from headstart.cli.output import plain_table
from headstart.store import ResultStore
from stores import add_result


def shown(found) -> str:
    console = Console(width=160)
    with console.capture() as captured:
        console.print(results_tables.results(found))
    return captured.get()


def test_datasets_of_one_name_show_their_content_where_it_differs(tmp_path):
    result = add_result(ResultStore(tmp_path / "r.db", create=True), "net_a", 0.8)
    other = result.trial.dataset.model_copy(update={"revision": "9" * 64})
    trial = result.trial.model_copy(update={"dataset": other})
    both = [result, result.model_copy(update={"trial": trial})]
    assert f"digits ({result.trial.dataset.revision[:8]})" in shown(both)
    assert "digits (99999999)" in shown(both)
    assert "digits (" not in shown(both[:1])


def test_a_number_is_never_cut():
    table = plain_table("name", "n", "time", right={"n", "time"})
    table.add_row("a" * 60, "123,456", "1,234.5 s")
    console = Console(width=30)
    with console.capture() as captured:
        console.print(table)
    assert "123,456 1,234.5 s" in captured.get()
    assert "…" in captured.get()
