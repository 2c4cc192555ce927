"""Names and numbers as they are set in a figure."""

import math
import re

__all__ = ["elided", "estimate_text", "number", "wrapped"]


def elided(name: str, most: int = 26) -> str:
    """Shorten a name to `most` characters from its middle: what tells names apart is at the ends.

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


def wrapped(text: str, width: int, most: int = 3) -> str:
    """Break `text` into lines of at most `width` characters, `most` lines; the rest is elided.

    Lines end at spaces and, within words, after an underscore, a slash or a hyphen.

    Examples
    --------
    >>> wrapped("Oxford-IIIT Pets", 9).splitlines()
    ['Oxford-', 'IIIT Pets']
    """
    width = max(width, 4)
    lines = [""]
    for piece in re.split(r"(?<=\w[_/-])(?=\w)|(?= )", " ".join(text.split())):
        if lines[-1] and len(lines[-1] + piece) > width:
            lines.append("")
            piece = piece.lstrip()
        lines[-1] += piece
    lines = [line[i : i + width] for line in lines for i in range(0, len(line), width)]
    if len(lines) > most:
        lines = [*lines[: most - 1], lines[most - 1][: width - 1] + "…"]
    return "\n".join(lines)


def number(value: float, decimals: int = 2, sign: bool = False) -> str:
    """Set a number with a true minus; an unknown one as a dash.

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
    """Set an estimate with its interval, where it has one.

    Examples
    --------
    >>> estimate_text("r", 0.986, 0.951, 0.994)
    'r = 0.99 [0.95, 0.99]'
    """
    text = f"{symbol} = {number(estimate)}"
    if math.isfinite(low) and math.isfinite(high):
        text += f"{joint}[{number(low)}, {number(high)}]"
    return text
