"""Features seen: each image a point, a panel a network, by t-SNE."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from headstart.figures.legends import add_legend, point_handles
from headstart.figures.panels import panels
from headstart.figures.plot_tables import Tables, optional, rows
from headstart.figures.style import SMALL, Mark, marks, styled
from headstart.figures.text import number

__all__ = ["draw", "numbers_said", "select", "square"]

HEIGHT = {1: 3.5, 2: 3.6, 3: 2.5}  # inches of a panel with its title, by panels abreast
NUMBERS = ["position", "silhouette", "neighbours", "neighbour_accuracy"]


def select(tables: Tables) -> pd.DataFrame:
    """Images with a place in the plane."""
    columns = ["model", "position", "image", "class", "x", "y"]
    hint = "headstart embed computes it"
    found = rows(tables, "embedding", "embedding", columns, known=["x", "y"], hint=hint)
    return found.sort_values(["position", "image"], kind="stable", ignore_index=True)


@styled
def draw(tables: Tables) -> Figure:
    """Draw each network's points in the colours of their classes, the numbers below.

    Parameters
    ----------
    tables
        `embedding`; `separation`, where it is there, for the numbers.
    """
    points = select(tables)
    separation = optional(tables, "separation", NUMBERS).set_index("position")
    looks = marks(points["class"].astype(str))
    handles = point_handles(looks)
    networks = [own for _, own in points.groupby("position", sort=True)]
    columns = min(3, len(networks))
    sheet = panels(
        len(networks), columns=columns, height=HEIGHT[columns], legend=handles,
        note="t-SNE: near points are alike; axes, sizes and distances of clusters mean nothing. "
        "Numbers are of the features, by cosine distance.",
    )  # fmt: skip
    for axes, own in zip(sheet.panels, networks, strict=True):
        draw_panel(axes, own, looks)
        axes.set_title(str(own["model"].iloc[0]))
        position = own["position"].iloc[0]
        if position in separation.index:
            axes.set_xlabel(numbers_said(separation.loc[position].to_dict()), fontsize=SMALL)
    add_legend(sheet.figure, handles, sheet.spare)
    return sheet.figure


def draw_panel(axes: Axes, points: pd.DataFrame, looks: dict[str, Mark]) -> None:
    """Draw the points of one network, each class in its look, the same reach both ways."""
    for name, mark in looks.items():
        own = points[points["class"].astype(str) == name]
        axes.plot(
            own["x"], own["y"], mark.shape, color=mark.colour, markersize=2.6,
            markeredgecolor="white", markeredgewidth=0.15, linestyle="none", label=name,
        )  # fmt: skip
    across, up = square(points)
    axes.set(xlim=across, ylim=up, xticks=[], yticks=[], box_aspect=1)
    # The axes have no meaning: a frame holds the points together.
    axes.spines[:].set(visible=True, color="#c9c9c9")


def square(points: pd.DataFrame) -> tuple[tuple[float, float], tuple[float, float]]:
    """Give the ends of both axes around all points: as long the one as the other."""
    ends = points[["x", "y"]].agg(["min", "max"])
    reach = max(0.54 * float((ends.loc["max"] - ends.loc["min"]).max()), 0.5)
    middles = [float(middle) for middle in ends.mean()]
    across, up = ((middle - reach, middle + reach) for middle in middles)
    return across, up


def numbers_said(numbers: Mapping[Any, Any]) -> str:
    """Write the numbers that stand below a panel."""
    accuracy = f"{numbers['neighbours']:.0f} neighbours {100 * numbers['neighbour_accuracy']:.1f}%"
    return f"silhouette {number(numbers['silhouette'])}, {accuracy}"
