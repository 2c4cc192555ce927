"""Does headstart take apart, rightly, a network of every family of a library?

``python scripts/check_architectures.py timm`` (or torchvision, pytorchcv; then names to look at
alone) builds the smallest network of every family and kind of classifier with random weights, and
compares with the library's own logits:

* ``classifier(penultimate(images))`` gives them, as does ``forward``; one image gives what it gives
  beside others;
* a fresh classifier has as many logits as asked for, and a step of training changes the backbone;
* written under the library's names, a fresh classifier classifies in the library as it does here.

It prints a line for each that is refused or fails, then how many do what. On two cores it takes an
hour for timm.
"""

import copy
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from headstart import models
from headstart.errors import HeadstartError
from headstart.models.checkpoint_search import Purpose
from headstart.models.linear_map import resize
from headstart.models.model_source import SOURCES
from headstart.models.network import Network
from headstart.models.state_dict import load_state
from headstart.spec import Model

# Relative to the largest logit: float32 through deep networks of random weights.
TOLERANCE = 1e-4
N_CLASSES = 7
# The smallest of a family that is larger takes too long on a processor.
MOST_PARAMETERS = 700_000_000
SIDES = (64, 128)


def main(library: str, chosen: list[str]) -> None:
    """Print what does not work, then the counts."""
    outcomes: Counter[str] = Counter()
    for family, name in [("", name) for name in chosen] or smallest(library):
        outcome = check(f"{library}:{name}")
        outcomes[outcome.partition(":")[0]] += 1
        if outcome != "same logits" or chosen:
            print(f"{family:28} {name:44} {outcome}", flush=True)
    print(f"{library} {SOURCES[library].version()}, {sum(outcomes.values())} networks:")
    for outcome, n in outcomes.most_common():
        print(f"  {n:4} {outcome}")


def smallest(library: str) -> Iterator[tuple[str, str]]:
    """Give the smallest network of each family and kind of classifier."""
    found: dict[tuple[str, str, str], list[tuple[int, str]]] = defaultdict(list)
    for name in names(library):
        # What a source reads to build a network.
        fields: dict[str, Any] = {"architecture": name, "tags": {}, "pool": None}
        try:
            model = Model.model_construct(**fields)
            with torch.device("meta"):
                module = SOURCES[library].build(model)
        except Exception as error:
            found[(name, type(error).__name__, "")].append((0, name))
            continue
        n = sum(p.numel() for p in module.parameters())
        kind = head_kind(library, module)
        found[(type(module).__module__.rpartition(".")[2], type(module).__name__, kind)].append(
            (n, name)
        )
    for (family, _, _), sizes in sorted(found.items()):
        n, name = min(sizes)
        if n <= MOST_PARAMETERS:
            yield family, name
        else:
            print(f"{family:28} {name:44} left out: {n / 1e6:,.0f} million parameters")


def names(library: str) -> list[str]:
    """Name every architecture, with published weights or without."""
    if library == "timm":
        import timm

        return [str(name) for name in timm.list_models()]
    return SOURCES[library].names()


def head_kind(library: str, module: nn.Module) -> str:
    """Say of what kinds of layers a classifier is."""
    head, parts = SOURCES[library].head(module), dict(module.named_modules())
    return " ".join(type(parts.get(path)).__name__ for path in head.paths)


def check(name: str) -> str:
    """Compare a network with its library: ``same logits``, or what else there is to say."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = models.find(f"{name}?weights=random")
            return compare(model)
    except HeadstartError as error:
        return f"refused: {error}"
    except Exception as error:
        said = (str(error).strip() or "no word").splitlines()[0]
        return f"failed: {type(error).__name__}: {said[:160]}"


def compare(model: Model) -> str:
    """Compare on small images, where the network takes them, else on its own size."""
    for side in (*SIDES, model.input_size):
        library = randomised(SOURCES[model.source].build(model)).eval()
        images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
        module = copy.deepcopy(library)
        head = SOURCES[model.source].head(module)
        network = Network(module, head, SOURCES[model.source].finish(module, model)).eval()
        try:
            with torch.inference_mode():
                expected = logits(library, images)
        # What a network that does not take a size raises is not one type.
        except Exception:
            if side == model.input_size:
                raise
            continue
        told = wrong(network, model, images, expected if head.exact else None)
        if told or not head.exact:
            return told or "features, fresh classifier: its own is no linear map"
        return kept(network, library, images) or "same logits"
    raise AssertionError("its own size is among the sides")


def wrong(network: Network, model: Model, images: Tensor, expected: Tensor | None) -> str:
    """Say what of the contract is broken, nothing if it holds."""
    with torch.inference_mode():
        features = network.penultimate(images)
        alone, given = network.penultimate(images[:1]), network.classifier(features)
    if features.shape != (len(images), model.feature_dim):
        return f"wrong shape: {tuple(features.shape)}, {model.feature_dim} features expected"
    if sum(p.numel() for p in network.backbone.parameters()) != (model.parameters or 0):
        return f"wrong count: {model.parameters} parameters expected"
    if expected is not None and not near(given, expected):
        return f"other logits: by {apart(given, expected):.1e}"
    if not near(alone, features[:1]):
        return f"other in a batch: by {apart(alone, features[:1]):.1e}"
    fresh = copy.deepcopy(network).with_head(N_CLASSES, 0).train()
    before = [p.detach().clone() for p in fresh.backbone.parameters()]
    answers = fresh(images)
    if answers.shape != (len(images), N_CLASSES):
        return f"wrong shape: {tuple(answers.shape)} logits of {N_CLASSES} classes"
    loss = nn.functional.cross_entropy(answers, torch.tensor([0, 1]))
    loss.backward()  # type: ignore[no-untyped-call]
    torch.optim.SGD(fresh.parameters(), 0.1).step()
    after = list(fresh.backbone.parameters())
    if not any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)):
        return "untrained: a step changes nothing"
    return ""


def kept(network: Network, library: nn.Module, images: Tensor) -> str:
    """Say whether a fresh classifier, written under the library's names, is another one there."""
    with torch.inference_mode():
        n_classes = network.classifier.out_features
        fresh = network.with_head(n_classes, 0).eval()
        state = fresh.state_as_built()
        # A fresh classifier has a bias, whether the library's had one or not.
        resize(library, network.head, state)
        load_state(library, state, Purpose(network.head, "what is kept"))
        there, here = logits(library, images), fresh(images)
    return "" if near(there, here) else f"other when kept: by {apart(there, here):.1e}"


def randomised(module: nn.Module) -> nn.Module:
    """Move all tensors off what they begin with: many a classifier begins with zeros."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
        for part in module.modules():
            if not isinstance(part, nn.modules.batchnorm._BatchNorm):
                continue
            if part.running_mean is not None and part.running_var is not None:
                part.running_mean.normal_(0, 0.1, generator=generator)
                part.running_var.uniform_(0.8, 1.2, generator=generator)
    return module


def logits(module: nn.Module, images: Tensor) -> Tensor:
    """Give a library's answer, the main one of several."""
    answers: Any = module(images)
    return answers if isinstance(answers, Tensor) else answers[0]


def apart(found: Tensor, expected: Tensor) -> float:
    """Give the largest difference, relative to the largest that is expected."""
    return float((found - expected).abs().max() / expected.abs().max())


def near(found: Tensor, expected: Tensor) -> bool:
    """Whether two tensors are the same but for rounding."""
    return found.shape == expected.shape and apart(found, expected) <= TOLERANCE


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
