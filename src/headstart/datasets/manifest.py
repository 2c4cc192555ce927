"""What a dataset must be: sizes, class counts, content digest; and what differs if it is not."""

from typing import Any

from pydantic import Field

from headstart.datasets.file_index import Advance, FileIndex
from headstart.datasets.splits import Split
from headstart.errors import ManifestError
from headstart.labels import LabelKind
from headstart.spec import digest
from headstart.spec.noun import Noun

__all__ = ["Manifest", "SplitManifest", "check_manifest", "make_manifest"]


class SplitManifest(Noun):
    """One split: its size, how many images show each class, and the digest of its content."""

    size: int
    class_counts: tuple[int, ...]
    images_sha256: str
    labels_sha256: str


class Manifest(Noun):
    """A dataset's content in brief."""

    classes: tuple[str, ...]
    splits: dict[str, SplitManifest] = Field(description="train, validation, test")
    archives: dict[str, str] = Field(
        default_factory=dict,
        description="MD5 of the creators' files that lie here as they were published, by name",
    )

    @property
    def revision(self) -> str:
        """Digest of classes and splits: two copies with the same revision are the same data.

        Whether an archive was kept beside what was unpacked from it changes nothing.
        """
        return digest(self.model_dump(mode="json", exclude={"archives"}))


def make_manifest(
    classes: tuple[str, ...],
    splits: dict[str, Split],
    kind: LabelKind,
    file_index: FileIndex,
    advance: Advance | None = None,
) -> Manifest:
    """Write down what is there; a file that the file_index does not know is read.

    `advance` is called with how many images more are done.
    """
    return Manifest(
        classes=classes,
        splits={
            name: SplitManifest(
                size=len(split),
                class_counts=tuple(kind.counts(split.labels, len(classes)).tolist()),
                images_sha256=split.images.digest(file_index, advance),
                labels_sha256=digest(split.labels.tolist()),
            )
            for name, split in splits.items()
        },
    )


def check_manifest(name: str, expected: Manifest, found: Manifest) -> None:
    """Raise ManifestError if they differ, and say how: the most telling difference first."""
    if expected == found:
        return
    for what, want, have in _facts(expected, found):
        if want != have:
            raise ManifestError(
                f"dataset '{name}' is not as published: {what} should be {want}, found {have}; "
                "fetch a fresh copy"
            )


def _facts(expected: Manifest, found: Manifest) -> list[tuple[str, Any, Any]]:
    facts: list[tuple[str, Any, Any]] = [
        ("the number of classes", len(expected.classes), len(found.classes)),
        ("the class names", expected.classes, found.classes),
    ]
    for name, want in expected.splits.items():
        have = found.splits[name]
        facts.append((f"the number of {name} images", want.size, have.size))
        facts += [
            (f"the number of {name} images of class '{label}'", wanted, had)
            for label, wanted, had in zip(
                expected.classes, want.class_counts, have.class_counts, strict=False
            )
        ]
        for kind in ("labels", "images"):
            wanted, had = (getattr(part, f"{kind}_sha256")[:12] for part in (want, have))
            facts.append((f"the digest of the {name} {kind}", wanted, had))
    return facts
