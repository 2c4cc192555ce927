"""Where datasets are: a source a kind, asked in this order whether a name is theirs."""

from dataclasses import replace
from pathlib import Path

from headstart.datasets.names import DatasetName
from headstart.datasets.sources.base import Description, Presence, Source
from headstart.datasets.sources.embedded import EmbeddedSource
from headstart.datasets.sources.folder import FolderSource
from headstart.datasets.sources.function import FunctionSource
from headstart.datasets.sources.hf import HubSource
from headstart.datasets.sources.study import StudySource
from headstart.datasets.sources.table import TableSource
from headstart.datasets.sources.torchvision import TorchvisionSource
from headstart.errors import UnknownNameError
from headstart.workspace import default_cache

__all__ = [
    "EMBEDDED",
    "SOURCES",
    "Description",
    "Presence",
    "Source",
    "located",
    "names",
    "source_of",
]

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        EmbeddedSource(),
        StudySource(),
        HubSource(),
        TorchvisionSource(),
        FunctionSource(),
        TableSource(),
        FolderSource(),
    )
}

# Measured without any download: they come with packages, of Python or of the system.
EMBEDDED = SOURCES["embedded"].names()


def names() -> tuple[str, ...]:
    """All names of the catalogue: those that can be had without saying where they are."""
    return tuple(name for source in SOURCES.values() for name in source.names())


def located(name: str, cache: Path | None = None) -> tuple[Source, DatasetName]:
    """Find the source of a name, and what it is asked for: from any folder, with its metric.

    The metric of what is fetched later may show only then: look it up again.

    Raises
    ------
    UnknownNameError, StudyError
        No such name or option; an option with a value that it cannot have.
    """
    asked = DatasetName.parse(name)
    source = source_of(asked)
    asked = replace(asked, stem=source.location(asked.stem))
    return source, replace(
        asked, metric=asked.metric or source.metric(asked, cache or default_cache())
    )


def source_of(asked: DatasetName) -> Source:
    """Find the source of a name, and check the options that go with it.

    Raises
    ------
    UnknownNameError
        No source knows such a name, or the source has no such option.
    """
    for source in SOURCES.values():
        if source.recognises(asked.stem):
            asked.check(source.options)
            return source
    raise UnknownNameError("dataset", asked.stem, names())
