"""The table of docs/reliability.md: a whole run writes it, a part of one renews rows."""

import reliability
from reliability import END, HEADING, START, written

PAGE = f"# x\n{START}{HEADING}| a | 1 |\n| b | 2 |\n| c | 3 |\n{END}y\n"


def test_a_whole_run_writes_the_table():
    expected = f"# x\n{START}{HEADING}| b | 4 |\n| d | 5 |\n{END}y\n"
    assert written(PAGE, {"b": "4", "d": "5"}, whole=True) == expected


def test_a_part_of_a_run_keeps_other_rows():
    expected = PAGE.replace("| b | 2 |\n", "| b | 4 |\n| d | 5 |\n")
    assert written(PAGE, {"b": "4", "d": "5"}, whole=False) == expected
    assert written(PAGE, {"d": "5"}, whole=False) == PAGE.replace(END, f"| d | 5 |\n{END}")


def test_the_page_names_what_writes_it():
    page = reliability.PAGE.read_text()
    assert f"{reliability.WRITE}=1 pytest -m slow {' '.join(reliability.ALL)}\n" in page
    # As a run that notes nothing new would write it.
    assert written(page, {}, whole=False) == page
