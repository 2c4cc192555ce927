"""Charts: 16 kinds of chart of made-up numbers, as small as a thumbnail; the class is the kind."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from headstart.contrib.miniature.raster import (
    COSINES,
    ONE,
    SIDE,
    Ints,
    Pixels,
    SyntheticDataset,
    circle,
    contrasting,
    coverage,
    disc,
    finished,
    mixed,
    polyline,
)

__all__ = ["DATASET"]

# A tenth of a pixel: what places and sizes in this module are whole numbers of.
TENTH = ONE // 10


class _Paper:
    """A sheet that is drawn on, from the lower left, in tenths of a pixel.

    The stream draws the colours, and where the chart is.
    """

    def __init__(self, random: np.random.RandomState) -> None:
        light = random.randint(3) > 0
        self.ground = random.randint(*((205, 256) if light else (0, 60)), 3).astype(np.int32)
        self.image: Ints = np.broadcast_to(self.ground, (SIDE, SIDE, 3))
        self.ink = contrasting(random, self.ground, 70)
        self.colours = [contrasting(random, self.ground, 35) for _ in range(6)]
        self.left, self.bottom = random.randint(20, 61, 2).tolist()
        self.right, self.top = (10 * SIDE - random.randint(10, 51, 2)).tolist()

    @property
    def width(self) -> int:
        """Of the chart."""
        return int(self.right - self.left)

    @property
    def height(self) -> int:
        """Of the chart."""
        return int(self.top - self.bottom)

    def line(
        self, points: npt.ArrayLike, colour: Ints, width: int, *, closed: bool = False
    ) -> None:
        """Draw a line through points (n, 2)."""
        path = polyline(np.asarray(points) * TENTH, closed=closed)
        cover = coverage(path, width=width * TENTH, filled=False)
        self.image = mixed(self.image, colour, cover)

    def area(self, points: npt.ArrayLike, colour: Ints) -> None:
        """Fill a polygon (n, 2)."""
        cover = coverage(polyline(np.asarray(points) * TENTH, closed=True))
        self.image = mixed(self.image, colour, cover)

    def box(self, left: int, bottom: int, right: int, top: int, colour: Ints) -> None:
        """Fill a rectangle."""
        self.area([(left, bottom), (right, bottom), (right, top), (left, top)], colour)

    def dot(self, x: int, y: int, radius: int, colour: Ints) -> None:
        """Fill a circle."""
        self.image = mixed(self.image, colour, disc((x * TENTH, y * TENTH), radius * TENTH))

    def columns(self, n: int) -> list[tuple[int, int]]:
        """Divide the width into n: the left and right of each."""
        edges = [self.left + self.width * i // n for i in range(n + 1)]
        return list(pairwise(edges))

    def frame(self, random: np.random.RandomState) -> None:
        """Draw grid lines and axes, or one of them, or nothing."""
        faint = (2 * self.ground + self.ink) // 3
        if random.randint(3) == 0:
            for i in range(1, lines := random.randint(3, 6)):
                y = self.bottom + self.height * i // lines
                self.line([(self.left, y), (self.right, y)], faint, 5)
        corner, width = (self.left, self.bottom), random.randint(6, 12)
        if (style := random.randint(4)) > 0:
            axes = [(self.left, self.top), corner, (self.right, self.bottom)]
            ends = [(self.right, self.top)] if style == 3 else []
            self.line([*axes, *ends], self.ink, width, closed=style == 3)


def _walk(random: np.random.RandomState, n: int, low: int, high: int) -> Ints:
    """Draw n heights from low to high, each near the last."""
    steps = np.cumsum(random.randint(-100, 101, n))
    least, most = int(steps.min()), int(steps.max())
    return ((steps - least) * (high - low) // max(1, most - least) + low).astype(np.int32)


def _xs(paper: _Paper, n: int) -> Ints:
    places: Ints = paper.left + paper.width * np.arange(n) // (n - 1)
    return places.astype(np.int32)


def _bars(paper: _Paper, random: np.random.RandomState) -> None:
    gap, several = random.randint(20, 41), random.randint(3) == 0
    for i, (left, right) in enumerate(paper.columns(random.randint(3, 8))):
        space = (right - left) * gap // 200
        top = paper.bottom + paper.height * random.randint(15, 101) // 100
        colour = paper.colours[i % 6 if several else 0]
        paper.box(left + space, paper.bottom, right - space, top, colour)


def _horizontal_bars(paper: _Paper, random: np.random.RandomState) -> None:
    n, gap, several = random.randint(3, 8), random.randint(20, 41), random.randint(3) == 0
    for i in range(n):
        low, high = (paper.bottom + paper.height * k // n for k in (i, i + 1))
        space = (high - low) * gap // 200
        right = paper.left + paper.width * random.randint(15, 101) // 100
        paper.box(paper.left, low + space, right, high - space, paper.colours[i % 6 * several])


def _stacked_bars(paper: _Paper, random: np.random.RandomState) -> None:
    gap, parts = random.randint(20, 41), random.randint(2, 5)
    for left, right in paper.columns(random.randint(3, 7)):
        space, low = (right - left) * gap // 200, paper.bottom
        heights = random.randint(15, 100, parts)
        total = paper.height * random.randint(60, 101) // 100
        for height, colour in zip(heights.tolist(), paper.colours, strict=False):
            high = low + total * height // int(heights.sum())
            paper.box(left + space, low, right - space, high, colour)
            low = high


def _histogram(paper: _Paper, random: np.random.RandomState) -> None:
    n = random.randint(8, 15)
    # Of sums of three numbers: a bell, leaning to one side where the middle is not in the middle.
    sums = random.randint(0, 100, (400, 3)).sum(axis=1)
    lean = random.randint(-1, 2)
    bins = sums if not lean else sums * sums // 300 if lean > 0 else 300 - sums * sums // 300
    counts = np.bincount(bins * n // 300, minlength=n)[:n]
    edge = (paper.ground + paper.colours[0]) // 2
    for (left, right), count in zip(paper.columns(n), counts.tolist(), strict=True):
        top = paper.bottom + paper.height * count // int(counts.max())
        paper.box(left, paper.bottom, right, top, paper.colours[0])
        paper.line([(left, paper.bottom), (left, top), (right, top)], edge, 3)


def _line(paper: _Paper, random: np.random.RandomState) -> None:
    n, width = random.randint(6, 15), random.randint(8, 16)
    for colour in paper.colours[: random.randint(1, 4)]:
        heights = _walk(random, n, *_range(paper, random))
        paper.line(np.stack([_xs(paper, n), heights], axis=1), colour, width)


def _range(paper: _Paper, random: np.random.RandomState) -> tuple[int, int]:
    low = paper.bottom + paper.height * random.randint(5, 40) // 100
    return low, low + (paper.top - low) * random.randint(50, 101) // 100


def _steps(paper: _Paper, random: np.random.RandomState) -> None:
    n, width = random.randint(5, 10), random.randint(8, 16)
    for colour in paper.colours[: random.randint(1, 3)]:
        heights = np.repeat(_walk(random, n, *_range(paper, random)), 2)
        paper.line(
            np.stack([np.repeat(_xs(paper, n + 1), 2)[1:-1], heights], axis=1), colour, width
        )


def _areas(paper: _Paper, random: np.random.RandomState) -> None:
    n = random.randint(6, 15)
    low, high = paper.bottom, paper.top
    for colour in paper.colours[: random.randint(1, 3)]:
        heights = _walk(random, n, low + (high - low) * random.randint(20, 50) // 100, high)
        points = np.stack([_xs(paper, n), heights], axis=1)
        paper.area([*points, (paper.right, low), (paper.left, low)], colour)
        high = low + (high - low) * 60 // 100


def _stems(paper: _Paper, random: np.random.RandomState) -> None:
    n = random.randint(5, 10)
    heights = random.randint(20, 101, n) * paper.height // 100
    for (left, right), height in zip(paper.columns(n), heights.tolist(), strict=True):
        x, y = (left + right) // 2, paper.bottom + height
        paper.line([(x, paper.bottom), (x, y)], paper.colours[0], 6)
        paper.dot(x, y, 13, paper.colours[0])


def _scatter(paper: _Paper, random: np.random.RandomState) -> None:
    groups, radius, slope = random.randint(1, 4), random.randint(8, 14), random.randint(-100, 101)
    for i in range(random.randint(14, 36)):
        x = random.randint(0, 101)
        level = 50 + slope * (x - 50) // 100
        y = (level + random.randint(-45, 46)) % 101
        where = paper.left + paper.width * x // 100, paper.bottom + paper.height * y // 100
        paper.dot(*where, radius, paper.colours[i % groups])


def _circle(paper: _Paper) -> tuple[int, int, int]:
    """Return the middle of the chart, and the largest radius around it."""
    radius = min(paper.width, paper.height) // 2
    return (paper.left + paper.right) // 2, (paper.bottom + paper.top) // 2, radius


def _ring(centre: tuple[int, int], radius: int, degrees: Ints) -> Ints:
    """Return points of a circle (n, 2)."""
    return circle(degrees) * radius // ONE + np.array(centre, dtype=np.int32)


def _pie(paper: _Paper, random: np.random.RandomState) -> None:
    x, y, radius = _circle(paper)
    shares = random.randint(15, 100, random.randint(3, 7))
    ends = (np.cumsum(shares) * 360 // int(shares.sum())).tolist()
    start, turn = 0, random.randint(360)
    for end, colour in zip(ends, paper.colours, strict=False):
        degrees = np.append(np.arange(start, end, 5), end) + turn
        paper.area([(x, y), *_ring((x, y), radius, degrees)], colour)
        start = end


def _doughnut(paper: _Paper, random: np.random.RandomState) -> None:
    _pie(paper, random)
    x, y, radius = _circle(paper)
    paper.dot(x, y, radius * random.randint(45, 66) // 100, paper.ground)


def _boxes(paper: _Paper, random: np.random.RandomState) -> None:
    several = random.randint(2)
    for i, (left, right) in enumerate(paper.columns(random.randint(2, 5))):
        parts = np.cumsum(random.randint(20, 60, 5))
        heights = parts[:-1] * paper.height // int(parts[-1]) + paper.bottom
        low, first, third, high = heights.tolist()
        middle, half = (left + right) // 2, (right - left) * 3 // 10
        for bottom, top in ((low, first), (third, high)):
            paper.line([(middle, bottom), (middle, top)], paper.ink, 7)
        for y in (low, high):
            paper.line([(middle - half // 2, y), (middle + half // 2, y)], paper.ink, 7)
        paper.box(middle - half, first, middle + half, third, paper.colours[i * several])
        median = first + (third - first) * random.randint(30, 71) // 100
        paper.line([(middle - half, median), (middle + half, median)], paper.ink, 9)


def _violins(paper: _Paper, random: np.random.RandomState) -> None:
    several = random.randint(2)
    for i, (left, right) in enumerate(paper.columns(random.randint(2, 5))):
        low = paper.bottom + paper.height * random.randint(0, 25) // 100
        high = paper.top - paper.height * random.randint(0, 25) // 100
        # A wave from -180 to 180 degrees, and a second for shoulders.
        degrees = np.arange(0, 361, 20)
        second = random.randint(-50, 51)
        wave = (ONE - COSINES[degrees % 360]) * (100 - abs(second)) // 100
        wave = wave + (ONE - COSINES[2 * degrees % 360]) * abs(second) // 100
        shape = wave * ((right - left) * 9 // 20) // int(wave.max())
        ys = low + (high - low) * degrees // 360
        middle = (left + right) // 2
        sides = [
            np.stack([middle - shape, ys], axis=1),
            np.stack([middle + shape, ys], axis=1)[::-1],
        ]
        paper.area(np.concatenate(sides), paper.colours[i * several])
        paper.line([(middle, low), (middle, high)], paper.ground, 5)


def _heat_map(paper: _Paper, random: np.random.RandomState) -> None:
    rows, columns = random.randint(4, 8, 2).tolist()
    start, end = paper.colours[0], 255 - paper.colours[0]
    for i in range(rows):
        low, high = (paper.bottom + paper.height * k // rows for k in (i, i + 1))
        for left, right in paper.columns(columns):
            part = random.randint(0, 257)
            paper.box(left, low, right, high, (start * part + end * (256 - part)) >> 8)


def _contours(paper: _Paper, random: np.random.RandomState) -> None:
    x, y, radius = _circle(paper)
    degrees, n = np.arange(0, 360, 10), random.randint(4, 7)
    bends = [(random.randint(1, 4), random.randint(360), random.randint(8, 20)) for _ in range(2)]
    parts = [COSINES[(k * degrees + turn) % 360] * part // 100 for k, turn, part in bends]
    bent = np.sum(parts, axis=0) + ONE
    tilt, start = random.randint(70, 101, 2), random.randint(2)
    for i in range(n):
        rings = _ring((0, 0), radius * (n - i) // n, degrees) * bent[:, None] // ONE * tilt // 100
        colour = paper.colours[min(i, 5) * start]
        paper.line(rings + np.array([x, y]), colour, 7, closed=True)


def _radar(paper: _Paper, random: np.random.RandomState) -> None:
    x, y, radius = _circle(paper)
    n = random.randint(5, 8)
    degrees = 90 + 360 * np.arange(n) // n
    faint = (paper.ground + paper.ink) // 2
    for part in (50, 100):
        paper.line(_ring((x, y), radius * part // 100, degrees), faint, 5, closed=True)
    for tip in _ring((x, y), radius, degrees).tolist():
        paper.line([(x, y), tip], faint, 4)
    for colour in paper.colours[: random.randint(1, 3)]:
        parts = random.randint(25, 96, n)[:, None]
        points = _ring((0, 0), radius, degrees) * parts // 100 + [x, y]
        paper.line(points, colour, 13, closed=True)


Plot = Callable[[_Paper, np.random.RandomState], None]
# Those in which something stands on axes, and those in which nothing does.
ON_AXES: Mapping[str, Plot] = MappingProxyType(
    {
        "bars": _bars,
        "horizontal bars": _horizontal_bars,
        "stacked bars": _stacked_bars,
        "histogram": _histogram,
        "line": _line,
        "steps": _steps,
        "area": _areas,
        "stems": _stems,
        "scatter": _scatter,
        "boxes": _boxes,
        "violins": _violins,
        "heat map": _heat_map,
        "contours": _contours,
    }
)
ROUND: Mapping[str, Plot] = MappingProxyType({"pie": _pie, "doughnut": _doughnut, "radar": _radar})
CLASSES = (*ON_AXES, *ROUND)


def _draw(random: np.random.RandomState, label: int, split: str) -> Pixels:  # noqa: ARG001
    paper, name = _Paper(random), CLASSES[label]
    if name in ON_AXES:
        paper.frame(random)
        ON_AXES[name](paper, random)
    else:
        ROUND[name](paper, random)
    return finished(random, paper.image, noise=30)


DATASET = SyntheticDataset("charts", CLASSES, {"train": 125, "validation": 38, "test": 125}, _draw)
