"""Names written beside the points of a panel, each clear of everything else or left out.

Each label has some hundred candidate places around its point. A place costs what it covers and how
far it is; labels move to their cheapest place in turn until none moves (coordinate descent, as in
Christensen, Marks and Shieber, "An empirical study of algorithms for point-feature label
placement", ACM Transactions on Graphics 14, 1995). Nothing is random: the same points give the
same places.
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
ON_LABEL, TAKEN = 1e4, 1e6
STRAYED = 24.0  # the price of being far off, or of a leader through a mark
ON_LINE, LEADER_ON_LABEL, LEADER_ON_MARK, LEADER_ON_LINE = 14.0, 30.0, 25.0, 8.0
NEARER_TO_ANOTHER = 10.0  # than to its own point: whose is it?
PER_PIXEL = 0.25
SWEEPS = 30
PLACES = 80  # of a label that are compared with those of others
NO_BOXES: Floats = np.empty((0, 4))


def overlaps(boxes: Floats, others: Floats) -> NDArray[np.bool_]:
    """Return which boxes overlap which.

    Parameters
    ----------
    boxes, others
        (n, 4) and (m, 4): left, bottom, right, top.

    Returns
    -------
    (n, m) bool
    """
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
    """Place a label near each anchor.

    Parameters
    ----------
    anchors
        (n, 2): points to label, in pixels, as all lengths here.
    sizes
        (n, 2): width and height of the labels.
    area
        (4,): box that labels may not leave.
    obstacles
        (m, 4): boxes that labels may not cover: other marks, what is written already.
    radius
        Of the mark around each anchor, which other labels may not cover.
    lines
        (k, 4): boxes of thin things, which labels had better not cover either.
    strict
        Leave a label out rather than set it on a line or far off.

    Returns
    -------
    list of (4,) or None
        Box of each label; no two overlap. None where there is no free place left.
    """
    if not len(anchors):
        return []
    dearest = STRAYED if strict else TAKEN
    marks = np.column_stack([anchors - radius, anchors + radius])
    boxes, distances = candidates(anchors, sizes, radius)
    count = len(anchors)
    solid = [np.vstack([np.delete(marks, i, axis=0), obstacles]) for i in range(count)]
    fixed = np.stack(
        [
            PER_PIXEL * distances
            + ON_LINE * overlaps(boxes[i], lines).sum(axis=1)
            + LEADER_ON_LINE * np.minimum(distances / 8, 1) * share(anchors[i], boxes[i], lines)
            + NEARER_TO_ANOTHER * strays(boxes[i], anchors, i)
            + TAKEN * taken(boxes[i], area, np.vstack([solid[i], *[lines] * strict]))
            + LEADER_ON_MARK * crossed(anchors[i], boxes[i], solid[i])
            for i in range(count)
        ]
    )
    # A label without a free place is in no other's way.
    if not (free := fixed.min(axis=1) < dearest).all():
        rest = iter(placed(anchors[free], boxes[free], fixed[free], dearest))
        return [next(rest) if one else None for one in free]
    return placed(anchors, boxes, fixed, dearest)


def placed(anchors: Floats, boxes: Floats, fixed: Floats, dearest: float) -> list[Floats | None]:
    """Choose among the places (n, c, 4) of each label, by what they cost (n, c) and each other."""
    count = len(anchors)
    if not count:
        return []
    # The dearest places are never taken: they need not be compared.
    cheap = np.argsort(fixed, axis=1, kind="stable")[:, :PLACES]
    boxes = np.take_along_axis(boxes, cheap[..., None], axis=1)
    fixed = np.take_along_axis(fixed, cheap, axis=1)
    # Where labels end depends on who moves first: from four sides, the cheapest end counts.
    ends = [
        descended(anchors, boxes, fixed, np.argsort(key, kind="stable"))
        for key in (anchors[:, 0], -anchors[:, 0], anchors[:, 1], -anchors[:, 1])
    ]
    chosen, _ = min(ends, key=lambda end: end[1])
    return without_overlaps(
        boxes[np.arange(count), chosen], fixed[np.arange(count), chosen], dearest
    )


def descended(
    anchors: Floats, boxes: Floats, fixed: Floats, order: NDArray[np.intp]
) -> tuple[NDArray[np.intp], float]:
    """Move labels to their cheapest places in turn: the places chosen (n,), what they cost."""
    chosen = fixed.argmin(axis=1)
    total = np.inf
    for _ in range(SWEEPS):
        before, total = chosen.copy(), 0.0
        for i in order:
            cost = fixed[i] + meeting(anchors, boxes, chosen, i, order[order != i])
            chosen[i] = cost.argmin()
            total += float(cost.min())
        if (chosen == before).all():
            break
    return chosen, total


def taken(boxes: Floats, area: Floats, obstacles: Floats) -> NDArray[np.bool_]:
    """Return which boxes (c, 4) leave the area or cover an obstacle."""
    out = np.any((boxes < area) != [False, False, True, True], axis=1)
    return np.asarray(out | overlaps(boxes, obstacles).any(axis=1))


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


def meeting(
    anchors: Floats, boxes: Floats, chosen: NDArray[np.intp], i: int, rest: NDArray[np.intp]
) -> Floats:
    """Return the cost (c,) of each place of label i for the places that the `rest` have chosen."""
    others = boxes[rest, chosen[rest]]
    cost = ON_LABEL * overlaps(boxes[i], others).sum(axis=1)
    cost = cost + LEADER_ON_LABEL * crossed(anchors[i], boxes[i], others)
    # And the other way round: their leaders through this label.
    along = leader(anchors[rest], others)
    inside = (along > boxes[i][:, None, None, :2]) & (along < boxes[i][:, None, None, 2:])
    return np.asarray(cost + LEADER_ON_LABEL * inside.all(axis=-1).any(axis=-1).sum(axis=-1))


def leader(anchors: Floats, boxes: Floats) -> Floats:
    """Return points (c, 10, 2) from an anchor (2,), or from one each (c, 2), to each box."""
    nearest = np.clip(anchors, boxes[:, :2], boxes[:, 2:])
    start = np.broadcast_to(anchors, nearest.shape)[:, None]
    return np.asarray(start + np.linspace(0, 1, 10)[:, None] * (nearest[:, None] - start))


def crossed(anchor: Floats, boxes: Floats, others: Floats) -> NDArray[np.intp]:
    """Count, for each box (c,), the others that the leader from the anchor runs through."""
    along = leader(anchor, boxes)[:, :, None]
    inside = np.all((along > others[:, :2]) & (along < others[:, 2:]), axis=-1)
    return np.asarray(inside.any(axis=1).sum(axis=-1))


def share(anchor: Floats, boxes: Floats, lines: Floats) -> Floats:
    """Return the share of the leader to each box (c,) that a line hides."""
    along = leader(anchor, boxes)[:, :, None]
    inside = (along > lines[:, :2] - 2.4) & (along < lines[:, 2:] + 2.4)
    return np.asarray(inside.all(axis=-1).any(axis=-1).mean(axis=-1))


def strays(boxes: Floats, anchors: Floats, i: int) -> NDArray[np.bool_]:
    """Return which boxes (c,) are about as near to another anchor as to their own, anchor i."""
    apart = np.clip(anchors, boxes[:, None, :2], boxes[:, None, 2:]) - anchors
    distances = np.hypot(apart[..., 0], apart[..., 1])
    others = np.delete(distances, i, axis=1).min(axis=1, initial=np.inf)
    return np.asarray(others < distances[:, i] + 5)


def without_overlaps(boxes: Floats, costs: Floats, dearest: float) -> list[Floats | None]:
    """Remove the costlier of any two labels that still overlap, and those that cost too much."""
    kept: list[int] = []
    for i in np.argsort(costs, kind="stable"):
        free = not kept or not overlaps(boxes[[i]], boxes[kept]).any()
        if free and costs[i] < dearest:
            kept.append(int(i))
    return [boxes[i] if i in kept else None for i in range(len(boxes))]


def label_layers(
    points: Floats, named: NDArray[np.intp], names: Sequence[str], bars: Floats,
    ends: tuple[tuple[float, float], tuple[float, float]], size: tuple[float, float],
    radius: float, strict: bool = False,
) -> list[Any]:  # fmt: skip
    """Return layers of a chart that write names near their points.

    A thin line leads to a name that had to move away. A name without a free place near its point
    is left out.

    Parameters
    ----------
    points
        (n, 2): all points of the panel, in its coordinates.
    named, names
        (k,): which of them have a name; what to write.
    bars
        (m, 4): boxes, in the panel's coordinates, of error bars and the like.
    ends
        Of the panel's axes: horizontal, vertical.
    size
        Width and height of the panel in pixels.
    radius
        Of the points' marks in pixels.
    strict
        Leave a name out rather than set it on a bar or far off.
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
