"""The protocol of a library of networks, and how it names classifiers.

A classifier is a linear layer, or layers that compute a linear map together. `Head` names them;
`headstart.models.linear_map` makes one linear layer of them. A package brings another library by an
entry point ``headstart.model_source`` (`headstart.registry`).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from headstart.errors import ModelError, UnknownNameError
from headstart.registry import MODEL_SOURCES
from headstart.spec import Model, UpstreamAccuracy

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "SOURCES",
    "Head",
    "ModelSource",
    "Part",
    "counted",
    "installed",
    "last_layer",
    "source_of",
    "unbuildable",
]

SOURCES: "Mapping[str, ModelSource]" = MODEL_SOURCES


@dataclass(frozen=True)
class Part:
    """A layer that gives logits.

    Parameters
    ----------
    path
        Path of a linear layer or a 1x1 convolution, among the submodules.
    norm
        Path of a batch norm that only this layer is behind; empty if there is none.
    takes
        Which of the network's vectors it takes: 0, 1, ... Parts with the same number take the same.
    share
        Its weight in the sum of logits: 1/2 each where two are averaged. Those of a head add up to
        1.
    """

    path: str
    norm: str = ""
    takes: int = 0
    share: float = 1.0

    @property
    def paths(self) -> tuple[str, ...]:
        """Its layers in the order in which they compute."""
        return (self.norm, self.path) if self.norm else (self.path,)


@dataclass(frozen=True)
class Head:
    """A classifier: the logits are the sum of what its parts give, weighted by their shares.

    Parameters
    ----------
    parts
        None where the network has no classifier.
    exact
        False where the library adds what is no linear map of one vector: SqueezeNet rectifies the
        logits of each place before it averages them. The trained classifier is then not used.
    """

    parts: tuple[Part, ...] = ()
    exact: bool = True

    @classmethod
    def at(cls, path: str, *, exact: bool = True) -> "Head":
        """Name the one layer that classifies; "" for none."""
        return cls((Part(path),) if path else (), exact)

    @classmethod
    def mean(cls, parts: Iterable[Part]) -> "Head":
        """Average the logits of several layers."""
        found = tuple(parts)
        share = 1 / len(found)
        return cls(tuple(Part(part.path, part.norm, part.takes, share) for part in found))

    @property
    def paths(self) -> tuple[str, ...]:
        """All layers of the classifier: they stay out of the features."""
        return tuple(path for part in self.parts for path in part.paths)

    @property
    def name(self) -> str:
        """Path of the first layer that gives logits, for messages."""
        return self.parts[0].path if self.parts else ""


IMAGENET_MEAN = (0.485, 0.456, 0.406)

IMAGENET_STD = (0.229, 0.224, 0.225)


class ModelSource(ABC):
    """A library of networks.

    Parameters
    ----------
    name
        What stands before the colon of a model's name, and in `Model.source`.
    package
        The Python package that builds these networks, None where headstart itself does.
    extra
        What brings that package: ``pip install 'headstart[EXTRA]'``; empty where it is a
        dependency.
    """

    name: ClassVar[str]
    package: ClassVar[str | None] = None
    extra: ClassVar[str] = ""
    # Paths of auxiliary classifiers, which a file of weights may lack.
    auxiliary: ClassVar[tuple[str, ...]] = ()
    # Whether `build` heeds `Model.pool`.
    pools: ClassVar[bool] = False
    # Whether its networks come with trained weights: random ones have to be asked for.
    publishes: ClassVar[bool] = False
    # Whether `describe` leaves `feature_dim` and `parameters` to `recount`.
    counts_later: ClassVar[bool] = False

    @abstractmethod
    def describe(self, name: str) -> Model:
        """Return the facts of a network by its name in the library, with pretrained weights if any.

        May import the library; what it says is kept (`headstart.models.facts`). Options of the
        name are not known here: `recount` comes after them.

        Raises
        ------
        UnknownNameError
            The library has no such network; the nearest are suggested.
        """

    @abstractmethod
    def build(self, model: Model) -> "nn.Module":
        """Build the library's own module, with random weights from torch's generator."""

    @abstractmethod
    def head(self, module: "nn.Module", size: int | None = None) -> Head:
        """Locate the classifier by the library's own means.

        Where a model names its head, this is not asked. `size` is that of the input, where it is
        known and the classifier can only be found by running the network.
        """

    def head_of(self, module: "nn.Module", model: Model) -> Head:
        """Locate the classifier where the model names it, else by the library's own means."""
        return Head.at(model.head) if model.head else self.head(module, model.input_size)

    def upstream_at(self, model: Model, size: int) -> tuple[UpstreamAccuracy, ...]:  # noqa: ARG002
        """Return the upstream accuracies of a model's weights on images of another size."""
        return model.upstream

    def resampled(self, model: Model, usual: Model) -> list[str]:
        """Name the tensors whose shape depends on the size of the input, in a word each.

        Parameters
        ----------
        model, usual
            The network with its chosen input size, and with the one that its weights are for.
        """
        import torch

        with torch.random.fork_rng(devices=[]):
            others, own = self.build(usual).state_dict(), self.build(model).state_dict()
        names = [
            name for name, t in own.items() if name in others and others[name].shape != t.shape
        ]
        return list(dict.fromkeys(name.rpartition(".")[2] for name in names))

    def translate(
        self,
        state: "Mapping[str, torch.Tensor]",
        module: "nn.Module",  # noqa: ARG002
    ) -> "dict[str, torch.Tensor]":
        """Rename published weights to the names that the module has."""
        return dict(state)

    def carries_weights(self, model: Model) -> bool:  # noqa: ARG002
        """Whether what `build` gives has its weights already: none are to be loaded."""
        return False

    def finish(self, module: "nn.Module", model: Model) -> tuple[str, ...]:  # noqa: ARG002
        """Make the loaded module what the model's tags say; give its auxiliary classifiers."""
        return ()

    def auxiliary_weight(self, architecture: str) -> float:  # noqa: ARG002
        """Return the weight of each auxiliary classifier's loss, as the architecture is trained."""
        return 0.0

    def names(self) -> list[str]:
        """All names that `describe` knows, for searching; may import the library."""
        return []

    def version(self) -> str:
        """Version of the library, without importing it."""
        from importlib.metadata import version

        return version(self.package) if self.package else ""

    def revision(self, name: str) -> str:  # noqa: ARG002
        """Return what the facts of a network depend on: they are cached until it changes."""
        return self.version()

    def require(self) -> None:
        """Raise ModelError unless the library is installed."""
        if self.package and not installed(self.package):
            raise ModelError(
                f"models of {self.name} need the package {self.package}: "
                f"pip install 'headstart[{self.extra}]'",
                code="model.package_missing",
                package=self.package,
            )


