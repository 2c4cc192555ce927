"""Shapes: 16 plane figures, filled or in outline, turned any way, among lines and dots."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from headstart.contrib.miniature.raster import (
    ONE,
    SIDE,
    Ints,
    Pixels,
    SyntheticDataset,
    background,
    circle,
    clutter,
    contrasting,
    coverage,
    disc,
    finished,
    mixed,
    polyline,
    turned,
)

__all__ = ["DATASET"]

# In hundredths.
HEART = (
    (0, -100), (-92, -5), (-100, 25), (-92, 58), (-72, 76), (-48, 78), (-22, 66), (0, 38),
    (22, 66), (48, 78), (72, 76), (92, 58), (100, 25), (92, -5),
)  # fmt: skip


def _regular(n: int) -> Ints:
    return circle(np.arange(0, 360, 360 // n))


def _stretched(corners: Ints, percent: int) -> Ints:
    stretched: Ints = corners * np.array([110, percent]) // 100
    return stretched


def _scaled(corners: npt.ArrayLike) -> Ints:
    """Return corners that were in hundredths."""
    return np.array(corners, dtype=np.int32) * ONE // 100


def _star(points: int, percent: int) -> Ints:
    corners = circle(np.arange(0, 360, 180 // points))
    corners[1::2] = corners[1::2] * percent // 100
    return corners * 11 // 10


def _crescent(depth: int) -> Ints:
    """Cut the chord's side off a disc along half an ellipse, `depth` hundredths of a radius."""
    outer, half = circle(np.arange(55, 306, 5)), circle(np.arange(270, 449, 5))
    tip = outer[-1]
    inner = np.stack([tip[0] - half[:, 0] * depth // 100, -half[:, 1] * tip[1] // ONE], axis=1)
    corners: Ints = np.concatenate([outer, inner]) + np.array([ONE // 4, 0])
    return corners


def _cross(arm: int) -> Ints:
    quarter = [(100, -arm), (100, arm), (arm, arm)]
    turns = ((1, 0), (0, 1), (-1, 0), (0, -1))
    return _scaled([(x * c - y * s, x * s + y * c) for c, s in turns for x, y in quarter])


def _arrow(shaft: int, head: int, neck: int) -> Ints:
    return _scaled(
        [(-100, -shaft), (neck, -shaft), (neck, -head), (105, 0), (neck, head), (neck, shaft),
         (-100, shaft)]
    )  # fmt: skip


# Each gives the corners (n, 2) of a figure about as large as the unit circle, times ONE.
FIGURES: Mapping[str, Callable[[np.random.RandomState], Ints]] = MappingProxyType(
    {
        "circle": lambda _: _regular(72),
        "ellipse": lambda random: _stretched(_regular(72), random.randint(45, 66)),
        "semicircle": lambda _: circle(np.arange(0, 181, 5)) - np.array([0, ONE // 3]),
        "crescent": lambda random: _crescent(random.randint(45, 81)),
        "sector": lambda random: np.concatenate(
            [circle(np.arange(0, random.randint(270, 315), 5)), _scaled([(0, 0)])]
        ),
        "triangle": lambda _: _regular(3),
        "square": lambda _: _regular(4),
        "rectangle": lambda random: _stretched(
            circle(np.arange(45, 360, 90)) * 5 // 4, random.randint(40, 61)
        ),
        "rhombus": lambda random: _stretched(_regular(4), random.randint(45, 66)),
        "pentagon": lambda _: _regular(5),
        "hexagon": lambda _: _regular(6),
        "five-pointed star": lambda random: _star(5, random.randint(35, 46)),
        "four-pointed star": lambda random: _star(4, random.randint(32, 43)),
        "cross": lambda random: _cross(random.randint(22, 36)),
        "arrow": lambda random: _arrow(
            random.randint(14, 26), random.randint(55, 80), random.randint(-10, 30)
        ),
        "heart": lambda _: _scaled(HEART),
    }
)
CLASSES = tuple(FIGURES)


def _draw(random: np.random.RandomState, label: int, split: str) -> Pixels:  # noqa: ARG001
    image = clutter(random, background(random))
    for _ in range(random.randint(4)):
        place = random.randint(0, SIDE * ONE, 2).tolist()
        image = mixed(image, random.randint(0, 256, 3), disc(place, random.randint(ONE, 2 * ONE)))
    colour = contrasting(random, image.sum(axis=(0, 1)) // SIDE**2, 45)
    outline = polyline(FIGURES[CLASSES[label]](random), closed=True)
    size = random.randint(8 * ONE, 13 * ONE)
    matrix = turned(random.randint(360), size, size)
    place = (SIDE * ONE // 2 + random.randint(-3 * ONE, 3 * ONE + 1, 2)).tolist()
    style = random.randint(3)
    if style != 1:
        image = mixed(image, colour, coverage(outline, matrix, place))
    if style != 0:
        edge = colour if style == 1 else random.randint(0, 256, 3)
        width = random.randint(3 * ONE // 2, 5 * ONE // 2)
        image = mixed(image, edge, coverage(outline, matrix, place, width=width, filled=False))
    return finished(random, image, noise=40)


DATASET = SyntheticDataset("shapes", CLASSES, {"train": 125, "validation": 38, "test": 125}, _draw)
