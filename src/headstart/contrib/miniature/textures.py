"""Textures: 18 patterns and kinds of noise, each made by a rule; the class is the rule.

Patterns have any period, turn and colours, in uneven light. They are computed at three times the
side and averaged down.
"""

from collections.abc import Callable, Mapping
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
    contrasting,
    finished,
    mixed,
    smooth_noise,
    turned,
)

__all__ = ["DATASET"]

FINE = 3
HALF = ONE // 2
# Of a period of the pattern, in pixels of the image.
LEAST, MOST = 5, 11


class _Plane:
    """Coordinates on a plane that is turned any way: a period of the pattern is ONE.

    `u` and `v` are (side, side), of each fine pixel; `period` is in fine pixels, too.
    """

    def __init__(self, random: np.random.RandomState) -> None:
        self.side = FINE * SIDE
        self.period = random.randint(FINE * LEAST, FINE * MOST + 1)
        a, b, c, d = turned(random.randint(360), ONE, ONE)
        x = np.arange(self.side, dtype=np.int32)
        start = random.randint(0, 64 * ONE, 2).tolist()
        self.u: Ints = (a * x + b * x[:, None]) // self.period + start[0]
        self.v: Ints = (c * x + d * x[:, None]) // self.period + start[1]

    def cloud(self, random: np.random.RandomState, periods: int = 1) -> Ints:
        """Draw smooth noise of so many periods: (side, side), 0 to 255."""
        return smooth_noise(random, periods * self.period, self.side)


def _band(u: Ints, width: int) -> Ints:
    """State where a coordinate is in the first `width` hundredths of its period."""
    return ((u % ONE) * 100 < width * ONE).astype(np.int32)


