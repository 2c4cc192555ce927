"""An analysis in short: a results card for a README, and what a notebook shows."""

from functools import partial
from html import escape
from pathlib import Path
from textwrap import wrap

import vl_convert

from headstart.analysis import Analysis
from headstart.errors import AnalysisError
from headstart.figures import available, save
from headstart.figures.figure import canonical_pdf
from headstart.figures.figure_text import text_width
from headstart.files import replaced, storage_errors, writable_folder
from headstart.report.analysis_answer import answer_of, comes_first, study_name
from headstart.report.latex import labels
from headstart.report.model_tables import leaderboard, means_table
from headstart.report.page_model import PageCell, PageTable, names_of
from headstart.report.reporter import TextReporter
from headstart.shown_text import harmless
from headstart.spec.formatting import count, html_table

__all__ = ["NotebookSummary", "ResultsCard"]

MOST_ROWS = 10  # models of each setting
# In pixels: the card, a letter, a line, a line of headings, between columns, the width to which a
# heading may fill its column.
WIDTH, SIZE, LINE, HEAD, GAP, LEAST = 880.0, 13, 22, 16, 18, 88.0
SUFFIXES = ("pdf", "png", "svg")
STYLES = {"best": ' font-weight="bold"', "same": ' text-decoration="underline"'}
INK, SOFT, RULE = "#1f2328", "#59636e", "#d1d9e0"


class ResultsCard:
    """The reporter of a folder with tables of the best models, and a figure.

    ``table`` is the leaderboard of the first setting, ``table-NAME`` that of each other one;
    ``figure`` is the one that comes first on the page.
    """

    label = "Results card"
    suffixes = ()

    def check(self, target: Path) -> None:
        """Prove that a card can be written to a folder: one that is empty, or holds a card.

        Raises
        ------
        AnalysisError
            It holds other files (code ``report.card_folder``).
        StorageError
            It cannot be written.
        """
        with storage_errors(target, reading=True):
            files = target.iterdir() if target.is_dir() else ()
            names = {file.name for file in files if not file.name.startswith(".")}
        if names and not names >= {f"table.{suffix}" for suffix in SUFFIXES}:
            raise AnalysisError(
                f"{target} holds other files: expected an empty folder for the results card, or "
                "one that holds a card",
                code="report.card_folder",
                folder=str(target),
            )
        writable_folder(target)

    def write(self, analysis: Analysis, target: Path) -> None:
        """Write the files to a folder, which is made where it is missing.

        Raises
        ------
        AnalysisError
            There are no results (code ``report.empty``), or other files are there.
        """
        boards = leaderboard(analysis, names_of(analysis))
        if not boards:
            raise AnalysisError("no results card: there are no results", code="report.empty")
        self.check(target)
        sources = study_name(analysis) or "a table"
        _, *others = labels(board.caption for board in boards).values()
        files = ["table", *(f"table-{name}" for name in others)]
        for name, board in zip(files, boards, strict=True):
            # XML has no control characters.
            svg = harmless(table_svg(board, sources))
            contents = {"svg": svg.encode(), "pdf": canonical_pdf(vl_convert.svg_to_pdf(svg)),
                        "png": vl_convert.svg_to_png(svg, scale=2)}  # fmt: skip
            for suffix, content in contents.items():
                with replaced(target / f"{name}.{suffix}") as temporary:
                    temporary.write_bytes(content)
        answer, given = answer_of(analysis), available(analysis.tables(), analysis.predictor)
        for shown in sorted(given, key=lambda name: not comes_first(name, answer))[:1]:
            save(analysis.figure(shown), target / "figure")


