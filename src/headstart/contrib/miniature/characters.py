"""Characters: 250 letters, digits and symbols in the twelve faces of DejaVu, drawn to be hard.

Letters of the Latin, Greek, Cyrillic, Armenian and Georgian alphabets, and symbols, without those
that look alike: of each set of characters that cannot be distinguished by shape once size and place
are random (A, Alpha and A of Cyrillic; x and X; Delta and the white triangle) one at most is a
class. Size, proportions, slope, turn, weight, colours, contrast, background, lines across,
neighbours, blur and noise are drawn at random, and the faces are the same in all splits.

The fonts that `glyphs` validates and tests with, Computer Modern and STIX, draw none of it: a
network that was trained on these characters has not seen that test.

fontTools reads the outlines from the font files that matplotlib ships, and matplotlib's own
rasteriser fills them, in whose fixed-point arithmetic the same outline gives the same pixels with
every release. Text drawn through FreeType does not: matplotlib 3.11 brought a newer one, and other
pixels.
"""

import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart.contrib.miniature.raster import (
    ONE,
    SIDE,
    Ints,
    background,
    clutter,
    contrasting,
    coverage,
    finished,
    mixed,
    turned,
)
from headstart.contrib.miniature.synthetic import SyntheticDataset

if TYPE_CHECKING:
    from matplotlib.path import Path as Outline

__all__ = ["CLASSES", "DATASET", "outlines"]

CLASSES = tuple(
    "0123456789ABCDEGHJKLMNPQRSTUVWXYZabdefijmnt"
    "ΓΔΣΦΨΩζλμξςω"
    "ДЖЙЛЦЧЪЫЭЮЯЂЉЊ"
    "ÆŒßÞðæƎəƢƔƱƷƸƺɧɮʞʡʢʭ"
    "ԱԴԵԶԷԸԹԻԽԾԿՀՁՃՆՇՉՌՎՔՖ"
    "აბგდეთკლჟრსტუფქღყჩცჭჯჰ"
    "!#$%&()*+/<=>?@[{}~^£¥§©¶¿÷±€₴₸№™∂∇∈∏√∞∠∫≈≠≡≤≥⊃⊕⊗⊞⊢⊥"
    "←↑→↓↔↕↗↖↘↙↩↪↯↺↻⇄⇅⇐⇑⇒⇓⇔⌂⌘■□▲▼◆◇●◐◑◎☼☀♀♂♠♡♣♥♩♪♫♮♃♄†‡‖‼⁇¼½∝⊐▣◔◕◢◣◤◥◧◨"
)
FACES = tuple(
    f"DejaVu{family}{style}"
    for family, italic in (("Sans", "Oblique"), ("SansMono", "Oblique"), ("Serif", "Italic"))
    for style in ("", "-Bold", f"-{italic}", f"-Bold{italic}")
)


def _draw(random: np.random.RandomState, label: int, split: str) -> npt.NDArray[np.uint8]:  # noqa: ARG001
    # Dark on light three times in four.
    channels = (0, 120) if random.randint(4) == 0 else (136, 256)
    image = clutter(random, background(random, 40, channels), 2)
    colour = contrasting(random, image.sum(axis=(0, 1)) // SIDE**2, 60)
    face = FACES[random.randint(len(FACES))]
    centre = (SIDE * ONE // 2 + random.randint(-3 * ONE, 3 * ONE + 1, 2)).tolist()
    image = mixed(image, colour, _character(random, face, label, centre))
    if random.randint(2):
        # As in a text: what is beside it reaches into the picture.
        beside = (centre[0] + (2 * random.randint(2) - 1) * 25 * ONE, centre[1])
        other = _character(random, face, random.randint(len(CLASSES)), beside)
        image = mixed(image, colour, other)
    return finished(random, image, noise=30)


def _character(
    random: np.random.RandomState, face: str, label: int, centre: tuple[int, int]
) -> Ints:
    """Draw one with its longer side at 17 to 26 pixels: coverage (SIDE, SIDE), 0 to 256."""
    outline = outlines(face, CLASSES)[label]
    corners = np.asarray(outline.vertices)
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = random.randint(17 * ONE, 26 * ONE) / float((high - low).max())
    wide, tall = (int(size * random.randint(80, 101)) // 100 for _ in range(2))
    shear = random.randint(-ONE // 4, ONE // 4 + 1)
    matrix = turned(random.randint(-18, 19), wide, tall, shear)
    a, b, c, d = matrix
    # Fonts count in 1/2048 of an em: twice its middle is a whole number of these.
    x, y = np.round((low + high) * 2048).astype(np.int64).tolist()
    place = (centre[0] - (a * x + b * y) // 4096, centre[1] - (c * x + d * y) // 4096)
    return coverage(outline, matrix, place, width=random.randint(ONE))


DATASET = SyntheticDataset(
    "characters", CLASSES, {"train": 96, "validation": 12, "test": 20}, _draw
)


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
