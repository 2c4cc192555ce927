"""Digests of values: the same value gives the same digest on every machine."""

import hashlib
import json
from typing import Any

__all__ = ["digest"]


def digest(value: Any) -> str:
    """Hexadecimal SHA-256 of a JSON value in canonical form (sorted keys, no spaces).

    Floats are written by ``repr``, the shortest text that reads back as the same float64. NaN and
    infinity raise ValueError.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
