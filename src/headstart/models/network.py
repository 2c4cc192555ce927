"""What every adapter builds: a backbone that gives penultimate features, and its classifier."""

import copy
from collections.abc import Iterator
from typing import cast

import torch
from torch import nn

from headstart.errors import ModelError
from headstart.models.heads import Head
from headstart.models.linear_map import (
    Piece,
    Tap,
    main_answer,
    one_vector,
    take_out,
    tensors_as_built,
)
from headstart.models.proof import Forward, forward, random_images, same
from headstart.spec import Model, digest

__all__ = ["Network", "proven"]

# What running a network once in this process has shown: whether it is tapped, whether its
# classifier gives its logits. Every trial loads its network anew.
_shown: dict[str, tuple[bool, bool]] = {}


class Network(nn.Module):
    """A backbone and the linear layer that classifies what it gives.

    The backbone ends where its classifier was: an identity stands in that place, so that whatever
    comes before it (pooling, a last norm, dropout) belongs to the features. A classifier of another
    form, or of several parts, becomes one linear layer (`headstart.models.linear_map`).

    Parameters
    ----------
    backbone
        An image classifier of any library: (n, 3, height, width) -> (n, classes) logits, or an
        object that holds them as `logits`. It is changed: its classifier is taken out.
    head
        Where its classifier is, among its submodules.
    auxiliary
        Paths of auxiliary classifiers that stay for training.

    Raises
    ------
    ModelError
        There is no linear layer at `head`; the message says how to name it.
    """

    head: Head
    pieces: tuple[Piece, ...]

    def __init__(self, backbone: nn.Module, head: Head, auxiliary: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.classifier, self.pieces = take_out(backbone, head)
        self.backbone = backbone
        self.head = head
        self.auxiliary = auxiliary
        # Where the architecture has no dropout of its own before the classifier.
        self.dropout: nn.Module = nn.Identity()
        # Whether the classifier came with the weights; a fresh one knows nothing.
        self.trained_classifier = True
        # Whether its own classifier gave the library's logits.
        self.exact = head.exact
        # Path of the layer whose input is the feature, where the network does more behind it.
        self.tapped: str | None = None

    @property
    def feature_dim(self) -> int:
        """Width of the penultimate layer."""
        return self.classifier.in_features

    def penultimate(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, size, size) normalised images -> (n, feature_dim), the input of the classifier."""
        return self._features(self.backbone(images))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, size, size) normalised images -> (n, classes) logits of its classifier."""
        return cast(torch.Tensor, self.classifier(self.dropout(self.penultimate(images))))

    def all_logits(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(n, 3, size, size) normalised images -> (n, classes) logits of each of its classifiers.

        Its main classifier's first; those of auxiliary ones follow in training mode alone.
        """
        answers = self.backbone(images)
        logits = cast(torch.Tensor, self.classifier(self.dropout(self._features(answers))))
        if not (self.auxiliary and self.training):
            return (logits,)
        # Both libraries give a tuple with the main answer first.
        return logits, *(answer for answer in answers[1:] if answer is not None)

    def tap(self) -> None:
        """Take the input of the classifier's layer for the feature, whatever comes behind it."""
        self.tapped = self.head.name
        parent, _, name = self.tapped.rpartition(".")
        setattr(self.backbone.get_submodule(parent), name, Tap(self.classifier.out_features))

    def _features(self, answers: object) -> torch.Tensor:
        if self.tapped is not None:
            return cast(Tap, self.backbone.get_submodule(self.tapped)).give()
        return main_answer(answers)

    def with_head(self, n_classes: int, seed: int) -> "Network":
        """Put a fresh classifier on the same backbone, whose tensors are shared.

        Auxiliary classifiers that were kept get a fresh last layer, too. Weights are drawn by
        torch's own rule for a linear layer, from `seed` alone.
        """
        network = Network.__new__(Network)
        nn.Module.__init__(network)
        backbone = self.backbone
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network.classifier = _fresh(self.classifier, n_classes)
            for path in self.auxiliary:
                last = _last_linear(backbone, path)
                layer = cast(nn.Linear, backbone.get_submodule(last))
                backbone = _with_part(backbone, last, _fresh(layer, n_classes))
        network.backbone = backbone
        network.dropout = copy.copy(self.dropout)
        network.head, network.pieces = self.head, self.pieces
        network.auxiliary, network.tapped, network.exact = self.auxiliary, self.tapped, self.exact
        network.trained_classifier = False
        return network.train(self.training)

    def state_as_built(self, *, auxiliary: bool = True) -> dict[str, torch.Tensor]:
        """All tensors under the names that they have in the library, the classifier's too.

        Without `auxiliary` those of auxiliary classifiers are left out.
        """
        left_out = () if auxiliary else tuple(f"{path}." for path in self.auxiliary)
        backbone = {
            name: tensor
            for name, tensor in self.backbone.state_dict().items()
            if not name.startswith(left_out)
        }
        return {**backbone, **tensors_as_built(self.classifier, self.pieces)}

    def batch_norms(self) -> Iterator[nn.modules.batchnorm._BatchNorm]:
        """All batch norms, in the order of submodules."""
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                yield module


def proven(module: nn.Module, head: Head, auxiliary: tuple[str, ...], model: Model) -> Network:
    """Make a network, and prove by two random images that its features are what it classifies.

    Parameters
    ----------
    module
        As the library builds it, with its weights. It is changed.
    head, auxiliary
        As of `Network`. A head that is not `exact` need not give the logits.
    model
        What it is: the size of its input, and whether the user chose the head.

    Raises
    ------
    ModelError
        It fails on images of its size (code ``model.forward``), gives no one vector per image
        (``model.answer``), or its logits are no linear map of the features (``model.head``).
    """
    key = digest({**model.identity, "auxiliary": list(auxiliary), "head": list(head.paths)})
    run = None if key in _shown else forward(module, model.input_size, model.name)
    network = Network(module, head, auxiliary)
    network.eval()
    if run is not None:
        _shown[key] = _prove(network, run, model)
    elif _shown[key][0]:
        network.tap()
    network.exact = head.exact and _shown[key][1]
    return network


def _prove(network: Network, run: Forward, model: Model) -> tuple[bool, bool]:
    """Show whether a network has to be tapped, and whether its classifier gives its logits."""
    head, tapped = network.head, False
    images = random_images(model.input_size)
    given = run.inputs.get(head.name) if len(head.parts) == 1 and not head.parts[0].norm else None
    with torch.no_grad():
        features = _attempt(network, images)
        if given is not None and (features is None or not _is_of(features, given)):
            network.tap()
            tapped, features = True, _attempt(network, images)
        if features is None or features.shape[1:] != (network.feature_dim,):
            found = "one that fails" if features is None else f"shape {tuple(features.shape)}"
            raise ModelError(
                f"model '{model.name}': expected features of shape (n, {network.feature_dim}) "
                f"before its classifier '{head.name}', found {found}: name the layer whose input "
                "is the feature with ?head=PATH",
                code="model.answer",
                model=model.name,
                head=head.name,
            )
        exact = same(network.classifier(features), run.answer.flatten(1))
        # One that is random in evaluation is for `check_deterministic` to refuse.
        random = not same(features, network.penultimate(images.clone()))
    if head.exact and not exact and not model.head and not random:
        raise ModelError(
            f"model '{model.name}': its output is not what the layer '{head.name}' makes of its "
            "features: name the layer whose input is the feature with ?head=PATH",
            code="model.head",
            model=model.name,
            head=head.name,
        )
    return tapped, exact


def _attempt(network: Network, images: torch.Tensor) -> torch.Tensor | None:
    """Compute features; None where what comes behind the classifier needs its output."""
    try:
        # Some networks normalise their input in place.
        return network.penultimate(images.clone())
    except Exception:
        # Any error: the network as it was has run on these images, so that the identity in the
        # place of its classifier is what it does not take.
        return None


def _is_of(features: torch.Tensor, given: torch.Tensor) -> bool:
    try:
        return same(features, one_vector(given))
    except ValueError:
        return False


def _fresh(layer: nn.Linear, n_outputs: int) -> nn.Linear:
    """Draw a linear layer of as many inputs, where the other is."""
    return nn.Linear(layer.in_features, n_outputs).to(layer.weight.device, layer.weight.dtype)


def _last_linear(backbone: nn.Module, path: str) -> str:
    """Find the layer that classifies, of an auxiliary classifier."""
    parts = backbone.get_submodule(path).named_modules(prefix=path)
    return [str(name) for name, part in parts if isinstance(part, nn.Linear)][-1]


def _with_part(module: nn.Module, path: str, part: nn.Module) -> nn.Module:
    """Copy a module with another part at `path`; all other parts are shared."""
    name, _, rest = path.partition(".")
    copied = copy.copy(module)
    copied._modules = dict(module._modules)
    copied._modules[name] = _with_part(module.get_submodule(name), rest, part) if rest else part
    return copied
