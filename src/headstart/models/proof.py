"""Verify a network by running it on two random images, once per process.

A library may say where its classifier is; a network of a user's own says nothing. Running it shows
which layer its logits come from (`find_classifier`), that the features are the input of this layer,
and that they are the same each time, whatever other images are in the batch (`prove`). Three passes
do it: the network as it was built, its features of two images, and of the first beside itself.
A network that is random in evaluation (masked patches, dropout that stays on, sampling) gives
features that no other run has again; one whose batch norms use the statistics of the batch gives
features that depend on the batch size.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from headstart.errors import ModelError
from headstart.models.linear_map import is_linear, main_answer, one_vector
from headstart.models.model_source import Head
from headstart.models.network import Network
from headstart.spec import Model, digest

__all__ = ["Forward", "find_classifier", "forward", "prove"]

IMAGES = 2

# Layers that are remembered: a classifier is among the last to run, and maps take memory.
REMEMBERED = 32

# Relative to the largest value: sums in another order differ by less, another layer by far more.
TOLERANCE = 1e-3

# Rounding of a float32 product, relative to the largest value. Two numbers are nearly always
# multiples of each other, so that more are needed.
ROUNDING = 2e-6

LEAST_VALUES = 3
# Largest difference between two runs, relative to the largest feature: float32 rounding.
REPEAT_TOLERANCE = 1e-4
# Largest difference between two batches, relative to the largest feature. Batches of one size are
# computed alike; networks that mix a little of their batch on purpose (SCNet) differ by less.
BATCH_TOLERANCE = 1e-2

# What networks do to their logits at the end. None of it changes what the classifier is given.
ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = MappingProxyType(
    {
        "softmax": lambda logits: logits.softmax(1),
        "log_softmax": lambda logits: logits.log_softmax(1),
        "sigmoid": torch.sigmoid,
        "relu": torch.relu,
    }
)


@dataclass(frozen=True)
class Forward:
    """What a network answered, and what went through its linear layers on the way.

    Parameters
    ----------
    answer
        Its main answer: logits, or features of a backbone.
    inputs, outputs
        Inputs and outputs of the last linear layers and 1x1 convolutions that ran, by path, in the
        order of running. A layer that runs several times has those of the last time. They are
        vectors (n, d), or maps (n, d, height, width), also for tokens.
    """

    answer: torch.Tensor
    inputs: Mapping[str, torch.Tensor]
    outputs: Mapping[str, torch.Tensor]


def random_images(size: int) -> torch.Tensor:
    """Draw (2, 3, size, size) float32 standard normal images, the same each time."""
    return torch.randn((IMAGES, 3, size, size), generator=torch.Generator().manual_seed(0))


def forward(module: nn.Module, size: int, name: str) -> Forward:
    """Run a network of any library in evaluation mode on two random images.

    Parameters
    ----------
    module
        (n, 3, size, size) -> logits or features. Its mode is left as it was.
    size
        Side of the images in pixels.
    name
        Name of the model, for error messages.

    Raises
    ------
    ModelError
        It fails on such images (code ``model.forward``), or does not return one vector or map per
        image (``model.answer``).
    """
    inputs: dict[str, torch.Tensor] = {}
    outputs: dict[str, torch.Tensor] = {}

    def note(path: str, layer: nn.Module, arguments: Any, _: Any, output: torch.Tensor) -> None:
        # In the order of running, of the last time; copied, since what comes behind may work in
        # place.
        for place, value in ((inputs, arguments[0]), (outputs, output)) if arguments else ():
            place.pop(path, None)
            place[path] = _channels_first(layer, value.detach()).clone()
            if len(place) > REMEMBERED:
                del place[next(iter(place))]

    training = module.training
    layers = {path: part for path, part in module.named_modules() if path and is_linear(part)}
    module.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), _watched(layers, note):
            answers = module(random_images(size))
    # Whatever an author's or a library's forward raises, it does not take these images.
    except Exception as error:
        reason = next(iter((str(error) or type(error).__name__).strip().splitlines()), "")
        raise ModelError(
            f"model '{name}' fails on images of {size} x {size} pixels ({reason[:200]}): expected "
            f"a network that takes (n, 3, {size}, {size}); give the input size it is made for with "
            "?size=PIXELS",
            code="model.forward",
            model=name,
            size=size,
        ) from error
    finally:
        module.train(training)
    return Forward(_checked(answers, name), inputs, outputs)


def _checked(answers: object, name: str) -> torch.Tensor:
    """Return the main answer, proven to be one vector or map per image."""
    try:
        answer = main_answer(answers)
        found = f"shape {tuple(answer.shape)}"
        if sizes := _pyramid(answers):
            found = f"{len(sizes)} maps of {', '.join(sizes)} places"
        elif answer.ndim in (2, 4) and len(answer) == IMAGES:
            return answer
    except TypeError:
        found = type(answers).__name__
    raise ModelError(
        f"model '{name}' returns {found} for {IMAGES} images: expected logits or features of "
        f"shape ({IMAGES}, d) or ({IMAGES}, d, height, width), or a tuple that begins with them",
        code="model.answer",
        model=name,
        found=found,
    )


def _pyramid(answers: object) -> list[str]:
    """Return the sizes of several maps, from fine to coarse, none of which is the main answer."""
    if not isinstance(answers, list | tuple):
        return []
    maps = [one for one in answers if isinstance(one, torch.Tensor) and one.ndim == 4]
    sizes = [f"{one.shape[2]} x {one.shape[3]}" for one in maps]
    return sizes if len(maps) == len(answers) and len(set(sizes)) > 1 else []


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are equal but for rounding; NaN equals NaN."""
    if one.shape != other.shape:
        return False
    one, other = one.double(), other.double()
    # What overflows or is NaN in one has to be in the other.
    finite = one.isfinite()
    scale = float(one[finite].abs().max()) if finite.any() else 0.0
    return torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE * scale, equal_nan=True)