def table_svg(table: PageTable, source: str) -> str:
    """Return the first rows of a table as a picture, with as many columns as it has room for."""
    rows = table.rows[:MOST_ROWS]
    measure = partial(text_width, size=SIZE, bold=True)
    texts = [[label(row.cells[i]) for row in rows] for i in range(len(table.columns))]
    widths = [
        max(map(measure, [*column.lines(LEAST, measure), *own]))
        for column, own in zip(table.columns, texts, strict=True)
    ]
    # Datasets only where there is room for all.
    every = list(range(len(widths)))
    datasets = [i for i in every if table.columns[i].at is not None]
    if len(datasets) > 1 and sum(widths) + GAP * len(widths) > WIDTH:
        every = [i for i in every if i not in datasets]
    shown = [i for n, i in enumerate(every, 1) if sum(widths[j] + GAP for j in every[:n]) <= WIDTH]
    heads = {i: table.columns[i].lines(widths[i], measure) for i in shown}
    height = max(map(len, heads.values()))
    top = LINE * 2 + HEAD * (height - 1) + 8
    parts, x = [], 0.0
    for i in shown:
        at, anchor = (x + widths[i], "end") if table.columns[i].numeric else (x, "start")
        first = LINE * 2 + HEAD * (height - len(heads[i]))
        lines = [(first + HEAD * k, "best", line) for k, line in enumerate(heads[i])]
        lines += [(top + LINE * (j + 1), row.cells[i].marker, texts[i][j])
                  for j, row in enumerate(rows)]  # fmt: skip
        parts += [
            f'<text x="{at:.1f}" y="{y}" text-anchor="{anchor}"{STYLES.get(marker, "")}>'
            f"{escape(line)}</text>"
            for y, marker, line in lines
        ]
        x += widths[i] + GAP
    total = x - GAP
    more = f"Best {len(rows)} of {count(len(table.rows), 'model')}. "
    notes = [more * (len(rows) < len(table.rows)) + table.marker_legend, f"Source: {source}."]
    notes = [line for note in notes for line in wrap(note, int(total / 5.5))]
    bottom = top + LINE * (len(rows) + 1) + 6
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total + 24:.0f}" '
        f'height="{bottom + 16 * len(notes)}" '
        f'font-family="Helvetica, Arial, Liberation Sans, sans-serif" font-size="{SIZE}" '
        f'fill="{INK}"><rect width="100%" height="100%" fill="#ffffff"/>'
        f'<g transform="translate(12 0)"><text y="{LINE}" font-weight="bold" font-size="15">'
        f"{escape(table.caption)}</text>"
        f'<path d="M0 {top}H{total:.0f}" stroke="{RULE}"/>{"".join(parts)}'
        + "".join(
            f'<text y="{bottom + 16 * k}" fill="{SOFT}" font-size="11">{escape(line)}</text>'
            for k, line in enumerate(notes)
        )
        + "</g></svg>"
    )


def label(cell: PageCell) -> str:
    beside = cell.note if cell.note.startswith(("±", "(")) else ""
    return f"{cell.text} {beside}".rstrip()


class NotebookSummary(TextReporter):
    """The reporter of what a notebook shows of an `Analysis`; only by its name."""

    label = "Summary"
    suffixes = ()

    def text(self, analysis: Analysis) -> str:
        """Return the answer and the table of means as HTML without scripts."""
        answer = answer_of(analysis)
        text = "".join(f"<p>{escape(line)}</p>" for line in (answer.headline, *answer.supporting))
        names = names_of(analysis)
        table = means_table(analysis, names)
        shown = [i for i, column in enumerate(table.columns) if not column.detail]
        rows, counts = [], dict.fromkeys((row.cells[0].text for row in table.rows), 0)
        for row in table.rows:
            counts[row.cells[0].text] += 1
            if counts[row.cells[0].text] <= MOST_ROWS:
                cells = [row.cells[i] for i in shown]
                rows.append([f"{cell.text} {cell.note}".rstrip() for cell in cells])
        headings = [table.columns[i].heading for i in shown]
        more = max(counts.values(), default=0) > MOST_ROWS
        caption = f"{table.caption}{f', best {MOST_ROWS} of each setting' if more else ''}"
        grid = html_table(caption, headings, rows, names=2) if rows else ""
        return f"<div><h4>{escape(answer.title)}</h4>{text}{grid}</div>"
