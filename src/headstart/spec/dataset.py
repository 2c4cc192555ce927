"""Images, labels and official splits."""

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt

from headstart.spec.noun import Noun

__all__ = ["Dataset", "Metric", "Sizes"]

Metric = Literal["top-1", "mean-per-class"]


class Sizes(Noun):
    """Numbers of images."""

    train: int
    validation: int
    test: int


class Dataset(Noun):
    """Images, labels and official splits.

    `source` names the adapter that reads it and `location` what the adapter needs to find it.
    `revision` is the digest of the manifest: the content itself, so two copies with the same
    revision are the same data. `limit` caps each split at so many images (class-balanced,
    drawn by the trial's seed); `skip_broken` leaves out images that do not decode.
    """

    name: str
    source: str
    location: str = ""
    revision: str
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    sizes: Sizes
    metric: Metric = "top-1"
    multilabel: bool = False
    limit: PositiveInt | None = None
    skip_broken: bool = False

    @property
    def used_sizes(self) -> Sizes:
        """The split sizes that a trial sees, the limit applied."""
        limit = self.limit or max(dict(self.sizes).values())
        return Sizes(**{name: min(size, limit) for name, size in self.sizes})

    @property
    def identity(self) -> dict[str, Any]:
        """All that may change the examples or the score, and nothing else."""
        fields = {"revision", "metric", "multilabel", "limit", "skip_broken"}
        return self.model_dump(mode="json", include=fields)
