"""Load a network: built by its library, with its weights, verified."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.context import default_cache
from headstart.errors import ModelError
from headstart.models import weights
from headstart.models.model_source import source_of
from headstart.spec import Model

if TYPE_CHECKING:
    from torch import nn

    from headstart.models.network import Network

__all__ = ["auxiliary_weight", "load"]

# Lines about files of weights that were reported in this process.
_noted: set[tuple[str, str]] = set()


def auxiliary_weight(model: Model) -> float:
    """Weight of the loss of each auxiliary classifier that it keeps, as its library trains it."""
    if not model.keeps_auxiliary:
        return 0.0
    return source_of(model.source).auxiliary_weight(model.architecture)


def load(
    model: Model,
    cache: Path | None = None,
    *,
    trust: bool = False,
    note: Callable[[str], None] = lambda _: None,
) -> "Network":
    """Build the network with its weights, in evaluation mode on the CPU, in float32.

    Parameters
    ----------
    model
        Random weights are drawn from the seed that its weights name, the classifier's too. What it
        says of batch norms' scales, dropout and auxiliary classifiers is done.
    cache
        Where downloads and the ledger are; the usual folder unless given.
    trust
        Whether a pickle that holds more than tensors may be executed.
    note
        Called with one line each on what of a file of weights was used and what was ignored.

    Raises
    ------
    WeightsMissingError, WeightsError
        The weights are absent, are not those that the catalogue or the ledger names, or do not fit.
    ModelError
        The library is not installed, the classifier cannot be found, the network has no place for
        a switch, it is random in evaluation, or it fails on images of its input size.
    """
    import torch

    from headstart.models.linear_map import WithClassifier
    from headstart.models.network import switch
    from headstart.models.proof import prove

    source, cache = source_of(model.source), cache or default_cache()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(model.weights.random_seed or 0)
        module = source.build(model)
    trained = source.carries_weights(model)
    if model.weights.random_seed is None and not trained:
        trained = _fill(module, model, cache, trust, note)
    # Shares of its parts may be among the weights.
    head = source.head_of(module, model)
    network = prove(module, head, source.finish(module, model), model)
    _check_width(network, model, cache)
    if isinstance(module, WithClassifier):
        line = (
            f"{model.name}: no layer's output is the network's: the feature is the output itself "
            f"({network.feature_dim} values); if these are logits, name the layer with ?head=PATH"
        )
        _once(model.name, line, note)
    network.trained_classifier = trained and network.exact
    switch(network, model)
    return network.eval()


def _check_width(network: "Network", model: Model, cache: Path) -> None:
    """Raise ModelError unless a network gives as many features as when it was described."""
    if network.feature_dim != model.feature_dim:
        raise ModelError(
            f"model '{model.name}' gives {network.feature_dim} features, and gave "
            f"{model.feature_dim} when it was described: a file that builds it has changed since; "
            f"remove {cache / 'models' / 'facts'} and run again",
            code="model.changed",
            model=model.name,
            found=network.feature_dim,
            expected=model.feature_dim,
        )


def _fill(
    module: "nn.Module", model: Model, cache: Path, trust: bool, note: Callable[[str], None]
) -> bool:
    """Load the weights of a model into its module; whether the classifier came with them."""
    from headstart.models.checkpoint_search import Purpose
    from headstart.models.state_dict import load_state
    from headstart.models.weight_files import read_weights

    weights.require(model, cache)
    source = source_of(model.source)
    file = weights.download(model, cache)
    weights.check_digest(model, file, cache)
    purpose = Purpose(
        source.head_of(module, model),
        str(file),
        auxiliary=source.auxiliary,
        translate=source.translate,
        part=model.part,
        size=model.input_size,
        architecture=f"{model.source}:{model.architecture.partition('@')[0]}",
        resample="resampled" in model.tags,
    )
    content = read_weights(file, trust=trust)
    return load_state(module, content, purpose, lambda line: _once(str(file), line, note))


def _once(what: str, line: str, note: Callable[[str], None]) -> None:
    """Report a line about a file once per process: fine-tuning loads it for each candidate."""
    if (what, line) not in _noted:
        _noted.add((what, line))
        note(line)
