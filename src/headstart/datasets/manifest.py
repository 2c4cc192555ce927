"""Manifests: sizes, class counts, digests and published files that a dataset is compared with."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pydantic import Field

from headstart.context import ProgressReporter
from headstart.datasets.file_index import Advance, FileIndex
from headstart.datasets.splits import Split
from headstart.errors import ManifestError
from headstart.labels import LabelKind
from headstart.spec import digest
from headstart.spec.noun import Noun

__all__ = [
    "Manifest",
    "PublishedFile",
    "SplitManifest",
    "check_manifest",
    "check_published_files",
    "differs",
    "find_published",
    "make_manifest",
]


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
    """Write down what is there; a file that the index does not know is read."""
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
    facts: list[tuple[str, Any, Any]] = [
        ("number of classes", len(expected.classes), len(found.classes)),
        ("class names", expected.classes, found.classes),
    ]
    for part, want in expected.splits.items():
        have = found.splits[part]
        facts.append((f"number of {part} images", want.size, have.size))
        facts += [
            (f"number of {part} images of class '{label}'", wanted, had)
            for label, wanted, had in zip(
                expected.classes, want.class_counts, have.class_counts, strict=False
            )
        ]
        facts += [
            (f"digest of the {part} labels", want.labels_sha256[:12], have.labels_sha256[:12]),
            (f"digest of the {part} images", want.images_sha256[:12], have.images_sha256[:12]),
        ]
    for what, wanted, had in facts:
        if wanted != had:
            raise differs(name, what, wanted, had)


def differs(name: str, what: str, expected: object, found: object) -> ManifestError:
    """Make the error about a dataset that is not the published one."""
    values = [f"{value:,}" if isinstance(value, int) else value for value in (expected, found)]
    return ManifestError(
        f"dataset '{name}' is not as published: {what}: expected {values[0]}, found {values[1]}; "
        "fetch a fresh copy",
        what=what,
        expected=expected,
        found=found,
    )


class PublishedFile(NamedTuple):
    """A file of which an MD5 is published, and where it is; None if it is not here."""

    name: str
    md5: str
    path: Path | None


def find_published(
    archives: Mapping[str, str], files: Mapping[str, str], folder: Path
) -> tuple[PublishedFile, ...]:
    """Look for files of which an MD5 is published, by their names; none is read.

    Both give the MD5 by the path as seen from the dataset's folder; a file may lie there by its
    bare name too. Archives may lie beside the folder as well. Files may have common names, so that
    beside it they would be another dataset's.
    """
    found = []
    for published, beside in ((archives, True), (files, False)):
        for path, md5 in published.items():
            name = PurePosixPath(path).name
            places = [folder / name, folder / path]
            places += [folder.parent / name] if beside else []
            found.append(PublishedFile(name, md5, next(filter(Path.is_file, places), None)))
    return tuple(found)


def check_published_files(
    name: str, published: Sequence[PublishedFile], file_index: FileIndex, reporter: ProgressReporter
) -> dict[str, str]:
    """Return the MD5 of each file that is here, by its name; ManifestError if one is another."""
    here = [(file, file.path) for file in published if file.path]
    if not here:
        return {}
    reporter.stage("comparing with published MD5s", total=len(here), unit="files")
    found = file_index.md5([path for _, path in here], reporter.advance)
    for (file, path), md5 in zip(here, found, strict=True):
        if md5 != file.md5:
            raise differs(name, f"MD5 of {path}", file.md5, md5)
    return {file.name: file.md5 for file, _ in here}
