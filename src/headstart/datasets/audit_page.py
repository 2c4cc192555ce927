"""An HTML page of a dataset: images of every class in each split, counts, problems."""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import jinja2
import numpy as np

from headstart.datasets.audit import VerifiedDataset, decoding_notes
from headstart.datasets.images import Images, small_picture
from headstart.errors import BrokenImageError
from headstart.labels import kind_of
from headstart.spec.formatting import SmallPicture

__all__ = ["dataset_page"]

# Pixels of the square that a picture is shown in.
SHOWN_SIDE = 64
# Of a class in a split: whole rows of the page; fewer where there are many classes, so that the
# page stays a page.
PER_CELL, PAGE_IMAGES = (10, 5, 2), 3000
# Of a list that may be long; of one that is shown without being asked for.
MOST_LINES, FEW_LINES = 100, 8


class Cell(NamedTuple):
    """A class in a split: how many images, how many of them cannot be used, some of the others."""

    split: str
    n: int
    unusable: int
    pictures: list[SmallPicture]


def dataset_page(checked: VerifiedDataset, advance: Callable[[], None] = lambda: None) -> str:
    """Return the page as HTML that asks no network for anything.

    Parameters
    ----------
    checked
        The dataset's splits, and what is odd about its images.
    advance
        Called after each class.
    """
    loaded = checked.loaded
    classes, kind = loaded.classes, kind_of(loaded.metric)
    counts = {name: kind.counts(part.labels, len(classes)) for name, part in loaded.parts.items()}
    most = PAGE_IMAGES // (len(counts) * len(classes))
    per_cell = next((n for n in PER_CELL if n <= most), PER_CELL[-1])
    broken = {name: np.zeros(len(part), dtype=np.bool_) for name, part in loaded.parts.items()}
    for problem in checked.audit.problems:
        broken[problem.split][problem.row] = True
    rows = []
    for label, name in enumerate(classes):
        cells = []
        for split, part in loaded.parts.items():
            places = np.flatnonzero(
                part.labels == label if kind.ndim == 1 else part.labels[:, label] == 1
            )
            usable = places[~broken[split][places]]
            pictures = _pictures(part.images, usable[:per_cell].tolist())
            n = int(counts[split][label])
            cells.append(Cell(split, n, len(places) - len(usable), pictures))
        rows.append((name, cells))
        advance()
    return _template().render(
        title=checked.name,
        place=checked.place,
        loaded=loaded,
        several=kind.ndim == 2,
        audit=checked.audit,
        notes=list(decoding_notes(checked)),
        short=lambda where: _short(where, loaded.root),
        counts={
            name: (int(c.min()), int(np.median(c)), int(c.max())) for name, c in counts.items()
        },
        largest=max(1, *(int(count.max()) for count in counts.values())),
        rows=rows,
        per_cell=per_cell,
        most=MOST_LINES,
        few=FEW_LINES,
        side=SHOWN_SIDE,
    )


def _short(where: str, root: Path | None) -> str:
    """Name a file from the folder that all lie in: the page says once which that is."""
    inside = root is not None and Path(where).is_relative_to(root)
    return str(Path(where).relative_to(root)) if root and inside else where


def _pictures(images: Images, places: Sequence[int]) -> list[SmallPicture]:
    found = []
    for place in places:
        # Its header and its end are as they should be, what is between is not.
        with suppress(BrokenImageError):
            found.append(small_picture(images, place))
    return found


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("headstart.datasets"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = "{:,}".format
    environment.filters["counted"] = lambda n, one, many: f"{n:,} {one if n == 1 else many}"
    environment.filters["sentence"] = lambda text: (
        f"{text[:1].upper()}{text[1:].removesuffix('.')}."
    )
    # A long name may be broken where it is made of words.
    environment.filters["words"] = re.compile("[^_/]+[_/]*|[_/]+").findall
    return environment.get_template("dataset.html")
