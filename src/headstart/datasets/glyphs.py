"""Glyphs: 62 classes of characters drawn with the fonts that matplotlib ships.

The splits hold whole font families apart, so a test font has been seen in no form: DejaVu Sans
and Serif train, Computer Modern validates, STIX (a Times) tests. Each character is drawn several
times at random size, place and slope.

Outlines are read from the font files by fontTools and filled by matplotlib's own rasteriser, in
whose fixed-point arithmetic the same outline gives the same pixels with every release. Text drawn
through FreeType does not: matplotlib 3.11 brought a newer one, and other pixels.
"""

import logging
import string
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart.datasets.images import ArrayImages
from headstart.datasets.splits import Split

if TYPE_CHECKING:
    from matplotlib.path import Path as Outline

__all__ = ["CLASSES", "read"]

CLASSES = tuple(string.digits + string.ascii_uppercase + string.ascii_lowercase)
SIDE = 64

FONTS = {
    "train": (
        "DejaVuSans DejaVuSans-Bold DejaVuSans-Oblique DejaVuSans-BoldOblique "
        "DejaVuSerif DejaVuSerif-Bold DejaVuSerif-Italic DejaVuSerif-BoldItalic"
    ),
    "validation": "cmr10 cmb10 cmss10 cmtt10",
    "test": "STIXGeneral STIXGeneralBol STIXGeneralItalic STIXGeneralBolIta",
}
DRAWINGS = {"train": 3, "validation": 4, "test": 4}


def read() -> dict[str, Split]:
    """Draw all images. Takes a second or two."""
    return {name: _draw_split(name, seed) for seed, name in enumerate(FONTS)}


def _draw_split(name: str, seed: int) -> Split:
    random = np.random.RandomState(seed)
    fonts = FONTS[name].split()
    pixels = np.concatenate(
        [_draw_font(font, random) for font in fonts for _ in range(DRAWINGS[name])]
    )
    labels = np.tile(np.arange(len(CLASSES)), len(pixels) // len(CLASSES))
    return Split(ArrayImages(pixels), labels.astype(np.int64), np.arange(len(labels)))


def _draw_font(font: str, random: np.random.RandomState) -> npt.NDArray[np.uint8]:
    """Draw every character once: (62, SIDE, SIDE) uint8, dark on light."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.transforms import Affine2D

    # matplotlib types its renderer not at all, and its paths too loosely.
    new_renderer: Any = RendererAgg
    drawings = np.empty((len(CLASSES), SIDE, SIDE), dtype=np.uint8)
    for row, outline in enumerate(_outlines(font)):
        corners = np.asarray(outline.vertices)
        low, high = corners.min(axis=0), corners.max(axis=0)
        move = (
            Affine2D()
            .translate(*-(low + high) / 2)
            .scale(SIDE * random.uniform(0.6, 0.85))
            .rotate_deg(random.uniform(-8, 8))
            .translate(*(SIDE / 2 + random.uniform(-5, 5, size=2)))
        )
        renderer = new_renderer(SIDE, SIDE, dpi=72)
        context = renderer.new_gc()
        context.set_linewidth(0)
        renderer.draw_path(context, outline, move, rgbFace=(0.0, 0.0, 0.0))
        drawings[row] = 255 - np.asarray(renderer.buffer_rgba())[..., 3]
    return drawings


@cache
def _outlines(font: str) -> "list[Outline]":
    """Read the outline of every character from the font file, in ems."""
    import matplotlib
    from fontTools.ttLib import TTFont

    # It finds fault with the dates in Computer Modern's headers.
    logging.getLogger("fontTools.ttLib").setLevel(logging.ERROR)
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    with TTFont(file) as font_file:
        glyphs, names = font_file.getGlyphSet(), font_file.getBestCmap()
        em = font_file["head"].unitsPerEm
        return [_outline(glyphs, names[ord(character)], em) for character in CLASSES]


def _outline(glyphs: Any, name: str, em: int) -> "Outline":
    """Record what a glyph draws as a matplotlib path."""
    from fontTools.pens.basePen import BasePen
    from matplotlib.path import Path as Outline

    vertices: list[tuple[float, float]] = []
    codes: list[np.uint8] = []

    class PathPen(BasePen):  # type: ignore[misc]  # fontTools is untyped
        """Keeps moves, lines and quadratic curves: all that a TrueType outline is made of."""

        def _moveTo(self, point: tuple[float, float]) -> None:
            vertices.append(point)
            codes.append(Outline.MOVETO)

        def _lineTo(self, point: tuple[float, float]) -> None:
            vertices.append(point)
            codes.append(Outline.LINETO)

        def _qCurveToOne(self, control: tuple[float, float], end: tuple[float, float]) -> None:
            vertices.extend((control, end))
            codes.extend((Outline.CURVE3, Outline.CURVE3))

        def _closePath(self) -> None:
            # Its vertex draws nothing; the contour's last point keeps it inside the outline.
            vertices.append(vertices[-1])
            codes.append(Outline.CLOSEPOLY)

    glyphs[name].draw(PathPen(glyphs))
    return Outline(np.array(vertices, dtype=np.float64) / em, codes)
