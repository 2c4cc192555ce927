"""Lines over steps or examples: one a setting, and a model where there are several."""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from headstart.figures.style import DASHES, SHAPES, Mark, setting_marks
from headstart.figures.text import elided
from headstart.spec.labels import in_order, setting_label

__all__ = ["Series", "series"]


class Series(NamedTuple):
    """A line: its rows, how it looks, what the legend calls it."""

    table: pd.DataFrame
    mark: Mark
    label: str


def series(table: pd.DataFrame) -> Iterator[Series]:
    """Part a table with columns setting and model into lines.

    A setting has a colour; with several models, these have shapes and dashes.
    """
    models = sorted(set(table["model"]))
    looks = setting_marks(in_order(table["setting"]))
    for setting, mark in looks.items():
        for index, model in enumerate(models):
            own = table[(table["setting"] == setting) & (table["model"] == model)]
            label = setting_label(setting)
            if len(models) > 1:
                label = f"{label}, {elided(model)}"
                mark = Mark(mark.colour, SHAPES[index % 10], DASHES[index % 4])
            if len(own):
                yield Series(own, mark, label)
