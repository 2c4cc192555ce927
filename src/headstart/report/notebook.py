"""An analysis in a notebook: the answer and the best models of each setting."""

from html import escape

from headstart.analysis import Analysis
from headstart.report.analysis_answer import answer_of
from headstart.report.page_model import names_of
from headstart.report.reporter import TextReporter
from headstart.report.result_tables import means_table
from headstart.spec.formatting import html_table

__all__ = ["NotebookSummary"]

# Models of each setting.
MOST_ROWS = 10


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
