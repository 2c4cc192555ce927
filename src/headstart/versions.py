"""Versions of software, as provenance of results."""

import platform
from functools import cache
from importlib.metadata import version
from typing import Any

__all__ = ["provenance"]

PACKAGES = ("headstart", "numpy", "scipy", "torch", "timm", "pillow")


def provenance() -> dict[str, Any]:
    """Return versions of packages and Python, and the platform."""
    return {
        "versions": dict(_versions()),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


# Each look reads the package's metadata, as long as everything else of a small trial.
@cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}
