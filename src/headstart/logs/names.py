"""A log by its name."""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from headstart.errors import LogError, UnknownNameError
from headstart.files import writable_folder
from headstart.logs.base import Log

__all__ = ["NAMES", "open_log"]

# The packages that each needs. Its extra has the name of the log, and so has its module here.
PACKAGES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"tensorboard": ("tensorboard",), "mlflow": ("mlflow", "alembic"), "wandb": ("wandb",)}
)
NAMES = tuple(PACKAGES)


def open_log(name: str, folder: Path) -> Log:
    """Begin to log into a folder; nothing is sent anywhere.

    Raises
    ------
    UnknownNameError
        Not one of `NAMES`.
    LogError
        Its packages are not installed.
    StorageError
        The folder cannot be written.
    """
    if name not in PACKAGES:
        raise UnknownNameError("log", name, NAMES)
    if lacking := [package for package in PACKAGES[name] if find_spec(package) is None]:
        raise LogError(
            f"--log {name} needs {' and '.join(lacking)}, not installed here: "
            f"pip install 'headstart[{name}]'"
        )
    make: Callable[[Path], Log] = import_module(f"headstart.logs.{name}").make
    return make(writable_folder(folder))
