"""Sources of datasets: one per kind, asked in turn whether they recognise a name.

A package brings another one by an entry point ``headstart.dataset_source`` (`headstart.registry`).
"""

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from itertools import chain
from pathlib import Path

from headstart.context import default_cache
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.sources.dataset_source import Description, Presence, Source
from headstart.datasets.sources.own_files import folders_like
from headstart.errors import UnknownNameError
from headstart.registry import DATASET_SOURCES

__all__ = [
    "SOURCES",
    "Description",
    "Presence",
    "Source",
    "is_packaged",
    "locate",
    "names",
    "resolve_name",
]

SOURCES: Mapping[str, Source] = DATASET_SOURCES


def names() -> tuple[str, ...]:
    """All names of the catalogue: those that can be had without saying where they are."""
    return tuple(name for source in SOURCES.values() for name in source.names())


def is_packaged(name: str) -> bool:
    """Whether a dataset's whole content is known: it comes with a package, and is small."""
    return any(name in source.names() for source in SOURCES.values() if not source.looks)


def resolve_name(name: str | Path, cache: Path | None = None) -> tuple[Source, DatasetName]:
    """Find the source of a name, and what it is asked for: from any folder, with its metric.

    The metric of what is fetched later may show only then: look it up again.

    Raises
    ------
    UnknownNameError, StudyError
        No such name or option; an option with a value that it cannot have.
    """
    source, dataset_ref = locate(name)
    metric = dataset_ref.metric or source.metric(dataset_ref, cache or default_cache())
    return source, replace(dataset_ref, metric=metric)


def locate(name: str | Path) -> tuple[Source, DatasetName]:
    """Find the source of a name, and what it is asked for, as `resolve_name`, but for the metric.

    No function of the user's is called.
    """
    dataset_ref = DatasetName.parse(name)
    # A folder of a catalogue's name is the catalogue's.
    named = (source for source in SOURCES.values() if dataset_ref.stem in source.names())
    recognised = (source for source in SOURCES.values() if source.recognises(dataset_ref.stem))
    for source in chain(named, recognised):
        dataset_ref.check(source.options)
        return source, replace(dataset_ref, stem=source.location(dataset_ref.stem))
    near = [*get_close_matches(dataset_ref.stem.lower(), names()), *folders_like(dataset_ref.stem)]
    raise UnknownNameError("dataset", dataset_ref.stem, names(), near, neither="folder")
