"""Versions of software, as provenance of results."""

import platform
from importlib.metadata import version
from typing import Any

__all__ = ["provenance"]

PACKAGES = ("headstart", "numpy", "scipy", "torch", "timm", "pillow")


def provenance() -> dict[str, Any]:
    """Return versions of packages and Python, and the platform."""
    return {
        "versions": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
