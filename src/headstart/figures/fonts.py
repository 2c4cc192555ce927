"""Fonts: the font of figures, fallbacks for missing glyphs, and the width of text."""

import re
import warnings
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache

from matplotlib import rcParams
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontEntry, FontProperties, findfont, fontManager, get_font

from headstart.figures.text import elided, wrapped

__all__ = ["FONT", "families", "fitted", "missing_glyphs_as_boxes", "text_width"]

FONT = "DejaVu Sans"  # shipped with matplotlib: figures come out the same wherever they are drawn
# Fonts of matplotlib with boxes for letters, or with symbols in the places of letters.
NOT_LETTERS = re.compile(r"last resort|^cm[a-z]+10$|^stix(size|nonunicode)", re.IGNORECASE)
RULER_DPI = 288


def families(characters: Iterable[str]) -> list[str]:
    """Return fonts for these characters: the default, then installed fonts for missing glyphs.

    Where no installed font has a character, it is drawn as a box.

    Examples
    --------
    >>> families("ResNet-50 (a = 0.5)")
    ['DejaVu Sans']
    """
    return [FONT, *fallbacks(lacking(findfont(FONT), frozenset(characters)))]


@lru_cache
def fallbacks(characters: frozenset[str]) -> tuple[str, ...]:
    """Return the fewest installed fonts for these characters, those with most of them first."""
    names = []
    while characters:
        left = [(lacking(font.fname, characters), font.name) for font in upright_fonts()]
        fewest, name = min(left, key=lambda pair: (len(pair[0]), pair[1]), default=(characters, ""))
        if len(fewest) == len(characters):
            break
        names.append(name)
        characters = fewest
    return tuple(names)


def upright_fonts() -> Iterator[FontEntry]:
    """Yield installed fonts of normal weight."""
    for font in fontManager.ttflist:
        plain = font.style == "normal" and font.weight in (400, "normal", "regular")
        if plain and not NOT_LETTERS.search(font.name):
            yield font


def lacking(path: str, characters: frozenset[str]) -> frozenset[str]:
    """Return characters without a glyph in a font file; all if it cannot be read."""
    try:
        font = get_font(path)
    except (OSError, RuntimeError):
        return characters
    printed = (letter for letter in characters if not letter.isspace())
    return frozenset(letter for letter in printed if not font.get_char_index(ord(letter)))


@contextmanager
def missing_glyphs_as_boxes() -> Iterator[None]:
    """Draw a box for what no font has, without matplotlib's warning for each letter of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from", UserWarning)
        # Scripts such as Devanagari come out letter by letter.
        warnings.filterwarnings("ignore", r"Matplotlib currently does not support", UserWarning)
        yield


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Measure the widest line of `text` in the fonts of the style in force, in points.

    Examples
    --------
    >>> text_width("WW", 7) > 2 * text_width("ii", 7)
    True
    """
    fonts = tuple(rcParams["font.family"])
    return max(line_width(line, size, weight, fonts) for line in text.split("\n"))


@lru_cache(maxsize=4096)
def line_width(line: str, size: float, weight: str, fonts: tuple[str, ...]) -> float:
    """Measure one line in points."""
    look = FontProperties(family=list(fonts), size=size, weight=weight)
    with missing_glyphs_as_boxes():
        width, _, _ = ruler().get_text_width_height_descent(line, look, ismath=False)
    return float(width) * 72 / RULER_DPI


@lru_cache(maxsize=1)
def ruler() -> RendererAgg:
    """Return a renderer to measure with."""
    return RendererAgg(1, 1, RULER_DPI)


def fitted(text: str, room: float, size: float, *, weight: str = "normal", most: int = 1) -> str:
    """Set `text` in at most `most` lines of `room` points; its middle is elided if it is too long.

    Examples
    --------
    >>> fitted("Oxford-IIIT Pets", 200, 7)
    'Oxford-IIIT Pets'
    >>> fitted("Describable Textures", 55, 7, most=2).splitlines()
    ['Describable', 'Textures']
    """

    def width(line: str) -> float:
        return text_width(line, size, weight)

    text = " ".join(text.split())

    def lines(length: int) -> str:
        return wrapped(elided(text, length), room, 1000, width)

    def too_long(length: int) -> bool:
        return lines(length).count("\n") >= most

    # A sign for what was left out is wider than many a letter.
    if not too_long(len(text)):
        return lines(len(text))
    # No letter is narrower than a sixth of the size.
    lengths = range(4, min(len(text), int(6 * most * room / size) + 4) + 1)
    return lines(3 + bisect_left(lengths, True, key=too_long))