def _sine(u: Ints) -> Ints:
    """Return ONE times the sine of a coordinate, one period ONE."""
    return COSINES[(u % ONE) * 360 // ONE - 90]


def _fold(u: Ints) -> Ints:
    """Go up and down within a period, from 0 to HALF and back."""
    return abs(u % ONE - HALF)


def _round(u: Ints, v: Ints, radius: int) -> Ints:
    """Put a disc into each square of the plane, its radius in hundredths of a period."""
    x, y = (u % ONE - HALF) * 100 // ONE, (v % ONE - HALF) * 100 // ONE
    return (x * x + y * y < radius * radius).astype(np.int32)


def _bricks(plane: _Plane, random: np.random.RandomState) -> Ints:
    row = plane.v // ONE
    u = plane.u * 45 // 100 + (row % 2) * HALF
    joint = random.randint(12, 22)
    return 1 - (_band(plane.v, joint) | _band(u, joint * 45 // 100))


def _rings(plane: _Plane, random: np.random.RandomState) -> Ints:
    centre = random.randint(-plane.side // 4, 5 * plane.side // 4, 2).tolist()
    x = np.arange(plane.side)
    # The root is exact to the last bit everywhere.
    distance = np.sqrt((x - centre[0]) ** 2 + (x[:, None] - centre[1]) ** 2)
    return _band((distance * ONE).astype(np.int32) // plane.period, random.randint(35, 66))


def _weave(plane: _Plane, random: np.random.RandomState) -> Ints:
    u, v = plane.u * 2 // 3, plane.v * 2 // 3
    width = random.randint(35, 56)
    return np.where((u // ONE + v // ONE) % 2 == 1, _band(3 * u, width), _band(3 * v, width))


def _squares(plane: _Plane, sites: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the squared distance of each fine pixel to each site: (n, side, side)."""
    x = np.arange(plane.side)
    across, along = ((x - sites[:, axis, None]) ** 2 for axis in (0, 1))
    squares: npt.NDArray[np.int64] = across[:, None, :] + along[:, :, None]
    return squares


def _cells(plane: _Plane, sites: npt.NDArray[np.int64]) -> tuple[Ints, Ints]:
    """Return the nearest site (n, 2) of each fine pixel, and how much farther the second is."""
    distances = _squares(plane, sites)
    nearest = distances.argmin(axis=0)
    two = np.sqrt(np.partition(distances, 1, axis=0)[:2])
    return nearest.astype(np.int32), ((two[1] - two[0]) * 16).astype(np.int32)


def _sites(plane: _Plane, random: np.random.RandomState, percent: int) -> npt.NDArray[np.int64]:
    """Scatter sites over the plane, one to a square of so many hundredths of a period."""
    step = plane.period * percent // 100
    n = plane.side // step + 3
    corners = np.stack(np.divmod(np.arange(n * n), n), axis=1) * step - step
    sites: npt.NDArray[np.int64] = corners + random.randint(0, step, (n * n, 2))
    return sites


def _honeycomb(plane: _Plane, random: np.random.RandomState) -> Ints:
    n = 2 * (plane.side // plane.period + 2)
    rows, columns = np.divmod(np.arange(n * n), n)
    # A lattice of triangles: rows are 7/8 of a period apart, near the root of 3/4.
    x = (columns * 16 + rows % 2 * 8 - 8 * n) * plane.period // 16
    y = (rows * 14 - 7 * n) * plane.period // 16
    a, b, c, d = turned(random.randint(60), ONE, ONE)
    middle = plane.side // 2
    sites = np.stack([(a * x + b * y) // ONE + middle, (c * x + d * y) // ONE + middle], axis=1)
    near = (abs(sites - middle) < middle + 2 * plane.period).all(axis=1)
    return (_cells(plane, sites[near])[1] > 2 * plane.period).astype(np.int32)


def _spots(plane: _Plane, random: np.random.RandomState) -> Ints:
    sites = _sites(plane, random, 90)
    radii = random.randint(10, 40, len(sites)) * plane.period // 100
    inside: Ints = np.any(_squares(plane, sites) < (radii**2)[:, None, None], axis=0)
    return inside.astype(np.int32)


# Each gives (side, side) in 0 to 1, or to 256 where there is something between two colours.
PATTERNS: Mapping[str, Callable[[_Plane, np.random.RandomState], Ints]] = MappingProxyType(
    {
        "stripes": lambda p, random: _band(p.u, random.randint(30, 71)),
        "waves": lambda p, random: _band(
            p.u + _sine(p.v // 2) * random.randint(30, 55) // 100, random.randint(35, 66)
        ),
        "zigzag": lambda p, random: _band(
            p.u + _fold(p.v // 2) * random.randint(180, 300) // 100, random.randint(35, 66)
        ),
        "checkers": lambda p, _: (p.u // ONE + p.v // ONE) % 2,
        "triangles": lambda p, _: (p.u // ONE + p.v // ONE + (p.u + p.v) // ONE) % 2,
        "grid": lambda p, random: _band(p.u, width := random.randint(15, 29)) | _band(p.v, width),
        "weave": lambda p, random: _weave(p, random),
        "dots": lambda p, random: _round(p.u + p.v // ONE % 2 * HALF, p.v, random.randint(22, 41)),
        "spots": _spots,
        "bricks": _bricks,
        "honeycomb": _honeycomb,
        "cracks": lambda p, random: (_cells(p, _sites(p, random, 100))[1] > 2 * p.period).astype(
            np.int32
        ),
        "mosaic": lambda p, random: random.randint(0, 257, 4096).astype(np.int32)[
            _cells(p, _sites(p, random, 80))[0]
        ],
        "rings": _rings,
        "marble": lambda p, random: (
            (_sine(p.u // 2 + p.cloud(random, 2) * random.randint(14, 28)) + ONE) >> 5
        ),
        "clouds": lambda p, random: (2 * (p.cloud(random, 2) + p.cloud(random)) - 382).clip(0, 256),
        "blobs": lambda p, random: (p.cloud(random) > random.randint(110, 146)).astype(np.int32),
        "grain": lambda _, random: np.kron(
            random.randint(0, 257, (SIDE, SIDE)).astype(np.int32), np.ones((FINE, FINE), np.int32)
        ).astype(np.int32),
    }
)
CLASSES = tuple(PATTERNS)


def _draw(random: np.random.RandomState, label: int, split: str) -> Pixels:  # noqa: ARG001
    pattern = PATTERNS[CLASSES[label]](_Plane(random), random).astype(np.int32)
    cover = pattern * 256 if pattern.max() <= 1 else pattern
    squares = cover.reshape(SIDE, FINE, SIDE, FINE)
    cover = squares.sum(axis=(1, 3)) // FINE**2
    below = random.randint(0, 256, 3).astype(np.int32)
    image = mixed(np.broadcast_to(below, (SIDE, SIDE, 3)), contrasting(random, below, 40), cover)
    light = (smooth_noise(random, SIDE) - 128) * random.randint(90) >> 7
    return finished(random, image + light[..., None], noise=40)


DATASET = SyntheticDataset(
    "textures",
    CLASSES,
    {"train": 112, "validation": 34, "test": 112},
    _draw,
    "Each image is made by itself.",
)
