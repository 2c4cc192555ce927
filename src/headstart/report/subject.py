"""The tables that a report reads, and the names in the order of the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from headstart.spec.labels import in_order

__all__ = ["Names", "Subject", "names_of"]


class Subject(Protocol):
    """The tidy tables of an analysis, as ``headstart.analysis`` returns them; any may be empty."""

    @property
    def counts(self) -> Any: ...
    @property
    def cells(self) -> Any: ...
    @property
    def correlations(self) -> Any: ...
    @property
    def lines(self) -> Any: ...
    @property
    def model_means(self) -> Any: ...
    @property
    def mixed(self) -> Any: ...
    @property
    def pairwise(self) -> Any: ...
    @property
    def ranks(self) -> Any: ...
    @property
    def settings(self) -> Any: ...
    @property
    def prediction(self) -> Any: ...
    @property
    def ablation(self) -> Any: ...
    @property
    def effects(self) -> Any: ...
    @property
    def convergence(self) -> Any: ...
    @property
    def reached(self) -> Any: ...
    @property
    def speedup(self) -> Any: ...
    @property
    def dataset_size(self) -> Any: ...
    @property
    def dropped(self) -> Any: ...
    @property
    def missing(self) -> Any: ...
    @property
    def notes(self) -> Any: ...
    @property
    def trials(self) -> Any: ...
    @property
    def sources(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def upstream_name(self) -> str: ...
    @property
    def options(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Names:
    """Every setting, dataset and model of any table, in the order of the page.

    Attributes
    ----------
    settings
        In the paper's order.
    datasets
        In the order of the table of results.
    models
        Sorted by the mean of the first setting, those without a mean last.
    """

    settings: tuple[str, ...]
    datasets: tuple[str, ...]
    models: tuple[str, ...]


def names_of(subject: Subject) -> Names:
    """Collect the names from the cells and the sweeps."""
    tables = [subject.cells, subject.ablation, subject.convergence, subject.dataset_size]

    def all_of(column: str) -> list[str]:
        found = [str(name) for table in tables if column in table for name in table[column]]
        return list(dict.fromkeys(found))

    settings = in_order(all_of("setting"))
    means = subject.model_means
    if len(means) and settings:
        means = means[means.setting == settings[0]].sort_values(
            ["mean", "model"], ascending=[False, True]
        )
    ranked = [str(name) for name in means["model"]] if len(means) else []
    known = all_of("model")
    models = dict.fromkeys([name for name in ranked if name in set(known)] + known)
    return Names(tuple(settings), tuple(all_of("dataset")), tuple(models))
