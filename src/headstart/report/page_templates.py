"""How every page is put together: templates, one style, the charts' library, a closed policy.

A page is a template that extends ``base.html`` and may use the macros of ``parts.html``; all have
the script ``page.js``.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from headstart.errors import HeadstartError
from headstart.figures.figure import Figure
from headstart.figures.figure_data import packed_column
from headstart.figures.style import CONFIG
from headstart.files import replaced, writable_folder
from headstart.local_cache import default_cache
from headstart.report.page_model import NO_NAMES, Names, PageTable, filter_keys
from headstart.shown_text import CONTROLS

__all__ = ["bundle", "render_page", "without_direction", "write_html"]

# Rows of a table that are there without its script; the script adds further ones on demand.
MOST_ROWS = 50
# What a script makes a number of: the first of a text, "3" of "3 to 5".
LEADING_NUMBER = re.compile(r"[+\-\N{MINUS SIGN}]?\d[\d,]*(\.\d+)?(e[+\-]?\d+)?")
# In a table: a minus that stays with its word; behind what names may break. page.js has the same.
WORD_MINUS = re.compile(r"(?<!\S)-(?=\w)|(?<=\de)-(?=\d)")
BREAKS = re.compile(r"([^\W_]{14}|[^\W_][_/:?=&]+|[^\W_]\.(?=[^\W\d_]))(?=[^\W_])")
LONG_WORD = re.compile(r"\S{31,}")
# In the data of a table.
MARKS = {"best": "1", "same": "2", "own": "3"}
# Marks of writing direction and other characters that control what is behind them.
UNPRINTED = dict.fromkeys(code for code in range(0x2070) if CONTROLS.match(chr(code)))


def render_page(
    template: str,
    title: str,
    payload: Mapping[str, Any],
    *,
    figures: Sequence[Figure] = (),
    tables: Sequence[PageTable] = (),
    names: Names = NO_NAMES,
    **content: Any,
) -> str:
    """Render one self-contained page of a template that extends ``base.html``.

    `payload` is what the page's script reads, as JSON, beside the charts of all `figures` and their
    data, and the `tables`, which it sorts, searches and pages; `names` is what the page's filter
    knows. `content` is what the template shows, `description` the meta description among it.
    """
    templates = environment()
    charts = {f"{one.key}-{i}": spec for one in figures for i, spec in enumerate(one.specs())}
    tables_drawn = figures[0].data.page_tables(charts.values()) if figures else {}
    data = {"charts": charts, "config": CONFIG, "tables": tables_drawn, **payload}
    scripts = [bundle(), templates.get_template("page.js").render()]
    return templates.get_template(template).render(
        title=title,
        policy=policy(scripts),
        stylesheet=templates.get_template("page.css").render(),
        scripts=scripts,
        payload=script_data({**data, "grids": {one.key: table_data(one) for one in tables}}),
        figures=figures,
        names=names,
        most_rows=MOST_ROWS,
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


def table_data(table: PageTable) -> dict[str, Any]:
    """Return a table for the page's script: what each column and each row is.

    ``columns`` have a label, texts, and where there are any: sort keys, marks (a digit per row: 1
    best, 2 not different from it, 3 an own model), second lines, filter attributes; ``keys`` are
    the filter attributes of the rows, by name.
    """
    columns = []
    for i, column in enumerate(table.columns):
        cells = [row.cells[i] for row in table.rows]
        more = {"numeric": column.numeric, "keys": column.keys, "code": column.code,
                "second": column.second, "room": column.room}  # fmt: skip
        # Where not every text begins with its number.
        if column.numeric and any(
            (cell.value is None) == bool(LEADING_NUMBER.match(cell.text)) for cell in cells
        ):
            more["values"] = [
                float(f"{cell.value:.8g}") if cell.value is not None and isfinite(cell.value)
                else None for cell in cells
            ]  # fmt: skip
        if any(cell.marker for cell in cells):
            more["marks"] = "".join(MARKS.get(cell.marker, "0") for cell in cells)
        if any(cell.note for cell in cells):
            more["seconds"] = packed_texts([cell.note for cell in cells])
        if any(column.affixes):
            more["affixes"] = list(map(len, column.affixes))
        texts = packed_texts([cell.text for cell in cells])
        given = {name: value for name, value in more.items() if value}
        columns.append({"label": column.heading, "texts": texts, **given})
    kinds = dict.fromkeys(kind for row in table.rows for kind in row.keys)
    keys = {kind[len("data-") :]: [row.keys.get(kind) for row in table.rows] for kind in kinds}
    return {"columns": columns, "keys": keys}


def packed_texts(cells: list[str]) -> Any:
    """Return texts without marks of direction, by their levels where most are repeated."""
    texts = list(map(without_direction, cells))
    return packed_column(texts) if 2 * len(set(texts)) < len(texts) else texts


@cache
def environment() -> jinja2.Environment:
    """Return the templates, compiled once, with everything that comes from data escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("headstart.report"),
        autoescape=jinja2.select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=without_direction,
    )
    environment.filters |= {"unbroken": unbroken, "breakable": breakable, "sentence": sentence}
    environment.globals["filter_keys"] = filter_keys
    return environment


