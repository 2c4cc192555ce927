"""Text in figures: names cut or broken to the room that there is, and names beside points.

Widths are those of Helvetica. A name beside a point has some hundred candidate places around it. A
place costs what it covers and how far it is. Names take their cheapest place in turn, those with
the least choice first. Nothing is random: the same points give the same places.
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from headstart.figures.style import FONT_SIZE

__all__ = [
    "LONGEST_NAME",
    "elided",
    "fitted",
    "overlaps",
    "place",
    "telling_head",
    "text_width",
    "wrapped",
]

Floats = NDArray[np.float64]

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

    def thousandths(letter: str) -> float:
        wide = unicodedata.east_asian_width(letter) in "WF"
        return WIDTHS.get(letter, 1000 if wide else 700)

    lines = (sum(map(thousandths, line)) for line in text.split("\n"))
    return max(lines) * size / 1000 * (BOLD if bold else 1.0)


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


DIRECTIONS = 24
DISTANCES = (0.0, 5.0, 11.0, 19.0, 29.0, 42.0, 58.0, 77.0, 99.0)  # pixels, from the mark's edge
# What a place costs. Where a label would lie on a mark, an obstacle or another label it is not set.
TAKEN = 1e6
STRAYED = 24.0  # the price of being far off, or of a leader through a mark
ON_LINE, LEADER_ON_BOX, LEADER_ON_LINE = 14.0, 27.0, 8.0
NEARER_TO_ANOTHER = 10.0  # than to its own point: whose is it?
PER_PIXEL = 0.25
THICK = np.array([-2.4, -2.4, 2.4, 2.4])  # a leader this near to a line is not seen
NO_BOXES: Floats = np.empty((0, 4))


def overlaps(boxes: Floats, others: Floats) -> NDArray[np.bool_]:
    """Return which boxes (n, 4), left, bottom, right, top, overlap which others (m, 4): (n, m)."""
    a, b = boxes[:, None, :], others[None, :, :]
    apart = (a[..., :2] >= b[..., 2:]) | (b[..., :2] >= a[..., 2:])
    return np.asarray(~apart.any(axis=-1))


def place(
    anchors: Floats,
    sizes: Floats,
    area: Floats,
    obstacles: Floats,
    radius: float,
    lines: Floats = NO_BOXES,
    strict: bool = False,
) -> list[Floats | None]:
    """Place a label near each anchor; return its box (4,), or None where no place is free.

    No two overlap. All lengths are in pixels: `anchors` (n, 2) are the points to label, `sizes`
    (n, 2) widths and heights of labels, which may not leave the box `area` (4,). `radius` is that
    of the mark around each anchor. Labels may cover neither other marks nor `obstacles`, boxes
    (m, 4), and had better not cover `lines`, boxes (k, 4) of thin things; if `strict` a label is
    left out rather than set on one or far off.
    """
    if not len(anchors):
        return []
    dearest = STRAYED if strict else TAKEN
    marks = np.column_stack([anchors - radius, anchors + radius])
    boxes, distances = candidates(anchors, sizes, radius)
    costs = np.empty(boxes.shape[:2])
    for i, (anchor, own) in enumerate(zip(anchors, boxes, strict=True)):
        solid = np.vstack([np.delete(marks, i, axis=0), obstacles])
        along = np.minimum(hidden(anchor, own, lines + THICK).sum(axis=1), 1)
        costs[i] = (
            PER_PIXEL * distances
            + ON_LINE * overlaps(own, lines).sum(axis=1)
            + LEADER_ON_LINE * np.minimum(distances / 8, 1) * along
            + NEARER_TO_ANOTHER * strays(own, anchors, i)
            + blocked(anchor, own, solid)
            # Outside the area.
            + TAKEN * np.any((own < area) != [False, False, True, True], axis=1)
            + TAKEN * strict * overlaps(own, lines).any(axis=1)
        )
    return one_by_one(anchors, boxes, costs, dearest)


def one_by_one(
    anchors: Floats, boxes: Floats, costs: Floats, dearest: float
) -> list[Floats | None]:
    """Set labels, the most confined first, where the ones before them leave the cheapest place."""
    found: list[Floats | None] = [None] * len(anchors)
    for i in np.argsort((costs < dearest).sum(axis=1), kind="stable"):
        there = [(anchor, box) for anchor, box in zip(anchors, found, strict=True)
                 if box is not None]  # fmt: skip
        placed = np.array([box for _, box in there]).reshape(-1, 4)
        own = costs[i] + blocked(anchors[i], boxes[i], placed)
        # Leaders that are there already run through no further label.
        for anchor, box in there:
            own = own + LEADER_ON_BOX * (hidden(anchor, box[None], boxes[i])[0] > 0)
        if own.min() < dearest:
            found[i] = boxes[i, own.argmin()]
    return found


def blocked(anchor: Floats, boxes: Floats, others: Floats) -> Floats:
    """Return what the `others` cost each box (c, 4): where it covers them, or its leader does."""
    crossed = (hidden(anchor, boxes, others) > 0).sum(axis=1)
    return np.asarray(TAKEN * overlaps(boxes, others).any(axis=1) + LEADER_ON_BOX * crossed)


def candidates(anchors: Floats, sizes: Floats, radius: float) -> tuple[Floats, Floats]:
    """Return boxes (n, c, 4) around each anchor and their distances from the marker (c,)."""
    angles = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    towards = np.column_stack([np.cos(angles), np.sin(angles)])
    distances = np.repeat(DISTANCES, DIRECTIONS)
    towards = np.tile(towards, (len(DISTANCES), 1))
    # On the square that surrounds the circle, labels beside a mark touch it as those above it do.
    square = towards / np.abs(towards).max(axis=1, keepdims=True)
    gaps = towards * (distances + radius + 1.5)[:, None]
    centres = anchors[:, None] + gaps + square * sizes[:, None] / 2
    half = sizes[:, None] / 2
    return np.concatenate([centres - half, centres + half], axis=-1), distances


def hidden(anchor: Floats, boxes: Floats, others: Floats) -> Floats:
    """Return the share (c, m) of the leader from an anchor to each box that the others hide."""
    nearest = np.clip(anchor, boxes[:, :2], boxes[:, 2:])
    along = anchor + np.linspace(0, 1, 10)[:, None, None] * (nearest - anchor)
    along = along.transpose(1, 0, 2)[:, :, None]
    return np.asarray(((along > others[:, :2]) & (along < others[:, 2:])).all(axis=-1).mean(axis=1))


def strays(boxes: Floats, anchors: Floats, i: int) -> NDArray[np.bool_]:
    """Return which boxes (c,) are about as near to another anchor as to their own, anchor i."""
    apart = np.clip(anchors, boxes[:, None, :2], boxes[:, None, 2:]) - anchors
    distances = np.hypot(apart[..., 0], apart[..., 1])
    others = np.delete(distances, i, axis=1).min(axis=1, initial=np.inf)
    return np.asarray(others < distances[:, i] + 5)
