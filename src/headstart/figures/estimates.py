"""Lines and correlations of a panel: what `correlation` and `datasets` share."""

import pandas as pd
from matplotlib.axes import Axes

from headstart.figures.axes import add_line, log_odds
from headstart.figures.tables import Tables, optional

__all__ = ["correlations", "draw_line", "lines"]


def lines(tables: Tables) -> pd.DataFrame:
    """Least-squares lines with their bands, where there are any."""
    columns = ["setting", "group", "upstream_accuracy", "log_odds", "low", "high"]
    return optional(tables, "lines", columns)


def correlations(tables: Tables) -> pd.DataFrame:
    """Known Pearson correlations, both sides in log odds, where there are any."""
    columns = ["setting", "group", "statistic", "estimate", "low", "high"]
    found = optional(tables, "correlations", columns)
    return found[(found["statistic"] == "pearson_logit") & found["estimate"].notna()]


def draw_line(axes: Axes, tables: Tables, setting: str, group: str) -> None:
    """Draw the line of a group of datasets, or of one dataset, with its band."""
    found = lines(tables)
    line = found[(found["setting"] == setting) & (found["group"] == group)]
    if len(line):
        x = log_odds(line["upstream_accuracy"])
        add_line(axes, x, *(line[column].astype(float) for column in ("log_odds", "low", "high")))
