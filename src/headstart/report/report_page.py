"""The report: one self-contained HTML file that works offline."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headstart.analysis import Analysis, seeds_said
from headstart.figures import page_figures
from headstart.figures.figure_data import FigureData, as_key
from headstart.report import provenance
from headstart.report.analysis_answer import answer_of, comes_first
from headstart.report.model_tables import leaderboard
from headstart.report.page_model import Names, correction_sentence, names_of
from headstart.report.page_templates import render_page, without_direction
from headstart.report.reporter import TextReporter
from headstart.report.result_tables import (
    compared_names,
    effects_table,
    pairs_table,
    result_tables,
    study_tables,
)
from headstart.spec.formatting import SmallPicture, setting_label

__all__ = ["HtmlPage", "page_html"]

Pictures = Mapping[str, Sequence[tuple[str, SmallPicture]]]
NO_PICTURES: Pictures = {}


@dataclass(frozen=True)
class HtmlPage(TextReporter):
    """The reporter of `page_html`, which may have a heading of its own, and test images."""

    title: str | None = None
    pictures: Pictures = field(default_factory=dict)
    label = "Report"
    suffixes = (".html", ".htm")

    def text(self, analysis: Analysis) -> str:
        """Return the page."""
        return page_html(analysis, self.title, self.pictures)


def page_html(
    analysis: Analysis, title: str | None = None, pictures: Pictures = NO_PICTURES
) -> str:
    """Return the report page as HTML; the same analysis gives the same text.

    Its heading is `title`, or else what `answer_of` says. `pictures` are test images of datasets by
    name, each with its class (`headstart.datasets.labelled.class_pictures`).
    """
    answer, names = answer_of(analysis), names_of(analysis)
    figures = page_figures(FigureData(vars(analysis), analysis.predictor, interactive=True))
    figures.sort(key=lambda figure: not comes_first(figure.name, answer))
    pairs, pairs_left_out = pairs_table(analysis, names)
    boards, studies = leaderboard(analysis, names), study_tables(analysis, names)
    tests = {table.key: table for table in result_tables(analysis, names)}
    compared = answer.case == "compared"
    comparison = [tests.pop(key) for key in COMPARISON if compared and key in tests]
    missing = provenance.missing_tables(analysis, names)
    single = {
        "datasets": provenance.datasets_table(analysis, names),
        "pairs": pairs,
        "effects": effects_table(analysis, names),
        "trials": provenance.trials_table(analysis, names),
    }
    tables = [*boards, *comparison, *tests.values(), *missing, *studies.values(), *single.values()]
    # Comparisons of models that a correction is about.
    corrected = len(analysis.pairwise) > 0 or any(
        table.difference_low.notna().any() for table in (analysis.cells, analysis.model_means)
    )
    return render_page(
        "page.html",
        title or answer.title,
        payload(names),
        figures=figures,
        names=names,
        tables=tables,
        description=answer.headline,
        answer=answer,
        n_datasets=datasets_meant(names),
        sources=provenance.sources(analysis),
        digitised=any(source.get("digitised") for source in analysis.sources),
        facts=provenance.facts(analysis),
        alarms=provenance.alarms(analysis),
        pictures={name: pictures[name] for name in names.datasets if pictures.get(name)},
        n_classes=analysis.trials.groupby("dataset")["n_classes"].max() if pictures else {},
        data_warnings=provenance.by_dataset(analysis, "data_warnings"),
        skipped=provenance.skipped(analysis),
        n_cells=len(analysis.cells),
        n_measured=provenance.measured(analysis),
        seeds=seeds_said(analysis.cells),
        leaderboard=boards,
        comparison=comparison,
        first=compared_names(analysis)[0] if compared else "",
        tests=tests.values(),
        missing=missing,
        studies=studies,
        correction=correction_sentence(analysis) if corrected else "",
        pairs_left_out=pairs_left_out,
        **single,
    )


# Tables of one source against another, in reading order.
COMPARISON = ("compared-means", "model-sets", "compared", "unshared")


def datasets_meant(names: Names) -> int:
    """Return how many datasets there are; of a mean over datasets as many as its name says.

    Examples
    --------
    >>> datasets_meant(Names((), ("mean of 12 datasets",), ()))
    12
    """
    found = [re.fullmatch(r"mean of (\d+) datasets", name) for name in names.datasets]
    return sum(int(one[1]) if one else 1 for one in found)


def payload(names: Names) -> dict[str, Any]:
    """Return the data of the report's script; its labels are those of settings, without signs."""
    of = {"settings": names.settings, "datasets": names.datasets, "models": names.models}
    labels = {**of, "settings": [setting_label(name) for name in names.settings]}
    keys = {kind: list(map(as_key, some)) for kind, some in of.items()}
    return {
        # As charts have them.
        "names": keys,
        # Where they are not the names.
        "labels": {
            kind: text
            for kind, some in labels.items()
            if (text := list(map(without_direction, some))) != keys[kind]
        },
    }
