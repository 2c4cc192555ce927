"""The live display."""

import io

import pytest
from rich.console import Console

from headstart.cli.progress import LiveReporter


def drawn(terminal: bool, title: str) -> str:
    screen = io.StringIO()
    console = Console(
        file=screen, force_terminal=terminal, width=120, markup=False, highlight=False
    )
    with LiveReporter(console) as reporter:
        reporter.trial_started(title, 1, 2)
        reporter.stage("looking at the images", 10, "images")
        reporter.advance(4)
        reporter.trial_finished()
    return screen.getvalue()


@pytest.mark.parametrize("title", ["photos [bold]x", "labels.csv?sep=[/]", "{0} %s"])
def test_names_are_shown_as_they_are(title):
    shown = drawn(True, title)
    assert title in shown
    assert "looking at the images (images)" in shown
    assert drawn(False, title) == f"[1/2] {title}\n"


def test_where_nothing_is_drawn_nothing_is_printed():
    screen = io.StringIO()
    with LiveReporter(Console(file=screen, force_terminal=False)) as reporter:
        reporter.stage("reading the dataset")
    assert screen.getvalue() == ""
