"""Datasets that are drawn in whole numbers: the same pixels on every machine, of every release.

A sum of floating-point numbers may differ in its last digit between processors, and so may a sine
between libraries; rounded to pixels, a digest of them then differs. So colours, gradients and noise
are integers here, and outlines are placed by multiples of 1/4096, which leaves every product exact
before matplotlib's rasteriser rounds it to 1/256 of a pixel.
"""

import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart.datasets.file_index import Advance
from headstart.datasets.images import ArrayImages
from headstart.datasets.splits import Split

if TYPE_CHECKING:
    from matplotlib.path import Path as Outline

__all__ = [
    "COSINES",
    "ONE",
    "SIDE",
    "Ints",
    "Matrix",
    "Pixels",
    "SyntheticDataset",
    "background",
    "circle",
    "clutter",
    "contrasting",
    "coverage",
    "disc",
    "finished",
    "mixed",
    "polyline",
    "smooth_noise",
    "turned",
]

SIDE = 32
# Fixed-point numbers are multiples of 1 / ONE.
ONE = 4096
COSINES = np.round(np.cos(np.deg2rad(np.arange(360))) * ONE).astype(np.int32)
# Of red, green and blue in brightness (ITU-R BT.601), in thousandths.
BRIGHTNESS = np.array([299, 587, 114])

Ints = npt.NDArray[np.signedinteger[Any]]
Pixels = npt.NDArray[np.uint8]
# Of a linear map, row by row, in multiples of 1 / ONE.
Matrix = tuple[int, int, int, int]


def turned(degrees: int, x_scale: int, y_scale: int, shear: int = 0) -> Matrix:
    """Return the matrix that scales, then shears along x, then turns anticlockwise.

    Scales and shear are multiples of 1 / ONE.
    """
    cos, sin = int(COSINES[degrees % 360]), int(COSINES[(degrees - 90) % 360])
    slope = shear * y_scale // ONE
    return (
        cos * x_scale // ONE,
        (cos * slope - sin * y_scale) // ONE,
        sin * x_scale // ONE,
        (sin * slope + cos * y_scale) // ONE,
    )


def coverage(
    outline: "Outline",
    matrix: Matrix = (ONE, 0, 0, ONE),
    place: tuple[int, int] = (0, 0),
    *,
    width: int = 0,
    filled: bool = True,
    side: int = SIDE,
) -> Ints:
    """State how much of each pixel an outline covers: (side, side) int32, 0 to 256.

    Parameters
    ----------
    outline
        Its coordinates have 12 binary digits behind the point at most.
    matrix
        From its units to pixels.
    place
        Where its fingerprint goes, from the lower left, in pixels / ONE.
    width
        Of the pen that goes along it, in pixels / ONE; 0: none does.
    filled
        Whether its inside counts.
    """
    from matplotlib.transforms import Affine2D

    a, b, c, d = matrix
    move = Affine2D(np.array([[a, b, place[0]], [c, d, place[1]], [0, 0, ONE]]) / ONE)
    renderer = _renderer(side, threading.get_ident())
    renderer.clear()
    context = renderer.new_gc()
    context.set_linewidth(width / ONE)
    # Round joins are built of sines; snapping moves what has right angles to whole pixels.
    context.set_joinstyle("bevel")
    context.set_snap(False)
    renderer.draw_path(context, outline, move, rgbFace=(0.0, 0.0, 0.0) if filled else None)
    cover = np.asarray(renderer.buffer_rgba())[..., 3].astype(np.int32)
    return cover + (cover >> 7)


@cache
def _renderer(side: int, thread: int) -> Any:  # noqa: ARG001  what draws is one thread's own
    from matplotlib.backends.backend_agg import RendererAgg

    # matplotlib types its renderer not at all.
    new_renderer: Any = RendererAgg
    return new_renderer(side, side, dpi=72)


def circle(degrees: Ints) -> Ints:
    """Return points of the unit circle (n, 2), in multiples of 1 / ONE."""
    return np.stack([COSINES[degrees % 360], COSINES[(degrees - 90) % 360]], axis=1)


def polyline(points: npt.ArrayLike, *, closed: bool = False) -> "Outline":
    """Return lines through points (n, 2), in multiples of 1 / ONE, as an outline."""
    from matplotlib.path import Path as Outline

    vertices = np.asarray(points, dtype=np.float64) / ONE
    if not closed:
        return Outline(vertices)
    return Outline(np.concatenate([vertices, vertices[-1:]]), closed=True)


def disc(place: tuple[int, int], radius: int) -> Ints:
    """State how much of each pixel a disc covers, as `coverage` does; in pixels / ONE."""
    outline = polyline(circle(np.arange(0, 360, 15)), closed=True)
    return coverage(outline, turned(0, radius, radius), place)


def mixed(below: Ints, colour: npt.ArrayLike, cover: Ints) -> Ints:
    """Put a colour on an image (..., 3) where it is covered, 0 to 256."""
    return below + (((np.asarray(colour, dtype=np.int32) - below) * cover[..., None] + 128) >> 8)


