"""What others publish of a dataset's files, held against the files that are here."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from headstart.context import ProgressReporter
from headstart.datasets.file_index import FileIndex
from headstart.errors import ManifestError

__all__ = ["PublishedFile", "check_published_files", "find_published"]


class PublishedFile(NamedTuple):
    """A file of which an MD5 is published, and where it is; None if it is not here."""

    name: str
    md5: str
    path: Path | None


def find_published(
    archives: Mapping[str, str], files: Mapping[str, str], folder: Path
) -> tuple[PublishedFile, ...]:
    """Look for files of which an MD5 is published, by their names; none is read.

    Parameters
    ----------
    archives
        MD5 by path: of those that may lie in the folder or beside it.
    files
        MD5 by path: of those that lie in the folder. Their names may be common ones, so that
        beside it they would be another dataset's.
    folder
        Where the dataset is. A path is seen from there; a file may lie there by its bare name too.
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
    """Compare the files that are here with what is published; give the MD5 of each by its name.

    Raises
    ------
    ManifestError
        A file is another than was published.
    StorageError
        A file cannot be read.
    """
    here = [(file, file.path) for file in published if file.path]
    if not here:
        return {}
    reporter.stage("comparing with published MD5s", total=len(here), unit="files")
    found = file_index.md5([path for _, path in here], reporter.advance)
    for (file, path), md5 in zip(here, found, strict=True):
        if md5 != file.md5:
            raise ManifestError(
                f"dataset '{name}' is not as published: MD5 of {path} should be {file.md5}, found "
                f"{md5}; fetch a fresh copy"
            )
    return {file.name: file.md5 for file, _ in here}
