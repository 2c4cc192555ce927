"""A function of the user's that makes a network: ``path/to/file.py:function``.

Naming one runs code. Who types it on the command line means that; a study file from elsewhere may
not (`Study.from_toml`).
"""

import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from headstart.errors import ModelError, UnknownNameError
from headstart.files import sha256_file, storage_errors
from headstart.models.sources.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Source,
    counted,
    last_linear,
)
from headstart.spec import Model, Weights

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Function", "is_function"]

REFERENCE = re.compile(r"(?P<file>.+\.py):(?P<function>[A-Za-z_]\w*)")
FILE = "file"
SHOWN = 12


def is_function(stem: str) -> bool:
    """Whether the name of a model, without options, is a reference to a function."""
    return REFERENCE.fullmatch(stem) is not None


class Function(Source):
    """Networks that a function in a file gives when it is called without arguments."""

    name = "function"

    def describe(self, name: str) -> Model:
        import torch

        file, function = _parts(name)
        digest = _digest(file)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = _call(file, function)
        return Model(
            name=name,
            source=self.name,
            # The file's content, not its place, tells a network from another one.
            architecture=f"{file.name}:{function}@{digest[:SHOWN]}",
            weights=Weights(locator=f"file:{file}", sha256=digest),
            input_size=224,
            interpolation="bilinear",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            **counted(module, self.head(module)),
            tags={FILE: str(file)},
        )

    def build(self, model: Model) -> "nn.Module":
        file = Path(model.tags[FILE])
        function, _, digest = model.architecture.rpartition(":")[2].partition("@")
        if _digest(file)[:SHOWN] != digest:
            raise ModelError(f"{file} has changed since the network was described: run again")
        return _call(file, function)

    def head(self, module: "nn.Module") -> str:
        return last_linear(module)

    def carries_weights(self, model: Model) -> bool:
        return model.weights.locator == f"file:{model.tags[FILE]}"

    def revision(self, name: str) -> str:
        file, _ = _parts(name)
        return f"{file}@{_digest(file)}"


def _parts(name: str) -> tuple[Path, str]:
    found = REFERENCE.fullmatch(name)
    if found is None:
        raise ModelError(f"'{name}' names no function: expected path/to/file.py:function")
    file = Path(found["file"]).expanduser().resolve()
    if not file.is_file():
        raise ModelError(f"model '{name}': there is no file {file}")
    return file, found["function"]


def _digest(file: Path) -> str:
    with storage_errors(file):
        return sha256_file(file)


def _call(file: Path, function: str) -> "nn.Module":
    """Import the file, call the function, and prove that it gave a network."""
    from torch import nn

    with _in_one_line(file), _beside(file):
        module = _imported(file)
        made = getattr(module, function, None)
        if callable(made):
            network = made()
    if not callable(made):
        known = [name for name, value in vars(module).items() if callable(value)]
        raise UnknownNameError(f"function of {file}", function, known)
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"{file}: {function}() gave a value of type {type(network).__name__}: "
            "expected a torch.nn.Module"
        )
    return network.float()


def _imported(file: Path) -> ModuleType:
    """Execute the file as a module of its own: nothing is kept beside it, no bytecode."""
    module = ModuleType(f"headstart_function_{file.stem}")
    module.__file__ = str(file)
    # Dataclasses and pickles look their module up.
    sys.modules[module.__name__] = module
    exec(compile(file.read_bytes(), str(file), "exec"), vars(module))  # noqa: S102
    return module


@contextmanager
def _beside(file: Path) -> Iterator[None]:
    """Let the file import what lies beside it, as if it were run, and forget that again.

    Else a file of the same name beside another one would never be looked at.
    """
    folder, before = str(file.parent), set(sys.modules)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
        for name in set(sys.modules) - before:
            top = name.partition(".")[0]
            if (file.parent / f"{top}.py").is_file() or (file.parent / top).is_dir():
                del sys.modules[name]


@contextmanager
def _in_one_line(file: Path) -> Iterator[None]:
    """Turn whatever the user's code raises into one line that names its place."""
    try:
        yield
    except (Exception, SystemExit) as error:
        kind, line = type(error).__name__, _line(error, file)
        reason = (str(error) or "without a message").strip().splitlines()[0]
        raise ModelError(f"{file}{line}: {kind}: {reason}") from error


def _line(error: Any, file: Path) -> str:
    """Say at which line of the file an error arose, if it did there."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return f", line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(file)]
    return f", line {lines[-1]}" if lines else ""
