"""What is published of the study's twelve datasets, and how each one is split."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from headstart.errors import UnknownNameError
from headstart.spec import Sizes, plain_name
from headstart.spec.noun import Noun

__all__ = ["Facts", "HubCopy", "facts_of", "is_published_name", "published_facts"]

VOC_METRIC = "voc-map-11point"

Part = Literal["train", "validation", "test", "all", "train+validation"]


class HubCopy(Noun):
    """A copy of a dataset in Parquet files on the Hugging Face hub.

    `image` and `label` name its columns. `parts` gives for each part the copy's split, or several
    joined by ``+``. `revision` is a commit; where there is none, the first fetch takes the newest
    and notes it beside the data, and later ones take what is noted.
    """

    repository: str
    image: str
    label: str
    parts: dict[Part, str]
    revision: str = ""


class Facts(Noun):
    """A dataset of the study, as published.

    `key`, `title` and `aliases` are its names. In a table of results each stands for this dataset.

    `sizes` count the images to fit on before the choice, to choose on, and to test on once: a
    published training set with validation in it is the sum of the first two. `per_class` gives
    what the protocol fixes for every class, by split; ``train+validation`` is both together.

    `parts` are those that the creators made. Where ``validation`` is not among them, it is drawn
    from ``train``; where there is only ``all``, everything is drawn, the same for every class.

    `split_rule` and `sources` say in words what this means and where the data come from, `layout`
    what a folder has to hold, a line each.

    `hub` is a copy on the Hugging Face hub. `torchvision` names the class of torchvision.datasets
    that can download it, "" where none can any more.

    `archives` and `files` give the MD5s that torchvision publishes, by where it has the files: of
    archives that unpack to a folder of their own, and of what lies in the dataset's folder.
    """

    key: str
    title: str
    aliases: tuple[str, ...] = ()
    n_classes: PositiveInt
    sizes: Sizes
    per_class: dict[str, PositiveInt] = Field(default_factory=dict)
    metric: Literal["top-1", "mean-per-class", "voc-map-11point"]
    multilabel: bool = False
    parts: tuple[Literal["train", "validation", "test", "all"], ...]
    split_rule: str
    sources: tuple[str, ...]
    layout: tuple[str, ...]
    hub: HubCopy | None = None
    torchvision: str = ""
    archives: dict[str, str] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _metric_fits_labels(self) -> Self:
        if self.multilabel != (self.metric == VOC_METRIC):
            raise ValueError(
                f"metric {self.metric} does not fit multilabel = {self.multilabel}: "
                f"{VOC_METRIC} is for images of several classes, the others for images of one"
            )
        return self


@cache
def published_facts() -> dict[str, Facts]:
    """Read what is published, by key, in the order of the paper's Table 1."""
    text = files("headstart.datasets").joinpath("catalogue.toml").read_text(encoding="utf-8")
    return {key: Facts(key=key, **fields) for key, fields in tomllib.loads(text).items()}


def facts_of(key: str) -> Facts:
    """Find the facts of one dataset; UnknownNameError tells the nearest keys."""
    if key not in published_facts():
        raise UnknownNameError("dataset", key, published_facts())
    return published_facts()[key]


def is_published_name(name: str) -> bool:
    """Whether a table of results would take this name for a dataset of the study.

    Capitals and what is neither letter nor digit do not count.
    """
    return plain_name(name) in _names()


@cache
def _names() -> frozenset[str]:
    facts = published_facts().values()
    return frozenset(plain_name(n) for f in facts for n in (f.key, f.title, *f.aliases))
