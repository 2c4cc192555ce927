"""One page to look at before measuring: images of every class in each split, counts, odd files."""

import base64
import io
from collections.abc import Callable
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from headstart.datasets.checking import Checked, oddities
from headstart.datasets.images import Images
from headstart.errors import BrokenImageError
from headstart.labels import kind_of

__all__ = ["dataset_page"]

SIDE = 72
# Of a class in a split; fewer where there are many classes, so that the page stays a page.
MOST_IMAGES, FEWEST_IMAGES, PAGE_IMAGES = 6, 2, 3000
# Of a list that may be long.
MOST_LINES = 100


def dataset_page(checked: Checked, advance: Callable[[], None] = lambda: None) -> str:
    """Give the page as HTML that asks no network for anything.

    Parameters
    ----------
    checked
        The dataset's splits, and what is odd about its images.
    advance
        Called after each class.
    """
    reading = checked.reading
    classes, kind = reading.classes, kind_of(reading.metric)
    n_images = min(MOST_IMAGES, max(FEWEST_IMAGES, PAGE_IMAGES // (3 * len(classes))))
    counts = {name: kind.counts(part.labels, len(classes)) for name, part in reading.parts.items()}
    rows = []
    for label, name in enumerate(classes):
        cells = [
            (split, int(counts[split][label]), _pictures(part.images, places[:n_images]))
            for split, part in reading.parts.items()
            for places in [np.flatnonzero(_shows(part.labels, label))]
        ]
        rows.append((name, cells))
        advance()
    largest = max(int(count.max()) for count in counts.values())
    return _template().render(
        title=checked.name,
        reading=reading,
        inspection=checked.inspection,
        lines=list(oddities(checked)),
        counts={
            name: (int(c.min()), int(np.median(c)), int(c.max())) for name, c in counts.items()
        },
        largest=largest,
        rows=rows,
        most=MOST_LINES,
        side=SIDE,
    )


def _shows(labels: Any, label: int) -> Any:
    return labels == label if labels.ndim == 1 else labels[:, label] == 1


def _pictures(images: Images, places: Any) -> list[tuple[str, str]]:
    """(file name, data URI) of the images that decode."""
    found = []
    for place in places.tolist():
        try:
            image = images.decode(place)
        # The list of odd files names it.
        except BrokenImageError:
            continue
        found.append((images.where(place), _thumbnail(image)))
    return found


def _thumbnail(image: Image.Image) -> str:
    image.thumbnail((SIDE, SIDE))
    content = io.BytesIO()
    # Small images are shown as they are: JPEG would smear 8 x 8 pixels.
    small = max(image.size) < SIDE
    image.save(content, format="PNG" if small else "JPEG", quality=80)
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("headstart.datasets"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("dataset.html")
