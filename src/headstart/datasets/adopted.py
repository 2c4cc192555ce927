"""Where a dataset of the study lies on this machine: said once, remembered."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headstart.datasets.archives import is_archive
from headstart.files import replaced, storage_errors, writable_folder

__all__ = ["Place", "adopt", "adopted", "default_folder", "place_of"]

Form = Literal["archive", "hub"]


@dataclass(frozen=True)
class Place:
    """A folder, and whether it holds the creators' archive or Parquet files of the hub."""

    folder: Path
    form: Form = "archive"


def place_of(name: str, folder: Path) -> Place:
    """Report whether a folder holds the creators' archive or a copy of the hub.

    A table of somebody's may lie in an archive, so Parquet files alone do not tell.
    """
    copy = any(folder.rglob("*.parquet")) and not is_archive(name, folder)
    return Place(folder, "hub" if copy else "archive")


def default_folder(name: str, cache: Path) -> Path:
    """Where a download of a dataset goes."""
    return cache / "datasets" / name


def adopt(name: str, place: Place, cache: Path) -> None:
    """Remember where a dataset is."""
    file = _record(name, cache)
    writable_folder(file.parent)
    record = {"folder": str(place.folder.resolve()), "form": place.form}
    with replaced(file) as temporary:
        temporary.write_text(json.dumps(record, indent=1))


def adopted(name: str, cache: Path) -> Place | None:
    """Return where a dataset is, if that was ever said."""
    file = _record(name, cache)
    if not file.is_file():
        return None
    with storage_errors(file, reading=True):
        content = file.read_bytes()
    try:
        record = json.loads(content)
        form: Form = "hub" if record["form"] == "hub" else "archive"
        return Place(Path(record["folder"]), form)
    # A record that is damaged is no record: the dataset can be adopted again.
    except (ValueError, KeyError, TypeError):
        return None


def _record(name: str, cache: Path) -> Path:
    return cache / "datasets" / f"{name}.place.json"
