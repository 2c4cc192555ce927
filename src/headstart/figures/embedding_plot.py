"""Plot of image embeddings by t-SNE: one point per image, one panel per network."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from headstart.figures.panels import add_legend, panels, point_handles
from headstart.figures.plot_tables import Tables, optional, rows
from headstart.figures.style import SMALL, MarkerStyle, marker_styles, styled
from headstart.figures.text_fitting import number

__all__ = ["draw_embedding", "numbers_label", "select_embedding", "square"]

HEIGHT = {1: 3.5, 2: 3.6, 3: 2.5}  # inches of a panel with its title, by panels abreast
NUMBERS = ["position", "silhouette", "neighbours", "neighbour_accuracy"]


def select_embedding(tables: Tables) -> pd.DataFrame:
    """Return the images with their coordinates."""
    columns = ["model", "position", "image", "class", "x", "y"]
    hint = "compute it with headstart embed"
    found = rows(tables, "embedding", "embedding", columns, known=["x", "y"], hint=hint)
    return found.sort_values(["position", "image"], kind="stable", ignore_index=True)


@styled
def draw_embedding(tables: Tables) -> Figure:
    """Draw each network's points in the colours of their classes, the numbers below.

    Parameters
    ----------
    tables
        `embedding`; `separation`, where it is there, for the numbers.
    """
    points = select_embedding(tables)
    separation = optional(tables, "separation", NUMBERS).set_index("position")
    styles = marker_styles(points["class"].astype(str))
    handles = point_handles(styles)
    networks = [own for _, own in points.groupby("position", sort=True)]
    columns = min(3, len(networks))
    sheet = panels(
        len(networks), columns=columns, height=HEIGHT[columns], legend=handles,
        note="t-SNE: nearby points are similar; axes, cluster sizes and distances between clusters "
        "have no meaning. Numbers are computed on the features, by cosine distance.",
    )  # fmt: skip
    for axes, own in zip(sheet.panels, networks, strict=True):
        draw_panel(axes, own, styles)
        axes.set_title(str(own["model"].iloc[0]))
        position = own["position"].iloc[0]
        if position in separation.index:
            axes.set_xlabel(numbers_label(separation.loc[position].to_dict()), fontsize=SMALL)
    add_legend(sheet.figure, handles, sheet.spare)
    return sheet.figure


def draw_panel(axes: Axes, points: pd.DataFrame, styles: dict[str, MarkerStyle]) -> None:
    """Draw the points of one network, each class in its style, both axes equally long."""
    for name, mark in styles.items():
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
    """Return the limits of both axes around all points, equally long."""
    ends = points[["x", "y"]].agg(["min", "max"])
    reach = max(0.54 * float((ends.loc["max"] - ends.loc["min"]).max()), 0.5)
    middles = [float(middle) for middle in ends.mean()]
    across, up = ((middle - reach, middle + reach) for middle in middles)
    return across, up


def numbers_label(numbers: Mapping[Any, Any]) -> str:
    """Return the numbers below a panel as text."""
    accuracy = f"{numbers['neighbours']:.0f} neighbours {100 * numbers['neighbour_accuracy']:.1f}%"
    return f"silhouette {number(numbers['silhouette'])}, {accuracy}"
