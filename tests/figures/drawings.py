"""What is seen on a figure for print: its panels drawn alone, marks and texts by place."""

import re
from xml.etree import ElementTree

import numpy as np
import vl_convert

NAMESPACE = "{http://www.w3.org/2000/svg}"


def panel_svg(figure, index=0):
    """A panel as Vega draws it, its plot's corner at (0, 0)."""
    svg = vl_convert.vegalite_to_svg({**figure.printed.specs[index], "padding": 0})
    return ElementTree.fromstring(svg)


def groups(figure, index, kind):
    """The groups of marks of a kind, as ``mark-symbol role-mark``, in the order of layers."""
    found = panel_svg(figure, index).iter(f"{NAMESPACE}g")
    return [group for group in found if group.get("class", "").startswith(f"mark-{kind} role-mark")]


def places(group):
    """(n, 2): where the marks of a group stand, in pixels from the top left corner."""
    found = [re.match(r"translate\(([-\d.]+),([-\d.]+)\)", m.get("transform", "")) for m in group]
    return np.array([[float(one[1]), float(one[2])] for one in found if one]).reshape(-1, 2)


def symbols(figure, index=0, layer=0):
    """(n, 2): the places of the symbols of a layer."""
    return places([*groups(figure, index, "symbol")][layer])


def texts(element):
    """All texts of a drawing, in its order."""
    found = element.iter(f"{NAMESPACE}text")
    return [text for one in found if (text := "".join(one.itertext()).strip())]


def whole(figure):
    """All texts of the figure for print: legend, panels, caption."""
    return texts(ElementTree.fromstring(figure.printed.svg))


def axis_labels(figure, index, orient):
    """The labels of a panel's horizontal (0) or vertical (1) axis."""
    found = panel_svg(figure, index).iter(f"{NAMESPACE}g")
    axes = [group for group in found if group.get("class") == "mark-text role-axis-label"]
    return texts(axes[orient])


def titles(figure):
    return [panel.title for panel in figure.panels]
