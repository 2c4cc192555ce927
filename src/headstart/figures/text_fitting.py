"""Text in figures: names, numbers, fonts with fallbacks for missing glyphs, widths, lines."""

import math
import re
import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache

from matplotlib import rcParams
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontEntry, FontProperties, findfont, fontManager, get_font

from headstart.spec.display_names import correlation_label

__all__ = [
    "FONT",
    "elided",
    "estimate_text",
    "families",
    "fitted",
    "missing_glyphs_as_boxes",
    "number",
    "text_width",
    "wrapped",
]


def elided(name: str, most: int = 26) -> str:
    """Shorten a name to `most` characters from its middle: names differ at their ends.

    Examples
    --------
    >>> elided("vit_large_patch14_clip_224.openai_ft_in12k_in1k", 24)
    'vit_large_pa…_in12k_in1k'
    """
    name = " ".join(name.split())
    if len(name) <= most:
        return name
    tail = (most - 1) // 2
    return f"{name[: most - 1 - tail]}…{name[-tail:]}"


def wrapped(text: str, width: float, most: int = 3, measure: Callable[[str], float] = len) -> str:
    """Break `text` into lines no wider than `width`, `most` lines; the rest is elided.

    Lines end at spaces and, within words, after an underscore, a slash or a hyphen; a piece that
    is too wide for a line is broken anywhere.

    Parameters
    ----------
    text
        What to set.
    width
        Room of a line; for 4 characters at the least where characters are counted.
    most
        Lines.
    measure
        Gives the width of a line; without it, the number of its characters.

    Examples
    --------
    >>> wrapped("Oxford-IIIT Pets", 9).splitlines()
    ['Oxford-', 'IIIT Pets']
    """
    if measure is len:
        width = max(width, 4)
    lines = [""]
    for piece in re.split(r"(?<=\w[_/-])(?=\w)|(?= )", " ".join(text.split())):
        if lines[-1] and measure(lines[-1] + piece) > width:
            lines.append("")
            piece = piece.lstrip()
        lines[-1] += piece
    lines = [part for line in lines for part in broken(line, width, measure)]
    if len(lines) > most:
        last = lines[most - 1]
        while len(last) > 1 and measure(last + "…") > width:
            last = last[:-1]
        lines = [*lines[: most - 1], last + "…"]
    return "\n".join(lines)


def broken(line: str, width: float, measure: Callable[[str], float]) -> Iterator[str]:
    """Break a line that is too wide between any two of its characters."""
    while measure(line) > width and len(line) > 1:
        end = next((end for end in range(2, len(line)) if measure(line[:end]) > width), len(line))
        yield line[: end - 1]
        line = line[end - 1 :]
    yield line


def number(value: float, decimals: int = 2, sign: bool = False) -> str:
    """Return a number with a true minus sign; a dash if it is unknown.

    Examples
    --------
    >>> number(0.1, sign=True), number(-0.001)
    ('+0.10', '0.00')
    """
    if not math.isfinite(value):
        return "\N{EN DASH}"
    value = round(value, decimals) + 0.0  # no minus before a zero
    return f"{value:{'+' if sign and value else ''}.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def estimate_text(symbol: str, estimate: float, low: float, high: float, joint: str = " ") -> str:
    """Return a correlation with its interval, if it has one.

    Examples
    --------
    >>> estimate_text("r", 0.986, 0.951, 0.9996)
    'r = 0.986 [0.951, > 0.999]'
    >>> estimate_text("r", 0.9998, float("nan"), float("nan"))
    'r > 0.999'
    """
    text = correlation_label(estimate)
    text = f"{symbol} {text}" if text[0] in "<>" else f"{symbol} = {text}"
    if math.isfinite(low) and math.isfinite(high):
        text += f"{joint}[{correlation_label(low)}, {correlation_label(high)}]"
    return text


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