def without_direction(value: Any) -> Any:
    """Drop marks of writing direction from text: in a name they would turn the text behind it."""
    plain = isinstance(value, str) and not isinstance(value, Markup)
    return value.translate(UNPRINTED) if plain else value


def unbroken(text: str) -> str:
    """Keep a number with its sign or noun on one line, a minus with the word or number behind it.

    Examples
    --------
    >>> unbroken("r = 0.9").isascii(), "95 %" in unbroken("95 % interval")
    (False, False)
    """
    space = "\N{NO-BREAK SPACE}"
    for sign in ("=", ">", "\N{LESS-THAN OR EQUAL TO}"):
        text = text.replace(f" {sign} ", f"{space}{sign}{space}")
    text = re.sub(r"(?<=\d) (?=model|dataset)", space, text)
    return re.sub(r"(?<!\S)-(?=\w)|-(?=\d)", "-\N{WORD JOINER}", text.replace(" %", f"{space}%"))


def sentence(text: str) -> Markup:
    """Return a sentence as HTML: `unbroken`, but the longest names in it break behind signs.

    Examples
    --------
    >>> str(sentence("Take vit_large_patch14_clip_224.openai_ft_in12k_in1k."))[:32]
    'Take vit_<wbr>large_<wbr>patch14'
    """
    marked = LONG_WORD.sub(
        lambda word: BREAKS.sub("\\1\0", word[0]), unbroken(without_direction(text))
    )
    return Markup("<wbr>").join(marked.split("\0"))


def breakable(text: str) -> Markup:
    """Return the text of a cell as HTML that breaks behind signs in names, and in long words."""
    kept = without_direction(text).replace(" %", "\N{NO-BREAK SPACE}%")
    kept = WORD_MINUS.sub("-\N{WORD JOINER}", kept)
    return Markup("<wbr>").join(BREAKS.sub("\\1\0", kept).split("\0"))


@cache
def bundle() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script that defines one global name.

    Making it takes seconds: it is kept in the cache, with its SHA-256 in its first line.
    """
    name = f"vega-{version('vl-convert-python')}.js"
    with suppress(HeadstartError, OSError, UnicodeDecodeError):
        kept = (default_cache() / "page" / name).read_text(encoding="utf-8")
        digest, _, script = kept.partition("\n")
        if digest == f"// {sha256_text(script)}":
            return script
    made = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    script = f"(function () {{\n{made}\n}})();".replace("</script", "<\\/script")
    with suppress(HeadstartError, OSError):
        place = writable_folder(default_cache() / "page") / name
        with replaced(place) as temporary:
            temporary.write_text(f"// {sha256_text(script)}\n{script}", encoding="utf-8")
    return script


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def policy(scripts: Iterable[str]) -> str:
    """Return the content security policy: these scripts, by digest, and no requests at all."""
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:"


def script_data(content: Any) -> str:
    """Return JSON that cannot end its script element."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return re.sub("[<>&\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", text)
