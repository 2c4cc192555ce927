"""Which software on which machine makes a number."""

import platform
from importlib.metadata import version
from typing import Any

__all__ = ["provenance"]

PACKAGES = ("headstart", "numpy", "scipy", "torch", "timm", "pillow")


def provenance() -> dict[str, Any]:
    """Say which software on which machine makes a number."""
    return {
        "versions": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