def contrasting(random: np.random.RandomState, against: Ints, least: int) -> Ints:
    """Draw a colour (3,) whose brightness differs from another's by `least` (at most 120)."""
    while True:
        colour = random.randint(0, 256, 3).astype(np.int32)
        if abs(int((colour - against) @ BRIGHTNESS)) >= 1000 * least:
            return colour


def smooth_noise(random: np.random.RandomState, cell: int, side: int = SIDE) -> Ints:
    """Draw values 0 to 255 at corners `cell` pixels apart, linear between: (side, side)."""
    n = (side + cell - 2) // cell + 2
    corners = random.randint(0, 256, (n, n)).astype(np.int32)
    first, last = np.divmod(np.arange(side, dtype=np.int32) + random.randint(cell), cell)
    rows = corners[first] * (cell - last)[:, None] + corners[first + 1] * last[:, None]
    values: Ints = rows[:, first] * (cell - last) + rows[:, first + 1] * last
    return values // (cell * cell)


def background(
    random: np.random.RandomState,
    uneven: int = 60,
    channels: tuple[int, int] = (0, 256),
) -> Ints:
    """Draw a colour that changes from one side to another, with clouds on it: (SIDE, SIDE, 3).

    The gradient and the clouds change a channel by `uneven` at most each; `channels` is where those
    of the colour are drawn from.
    """
    start, change = random.randint(*channels, 3), random.randint(-uneven, uneven + 1, 3)
    cos, sin = turned(random.randint(360), ONE, ONE)[:2]
    across = np.arange(SIDE, dtype=np.int32) - SIDE // 2
    along = (cos * across + sin * across[:, None]) // (SIDE // 2)
    clouds = smooth_noise(random, 8) - 128
    depth = random.randint(uneven + 1)
    slope = (along[..., None] * change.astype(np.int32)) >> 12
    return (slope + ((clouds * depth) >> 7)[..., None] + start.astype(np.int32)).clip(0, 255)


def clutter(random: np.random.RandomState, image: Ints, most: int = 3) -> Ints:
    """Draw up to `most` lines of three points, of any colour, across an image."""
    side = len(image)
    for _ in range(random.randint(most + 1)):
        line = polyline(random.randint(-4 * ONE, (side + 4) * ONE, (3, 2)))
        width = random.randint(ONE // 2, 3 * ONE // 2)
        cover = coverage(line, width=width, filled=False, side=side)
        image = mixed(image, random.randint(0, 256, 3), cover)
    return image


def finished(random: np.random.RandomState, image: Ints, *, noise: int) -> Pixels:
    """Blur an image, or leave it sharp, and add noise of up to `noise` to each channel."""
    if random.randint(2):
        # Each pixel is averaged with its neighbours, weighted 1, 2, 1 each way.
        framed = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
        rows = framed[:-2] + 2 * framed[1:-1] + framed[2:]
        image = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:] + 8) >> 4
    amount = random.randint(noise + 1)
    grain = random.randint(0, 256, image.shape, dtype=np.uint8).astype(np.int32)
    noisy = image + ((grain * (2 * amount + 1)) >> 8) - amount
    return noisy.clip(0, 255).astype(np.uint8)


@dataclass(frozen=True)
class SyntheticDataset:
    """A dataset of (32, 32, 3) images that are drawn.

    The name is in the seed of every image; `classes` are in the order of the labels; `per_class`
    counts the images of each class in ``train``, ``validation`` and ``test``. `draw` draws an image
    of a class for a split, (SIDE, SIDE, 3) uint8: all that is random in it comes from the stream
    that it is given. `split_rule` says in words where the splits come from.
    """

    name: str
    classes: tuple[str, ...]
    per_class: Mapping[str, int]
    draw: Callable[[np.random.RandomState, int, str], Pixels]
    split_rule: str = "Each image is drawn by itself."

    shape = (SIDE, SIDE, 3)

    def labels(self, split: str) -> npt.NDArray[np.int64]:
        """Return the (n,) int64 labels of a split: the classes in turn."""
        return np.tile(np.arange(len(self.classes), dtype=np.int64), self.per_class[split])

    def image(self, split: str, row: int) -> Pixels:
        """Draw an image: (SIDE, SIDE, 3) uint8."""
        return self._drawn(np.random.RandomState(0), split, row)

    def pixels(self, split: str, advance: Advance | None = None) -> Pixels:
        """Draw all images of a split: (n, SIDE, SIDE, 3) uint8; `advance` takes how many more."""
        n = len(self.classes) * self.per_class[split]
        drawn = np.empty((n, *self.shape), dtype=np.uint8)
        # Seeded anew for each: making one takes as long as drawing.
        random = np.random.RandomState(0)
        for row in range(n):
            drawn[row] = self._drawn(random, split, row)
            if advance and (row + 1) % len(self.classes) == 0:
                advance(len(self.classes))
        return drawn

    def split(self, name: str, images: ArrayImages) -> Split:
        """Put the labels of a split to its images."""
        labels = self.labels(name)
        return Split(images, labels, np.arange(len(labels)))

    def _drawn(self, random: np.random.RandomState, split: str, row: int) -> Pixels:
        random.seed([zlib.crc32(f"{self.name} {split}".encode()), row])
        return self.draw(random, row % len(self.classes), split)
