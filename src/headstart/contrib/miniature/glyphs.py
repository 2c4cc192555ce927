"""Glyphs: 62 classes of characters drawn with the fonts that matplotlib ships.

The splits hold whole font families apart, so a test font has been seen in no form: DejaVu Sans
and Serif train, Computer Modern validates, STIX (a Times) tests. Each character is drawn several
times at random size, place and slope.
"""

import string
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.contrib.miniature.characters import outlines
from headstart.datasets.images import ArrayImages
from headstart.datasets.splits import Split

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
    for row, outline in enumerate(outlines(font, CLASSES)):
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
