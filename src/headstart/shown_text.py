"""Texts of strangers as they are shown.

Names (files, classes, datasets) do nothing on a terminal or in Markdown; passwords and keys in
URLs, and in texts that quote them, are hidden.
"""

import os
import re

__all__ = [
    "CONTROLS",
    "first_line",
    "harmless",
    "markdown",
    "one_line",
    "url_without_credentials",
    "without_credentials",
]

# What a terminal takes for a command, or for an order to write backwards; not line breaks and tabs.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# Bytes that are no UTF-8, as Python has them in names of files.
NO_TEXT = re.compile(r"[\udc80-\udcff]")
# What Markdown, or HTML in it, gives a meaning in the middle of a line.
MARKUP = re.compile(r"([\\`*\[\]<>|&])")

# What stands before the password: a user may have an @ of its own, but a host has a port.
START = (
    r"(?P<start>\w[\w+.-]*://(?:[^\s/@:?#]*|[^\s/:?#]*@[^\s/:?#]*(?!:[0-9]+(?:[\s/?#'\",;:)]|$))):)"
)
# A password may hold an @ or a / that nobody encoded; in a URL that is known to be one, spaces.
IN_TEXT = re.compile(START + r"\S*(?=@)")
IN_URL = re.compile(START + r".*(?=@)", re.DOTALL)
OPTION = r"(?P<start>[?&;][^\s=&;]*(?:pass|pwd|secret|token|key|sig|cred|auth)[^\s=&;]*=)"
# The sentence around a URL goes on behind it.
OPTION_IN_TEXT = re.compile(OPTION + r"[^\s&]*[^\s&'\"`,;:.)\]}>]", re.IGNORECASE)
OPTION_IN_URL = re.compile(OPTION + r"[^&]+", re.IGNORECASE)
HIDDEN = r"\g<start>***"
# Variables of the environment that hold one, and the length from which on it is looked for in text.
SECRET_VARIABLE = re.compile(r"(PASSWORD|PASSPHRASE|SECRET|TOKEN|_KEY)$")
LEAST_LENGTH = 8


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

    Bytes of a file's name that are not UTF-8 are written ``\xHH``, as in records and pages.

    Examples
    --------
    >>> print(one_line("a\nb\tc\udce9"))
    a\nb\tc\xe9
    """
    name = NO_TEXT.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", name)
    return harmless(name).replace("\n", r"\n").replace("\t", r"\t")


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, else its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def markdown(name: str) -> str:
    r"""Return a name as text in a line of Markdown.

    Examples
    --------
    >>> print(markdown("a_1 <b>"))
    a_1 \<b\>
    """
    return MARKUP.sub(r"\\\1", one_line(name))


def without_credentials(text: str) -> str:
    """Return any text with URLs in it with ``***`` for passwords and keys.

    These are what stands between the user and the ``@``, and the values of options whose names
    speak of a secret. A user without a password stays. What variables of the environment such as
    PGPASSWORD and AWS_SECRET_ACCESS_KEY hold is hidden wherever it stands.

    Examples
    --------
    >>> without_credentials("cannot reach postgresql+psycopg://me:p@ss/w@host/db?sslkey=a&b=1")
    'cannot reach postgresql+psycopg://me:***@host/db?sslkey=***&b=1'
    """
    for name, value in os.environ.items():
        if len(value) >= LEAST_LENGTH and SECRET_VARIABLE.search(name):
            text = text.replace(value, "***")
    return OPTION_IN_TEXT.sub(HIDDEN, IN_TEXT.sub(HIDDEN, text))


def url_without_credentials(url: str) -> str:
    """Return a URL, or what was given as one, with ``***`` for passwords and keys.

    Examples
    --------
    >>> url_without_credentials("postgresql://me:pass word@host/db?password=a b")
    'postgresql://me:***@host/db?password=***'
    """
    return OPTION_IN_URL.sub(HIDDEN, IN_URL.sub(HIDDEN, url))
