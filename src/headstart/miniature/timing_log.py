"""Time of each part of the miniature, kept across interruptions."""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from headstart.errors import StorageError
from headstart.files import replaced, storage_errors

__all__ = ["TimingLog"]


class TimingLog:
    """Seconds of each stage in a JSON file, including those of earlier runs.

    Parameters
    ----------
    file
        Read if it exists; written after each stage, even an interrupted one.
    facts
        Additional entries: the command, the scale, the device.

    Raises
    ------
    StorageError
        The file exists and is not a timing log.
    """

    def __init__(self, file: Path, facts: dict[str, Any]) -> None:
        self._file = file
        self._facts = {**facts, "processors": os.cpu_count(), "platform": platform.platform()}
        self.seconds: dict[str, float] = {}
        if file.exists():
            with storage_errors(file, reading=True):
                text = file.read_text(encoding="utf-8")
            try:
                self.seconds = {name: float(s) for name, s in json.loads(text)["seconds"].items()}
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise StorageError(
                    f"timing log {file} is damaged ({type(error).__name__}): remove it; what was "
                    "measured is in the store",
                    code="miniature.timing_damaged",
                    path=str(file),
                ) from error

    @property
    def total(self) -> float:
        """Total seconds of all stages."""
        return sum(self.seconds.values())

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as part of a stage."""
        began = monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + monotonic() - began
            self._write()

    def _write(self) -> None:
        rounded = {name: round(seconds, 1) for name, seconds in self.seconds.items()}
        content = {**self._facts, "seconds": rounded, "minutes": round(self.total / 60, 1)}
        with replaced(self._file) as temporary:
            temporary.write_text(
                json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
