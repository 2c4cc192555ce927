"""Names written beside the points of a panel, each clear of everything else or left out.

Each label has some hundred candidate places around its point. A place costs what it covers and how
far it is. Labels take their cheapest place in turn, those with the least choice first. Nothing is
random: the same points give the same places.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from headstart.figures.style import FONT_SIZE
from headstart.figures.text_fitting import text_width

__all__ = ["label_layers", "overlaps", "place"]

Floats = NDArray[np.float64]

DIRECTIONS = 24
DISTANCES = (0.0, 5.0, 11.0, 19.0, 29.0, 42.0, 58.0, 77.0, 99.0)  # pixels, from the mark's edge
# What a place costs. Where a label would lie on a mark, an obstacle or another label it is not set.
TAKEN = 1e6
STRAYED = 24.0  # the price of being far off, or of a leader through a mark
ON_LINE, LEADER_ON_BOX, LEADER_ON_LINE = 14.0, 27.0, 8.0
NEARER_TO_ANOTHER = 10.0  # than to its own point: whose is it?
PER_PIXEL = 0.25
THICK = np.array([-2.4, -2.4, 2.4, 2.4])  # a leader this near to a line is not seen
NO_BOXES: Floats = np.empty((0, 4))


def overlaps(boxes: Floats, others: Floats) -> NDArray[np.bool_]:
    """Return which boxes (n, 4), left, bottom, right, top, overlap which others (m, 4): (n, m)."""
    a, b = boxes[:, None, :], others[None, :, :]
    apart = (a[..., :2] >= b[..., 2:]) | (b[..., :2] >= a[..., 2:])
    return np.asarray(~apart.any(axis=-1))


def place(
    anchors: Floats,
    sizes: Floats,
    area: Floats,
    obstacles: Floats,
    radius: float,
    lines: Floats = NO_BOXES,
    strict: bool = False,
) -> list[Floats | None]:
    """Place a label near each anchor; return its box (4,), or None where no place is free.

    No two overlap. All lengths are in pixels: `anchors` (n, 2) are the points to label, `sizes`
    (n, 2) widths and heights of labels, which may not leave the box `area` (4,). `radius` is that
    of the mark around each anchor. Labels may cover neither other marks nor `obstacles`, boxes
    (m, 4), and had better not cover `lines`, boxes (k, 4) of thin things; if `strict` a label is
    left out rather than set on one or far off.
    """
    if not len(anchors):
        return []
    dearest = STRAYED if strict else TAKEN
    marks = np.column_stack([anchors - radius, anchors + radius])
    boxes, distances = candidates(anchors, sizes, radius)
    costs = np.empty(boxes.shape[:2])
    for i, (anchor, own) in enumerate(zip(anchors, boxes, strict=True)):
        solid = np.vstack([np.delete(marks, i, axis=0), obstacles])
        along = np.minimum(hidden(anchor, own, lines + THICK).sum(axis=1), 1)
        costs[i] = (
            PER_PIXEL * distances
            + ON_LINE * overlaps(own, lines).sum(axis=1)
            + LEADER_ON_LINE * np.minimum(distances / 8, 1) * along
            + NEARER_TO_ANOTHER * strays(own, anchors, i)
            + blocked(anchor, own, solid)
            # Outside the area.
            + TAKEN * np.any((own < area) != [False, False, True, True], axis=1)
            + TAKEN * strict * overlaps(own, lines).any(axis=1)
        )
    return one_by_one(anchors, boxes, costs, dearest)


def one_by_one(
    anchors: Floats, boxes: Floats, costs: Floats, dearest: float
) -> list[Floats | None]:
    """Set labels, the most confined first, where the ones before them leave the cheapest place."""
    found: list[Floats | None] = [None] * len(anchors)
    for i in np.argsort((costs < dearest).sum(axis=1), kind="stable"):
        there = [(anchor, box) for anchor, box in zip(anchors, found, strict=True)
                 if box is not None]  # fmt: skip
        placed = np.array([box for _, box in there]).reshape(-1, 4)
        own = costs[i] + blocked(anchors[i], boxes[i], placed)
        # Leaders that are there already run through no further label.
        for anchor, box in there:
            own = own + LEADER_ON_BOX * (hidden(anchor, box[None], boxes[i])[0] > 0)
        if own.min() < dearest:
            found[i] = boxes[i, own.argmin()]
    return found


def blocked(anchor: Floats, boxes: Floats, others: Floats) -> Floats:
    """Return what the `others` cost each box (c, 4): where it covers them, or its leader does."""
    crossed = (hidden(anchor, boxes, others) > 0).sum(axis=1)
    return np.asarray(TAKEN * overlaps(boxes, others).any(axis=1) + LEADER_ON_BOX * crossed)


def candidates(anchors: Floats, sizes: Floats, radius: float) -> tuple[Floats, Floats]:
    """Return boxes (n, c, 4) around each anchor and their distances from the marker (c,)."""
    angles = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    towards = np.column_stack([np.cos(angles), np.sin(angles)])
    distances = np.repeat(DISTANCES, DIRECTIONS)
    towards = np.tile(towards, (len(DISTANCES), 1))
    # On the square that surrounds the circle, labels beside a mark touch it as those above it do.
    square = towards / np.abs(towards).max(axis=1, keepdims=True)
    gaps = towards * (distances + radius + 1.5)[:, None]
    centres = anchors[:, None] + gaps + square * sizes[:, None] / 2
    half = sizes[:, None] / 2
    return np.concatenate([centres - half, centres + half], axis=-1), distances


def hidden(anchor: Floats, boxes: Floats, others: Floats) -> Floats:
    """Return the share (c, m) of the leader from an anchor to each box that the others hide."""
    nearest = np.clip(anchor, boxes[:, :2], boxes[:, 2:])
    along = anchor + np.linspace(0, 1, 10)[:, None, None] * (nearest - anchor)
    along = along.transpose(1, 0, 2)[:, :, None]
    return np.asarray(((along > others[:, :2]) & (along < others[:, 2:])).all(axis=-1).mean(axis=1))


def strays(boxes: Floats, anchors: Floats, i: int) -> NDArray[np.bool_]:
    """Return which boxes (c,) are about as near to another anchor as to their own, anchor i."""
    apart = np.clip(anchors, boxes[:, None, :2], boxes[:, None, 2:]) - anchors
    distances = np.hypot(apart[..., 0], apart[..., 1])
    others = np.delete(distances, i, axis=1).min(axis=1, initial=np.inf)
    return np.asarray(others < distances[:, i] + 5)


def label_layers(
    points: Floats, named: NDArray[np.intp], names: Sequence[str], bars: Floats,
    ends: tuple[tuple[float, float], tuple[float, float]], size: tuple[float, float],
    radius: float, strict: bool = False,
) -> list[Any]:  # fmt: skip
    """Return layers of a chart that write names near their points.

    A thin line leads to a name that had to move away. A name without a free place near its point is
    left out. `points` (n, 2) are all of the panel, in its coordinates, `named` (k,) the places of
    those with `names`; `bars` (m, 4) are boxes of error bars. `ends` are those of the horizontal
    and vertical axis, `size` and `radius`, of marks, pixels; `strict` is as in `place`.
    """
    low, high = np.array(ends).T
    pixels = np.array(size) / (high - low)
    places = (points - low) * pixels
    unnamed = np.delete(places, named, axis=0)
    boxes = place(
        places[named],
        np.array([(text_width(name) + 3, FONT_SIZE + 2) for name in names]).reshape(-1, 2),
        np.array([2.0, 2.0, size[0] - 2, size[1] - 2]),
        np.column_stack([unnamed - radius, unnamed + radius]),
        radius,
        ((bars.reshape(-1, 2) - low) * pixels).reshape(-1, 4),
        strict,
    )
    labels, leaders = [], []
    for name, anchor, box in zip(names, places[named], boxes, strict=True):
        if box is None:
            continue
        x, y = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]) / pixels + low
        labels.append({"label": name, "x": float(x), "y": float(y)})
        nearest = np.clip(anchor, box[:2], box[2:])
        length = float(np.hypot(*(nearest - anchor)))
        if length > radius + 5:
            start = (anchor + (nearest - anchor) * radius / length) / pixels + low
            x, y = nearest / pixels + low
            leaders.append(
                {"x": float(start[0]), "y": float(start[1]), "x2": float(x), "y2": float(y)}
            )
    rules = alt.Chart(alt.InlineData(values=leaders)).mark_rule(strokeWidth=0.6, opacity=0.8)
    texts = alt.Chart(alt.InlineData(values=labels)).mark_text(baseline="middle", align="center")
    return [
        *[rules.encode(x="x:Q", y="y:Q", x2="x2:Q", y2="y2:Q")] * bool(leaders),
        *[texts.encode(x="x:Q", y="y:Q", text="label:N")] * bool(labels),
    ]
