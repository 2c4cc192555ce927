"""The layout of a figure, done once, with titles as wide as it leaves room for."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from headstart.figures.fonts import fitted

__all__ = ["settle"]


def settle(figure: Figure) -> None:
    """Lay the figure out once and for all: what is placed afterwards stays where it is put.

    Titles of panels are set in two lines at most, as wide as the layout leaves room for.
    """
    layout = figure.get_layout_engine()
    if layout is None:
        return
    titles = {title: (axes, title.get_text()) for axes in figure.axes for title in titles_of(axes)}
    # Long ones would take room from their panels.
    for title, (_, said) in titles.items():
        title.set_text(said[:1])
    layout.execute(figure)
    for title, (axes, said) in titles.items():
        size, weight = float(title.get_fontsize()), str(title.get_fontweight())
        title.set_text(fitted(said, title_room(figure, axes), size, weight=weight, most=2))
    if any("\n" in title.get_text() for title in titles):
        layout.execute(figure)
    figure.set_layout_engine("none")


def titles_of(axes: Axes) -> list[Text]:
    """The title on the left of a panel, where it has one."""
    said = axes.get_title("left")
    texts = [text for text in axes.get_children() if isinstance(text, Text)]
    return [text for text in texts if said and text.get_text() == said][-1:]


def title_room(figure: Figure, axes: Axes) -> float:
    """Points from the left of a panel to the next one on its right, or to the end of the page."""
    own = axes.get_window_extent()
    boxes = [other.get_window_extent() for other in figure.axes]
    beside = [box.x0 for box in boxes if box.x0 >= own.x1 and box.y0 < own.y1 and own.y0 < box.y1]
    return float(min([figure.bbox.x1, *beside]) - own.x0) * 72 / figure.dpi - 4
