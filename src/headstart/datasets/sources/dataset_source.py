"""The protocol of a source of datasets."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, NamedTuple

from headstart.context import ProgressReporter
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.manifest import Manifest, PublishedFile
from headstart.datasets.splits import RawDataset, Split, draw_splits
from headstart.errors import DatasetMissingError
from headstart.labels import kind_of
from headstart.spec import Metric, Sizes

__all__ = ["Description", "Presence", "Source"]


@dataclass(frozen=True)
class Description:
    """What is known of a dataset before it is looked at.

    Parameters
    ----------
    title
        Its name for a person and for a table.
    metric
        How predictions are scored; what labels mean follows from it.
    split_rule
        In words, where the splits come from; "" where that shows only when it is read.
    n_classes, sizes
        As published, None where nothing is.
    drawn
        Splits that the creators do not give.
    origins, layout
        Where it is to be had, and what a folder of it holds; a line each.
    """

    title: str
    metric: Metric = "top-1"
    split_rule: str = ""
    n_classes: int | None = None
    sizes: Sizes | None = None
    drawn: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    layout: tuple[str, ...] = ()


class Presence(NamedTuple):
    """Whether a dataset is on this machine, and where it is or how to get it."""

    present: bool
    place: str


class Source(ABC):
    """A kind of place where datasets are.

    Parameters
    ----------
    name
        As in `Dataset.source`.
    options
        Options of a dataset's name that this source reads besides those that all have, and what
        each means.
    fetches
        Whether what is not here is fetched as soon as it is named; else only on request.
    looks
        Whether the images are looked at before a run: they are not known by their digest.
    """

    name: ClassVar[str]
    options: ClassVar[Mapping[str, str]] = MappingProxyType({})
    fetches: ClassVar[bool] = False
    looks: ClassVar[bool] = True

    @abstractmethod
    def describe(self, dataset_ref: DatasetName) -> Description:
        """State what is known without reading anything large."""

    @abstractmethod
    def presence(self, dataset_ref: DatasetName, cache: Path) -> Presence:
        """Return whether the data are on this machine; no network is used."""

    @abstractmethod
    def read(self, dataset_ref: DatasetName, cache: Path) -> RawDataset:
        """Read labels and where the images are; the images themselves are decoded when asked for.

        Raises
        ------
        DatasetMissingError
            Not on this machine.
        DatasetError
            Something else than a dataset of this kind.
        """

    def names(self) -> tuple[str, ...]:
        """Names of the catalogue that are this source's."""
        return ()

    def recognises(self, stem: str) -> bool:  # noqa: ARG002
        """Whether a name without its options, none of `names`, is one of this source's."""
        return False

    def location(self, stem: str) -> str:
        """Return what finds the data from any folder: `Dataset.location`."""
        return stem

    def fetch(self, dataset_ref: DatasetName, cache: Path, reporter: ProgressReporter) -> None:  # noqa: ARG002
        """Bring the data onto this machine, tried once, told within seconds if it is not to be had.

        Raises
        ------
        DatasetMissingError
            Not to be had; the message says what would do instead.
        """
        presence = self.presence(dataset_ref, cache)
        if not presence.present:
            raise DatasetMissingError(
                f"dataset '{dataset_ref.stem}' is not on this machine: {presence.place}"
            )

    def metric(self, dataset_ref: DatasetName, cache: Path) -> Metric:  # noqa: ARG002
        """State how predictions are scored: as described, or as what is on this machine shows."""
        return self.describe(dataset_ref).metric

    def forget(self) -> None:  # noqa: B027  most sources keep nothing
        """Have nothing known of data any more that may have changed since it was read."""

    def source_revision(self, dataset_ref: DatasetName, cache: Path) -> str:  # noqa: ARG002
        """State what the host calls the version that is here (a commit); "" where there is none."""
        return ""

    def split(self, dataset_ref: DatasetName, raw: RawDataset) -> tuple[dict[str, Split], str]:
        """Return ``train``, ``validation`` and ``test``, and in words where they come from.

        Raises
        ------
        DatasetError
            Too few images to split.
        StudyError
            A split seed where all parts are given.
        ManifestError
            Where splits are published: what differs.
        """
        if set(raw.parts) == {"train", "validation", "test"}:
            dataset_ref.refuse_split_seed()
        kind = kind_of(dataset_ref.metric or self.describe(dataset_ref).metric)
        return draw_splits(raw, dataset_ref.split_seed, dataset_ref.stem, kind)

    def manifest(self, dataset_ref: DatasetName) -> Manifest | None:  # noqa: ARG002
        """Return the published content, None where none is: the content is what it turns out."""
        return None

    def published_files(
        self,
        dataset_ref: DatasetName,  # noqa: ARG002
        cache: Path,  # noqa: ARG002
    ) -> tuple[PublishedFile, ...] | None:
        """Find the files of which a checksum is published; None where the dataset is not published.

        Of a published dataset there may be none.
        """
        return None
