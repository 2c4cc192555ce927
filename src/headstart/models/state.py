"""A file of weights -> the tensors of a network: read, unwrapped, renamed, proven to fit.

Nothing in such a file is executed: safetensors hold tensors alone, and a pickle is read by
torch's unpickler that knows tensors and plain containers alone.
"""

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.errors import WeightsError
from headstart.models.heads import Head
from headstart.models.shards import is_index, read_safetensors, read_shards

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["is_own", "load_state", "read_state"]

# Under these names training programs keep the weights beside optimiser and step; the average over
# steps first, since it is what they evaluate.
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "teacher")
# What stands before the names of the backbone: of DataParallel, of MoCo and BYOL, of DINO.
PREFIXES = (
    "module.", "model.", "encoder_q.", "base_encoder.", "momentum_encoder.", "encoder.",
    "online_encoder.", "backbone.", "net.",
)  # fmt: skip
# Counters of batch norms, which no output depends on and old files lack.
COUNTERS = "num_batches_tracked"
# Heads of self-supervised methods: what they project to is not what is transferred.
PROJECTIONS = ("head.mlp", "projector", "predictor", "projection_head", "fc.0", "fc.2")
SHOWN = 4


def read_state(file: Path, *, trust: bool = False) -> "dict[str, torch.Tensor]":
    """Read the tensors of a checkpoint, whatever they are wrapped in.

    Parameters
    ----------
    file
        safetensors, the index of several, or what ``torch.save`` wrote.
    trust
        Execute what a pickle says, if it holds more than tensors.

    Raises
    ------
    WeightsError
        No file of tensors, or a pickle that would have to be executed.
    """
    state = _unwrapped(_read(file, trust))
    tensors = {name: value for name, value in state.items() if hasattr(value, "shape")}
    if not tensors:
        raise WeightsError(
            f"{file} holds no tensors: expected a state dict, found {type(state).__name__} "
            f"with {', '.join(list(map(str, state))[:SHOWN]) or 'nothing'}"
        )
    return tensors


def is_own(
    state: "Mapping[str, torch.Tensor]", module: "nn.Module", loose: tuple[str, ...]
) -> bool:
    """Whether tensors have the network's own names and shapes already, but for its classifiers.

    Their paths are `loose`. What headstart keeps of a trained network is such a state.
    """
    paths = tuple(f"{path}." for path in loose)
    own = {n: t for n, t in module.state_dict().items() if not n.startswith(paths)}
    return all(
        n.endswith(COUNTERS) or (n in state and state[n].shape == t.shape) for n, t in own.items()
    )


def load_state(
    module: "nn.Module",
    state: "Mapping[str, torch.Tensor]",
    *,
    head: Head,
    where: str,
    auxiliary: tuple[str, ...] = (),
) -> bool:
    """Load tensors into a network; a classifier that is lacking or other-sized stays as it is.

    Parameters
    ----------
    module
        The network; `head` says where its classifier is, `auxiliary` are paths of others.
    state
        Under the module's names, or with one of the usual prefixes before them.
    where
        The file, for the error.

    Returns
    -------
    bool
        Whether the classifier came with them, all of its parts.

    Raises
    ------
    WeightsError
        Names that are missing or unexpected, or tensors of another shape; they are listed.
    """
    own = module.state_dict()
    state = _without_prefix(state, own)
    loose = tuple(f"{path}." for path in (*head.paths, *auxiliary))
    kept = {n: t for n, t in state.items() if not (n.startswith(loose) and _other(t, own.get(n)))}
    optional = {n for n in own if n.startswith(loose) or n.endswith(COUNTERS)}
    missing = sorted(own.keys() - kept.keys() - optional)
    unexpected = sorted(n for n in kept.keys() - own.keys() if not _of_projection(n))
    reshaped = sorted(n for n in kept.keys() & own.keys() if kept[n].shape != own[n].shape)
    if missing or unexpected or reshaped:
        first = next((f"{n} is {_size(kept[n])}, not {_size(own[n])}" for n in reshaped), "")
        raise WeightsError(
            f"weights {where} do not fit the network: {_listed('missing', missing)}; "
            f"{_listed('unexpected', unexpected)}; {_listed('other shape', reshaped)}"
            + (f" ({first})" if first else "")
        )
    fitting = OrderedDict((n, t) for n, t in kept.items() if n in own)
    # Modules refuse tensors that do not say of which version of their class they are (MNASNet).
    setattr(fitting, "_metadata", getattr(own, "_metadata", None))  # noqa: B010
    module.load_state_dict(fitting, strict=False)
    return all(f"{part.path}.weight" in kept for part in head.parts)


def _read(file: Path, trust: bool) -> Any:
    import torch

    if is_index(file):
        return read_shards(file)
    if file.suffix == ".safetensors":
        return read_safetensors(file)
    try:
        return torch.load(file, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        if trust:
            raise WeightsError(f"{file} is no file of weights: {reason}") from error
        raise WeightsError(
            f"{file} holds more than tensors, or is no file of weights: reading it could execute "
            "whatever its author wrote. If you trust its author, say --trust; better, save its "
            "state dict alone"
        ) from error
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{file} is no file of weights: {reason}") from error


def _unwrapped(state: Any) -> dict[str, Any]:
    """Go through what is around a state dict."""
    while isinstance(state, Mapping):
        inner = next((state[n] for n in WRAPPERS if isinstance(state.get(n), Mapping)), None)
        if inner is None:
            return dict(state)
        state = inner
    # A whole network, which --trust has unpickled.
    if hasattr(state, "state_dict"):
        return dict(state.state_dict())
    return {}


def _without_prefix(
    state: "Mapping[str, torch.Tensor]", own: "Mapping[str, torch.Tensor]"
) -> "dict[str, torch.Tensor]":
    """Take off prefixes while that lets more names fit.

    What does not have the prefix belongs to something else (MoCo's queue and second encoder).
    """
    current = dict(state)
    while True:
        fits = len(current.keys() & own.keys())
        tried = [
            {n.removeprefix(prefix): t for n, t in current.items() if n.startswith(prefix)}
            for prefix in PREFIXES
        ]
        # Two prefixes may stand one inside the other: the outer one alone lets nothing fit yet.
        best = max(tried, key=lambda some: (len(some.keys() & own.keys()), len(some)))
        if not best or fits or (len(best) < len(current) / 3 and not best.keys() & own.keys()):
            return current
        current = best


def _of_projection(name: str) -> bool:
    """Whether a tensor belongs to a self-supervised method's own head, thrown away after it."""
    return name.startswith(PROJECTIONS)


def _other(tensor: Any, own: Any) -> bool:
    return own is None or tensor.shape != own.shape


def _size(tensor: Any) -> str:
    return "x".join(map(str, tensor.shape))


def _listed(what: str, names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {what}" + (f": {shown}{more}" if names else "")
