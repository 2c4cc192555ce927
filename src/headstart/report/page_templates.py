"""How every page is put together: templates, one style, the charts' library, a closed policy.

A page is a template that extends ``base.html`` and may use the macros of ``parts.html``. Its script
is one file of the same folder; Vega-Lite is there for pages with charts.
"""

import base64
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from headstart.files import replaced

__all__ = ["bundle", "policy", "render_page", "script_data", "write_html"]

DIRECTION = dict.fromkeys([0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])


def render_page(
    template: str,
    title: str,
    payload: Any,
    script: str = "page.js",
    charts: bool = True,
    **content: Any,
) -> str:
    """Render one self-contained page.

    Parameters
    ----------
    template
        A template that extends ``base.html``.
    title
        The page's heading.
    payload
        What the page's script reads, as JSON.
    script
        The page's script, a file among the templates.
    charts
        Whether the page needs Vega-Lite (0.9 MB).
    content
        What the template shows; `description` is the page's meta description.
    """
    templates = environment()
    scripts = [*([bundle()] if charts else []), templates.get_template(script).render()]
    return templates.get_template(template).render(
        title=title,
        policy=policy(scripts),
        stylesheet=templates.get_template("page.css").render(),
        scripts=scripts,
        payload=script_data(payload),
        version=version("headstart"),
        **content,
    )


def write_html(html: str, out: Path) -> Path:
    """Write a page, whole or not at all, and return where it is.

    Raises
    ------
    StorageError
        The file cannot be written.
    """
    with replaced(out) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return out


def environment() -> jinja2.Environment:
    """Return the templates, with everything that comes from data escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("headstart.report"),
        autoescape=jinja2.select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=without_direction,
    )
    environment.filters["unbroken"] = unbroken
    return environment


def without_direction(value: Any) -> Any:
    """Drop marks of writing direction from text: in a name they would turn the text behind it."""
    plain = isinstance(value, str) and not isinstance(value, Markup)
    return value.translate(DIRECTION) if plain else value


def unbroken(text: str) -> str:
    """Keep a number with its sign on one line.

    Examples
    --------
    >>> unbroken("r = 0.9").isascii(), "95 %" in unbroken("95 % interval")
    (False, False)
    """
    space = "\N{NO-BREAK SPACE}"
    for sign in ("=", ">", "\N{LESS-THAN OR EQUAL TO}"):
        text = text.replace(f" {sign} ", f"{space}{sign}{space}")
    return text.replace(" %", f"{space}%")


@cache
def bundle() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script that defines one global name."""
    script = (
        f"(function () {{\n{vl_convert.javascript_bundle('window.vegaEmbed = vegaEmbed;')}\n}})();"
    )
    return script.replace("</script", "<\\/script")


def policy(scripts: Iterable[str]) -> str:
    """Return the content security policy: these scripts, by digest, and no requests at all."""
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:"


def script_data(content: Any) -> str:
    """Return JSON that cannot end its script element."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
