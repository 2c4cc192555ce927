"""Features on disk, kept by content: written row after row, memory-mapped when read.

Three files a table of features, under the digest of all that decides its content:

* ``KEY.npy``       the features, (n, d) float32;
* ``KEY.json``      what they are, their SHA-256, which images were broken. It is written last:
                    features without it are not taken for done;
* ``KEY.partial``   the same as ``KEY.npy``, growing, with ``KEY.progress`` that says how many of
                    its rows are safe on disk. An interrupted extraction goes on from there.
"""

import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from headstart.files import (
    check_free_space,
    replaced,
    sha256_file,
    storage_errors,
    writable_folder,
)
from headstart.spec import digest

__all__ = ["Cache", "Features", "Rows"]

SYNC_SECONDS = 5.0

# Rows of features and the broken images among them: place in the block -> what the decoder said.
Rows = tuple[npt.NDArray[np.float32], dict[int, str]]


@dataclass(frozen=True)
class Features:
    """Features of images.

    Parameters
    ----------
    values
        (n, d) float32, memory-mapped, read-only; NaN in the rows of broken images.
    broken
        Row -> what the decoder said.
    sha256
        Of the file.
    made_by
        The device that computed them, and the versions.
    """

    values: npt.NDArray[np.float32]
    broken: dict[int, str]
    sha256: str
    made_by: dict[str, str]


class Cache:
    """One table of features in the cache.

    Parameters
    ----------
    folder
        Where features are kept.
    content
        All that decides the content, as JSON: its digest is the key.
    shape
        (n, d).
    """

    def __init__(self, folder: Path, content: dict[str, Any], shape: tuple[int, int]) -> None:
        self._content, self._shape = content, shape
        self._base = folder / digest(content)
        self._header = _header(shape)

    def read(self, warn: Callable[[str], None]) -> Features | None:
        """Map the features if they are there and whole; damaged ones are told and dropped."""
        card_file, values_file = self._file(".json"), self._file(".npy")
        if not card_file.exists() or not values_file.exists():
            return None
        with storage_errors(values_file):
            card = _read_json(card_file)
            if card is None or sha256_file(values_file) != card.get("sha256"):
                warn(f"cached features {values_file} are damaged (checksum): extracting them again")
                card_file.unlink()
                return None
            return Features(
                values=np.load(values_file, mmap_mode="r"),
                broken=_by_row(card["broken"]),
                sha256=card["sha256"],
                made_by=card["made_by"],
            )

    @contextmanager
    def locked(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Let one process at a time extract these features; the others wait, then read.

        `waiting` is called if another process is at it.
        """
        writable_folder(self._base.parent)
        lock = FileLock(self._file(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def write(
        self, blocks: Callable[[int], Iterator[Rows]], made_by: dict[str, str], *, holes: bool
    ) -> None:
        """Write all rows, from where an interrupted extraction ended.

        Parameters
        ----------
        blocks
            Given the first row that is missing, yields all rows from there on.
        made_by
            What computes them.
        holes
            Whether rows of broken images, left by an interrupted extraction, may stay.
        """
        partial = self._file(".partial")
        with storage_errors(partial):
            done, broken, content = self._safe_rows(holes)
            check_free_space(self._base.parent, (self._shape[0] - done) * self._row_bytes)
            with partial.open("r+b" if done else "w+b") as file:
                if not done:
                    file.write(self._header)
                file.truncate(self._offset(done))
                file.seek(0, os.SEEK_END)
                synced = time.monotonic()
                for values, reasons in blocks(done):
                    broken |= {done + place: reason for place, reason in reasons.items()}
                    block = values.astype("<f4").tobytes()
                    file.write(block)
                    content.update(block)
                    done += len(values)
                    if time.monotonic() - synced > SYNC_SECONDS:
                        file.flush()
                        os.fsync(file.fileno())
                        self._keep_progress(done, broken, content.hexdigest())
                        synced = time.monotonic()
                file.flush()
                os.fsync(file.fileno())
            self._finish(broken, content.hexdigest(), made_by)

    def _finish(self, broken: dict[int, str], sha256: str, made_by: dict[str, str]) -> None:
        self._file(".partial").replace(self._file(".npy"))
        card = {"content": self._content, "sha256": sha256, "broken": broken, "made_by": made_by}
        with replaced(self._file(".json")) as temporary:
            temporary.write_text(json.dumps(card, indent=1))
        self._file(".progress").unlink(missing_ok=True)

    def _keep_progress(self, rows: int, broken: dict[int, str], sha256: str) -> None:
        with replaced(self._file(".progress")) as temporary:
            temporary.write_text(json.dumps({"rows": rows, "broken": broken, "sha256": sha256}))

    def _safe_rows(self, holes: bool) -> tuple[int, dict[int, str], "hashlib._Hash"]:
        """Read how many rows of the partial file are whole, and the hash of the file so far."""
        fresh = hashlib.sha256(self._header)
        progress, partial = _read_json(self._file(".progress")), self._file(".partial")
        if progress is None or not partial.exists() or (progress["broken"] and not holes):
            return 0, {}, fresh
        content = hashlib.sha256()
        with partial.open("rb") as file:
            left = self._offset(progress["rows"])
            while left and (block := file.read(min(left, 1 << 20))):
                content.update(block)
                left -= len(block)
        if content.hexdigest() != progress["sha256"]:
            return 0, {}, fresh
        return progress["rows"], _by_row(progress["broken"]), content

    def _offset(self, rows: int) -> int:
        """Size of the file that holds so many rows."""
        return len(self._header) + rows * self._row_bytes

    @property
    def _row_bytes(self) -> int:
        return self._shape[1] * 4

    def _file(self, suffix: str) -> Path:
        return self._base.with_name(self._base.name + suffix)


def _header(shape: tuple[int, int]) -> bytes:
    """Lay out the header of a .npy file of little-endian float32."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return header.getvalue()


def _read_json(file: Path) -> dict[str, Any] | None:
    """Read what this module wrote; None if it is not there or not whole."""
    try:
        value = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _by_row(broken: dict[str, str]) -> dict[int, str]:
    """Turn JSON's text keys back into rows."""
    return {int(row): reason for row, reason in broken.items()}
