"""A dataset: images, labels and official splits."""

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from headstart.spec.noun import Noun, digest

__all__ = ["SPLITS_BY_SEED", "Dataset", "Decoding", "Metric", "Sizes", "plain_name"]

# An option in the name of a dataset: each seed of a study draws its splits anew.
SPLITS_BY_SEED = "split_seed=seed"

Metric = Literal["top-1", "mean-per-class", "voc-map-11point"]


def plain_name(name: str) -> str:
    """Leave of a dataset's name what tells it from others: letters and digits, none a capital.

    Examples
    --------
    >>> plain_name("Food-101"), plain_name("food101")
    ('food101', 'food101')
    """
    return "".join(letter for letter in name.lower() if letter.isalnum())


class Sizes(Noun):
    """Numbers of images."""

    train: int
    validation: int
    test: int


class Decoding(Noun):
    """How the bytes of a file become an image.

    `like` is ``"viewer"``: turned as its EXIF orientation says, on white where it is transparent,
    16 bits a pixel scaled to 8; or ``"torchvision"``: as torchvision's image folders decode, with
    Pillow's ``convert("RGB")`` alone, which does none of these. An image of more than `max_pixels`
    counts as broken. `range` is the values that are black and white in greyscale images of more
    than 8 bits, signed numbers or floating point; as each file says unless given.
    """

    like: Literal["viewer", "torchvision"] = "viewer"
    max_pixels: PositiveInt = 100_000_000
    range: tuple[float, float] | None = None


class Dataset(Noun):
    """Images, labels and official splits.

    `source` names the adapter that reads it; `location` and `options` are what the adapter needs to
    find it, and `source_revision` what its host calls this version (a commit), where there is one.
    `revision` is the digest of the manifest: the content itself, so two copies with the same
    revision are the same data. `split_rule` says in words where the splits come from; `split_seed`
    draws those that are not given. `allow_missing` accepts that images which are listed are gone.
    `limit` caps each split at so many images (class-balanced, drawn by the trial's seed);
    `examples_per_class` leaves so many training images of each class: hyperparameters are then
    chosen on the whole validation split, and the final training has these images alone.
    `smallest_class` is the number of training images of the class that has the fewest, None in
    records from before it was kept. `skip_broken` leaves out images that do not decode.
    """

    name: str
    source: str
    location: str = ""
    options: dict[str, str] = {}
    source_revision: str = ""
    revision: str
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    sizes: Sizes
    smallest_class: PositiveInt | None = None
    metric: Metric = "top-1"
    split_rule: str = ""
    split_seed: NonNegativeInt = 0
    allow_missing: bool = False
    decoding: Decoding = Decoding()
    limit: PositiveInt | None = None
    examples_per_class: PositiveInt | None = None
    skip_broken: bool = False

    @model_validator(mode="before")
    @classmethod
    def _older_record(cls, fields: Any) -> Any:
        """Take a record of a store in which `multilabel` was a field: the metric says it."""
        if isinstance(fields, dict) and "multilabel" in fields:
            fields = {name: value for name, value in fields.items() if name != "multilabel"}
        return fields

    @property
    def splits_by_seed(self) -> bool:
        """Whether each seed of a study draws the splits anew: then its content is not one."""
        return SPLITS_BY_SEED in self.name

    @property
    def multilabel(self) -> bool:
        """Whether an image may show several classes."""
        return self.metric == "voc-map-11point"

    @property
    def used_sizes(self) -> Sizes:
        """The split sizes that a trial sees, the limit applied."""
        limit = self.limit or max(dict(self.sizes).values())
        used = {name: min(size, limit) for name, size in self.sizes}
        if self.examples_per_class:
            used["train"] = min(used["train"], self.examples_per_class * len(self.classes))
        return Sizes(**used)

    @property
    def most_per_class(self) -> int:
        """How many training images every class has, the limit applied."""
        smallest = self.smallest_class or self.sizes.train // len(self.classes)
        return min(smallest, (self.limit or self.sizes.train) // len(self.classes))

    @property
    def is_drawn(self) -> bool:
        """Whether a trial's seed chooses the images that it sees."""
        return self.limit is not None or self.examples_per_class is not None

    @property
    def identity(self) -> dict[str, Any]:
        """All that may change the examples or the score, and nothing else.

        How splits are drawn, and what is missing, shows in the revision.
        """
        fields = {"revision", "metric", "limit", "skip_broken"}
        chosen = self.model_dump(mode="json", include=fields) | {"multilabel": self.multilabel}
        few = self.examples_per_class
        return chosen | self.decoding_identity | ({"examples_per_class": few} if few else {})

    @property
    def images_revision(self) -> str:
        """Digest of the images as a network sees them: of the content and of its decoding."""
        departs = self.decoding_identity
        return digest({"revision": self.revision, **departs}) if departs else self.revision

    @property
    def decoding_identity(self) -> dict[str, Any]:
        """What of the decoding is not as usual: all that may change an image."""
        departs = self.decoding.model_dump(exclude_defaults=True)
        return {"decoding": departs} if departs else {}
