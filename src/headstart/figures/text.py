"""Names and numbers as text in figures."""

import math
import re
from collections.abc import Callable, Iterator

from headstart.spec.labels import correlation_label

__all__ = ["elided", "estimate_text", "number", "wrapped"]


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
