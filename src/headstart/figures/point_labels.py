"""Names written beside the points of a panel, each clear of all else or not at all."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Text
from numpy.typing import NDArray

from headstart.figures.placement import Floats, place
from headstart.figures.style import SMALL

__all__ = ["label_points"]


def label_points(
    axes: Axes, points: Floats, named: NDArray[np.intp], names: Sequence[str],
    bars: Floats, radius: float, strict: bool = False,
) -> None:  # fmt: skip
    """Write names near their points in a panel whose layout is settled.

    A thin line leads to a name that had to move away. What would lie on a mark or on what is
    written in the panel already, and has no free place near its point, is left out.

    Parameters
    ----------
    axes
        The panel.
    points
        (n, 2): all points of the panel, in its coordinates.
    named
        (k,): which of them have a name.
    names
        (k,): what to write.
    bars
        (m, 4): boxes, in the panel's coordinates, of error bars and the like.
    radius
        Of the points' marks in print, in points (1/72 inch).
    strict
        Leave a name out rather than set it on a bar or far off.
    """
    scale = 72 / axes.figure.dpi
    places = axes.transData.transform(points) * scale
    unnamed = np.delete(places, named, axis=0)
    written = np.array([extents(text) for text in axes.texts]).reshape(-1, 4) * scale
    texts = [
        axes.annotate(
            name, point, xytext=(0, 0), textcoords="offset points", size=SMALL, va="bottom",
            zorder=5,
        )
        for name, point in zip(names, points[named], strict=True)
    ]  # fmt: skip
    boxes = place(
        places[named],
        np.array([text.get_window_extent().size for text in texts]).reshape(-1, 2) * scale + 1.0,
        np.array(axes.get_window_extent().padded(-2 / scale).extents) * scale,
        np.vstack([written, np.column_stack([unnamed - radius, unnamed + radius])]),
        radius,
        axes.transData.transform(bars.reshape(-1, 2)).reshape(-1, 4) * scale,
        strict,
    )
    for text, anchor, box in zip(texts, places[named], boxes, strict=True):
        if box is None:
            text.remove()
            continue
        text.set_position(box[:2] + 0.5 - anchor)
        nearest = np.clip(anchor, box[:2], box[2:]) - anchor
        if np.hypot(*nearest) > radius + 3.5:
            lead(axes, text.xy, nearest, radius)


def extents(text: Text) -> Floats:
    """Box (4,) of a text on the canvas, with some white around it."""
    return np.array(text.get_window_extent().padded(1.5 * text.figure.dpi / 72).extents)


def lead(axes: Axes, point: tuple[float, float], offset: Floats, radius: float) -> None:
    """Draw a thin line from a label, `offset` points away, to its point."""
    arrow = {"arrowstyle": "-", "linewidth": 0.4, "color": "#555555", "shrinkA": 0}
    axes.annotate(
        "", point, xytext=(offset[0], offset[1]), textcoords="offset points", zorder=2.5,
        arrowprops={**arrow, "shrinkB": radius - 0.5},
    )  # fmt: skip
