"""From a source to splits that are what they claim to be."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headstart.datasets.ledger import Ledger
from headstart.datasets.manifest import Manifest, check_manifest, make_manifest
from headstart.datasets.names import DatasetName
from headstart.datasets.sources import SOURCES
from headstart.datasets.splits import Split
from headstart.errors import DatasetError
from headstart.labels import LabelKind, kind_of
from headstart.spec import Metric

__all__ = ["Reading", "check_examples", "read_dataset"]


@dataclass(frozen=True)
class Reading:
    """A dataset as it is on this machine.

    Parameters
    ----------
    classes
        Names in the order of the labels.
    parts
        ``train``, ``validation`` and ``test``, whole.
    manifest
        What they hold, in brief.
    metric
        How predictions are scored.
    split_rule
        In words, where the splits come from.
    missing
        How many images are listed and are not there, for parts with some.
    """

    classes: tuple[str, ...]
    parts: dict[str, Split]
    manifest: Manifest
    metric: Metric
    split_rule: str
    missing: dict[str, int]


def read_dataset(source: str, asked: DatasetName, cache: Path) -> Reading:
    """Read a dataset, split it, and prove it to be what is published of it.

    Raises
    ------
    DatasetMissingError, DatasetError
        Absent; an empty split, labels outside the classes, a class with no training example.
    ManifestError
        It is not what was published under its name.
    """
    own = SOURCES[source]
    metric = asked.metric or own.describe(asked).metric
    kind = kind_of(metric)
    archive = own.read(asked, cache)
    for part, split in archive.parts.items():
        if split.labels.ndim != kind.ndim:
            found = "several" if split.labels.ndim == 2 else "one"
            raise DatasetError(
                f"dataset '{asked.stem}' is scored by {metric}, and its {part} images have {found} "
                "of the classes each: name another metric with ?metric="
            )
    parts, split_rule = own.split(asked, archive)
    parts = {
        name: Split(part.images.decoded(asked.decoding), part.labels, part.rows)
        for name, part in parts.items()
    }
    check_examples(asked.stem, archive.classes, parts, kind)
    manifest = make_manifest(archive.classes, parts, kind, Ledger.at(cache))
    if published := own.manifest(asked):
        check_manifest(asked.stem, published, manifest)
    return Reading(archive.classes, parts, manifest, metric, split_rule, archive.missing)


def check_examples(
    name: str, classes: tuple[str, ...], parts: Mapping[str, Split], kind: LabelKind
) -> None:
    """Raise DatasetError unless every split has images, labels fit, and train has every class."""
    if len(classes) < 2:
        raise DatasetError(f"dataset '{name}' has {len(classes)} classes: at least 2 are needed")
    for split, part in parts.items():
        if not len(part):
            raise DatasetError(f"dataset '{name}' has no {split} images: each split needs some")
        if strange := kind.strange(part.labels, len(classes)):
            place, what = strange
            raise DatasetError(
                f"dataset '{name}' has labels outside the classes: {split} image "
                f"{part.images.where(place)} has {what}"
            )
        if not kind.counts(part.labels, len(classes)).any():
            raise DatasetError(
                f"dataset '{name}' has no {split} image that shows any class: nothing can be "
                "scored; add some, or raise --limit"
            )
    counts = kind.counts(parts["train"].labels, len(classes))
    if not counts.all():
        raise DatasetError(
            f"dataset '{name}' has a class with no training example: "
            f"'{classes[int(counts.argmin())]}'; add some, or raise --limit"
        )
