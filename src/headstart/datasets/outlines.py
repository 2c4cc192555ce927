"""Outlines of characters, read from the font files that matplotlib ships.

fontTools reads them and matplotlib's own rasteriser fills them, in whose fixed-point arithmetic the
same outline gives the same pixels with every release. Text drawn through FreeType does not:
matplotlib 3.11 brought a newer one, and other pixels.
"""

import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.path import Path as Outline

__all__ = ["outlines"]


@cache
def outlines(font: str, characters: tuple[str, ...]) -> "list[Outline]":
    """Read the outline of each character from a font file, in ems.

    Parameters
    ----------
    font
        A file of matplotlib's folder of TrueType fonts, without its ending.
    characters
        Of one code point each; the font has to have them.
    """
    import matplotlib
    from fontTools.ttLib import TTFont

    # It finds fault with the dates in Computer Modern's headers.
    logging.getLogger("fontTools.ttLib").setLevel(logging.ERROR)
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    with TTFont(file) as font_file:
        glyphs, names = font_file.getGlyphSet(), font_file.getBestCmap()
        em = font_file["head"].unitsPerEm
        return [_outline(glyphs, names[ord(character)], em) for character in characters]


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
