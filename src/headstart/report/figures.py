"""All figures of the page, in the order in which they answer."""

from headstart.report.charts import Figure
from headstart.report.comparison import (
    ranks_figure,
    residuals_figure,
    scratch_figure,
    settings_figure,
)
from headstart.report.correlation import correlation_figure, panels_figure
from headstart.report.studies import ablation_figure, convergence_figure, size_figure
from headstart.report.subject import Names, Subject

__all__ = ["all_figures"]


def all_figures(subject: Subject, names: Names, residual_limits: list[float]) -> list[Figure]:
    """Give the figures that these tables can fill, in reading order."""
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
