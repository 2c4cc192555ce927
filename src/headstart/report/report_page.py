"""The report: one self-contained HTML file that works offline."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.report import provenance
from headstart.report.analysis_answer import answer_of
from headstart.report.chart_data import chart_data, family_styles
from headstart.report.chart_style import (
    CONFIG,
    Chart,
    PageFigure,
    residual_labels,
    residual_steps,
    styles_of_settings,
)
from headstart.report.leaderboard import leaderboard
from headstart.report.page_model import Names, PageTable, Subject, filter_keys, names_of
from headstart.report.page_templates import render_page, without_direction, write_html
from headstart.report.result_tables import (
    correction_sentence,
    effects_table,
    pairs_table,
    result_tables,
    significance_tables,
    study_tables,
)
from headstart.report.sweep_charts import ablation_figure, convergence_figure, size_figure
from headstart.report.vega_charts import (
    correlation_figure,
    panels_figure,
    ranks_figure,
    residuals_figure,
    scratch_figure,
    settings_figure,
)
from headstart.spec.display_names import setting_label

__all__ = ["HtmlPage", "page_html", "write_page"]

# Longer legends are left out: the tooltip names the family.
MOST_FAMILIES = 30
# Figures of sweeps, which are first where a sweep is what was asked for.
SWEEPS = ("ablation", "convergence", "dataset-size")


@dataclass(frozen=True)
class HtmlPage:
    """The reporter of `write_page`, which may have a heading of its own."""

    title: str | None = None
    label = "Report"
    suffixes = (".html", ".htm")

    def write(self, analysis: Subject, target: Path) -> None:
        """Write the page."""
        write_page(analysis, target, self.title)


def write_page(analysis: Subject, out: Path, title: str | None = None) -> Path:
    """Write the report page: one self-contained file, whole or not at all.

    Parameters
    ----------
    analysis
        The tidy tables of an analysis.
    out
        The file to write; its folder has to be there.
    title
        The page's heading.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    StorageError
        The file cannot be written.
    """
    return write_html(page_html(analysis, title), out)


def page_html(analysis: Subject, title: str | None = None) -> str:
    """Return the report page as HTML; the same analysis gives the same text.

    Parameters
    ----------
    analysis
        The tidy tables of an analysis.
    title
        The page's heading.
    """
    answer = answer_of(analysis)
    names = names_of(analysis)
    limits, colours = residual_steps(largest_residual(analysis))
    figures = all_figures(analysis, names, limits)
    if answer.case in ("configurations", "sweep"):
        figures.sort(key=lambda figure: figure.key not in SWEEPS)
    pairs, pairs_left_out = pairs_table(analysis, names)
    tables = page_tables(analysis, names)
    listed = [table for part in tables.values() for table in part]
    effects, studies = effects_table(analysis, names), study_tables(analysis, names)
    trials = provenance.trials_table(analysis, names)
    return render_page(
        "page.html",
        title or answer.title,
        payload(analysis, names, figures),
        tables=[*listed, pairs, effects, *studies.values(), *([trials] if trials else [])],
        description=answer.headline,
        answer=answer,
        names=names,
        filters=[(kind, len(of)) for kind, of in labels(names).items()],
        figures=[(figure, placed(figure, names)) for figure in figures],
        links=links(tables["leaderboard"]),
        families=list(family_styles(analysis).values()),
        most_families=MOST_FAMILIES,
        settings=[
            (i, name, setting_label(name), look)
            for i, (name, look) in enumerate(styles_of_settings(names.settings).items())
        ],
        residual_steps=residual_labels(limits, colours),
        sources=provenance.sources(analysis),
        digitised=any(source.get("digitised") for source in analysis.sources),
        facts=provenance.facts(analysis),
        alarms=provenance.alarms(analysis),
        data_warnings=provenance.data_warnings(analysis),
        skipped=provenance.skipped(analysis),
        n_cells=len(analysis.cells),
        n_measured=provenance.measured(analysis),
        seeds=provenance.seeds_sentence(analysis),
        leaderboard=tables["leaderboard"],
        datasets=tables["datasets"][0],
        results=tables["results"],
        significance=tables["significance"],
        missing=tables["missing"],
        effects=effects,
        studies=studies,
        correction=correction_sentence(analysis),
        pairs=pairs,
        pairs_left_out=pairs_left_out,
        trials=trials,
    )


def page_tables(subject: Subject, names: Names) -> dict[str, list[PageTable]]:
    """Return the tables of the page by their section."""
    return {
        "leaderboard": leaderboard(subject, names),
        "datasets": [provenance.datasets_table(subject, names)],
        "results": result_tables(subject, names),
        "significance": significance_tables(subject, names),
        "missing": provenance.missing_tables(subject, names),
    }


def links(leaderboards: list[PageTable]) -> dict[str, str]:
    """Return where the numbers of a figure stand, for those in the leaderboard."""
    return (
        dict.fromkeys(("accuracy", "ranks", "means"), leaderboards[0].key) if leaderboards else {}
    )


def labels(names: Names) -> dict[str, list[str]]:
    """Return what can be filtered: the labels of settings, datasets and models."""
    return {
        "settings": [setting_label(name) for name in names.settings],
        "datasets": list(names.datasets),
        "models": list(names.models),
    }


def largest_residual(subject: Subject) -> float:
    # All but the largest fiftieth, which would leave no steps to the others.
    residuals = subject.cells.residual.dropna().astype(float).abs()
    return float(residuals.quantile(0.98)) if len(residuals) else 0.0


def all_figures(subject: Subject, names: Names, residual_limits: list[float]) -> list[PageFigure]:
    """Return the figures that these tables can fill, in reading order."""
    figures = [
        correlation_figure(subject, names),
        panels_figure(subject, names),
        settings_figure(subject, names),
        scratch_figure(subject),
        ranks_figure(subject, names),
        residuals_figure(subject, names, residual_limits),
        ablation_figure(subject),
        convergence_figure(subject),
        size_figure(subject, names),
    ]
    return [figure for figure in figures if figure is not None and figure.charts]


def payload(subject: Subject, names: Names, figures: list[PageFigure]) -> dict[str, Any]:
    """Return the data of the report's script."""
    return {
        "names": {
            "settings": names.settings,
            "datasets": names.datasets,
            "models": names.models,
        },
        "labels": {kind: list(map(without_direction, of)) for kind, of in labels(names).items()},
        "tables": chart_data(subject, names),
        "charts": {
            key: chart.spec for figure in figures for key, chart, _ in placed(figure, names)
        },
        "config": CONFIG,
    }


def placed(figure: PageFigure, names: Names) -> list[tuple[str, Chart, dict[str, Any]]]:
    """Return each chart of a figure with its key on the page and its filter attributes."""
    return [
        (
            f"{figure.key}-{i}",
            chart,
            filter_keys(names, setting=chart.setting, dataset=chart.dataset),
        )
        for i, chart in enumerate(figure.charts)
    ]
