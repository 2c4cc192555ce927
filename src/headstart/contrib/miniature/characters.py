"""Characters and glyphs: two datasets of letters, digits and symbols, drawn from fonts.

`characters` are 250 of them in the twelve faces of DejaVu, drawn to be hard.

Letters of the Latin, Greek, Cyrillic, Armenian and Georgian alphabets, and symbols, without those
that look alike: of each set of characters that cannot be distinguished by shape once size and place
are random (A, Alpha and A of Cyrillic; x and X; Delta and the white triangle) one at most is a
class. Size, proportions, slope, turn, weight, colours, contrast, background, lines across,
neighbours, blur and noise are drawn at random, and the faces are the same in all splits.

`glyphs` are 62, dark on light, drawn several times at random size, place and slope. The splits hold
whole font families apart, so a test font has been seen in no form: DejaVu Sans and Serif train,
Computer Modern validates, STIX (a Times) tests. Of these, Computer Modern and STIX draw none of
`characters`: a network that was trained on those has not seen that test.

fontTools reads the outlines from the font files that matplotlib ships, and matplotlib's own
rasteriser fills them, in whose fixed-point arithmetic the same outline gives the same pixels with
every release. Text drawn through FreeType does not: matplotlib 3.11 brought a newer one, and other
pixels.
"""

import logging
import string
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.contrib.miniature.raster import (
    ONE,
    SIDE,
    Ints,
    Pixels,
    SyntheticDataset,
    background,
    clutter,
    contrasting,
    coverage,
    finished,
    mixed,
    turned,
)
from headstart.datasets.images import ArrayImages
from headstart.datasets.splits import Split

if TYPE_CHECKING:
    from matplotlib.path import Path as Outline

__all__ = ["CHARACTERS", "FONTS", "GLYPHS", "read_glyphs"]

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
GLYPHS = tuple(string.digits + string.ascii_uppercase + string.ascii_lowercase)
GLYPH_SIDE = 64
FONTS = {
    "train": (
        "DejaVuSans DejaVuSans-Bold DejaVuSans-Oblique DejaVuSans-BoldOblique "
        "DejaVuSerif DejaVuSerif-Bold DejaVuSerif-Italic DejaVuSerif-BoldItalic"
    ),
    "validation": "cmr10 cmb10 cmss10 cmtt10",
    "test": "STIXGeneral STIXGeneralBol STIXGeneralItalic STIXGeneralBolIta",
}
DRAWINGS = {"train": 3, "validation": 4, "test": 4}
FACES = tuple(
    f"DejaVu{family}{style}"
    for family, italic in (("Sans", "Oblique"), ("SansMono", "Oblique"), ("Serif", "Italic"))
    for style in ("", "-Bold", f"-{italic}", f"-Bold{italic}")
)


def _draw(random: np.random.RandomState, label: int, split: str) -> Pixels:  # noqa: ARG001
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
    outline = _outlines(face, CLASSES)[label]
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


CHARACTERS = SyntheticDataset(
    "characters",
    CLASSES,
    {"train": 96, "validation": 12, "test": 20},
    _draw,
    "Each image is drawn by itself; all splits share the fonts.",
)


@cache
def _outlines(font: str, characters: tuple[str, ...]) -> "list[Outline]":
    """Read the outline of each character from a font file, in ems.

    `font` is a file of matplotlib's folder of TrueType fonts, without its ending, that has these
    `characters` of one code point each.
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


def read_glyphs() -> dict[str, Split]:
    """Draw all images of `glyphs`. Takes a second or two."""
    parts = {}
    for seed, (name, fonts) in enumerate(FONTS.items()):
        random = np.random.RandomState(seed)
        times = range(DRAWINGS[name])
        pixels = np.concatenate([_glyphs(font, random) for font in fonts.split() for _ in times])
        labels = np.tile(np.arange(len(GLYPHS)), len(pixels) // len(GLYPHS)).astype(np.int64)
        parts[name] = Split(ArrayImages(pixels), labels, np.arange(len(labels)))
    return parts


def _glyphs(font: str, random: np.random.RandomState) -> Pixels:
    """Draw every character once: (62, side, side) uint8, dark on light."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.transforms import Affine2D

    # matplotlib types its renderer not at all, and its paths too loosely.
    new_renderer: Any = RendererAgg
    drawings = np.empty((len(GLYPHS), GLYPH_SIDE, GLYPH_SIDE), dtype=np.uint8)
    for row, outline in enumerate(_outlines(font, GLYPHS)):
        corners = np.asarray(outline.vertices)
        low, high = corners.min(axis=0), corners.max(axis=0)
        move = (
            Affine2D()
            .translate(*-(low + high) / 2)
            .scale(GLYPH_SIDE * random.uniform(0.6, 0.85))
            .rotate_deg(random.uniform(-8, 8))
            .translate(*(GLYPH_SIDE / 2 + random.uniform(-5, 5, size=2)))
        )
        renderer = new_renderer(GLYPH_SIDE, GLYPH_SIDE, dpi=72)
        context = renderer.new_gc()
        context.set_linewidth(0)
        renderer.draw_path(context, outline, move, rgbFace=(0.0, 0.0, 0.0))
        drawings[row] = 255 - np.asarray(renderer.buffer_rgba())[..., 3]
    return drawings
