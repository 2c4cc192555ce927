"""Which networks there are, and how a name becomes one with its weights."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from headstart.errors import UnknownNameError, WeightsMissingError
from headstart.models import embedded
from headstart.spec import Model

if TYPE_CHECKING:
    from headstart.models.network import Network

__all__ = ["catalogue", "find", "load", "presence", "require"]


@cache
def catalogue() -> dict[str, Model]:
    """Read all networks by name."""
    text = files("headstart.models").joinpath("catalogue.toml").read_text()
    return {name: Model(name=name, **fields) for name, fields in tomllib.loads(text).items()}


def find(name: str) -> Model:
    """Find a network by its name; UnknownNameError tells the nearest ones."""
    if name not in catalogue():
        raise UnknownNameError("model", name, catalogue())
    return catalogue()[name]


def presence(model: Model) -> tuple[bool, str]:
    """Say whether the weights are on this machine, and where they are or come from."""
    place = embedded.find_weights(model)
    return (True, str(place)) if place else (False, embedded.REMEDY)


def require(model: Model) -> None:
    """Raise WeightsMissingError unless the weights are on this machine."""
    present, remedy = presence(model)
    if not present:
        raise WeightsMissingError(f"weights of '{model.name}' are not on this machine: {remedy}")


def load(model: Model) -> "Network":
    """Build the network with its weights, in evaluation mode on the CPU, in float32.

    Raises
    ------
    WeightsMissingError, WeightsError
        The weights file is absent, or is not the one that the catalogue names.
    """
    return embedded.load(model)
