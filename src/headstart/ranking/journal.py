"""What races measured, kept in the cache: an interrupted race goes on where it was."""

import base64
import json
from dataclasses import asdict
from math import inf
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from headstart.files import replaced, storage_errors
from headstart.ranking.answer import Cost
from headstart.ranking.cross_validation import RankMeasurement
from headstart.spec import Model, digest

__all__ = ["RankJournal"]

FOLDER = "ranking"


class RankJournal:
    """The measurements of one race: one file per model, written whole or not at all.

    Parameters
    ----------
    cache
        The cache's folder.
    content
        All that determines the measurements but the model, and the device, as JSON.
    """

    def __init__(self, cache: Path, content: dict[str, Any]) -> None:
        self._folder = cache / FOLDER / digest(content)
        self._content, self._lock = content, Lock()

    def recall(self, model: Model, size: int) -> RankMeasurement | None:
        """Return what was measured of a model on so many images, None for nothing."""
        kept = self._read(model)
        step = kept["steps"].get(str(size)) if kept else None
        if step is None:
            return None
        shape = tuple(step["shape"])
        bits = np.frombuffer(base64.b64decode(step["right"]), np.uint8)
        right = np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool)
        lam, broken = step["lambda"], step.get("broken", 0)
        # As it was known then, so that what follows is decided as it was.
        cost = Cost(**step["cost"])
        return RankMeasurement(cost, right, step["seconds"], lam=lam, broken=broken)

    def cost(self, model: Model) -> Cost | None:
        """Return what was measured of a model's speed."""
        kept = self._read(model)
        return Cost(**kept["cost"]) if kept else None

    def fitted(self, model: Model, size: int, budget: float) -> bool:
        """Whether a measurement was made within a budget, all workers together, that is no larger.

        What fitted it then fits this one, too, in whichever order workers have ended.
        """
        kept = self._read(model)
        step = kept["steps"].get(str(size)) if kept else None
        return step is not None and step.get("budget", inf) <= budget

    def keep(self, model: Model, size: int, found: RankMeasurement, budget: float) -> None:
        """Keep a measurement, the speed of its network, and the budget (seconds) it was made in."""
        place = self._place(model)
        with self._lock, storage_errors(place):
            kept = self._read(model) or {"content": self._content, "model": model.name, "steps": {}}
            kept["cost"] = asdict(found.cost)
            if found.right is not None:
                right = base64.b64encode(np.packbits(found.right).tobytes()).decode()
                step = {
                    "right": right,
                    "shape": found.right.shape,
                    "cost": asdict(found.cost),
                    "seconds": found.seconds,
                    "lambda": found.lam,
                    "broken": found.broken,
                    "budget": budget,
                }
                kept["steps"][str(size)] = step
            place.parent.mkdir(parents=True, exist_ok=True)
            with replaced(place) as temporary:
                temporary.write_text(json.dumps(kept))

    def _read(self, model: Model) -> Any:
        """Return the file of a model; nothing where it is absent or damaged."""
        try:
            kept = json.loads(self._place(model).read_bytes())
            Cost(**kept["cost"])
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return kept

    def _place(self, model: Model) -> Path:
        return self._folder / f"{digest(model.identity)}.json"
