"""A function of the user's that makes a network: ``path/to/file.py:function``."""

from pathlib import Path
from typing import TYPE_CHECKING

from headstart.errors import ModelError
from headstart.files import sha256_file, storage_errors
from headstart.functions import call_function, locate_function
from headstart.models.heads import Head
from headstart.models.sources.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Source,
    counted,
    last_layer,
)
from headstart.spec import Model, Weights

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Function"]

FILE = "file"
SHOWN = 12


class Function(Source):
    """Networks that a function in a file gives when it is called without arguments."""

    name = "function"

    def describe(self, name: str) -> Model:
        import torch

        file, function = locate_function(name, "model", ModelError)
        digest = _digest(file)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = _network(file, function)
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
        return _network(file, function)

    def head(self, module: "nn.Module") -> Head:
        return last_layer(module)

    def carries_weights(self, model: Model) -> bool:
        return model.weights.locator == f"file:{model.tags[FILE]}"

    def revision(self, name: str) -> str:
        file, _ = locate_function(name, "model", ModelError)
        return f"{file}@{_digest(file)}"


def _digest(file: Path) -> str:
    with storage_errors(file, reading=True):
        return sha256_file(file)


def _network(file: Path, function: str) -> "nn.Module":
    """Call the function, and prove that it gave a network."""
    from torch import nn

    network = call_function(file, function, ModelError)
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"{file}: {function}() gave a value of type {type(network).__name__}: "
            "expected a torch.nn.Module"
        )
    return network.float()
