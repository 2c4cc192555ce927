"""Proof that a network gives the same features of the same image each time.

A network that is random in evaluation (masked patches, dropout that stays on, sampling) gives
features that no other run has again; what is random is found by running its parts twice. One whose
batch norms go on using the statistics of the batch gives features that depend on the images beside
an image, and so on the batch size.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from headstart.errors import HeadstartError, ModelError
from headstart.models.network import Network
from headstart.spec import Model

__all__ = ["check_deterministic"]

IMAGES = 2
# Of float32 sums in another order, relative to the largest feature.
TOLERANCE = 1e-4
# Of features whose image is beside another one. Batches of one size are computed alike; networks
# that mix a little of their batch on purpose (SCNet) differ by less.
BATCH_TOLERANCE = 1e-2
# Networks whose features were seen to be the same, by what decides them: once per process.
_SEEN: set[str] = set()


@dataclass(frozen=True)
class Call:
    """What a part was given and gave, in one pass: sums that tell tensors apart."""

    path: str
    taken: tuple[float, ...]
    given: tuple[float, ...]


def check_deterministic(network: Network, model: Model) -> None:
    """Run a network twice on the same two images, and once on the first beside itself.

    Parameters
    ----------
    network
        As `headstart.models.load` built it; random numbers of the caller are left alone.
    model
        What it was built of: its input size, and its name for the message.

    Raises
    ------
    ModelError
        ``model.random``: its features differ beyond rounding; the part that does so is named.
        ``model.batch``: features of the first image depend on the second one.
        ``model.forward``: it cannot be run on images of this size.
    """
    key = repr((model.identity, model.name))
    if key in _SEEN:
        return
    size = (IMAGES, 3, model.input_size, model.input_size)
    images = torch.randn(size, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        first, second = (_features(network, images, model) for _ in range(2))
        differ = float((first - second).abs().max()) if first.numel() else 0.0
        if differ > TOLERANCE * max(float(first.abs().max()), 1e-30):
            part = _random_part(network, images)
            raise ModelError(
                f"'{model.name}' is random in evaluation: the same images gave features that "
                f"differ by {differ:.2g}{f', from {part} on' if part else ''}: switch the "
                "randomness off in its configuration",
                code="model.random", part=part, difference=differ,
            )  # fmt: skip
        _check_batch(network, images, first, model)
    _SEEN.add(key)


def _check_batch(
    network: Network, images: torch.Tensor, features: torch.Tensor, model: Model
) -> None:
    """Raise ModelError if the features of the first image depend on the second one."""
    # Beside itself: of two values, batch statistics keep no more than which is larger.
    beside = images[:1].expand_as(images)
    other = _features(network, beside, model)
    differ = float((features[0] - other[0]).abs().max()) if features.numel() else 0.0
    if differ > BATCH_TOLERANCE * float(features[0].abs().max()):
        norms = [
            path.removeprefix("backbone.")
            for path, part in network.named_modules()
            if isinstance(part, nn.modules.batchnorm._BatchNorm)
            and (part.training or part.running_mean is None)
        ]
        why = f" (batch norm without running statistics: {norms[0]})" if norms else ""
        raise ModelError(
            f"'{model.name}' gives features of an image that depend on the other images of its "
            f"batch{why}: expected a network in evaluation mode, whose batch norms use running "
            "statistics",
            code="model.batch", parts=norms, difference=differ,
        )  # fmt: skip


def _features(network: Network, images: torch.Tensor, model: Model) -> torch.Tensor:
    try:
        # Some networks normalise their input in place.
        return network.penultimate(images.clone())
    except HeadstartError:
        raise
    # What a library's forward pass raises for images that it cannot take is not one type.
    except Exception as error:
        reason = " ".join((str(error) or type(error).__name__).split())[:200]
        side = model.input_size
        raise ModelError(
            f"'{model.name}' fails on images of {side} x {side} pixels ({reason}): ?size= sets "
            "another size",
            code="model.forward", size=side,
        ) from error  # fmt: skip


def _random_part(network: nn.Module, images: torch.Tensor) -> str:
    """Find the innermost part that gave something else of the same; empty if there is none."""
    first, second = _calls(network, images), _calls(network, images)
    names = dict(network.named_modules())
    for one, other in zip(first, second, strict=False):
        if one.path == other.path and one.taken == other.taken and one.given != other.given:
            kind = type(names[one.path]).__name__
            return f"{one.path.removeprefix('backbone.') or 'its forward pass'} ({kind})"
    return ""


def _calls(network: nn.Module, images: torch.Tensor) -> list[Call]:
    """Run a network, and list its parts in the order in which they are done: inner ones first."""
    calls: list[Call] = []
    hooks = []
    for path, part in network.named_modules():

        def note(_part: nn.Module, args: Any, kwargs: Any, output: Any, path: str = path) -> None:
            calls.append(Call(path, _sums((args, kwargs)), _sums(output)))

        hooks.append(part.register_forward_hook(note, with_kwargs=True))
    try:
        getattr(network, "penultimate", network)(images.clone())
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _sums(value: Any) -> tuple[float, ...]:
    """Sum the tensors of any structure: weighted by place, so that a shuffle shows."""
    if isinstance(value, torch.Tensor):
        flat = value.detach().double().flatten().nan_to_num()
        return (float(flat.sum()), float(flat @ torch.arange(len(flat), dtype=flat.dtype).cos()))
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return tuple(number for inner in value for number in _sums(inner))
    return ()
