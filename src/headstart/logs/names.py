"""Logs by name."""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from headstart.errors import LogError, UnknownNameError
from headstart.files import writable_folder
from headstart.logs.base import Log

__all__ = ["NAMES", "open_log"]

# Packages that each log needs. Its extra and its module here have the name of the log.
PACKAGES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"tensorboard": ("tensorboard",), "mlflow": ("mlflow", "alembic"), "wandb": ("wandb",)}
)
NAMES = tuple(PACKAGES)


def open_log(name: str, folder: Path) -> Log:
    """Open a log in a folder; nothing is sent over the network.

    Raises
    ------
    UnknownNameError
        `name` is not one of `NAMES`.
    LogError
        Packages are missing.
    StorageError
        The folder is not writable.
    """
    if name not in PACKAGES:
        raise UnknownNameError("log", name, NAMES)
    if missing := [package for package in PACKAGES[name] if find_spec(package) is None]:
        raise LogError(
            f"--log {name} needs {' and '.join(missing)}, not installed here: "
            f"pip install 'headstart[{name}]'",
            code="log.not_installed",
            name=name,
            missing=missing,
        )
    make: Callable[[Path], Log] = import_module(f"headstart.logs.{name}").make
    return make(writable_folder(folder))
