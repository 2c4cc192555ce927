"""Text in figures: names cut or broken to the room that there is, by the widths of Helvetica."""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

from headstart.figures.style import FONT_SIZE

__all__ = ["LONGEST_NAME", "elided", "fitted", "telling_head", "text_width", "wrapped"]

LONGEST_NAME = 26  # characters of a name in a chart

# Widths in thousandths of an em, of Helvetica and all fonts that are made to its measure (Arial,
# Liberation Sans): Adobe's font metrics, 1997.
WIDTHS = {
    letter: width
    for width, letters in {
        222: "'`ijl", 260: "|", 278: " !,./:;I[\\]ft", 333: "()-r", 334: "{}", 355: '"', 389: "*",
        469: "^", 500: "Jcksvxyz", 556: "#$0123456789?L_abdeghnopqu\N{EN DASH}",
        584: "+<=>~\N{MINUS SIGN}", 611: "FTZ", 667: "&ABEKPSVXY", 722: "CDHNRUw", 778: "GOQ",
        833: "Mm", 889: "%", 944: "W", 1000: "\N{HORIZONTAL ELLIPSIS}", 1015: "@",
    }.items()
    for letter in letters
}  # fmt: skip
BOLD = 1.09  # no letter of the bold face is wider than its width by more, on average


def text_width(text: str, size: float = FONT_SIZE, *, bold: bool = False) -> float:
    """Return the width of the widest line of `text`, in the unit of `size`.

    Letters of other scripts count as wide as Unicode says that they are.

    Examples
    --------
    >>> text_width("WW", 7) > 4 * text_width("ii", 7)
    True
    """
    lines = (sum(map(letter_width, line)) for line in text.split("\n"))
    return max(lines) * size / 1000 * (BOLD if bold else 1.0)


def letter_width(letter: str) -> float:
    """Return the width of a letter in thousandths of an em."""
    wide = unicodedata.east_asian_width(letter) in "WF"
    return WIDTHS.get(letter, 1000 if wide else 700)


def elided(name: str, most: int = LONGEST_NAME, head: int | None = None) -> str:
    """Shorten a name to `most` characters: its `head`, by default half of them, and its end.

    Examples
    --------
    >>> elided("vit_large_patch14_clip_224.openai_ft_in12k_in1k", 24)
    'vit_large_pa…_in12k_in1k'
    """
    name = " ".join(name.split())
    if len(name) <= most:
        return name
    tail = (most - 1) // 2 if head is None else most - 1 - head
    return f"{name[: most - 1 - tail]}…{name[-tail:]}"


def telling_head(names: Iterable[str]) -> int:
    """Return how many letters at the start of names to keep: elided ones differ where they can.

    Examples
    --------
    >>> names = [f"vit_base_patch{size}_224.augreg_in21k_ft_in1k" for size in (8, 16, 32)]
    >>> [elided(name, head=telling_head(names)) for name in names[:2]]
    ['vit_base_patch8_…k_ft_in1k', 'vit_base_patch16…k_ft_in1k']
    """
    long = {name for name in names if len(name) > LONGEST_NAME}
    heads = sorted(range(1, LONGEST_NAME - 1), key=lambda head: abs(head - LONGEST_NAME // 2))

    def told_apart(head: int) -> tuple[int, int]:
        cut_numbers = sum(name[head - 1 : head + 1].isdigit() for name in long)
        return len({elided(name, head=head) for name in long}), -cut_numbers

    return max(heads, key=told_apart)


def wrapped(text: str, width: float, most: int, measure: Callable[[str], float]) -> str:
    """Break `text` into `most` lines no wider than `width` by `measure`; the rest is elided.

    Lines end at spaces and, within words, after an underscore, a slash or a hyphen; a piece that is
    too wide for a line, which has room for four letters, is broken anywhere.

    Examples
    --------
    >>> wrapped("Oxford-IIIT Pets", 9, 3, len).splitlines()
    ['Oxford-', 'IIIT Pets']
    """
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


def fitted(
    text: str, room: float, *, size: float = FONT_SIZE, bold: bool = False, most: int = 1
) -> str:
    """Set `text` in at most `most` lines of `room` pixels; its middle is elided if it is too long.

    Examples
    --------
    >>> fitted("Oxford-IIIT Pets", 200)
    'Oxford-IIIT Pets'
    >>> fitted("Describable Textures", 70, most=2).splitlines()
    ['Describable', 'Textures']
    """

    def width(line: str) -> float:
        return text_width(line, size, bold=bold)

    text = " ".join(text.split())

    def lines(length: int) -> str:
        return wrapped(elided(text, length), room, 1000, width)

    def too_long(length: int) -> bool:
        return lines(length).count("\n") >= most

    # A sign for what was left out is wider than many a letter.
    if not too_long(len(text)):
        return lines(len(text))
    # No letter is narrower than a fifth of the size.
    lengths = range(4, min(len(text), int(5 * most * room / size) + 4) + 1)
    return lines(3 + bisect_left(lengths, True, key=too_long))