def find_classifier(run: Forward, name: str) -> Head:
    """Find the layer whose output is what a network answers.

    Returns
    -------
    Head
        Not `exact` where an activation follows that does not commute with the mean over places.
        Empty where no layer's output is the answer: the network is a backbone, and what it answers
        are features.

    Raises
    ------
    ModelError
        Several classifiers are joined side by side, or averaged (code ``model.several_heads``).
    """
    answer = run.answer
    for path, output in reversed(list(run.outputs.items())):
        found = _averaged(output)
        if found is None or found.shape != answer.flatten(1).shape:
            continue
        if same(found, answer.flatten(1)):
            return Head.at(path)
        # Divided by a temperature: the direction of the logits is the layer's, their scale is not.
        if _scaled(found, answer.flatten(1)):
            return Head.at(path, exact=False)
        for activate in ACTIVATIONS.values():
            # Before the mean over places or after it.
            ends = (activate(found), one_vector(activate(output)))
            if any(same(one, answer.flatten(1)) for one in ends):
                return Head.at(path, exact=False)
    for does, heads in (("joins", _joined(run, answer)), ("averages", _mean_of(run, answer))):
        if heads:
            raise ModelError(
                f"model '{name}' {does} the outputs of {len(heads)} classifiers, "
                f"{' and '.join(heads)}: choose the one whose input is the feature, for example "
                f"?head={heads[0]}",
                code="model.several_heads",
                model=name,
                heads=heads,
            )
    return Head()


def _averaged(output: torch.Tensor) -> torch.Tensor | None:
    """Average what a layer gave over places, of a map or of one vector; None of anything else."""
    try:
        return one_vector(output)
    except ValueError:
        return None


