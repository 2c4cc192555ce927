"""A function of the user's that makes a network: ``path/to/file.py:function``."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.errors import ModelError
from headstart.files import sha256_file, storage_errors
from headstart.functions import call_function, locate_function
from headstart.models.model_source import IMAGENET_MEAN, IMAGENET_STD, Head, ModelSource
from headstart.spec import Model, Weights

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["Function"]

FILE = "file"
SHOWN = 12
# Input size in pixels, unless ?size= sets another.
SIZE = 224
CLASSIFIER = "classifier"


class Function(ModelSource):
    """Networks that a function in a file gives when it is called without arguments."""

    name = "function"

    # Its classifier is found by running it, on images of the size that the name's options say.
    counts_later = True

    def describe(self, name: str) -> Model:
        file, function = locate_function(name, "model")
        digest = _digest(file)
        return Model(
            name=name,
            source=self.name,
            # The file's content, not its place, tells a network from another one.
            architecture=f"{file.name}:{function}@{digest[:SHOWN]}",
            weights=Weights(locator=f"file:{file}", sha256=digest),
            input_size=SIZE,
            interpolation="bilinear",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            feature_dim=1,
            tags={FILE: str(file)},
        )

    def build(self, model: Model) -> "nn.Module":
        file = Path(model.tags[FILE])
        function, _, digest = model.architecture.rpartition(":")[2].partition("@")
        if _digest(file)[:SHOWN] != digest:
            raise ModelError(
                f"{file} has changed since the network was described: run again",
                code="model.changed",
                file=str(file),
            )
        module = _network(file, function)
        if model.head:
            return module
        from headstart.models.linear_map import WithClassifier, one_vector
        from headstart.models.proof import find_classifier, forward

        run = forward(module, model.input_size, model.name)
        if find_classifier(run, model.name).parts:
            return module
        return WithClassifier(module, one_vector(run.answer).shape[1])

    def head(self, module: "nn.Module", size: int | None = None) -> Head:
        from headstart.models.linear_map import WithClassifier
        from headstart.models.proof import find_classifier, forward

        if isinstance(module, WithClassifier):
            return Head.at(CLASSIFIER, exact=False)
        name = type(module).__name__
        return find_classifier(forward(module, size or SIZE, name), name)

    def resampled(self, model: Model, usual: Model) -> list[str]:  # noqa: ARG002
        # The function knows nothing of the size: no tensor depends on it.
        return []

    def translate(
        self, state: "Mapping[str, torch.Tensor]", module: "nn.Module"
    ) -> "dict[str, torch.Tensor]":
        from headstart.models.linear_map import WithClassifier

        # A file of weights of the backbone knows nothing of the classifier around it.
        within = "backbone." if isinstance(module, WithClassifier) else ""
        return {f"{within}{name}": tensor for name, tensor in state.items()}

    def carries_weights(self, model: Model) -> bool:
        return model.weights.locator == f"file:{model.tags[FILE]}"

    def revision(self, name: str) -> str:
        file, _ = locate_function(name, "model")
        return f"{file}@{_digest(file)}"


def _digest(file: Path) -> str:
    with storage_errors(file, reading=True):
        return sha256_file(file)


def _network(file: Path, function: str) -> "nn.Module":
    """Call the function, and prove that it gave a network."""
    from torch import nn

    network = call_function(file, function)
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"{file}: {function}() gave a value of type {type(network).__name__}: "
            "expected a torch.nn.Module",
            code="model.function_result",
            found=type(network).__name__,
        )
    return _plain(network, f"{file.name}:{function}").float()


def _plain(network: "nn.Module", name: str) -> "nn.Module":
    """Take a network out of what compiles it or spreads it over devices; refuse some scripts."""
    import torch
    from torch import nn

    from headstart.models.linear_map import is_linear

    while isinstance(network, torch._dynamo.eval_frame.OptimizedModule | nn.DataParallel):
        inner = "module" if isinstance(network, nn.DataParallel) else "_orig_mod"
        network = getattr(network, inner)
    if isinstance(network, torch.jit.ScriptModule):
        layers = [part for part in network.modules() if any(True for _ in part.parameters(False))]
        last = getattr(layers[-1], "original_name", "") if layers else ""
        if last == nn.Linear.__name__ or is_linear(layers[-1] if layers else None):
            raise ModelError(
                f"{name}() gave a TorchScript network that ends with a linear layer: whether "
                "that is its classifier cannot be seen: return the torch.nn.Module behind it",
                code="model.scripted",
                model=name,
            )
    return network
