"""Names of strangers (files, classes, datasets) as text that does nothing where it is shown."""

import re

__all__ = ["CONTROLS", "harmless", "markdown", "one_line"]

# What a terminal takes for a command, or for an order to write backwards; not line breaks and tabs.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# What Markdown, or HTML in it, gives a meaning in the middle of a line.
MARKUP = re.compile(r"([\\`*\[\]<>|&])")


def harmless(text: str) -> str:
    r"""Return text that no terminal takes for a command: ``\x1b`` for an escape character.

    Line breaks and tabs stay.
    """
    return CONTROLS.sub(lambda found: _escaped(found[0]), text)


def _escaped(character: str) -> str:
    # Those from 0x7f on may be in JSON, which knows no \x7f.
    return f"\\x{ord(character):02x}" if character < " " else f"\\u{ord(character):04x}"


def one_line(name: str) -> str:
    r"""Return a name as `harmless` text without line breaks and tabs.

    Examples
    --------
    >>> print(one_line("a\nb\tc"))
    a\nb\tc
    """
    return harmless(name).replace("\n", r"\n").replace("\t", r"\t")


def markdown(name: str) -> str:
    r"""Return a name as text in a line of Markdown.

    Examples
    --------
    >>> print(markdown("a_1 <b>"))
    a_1 \<b\>
    """
    return MARKUP.sub(r"\\\1", one_line(name))
