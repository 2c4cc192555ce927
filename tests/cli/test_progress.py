"""The live display."""

import io

import pytest
from rich.console import Console

from headstart.cli.progress import LiveWatcher


def drawn(terminal: bool, title: str) -> str:
    screen = io.StringIO()
    console = Console(
        file=screen, force_terminal=terminal, width=120, markup=False, highlight=False
    )
    with LiveWatcher(console) as watcher:
        watcher.trial_started(title, 1, 2)
        watcher.stage("looking at the images", 10, "images")
        watcher.advance(4)
        watcher.trial_finished()
    return screen.getvalue()


@pytest.mark.parametrize("title", ["photos [bold]x", "labels.csv?sep=[/]", "{0} %s"])
def test_names_are_shown_as_they_are(title):
    shown = drawn(True, title)
    assert title in shown
    assert "looking at the images (images)" in shown
    assert drawn(False, title) == f"[1/2] {title}\n"


def test_where_nothing_is_drawn_nothing_is_printed():
    screen = io.StringIO()
    with LiveWatcher(Console(file=screen, force_terminal=False)) as watcher:
        watcher.stage("reading the dataset")
    assert screen.getvalue() == ""