def _scaled(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether the second is the first times a number, the same for all images to rounding.

    Lengths that are made one differ from image to image by more, but little.
    """
    one, other = one.double(), other.double()
    size = float((one**2).sum())
    if one.shape[1] < LEAST_VALUES or not size > 0:
        return False
    scale = float((one * other).sum()) / size
    return scale != 0 and bool((one * scale - other).abs().max() <= ROUNDING * other.abs().max())


def _joined(run: Forward, answer: torch.Tensor) -> list[str]:
    """Find layers whose outputs, one behind the other, are the answer; none if there are none."""
    paths: list[str] = []
    place = 0
    answer = answer.flatten(1)
    while place < answer.shape[1]:
        for path, output in run.outputs.items():
            found = _averaged(output)
            if found is not None and same(found, answer[:, place : place + found.shape[1]]):
                paths.append(path)
                place += found.shape[1]
                break
        else:
            return []
    return paths if len(paths) > 1 else []


def _mean_of(run: Forward, answer: torch.Tensor) -> list[str]:
    """Find layers whose outputs have the answer as their mean; none if there are none.

    Which layers these are, the least squares say; sums of other numbers are no mean of logits, but
    what residual connections give.
    """
    answer = answer.flatten(1).double()
    found = {
        path: averaged.double()
        for path, output in run.outputs.items()
        if (averaged := _averaged(output)) is not None and averaged.shape == answer.shape
    }
    if len(found) < 2 or answer.numel() < len(found) + LEAST_VALUES:
        return []
    columns = torch.stack([output.flatten() for output in found.values()], 1)
    if not (columns.isfinite().all() and answer.isfinite().all()):
        return []
    shares = torch.linalg.lstsq(columns, answer.flatten()[:, None], driver="gelsd").solution[:, 0]
    heads = [path for path, share in zip(found, shares, strict=True) if share.abs() > TOLERANCE]
    mean = torch.stack([found[path] for path in heads]).mean(0) if len(heads) > 1 else None
    return heads if mean is not None and same(mean, answer) else []


def _channels_first(layer: nn.Module, values: torch.Tensor) -> torch.Tensor:
    """Turn a linear layer's input or output per token, (n, ..., d), into a map (n, d, m, 1)."""
    if not isinstance(layer, nn.Linear) or values.ndim < 3:
        return values
    return values.flatten(1, -2).transpose(1, 2).unsqueeze(-1)


@contextmanager
def _watched(parts: Mapping[str, nn.Module], note: Callable[..., None]) -> Iterator[None]:
    """Call `note` with path, part, arguments, keywords and output of each part that runs."""
    hooks = [
        part.register_forward_hook(partial(note, path), with_kwargs=True)
        for path, part in parts.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def prove(module: nn.Module, head: Head, auxiliary: tuple[str, ...], model: Model) -> Network:
    """Make a network, and prove that its features are what it classifies, the same each time.

    Parameters
    ----------
    module
        As the library builds it, with its weights. It is changed.
    head, auxiliary
        As in `Network`. A head that is not `exact` need not give the logits.
    model
        What it is: the size of its input, and whether the user chose the head.

    Returns
    -------
    Network
        In evaluation mode. Random numbers of the caller are left alone.

    Raises
    ------
    ModelError
        ``model.forward``: it fails on images of its size. ``model.answer``: it gives no one vector
        per image. ``model.random``: its features differ from run to run beyond rounding; the part
        that does so is named. ``model.batch``: features of the first image depend on the second
        one. ``model.head``: its logits are no linear map of the features.
    """
    key = digest({**model.identity, "auxiliary": list(auxiliary), "head": list(head.paths)})
    # The network is run as it was before its classifier is taken out.
    run = None if key in _proven else forward(module, model.input_size, model.name)
    network = Network(module, head, auxiliary)
    network.eval()
    if run is not None:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            exact = _prove(network, run, model)
        _proven[key] = network.tapped is not None, exact
    elif _proven[key][0]:
        network.tap()
    network.exact = head.exact and _proven[key][1]
    return network


# Whether a network has to be tapped and its classifier gives its logits, by what decides its
# features: every trial loads its network again.
_proven: dict[str, tuple[bool, bool]] = {}


def _prove(network: Network, run: Forward, model: Model) -> bool:
    """Prove a network's features; tap it where need be. Whether its classifier gives its logits."""
    head = network.head
    images = random_images(model.input_size)
    layer_input = (
        run.inputs.get(head.name) if len(head.parts) == 1 and not head.parts[0].norm else None
    )
    features = _attempt(network, images)
    fed = None if layer_input is None else _averaged(layer_input)
    own = features is not None and fed is not None and same(features, fed)
    if layer_input is not None and not own:
        network.tap()
        features = _attempt(network, images)
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
    _check_repeatable(network, images, features, model)
    exact = same(network.classifier(features), run.answer.flatten(1))
    if head.exact and not exact and not model.head:
        raise ModelError(
            f"model '{model.name}': its output is not what the layer '{head.name}' makes of its "
            "features: name the layer whose input is the feature with ?head=PATH",
            code="model.head",
            model=model.name,
            head=head.name,
        )
    return exact


def _attempt(network: Network, images: torch.Tensor) -> torch.Tensor | None:
    """Compute features; None where what comes behind the classifier needs its output."""
    try:
        # Some networks normalise their input in place.
        return network.penultimate(images.clone())
    except Exception:
        # Any error: the network as it was has run on these images, so that the identity in the
        # place of its classifier is what it does not take.
        return None


def _check_repeatable(
    network: Network, images: torch.Tensor, features: torch.Tensor, model: Model
) -> None:
    """Raise ModelError if features of the same image differ, from run to run or with the batch."""
    # Beside itself: of two values, batch statistics keep no more than which is larger.
    beside = images[:1].expand_as(images)
    first = network.penultimate(beside.clone())
    scale = max(float(features.abs().max()) if features.numel() else 0.0, 1e-30)
    differ = _difference(first[0], first[1])
    changed = _difference(features[0], first[0])
    if max(differ, changed) <= REPEAT_TOLERANCE * scale:
        return
    if differ <= REPEAT_TOLERANCE * scale:
        # It depends on the batch, or is random alike for all of it: a second run shows which.
        differ = _difference(first, network.penultimate(beside.clone()))
    if differ > REPEAT_TOLERANCE * scale:
        part = _random_part(network, images)
        raise ModelError(
            f"'{model.name}' is random in evaluation: the same images gave features that "
            f"differ by {differ:.2g}{f', from {part} on' if part else ''}: switch the "
            "randomness off in its configuration",
            code="model.random",
            part=part,
            difference=differ,
        )
    if changed > BATCH_TOLERANCE * float(features[0].abs().max()):
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
            code="model.batch",
            parts=norms,
            difference=changed,
        )


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max()) if one.numel() else 0.0


def _random_part(network: Network, images: torch.Tensor) -> str:
    """Find the innermost part that gave something else of the same; empty if there is none."""
    for one, other in zip(_calls(network, images), _calls(network, images), strict=False):
        (path, given, gave), (other_path, other_given, other_gave) = one, other
        if (path, given) == (other_path, other_given) and gave != other_gave:
            kind = type(network.get_submodule(path)).__name__
            return f"{path.removeprefix('backbone.') or 'its forward pass'} ({kind})"
    return ""


def _calls(
    network: Network, images: torch.Tensor
) -> list[tuple[str, tuple[float, ...], tuple[float, ...]]]:
    """Run a network, and list what each part was given and gave: sums that tell tensors apart.

    Parts are in the order in which they are done: inner ones first.
    """
    calls = []

    def note(path: str, _: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        calls.append((path, _sums((args, kwargs)), _sums(output)))

    with _watched(dict(network.named_modules()), note):
        network.penultimate(images.clone())
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
