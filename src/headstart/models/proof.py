"""What can be proven of a network by running it on two random images.

A library may say where its classifier is; a network of a user's own says nothing. Running it shows
which layer its logits come from, and that the features are what that layer is given.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn

from headstart.errors import ModelError
from headstart.models.heads import Head
from headstart.models.linear_map import is_linear, main_answer, one_vector

__all__ = ["Forward", "find_classifier", "forward", "random_images", "same"]

IMAGES = 2
# Layers that are remembered: a classifier is among the last to run, and maps take memory.
REMEMBERED = 32
# Of the largest value: sums in another order differ by less, another layer by far more.
TOLERANCE = 1e-3
# Of the largest value, of a product in float32; two numbers are nearly always multiples.
ROUNDING = 2e-6
LEAST_VALUES = 3
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
        Of the linear layers and 1x1 convolutions that ran last, by path, in the order of running;
        of one that runs several times those of the last time. Vectors (n, d), or maps (n, d,
        height, width), which the tokens and places of a linear layer become.
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
        Of the images, in pixels.
    name
        Of the model, for the error.

    Raises
    ------
    ModelError
        It fails on such images (code ``model.forward``), or does not return one vector or map per
        image (``model.answer``).
    """
    inputs: dict[str, torch.Tensor] = {}
    outputs: dict[str, torch.Tensor] = {}
    training = module.training
    module.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), _watched(module, inputs, outputs):
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
        if answer.ndim in (2, 4) and len(answer) == IMAGES:
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
        Several classifiers are joined side by side (code ``model.several_heads``).
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
    if joined := _joined(run, answer):
        raise ModelError(
            f"model '{name}' joins the outputs of {len(joined)} classifiers, "
            f"{' and '.join(joined)}: choose the one whose input is the feature, for example "
            f"?head={joined[0]}",
            code="model.several_heads",
            model=name,
            heads=joined,
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


def _channels_first(layer: nn.Module, values: torch.Tensor) -> torch.Tensor:
    """Bring what a linear layer takes and gives of each token or place, (n, ..., d), to a map."""
    if not isinstance(layer, nn.Linear) or values.ndim < 3:
        return values
    return values.flatten(1, -2).transpose(1, 2).unsqueeze(-1)


@contextmanager
def _watched(
    module: nn.Module, inputs: dict[str, torch.Tensor], outputs: dict[str, torch.Tensor]
) -> Iterator[None]:
    """Note what goes into and comes out of each linear layer while a network runs."""

    def note(path: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...], torch.Tensor], None]:
        def hook(
            layer: nn.Module, arguments: tuple[torch.Tensor, ...], output: torch.Tensor
        ) -> None:
            if arguments:
                # In the order of running, of the last time; copied, since what comes behind may
                # work in place.
                for place, value in ((inputs, arguments[0]), (outputs, output)):
                    place.pop(path, None)
                    place[path] = _channels_first(layer, value.detach()).clone()
                    if len(place) > REMEMBERED:
                        del place[next(iter(place))]

        return hook

    hooks = [
        part.register_forward_hook(note(path))
        for path, part in module.named_modules()
        if path and is_linear(part)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