def source_of(name: str) -> ModelSource:
    """Return an adapter by its name; raise ModelError unless its library is installed.

    Raises
    ------
    UnknownNameError
        There is none of this name; the message names all.
    ModelError
        Its library is not installed (code ``model.package_missing``).
    """
    if name not in SOURCES:
        raise UnknownNameError("source of models", name, SOURCES)
    SOURCES[name].require()
    return SOURCES[name]


def counted(module: "nn.Module", head: Head) -> dict[str, Any]:
    """Return `feature_dim` and `parameters` of a network whose classifier is `head`.

    Without a classifier `feature_dim` is 1: the network can be described, `Network` refuses it.
    `parameters` is None where nothing but the classifier has any.
    """
    parts = dict(module.named_modules())
    own = sum(p.numel() for path in head.paths if path in parts for p in parts[path].parameters())
    layers: dict[int, Any] = {part.takes: parts.get(part.path) for part in head.parts}
    # A convolution has channels; what is no layer has no width.
    width = sum(getattr(x, "in_features", getattr(x, "in_channels", 0)) for x in layers.values())
    parameters = sum(p.numel() for p in module.parameters()) - own
    return {"feature_dim": width or 1, "parameters": parameters or None}


def unbuildable(name: str, size: int, error: Exception) -> ModelError:
    """Return the error for an architecture that cannot be built for images of a size."""
    reason = next(iter(str(error).strip().splitlines()), "its parts do not divide it")
    return ModelError(
        f"{name} cannot be built for images of {size} x {size} pixels ({reason}): choose another "
        "?size=, or leave it out",
        code="model.size",
        model=name,
        size=size,
    )


def last_layer(module: "nn.Module", within: tuple[str, ...] = ()) -> Head:
    """Find the last linear layer, inside the parts `within` if any are named.

    Where there is none, the last layer of all classifies if it is a convolution.
    """
    from torch import nn

    inside = [
        (str(name), part)
        for name, part in module.named_modules()
        if not within or name.split(".")[0] in within
    ]
    linear = [name for name, part in inside if isinstance(part, nn.Linear)]
    if linear:
        return Head.at(linear[-1])
    weighted = [
        (name, part) for name, part in inside if next(part.parameters(False), None) is not None
    ]
    if not weighted or not isinstance(weighted[-1][1], nn.Conv2d):
        return Head()
    path = weighted[-1][0]
    return Head.at(path, exact=_only_pooled_after(module, path))


def _only_pooled_after(module: "nn.Module", path: str) -> bool:
    """Whether what follows a layer beside it commutes with a linear map of each place."""
    from torch import nn

    harmless = (nn.Identity, nn.Flatten, nn.Dropout, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
    parent, _, name = path.rpartition(".")
    beside = list(module.get_submodule(parent).named_children())
    after = [part for _, part in beside[[child for child, _ in beside].index(name) + 1 :]]
    return all(isinstance(part, harmless) for part in after)


def installed(package: str) -> bool:
    """Whether a package can be imported, without importing it."""
    from importlib.util import find_spec

    return find_spec(package) is not None
