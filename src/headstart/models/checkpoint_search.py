"""Find a network among the tensors of a checkpoint.

A checkpoint holds a network's tensors somewhere: inside dictionaries of any name, under prefixes of
any name, beside optimizer states, averages, and heads of self-supervised methods. All tensors are
listed by their full names (``state_dict.module.conv1.weight``), and the network is looked for in
that list: a prefix under which each of its tensors is found, with its shape, by the names that it
has or by those of an older or another program. Libraries translate their own older names
(`ModelSource.translate`); here are those of programs that save a library's network under theirs.
"""

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from headstart.errors import UnknownNameError, WeightsError
from headstart.models.model_source import Head
from headstart.models.weight_formats import AVERAGE

if TYPE_CHECKING:
    import torch
    from torch import nn

    Tensors = Mapping[str, torch.Tensor]
    Translate = Callable[[Tensors, nn.Module], dict[str, torch.Tensor]]

__all__ = [
    "COUNTERS",
    "FileTensors",
    "NetworkMatch",
    "Purpose",
    "candidates",
    "choose",
    "fit",
    "label",
    "list_tensors",
    "multiplied_out",
    "required_tensors",
    "without_wrappers",
]

# Patterns in the names of other programs' tensors, and what stands for them.
Patterns = tuple[tuple[str, "str | Callable[[re.Match[str]], str]"], ...]

# detectron2's names of a ResNet's parts.
DETECTRON2: Patterns = (
    (r"^stem\.", ""),
    (r"^res(\d)\.", lambda found: f"layer{int(found[1]) - 1}."),
    (r"(^|\.)conv(\d)\.norm\.", r"\1bn\2."),
    (r"\.shortcut\.norm\.", ".downsample.1."),
    (r"\.shortcut\.", ".downsample.0."),
)

# What torchvision's DenseNets (published so) and transformers were called before.
OLD_TORCHVISION: Patterns = (
    (r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)", r"\1\2"),
    (r"\.mlp\.linear_1\.", ".mlp.0."),
    (r"\.mlp\.linear_2\.", ".mlp.3."),
)

# Modules that programs put around parts of a network: torch.compile, FSDP, activation
# checkpoints, and DataParallel around the convolutions (PyTorch's own ImageNet example).
WRAPPERS = re.compile(
    r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_fpw_module|_checkpoint_wrapped_module"
    r"|_forward_module|module)\."
)

# How weights are kept that are computed from others at each pass: the ends of the names.
PRUNED, NORMED, SPECTRAL = "pruning", "weight norm", "spectral norm"

KEPT_AS = ((("_orig", "_mask"), PRUNED), (("_g", "_v"), NORMED), (("_orig", "_u", "_v"), SPECTRAL))

PARAMETRIZED = re.compile(r"(?P<layer>.*\.|)parametrizations\.(?P<name>\w+)\.original0?")


def by_number(state: "Tensors", module: "nn.Module") -> "dict[str, torch.Tensor]":
    """Rename what ``nn.Sequential(*network.children())`` calls its parts: by their numbers.

    So lightly's and fastai's backbones are made.
    """
    names = [name for name, _ in module.named_children()]
    renamed = {}
    for name, tensor in state.items():
        first, point, rest = name.partition(".")
        known = first.isdigit() and int(first) < len(names)
        renamed[f"{names[int(first)]}{point}{rest}" if known else name] = tensor
    return renamed


def by_patterns(
    patterns: Patterns,
    state: "Tensors",
    module: "nn.Module",  # noqa: ARG001 - as all translations
) -> "dict[str, torch.Tensor]":
    """Rename tensors by patterns of their names, one after another."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in patterns:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


class FileTensors(NamedTuple):
    """All tensors of a checkpoint.

    Parameters
    ----------
    tensors
        By their full names, those of the containers around them before their own.
    containers
        By the same names, how many characters of each are the containers'.
    """

    tensors: "Tensors"
    containers: Mapping[str, int]


def without_wrappers(listed: FileTensors) -> FileTensors:
    """Leave the modules out of tensors' names that programs put around parts of a network.

    Names of containers stay.
    """
    named: dict[str, torch.Tensor] = {}
    lengths: dict[str, int] = {}
    for name, tensor in listed.tensors.items():
        inside = listed.containers[name]
        new = name[:inside] + WRAPPERS.sub("", name[inside:])
        named[new], lengths[new] = tensor, inside
    # Two that would be called the same are no wrapped parts.
    return FileTensors(named, lengths) if len(named) == len(listed.tensors) else listed


def multiplied_out(listed: FileTensors) -> tuple[FileTensors, list[str]]:
    """Compute weights that a file holds as pruning, weight norm or spectral norm keep them.

    Returns
    -------
    FileTensors
        With the weights in place of what they are computed from.
    list of str
        What was done, for a message: ``pruning``, ``weight norm``, ``spectral norm``.
    """
    tensors, containers = listed
    named, lengths, kinds = dict(tensors), dict(containers), set[str]()
    for name in tensors:
        for weight, parts, kind in _kept_as(name):
            values = [tensors[part] for part in parts if part in named]
            if len(values) < len(parts) or weight in named:
                continue
            computed = _computed(kind, values)
            if computed is None:
                continue
            for part in parts:
                del named[part]
            named[weight], lengths[weight] = computed, containers[name]
            kinds.add(kind)
    return FileTensors(named, lengths), sorted(kinds)


def _kept_as(name: str) -> list[tuple[str, tuple[str, ...], str]]:
    """Return of the first of several tensors which weight they may be: its name, theirs, how."""
    if found := PARAMETRIZED.fullmatch(name):
        weight = found["layer"] + found["name"]
        inner = name.rpartition(".")[0]
        if name.endswith("0"):
            return [(weight, (name, f"{inner}.original1"), NORMED)]
        return [(weight, (name, f"{inner}.0._u", f"{inner}.0._v"), SPECTRAL)]
    return [
        (weight, tuple(weight + end for end in ends), kind)
        for ends, kind in KEPT_AS
        if name.endswith(ends[0]) and (weight := name.removesuffix(ends[0])).endswith("weight")
    ]


def _computed(kind: str, values: "list[torch.Tensor]") -> "torch.Tensor | None":
    """Compute a weight as torch.nn.utils does in evaluation mode; None of shapes that do not go."""
    first, *others = (value.detach().float() for value in values)
    if kind == PRUNED:
        return first * others[0] if first.shape == others[0].shape else None
    if kind == NORMED:
        # w = g v / |v|, of each output its own: g is (outputs, 1, ...).
        direction = others[0]
        if first.numel() != len(direction) or direction.ndim < 2:
            return None
        norms: torch.Tensor = direction.flatten(1).norm(dim=1).reshape(first.shape)
        return direction * (first / norms)
    left, right = others
    rows = first.flatten(1) if first.ndim > 1 else first[:, None]
    if rows.shape != (left.numel(), right.numel()):
        return None
    sigma: torch.Tensor = left.flatten() @ rows @ right.flatten()
    return first / sigma


# Tried in turn where a library's own translation does not make a file fit.
LAYOUTS: "tuple[Translate, ...]" = (
    by_number,
    partial(by_patterns, DETECTRON2),
    partial(by_patterns, OLD_TORCHVISION),
)

# Counters of batch norms, which no output depends on and old files lack.
COUNTERS = "num_batches_tracked"

# Which of several networks of one architecture is taken, the first kind that is there: averages
# over steps, which their authors evaluate; networks as trained; those that follow by momentum
# (MoCo, BYOL), before a plain `encoder` (I-JEPA's `target_encoder` is the one evaluated); the
# student beside its teacher; optimizer states.
RANKS = (
    (9, re.compile(r"\w*optim\w*|exp_avg(_sq)?|opt")),
    (0, re.compile(r"(\w*_)?(ema\d*|averaged?|avg|swa|teacher)(_\w*)?")),
    (6, re.compile(r"(\w*_)?student(_\w*)?")),
    (5, re.compile(r"\w+_k|key_\w+")),
    (3, re.compile(r"(\w*_)?(momentum|target)(_\w*)?")),
    (4, re.compile(r"encoder")),
)  # fmt: skip

AS_TRAINED = 2

# A prefix is looked into if so much of the network could be under it.
LEAST_SHARE = 0.3

MOST_PLACES = 24

DEEPEST, MOST_ENTRIES = 12, 2_000_000

SHOWN = 4


@dataclass(frozen=True)
class Purpose:
    """What a file of weights is read for.

    Parameters
    ----------
    head
        Where the network's classifier is.
    where
        The file, for messages.
    auxiliary
        Paths of other classifiers, which a file may lack.
    translate
        Brings names of other programs under those of the network's library.
    part
        Which of the networks in the file is wanted, by its prefix; by the rule unless given.
    size, architecture
        Side of the network's input in pixels, and its name, for messages.
    resample
        Whether position embeddings of another grid may be resampled: where the user chose the size.
    """

    head: Head
    where: str
    auxiliary: tuple[str, ...] = ()
    translate: "Translate | None" = None
    part: str | None = None
    size: int = 224
    architecture: str = "the network"
    resample: bool = False

    @property
    def loose(self) -> tuple[str, ...]:
        """Beginnings of the names of tensors that need not be there or fit."""
        return tuple(f"{path}." for path in (*self.head.paths, *self.auxiliary))


@dataclass(frozen=True)
class NetworkMatch:
    """One place in a checkpoint where the network may be.

    Parameters
    ----------
    prefix
        Before its names, with the point.
    raw
        The tensors there, by the names that they have behind the prefix.
    state
        Under the network's names.
    fits
        How many tensors that the network needs are there, with their shapes.
    renamed
        Whether the names are another program's.
    """

    prefix: str
    raw: "Tensors"
    state: "Tensors"
    fits: int
    renamed: bool


def required_tensors(module: "nn.Module", purpose: Purpose) -> "dict[str, torch.Tensor]":
    """Return the network's tensors that a file has to have."""
    return {
        name: tensor
        for name, tensor in module.state_dict().items()
        if not name.startswith(purpose.loose) and not name.endswith(COUNTERS)
    }


def list_tensors(content: Any) -> FileTensors:
    """List all tensors of a checkpoint."""
    import numpy as np
    import torch

    tensors: dict[str, torch.Tensor] = {}
    containers: dict[str, int] = {}
    seen: set[int] = set()
    waiting: list[tuple[str, Any, int]] = [("", content, 0)]
    while waiting and len(tensors) < MOST_ENTRIES:
        prefix, inside, depth = waiting.pop()
        if id(inside) in seen or depth > DEEPEST:
            continue
        seen.add(id(inside))
        for key, value in _entries(inside):
            name = f"{prefix}{key}"
            if isinstance(value, np.ndarray) and value.dtype.kind in "fiubc":
                value = torch.from_numpy(np.ascontiguousarray(value).copy())
            if isinstance(value, torch.Tensor):
                tensors[name], containers[name] = value, len(prefix)
            elif isinstance(value, Mapping | list | tuple) or hasattr(value, "state_dict"):
                waiting.append((f"{name}.", value, depth + 1))
    return FileTensors(tensors, containers)


def _entries(inside: Any) -> Iterator[tuple[str, Any]]:
    if hasattr(inside, "state_dict") and not isinstance(inside, Mapping):
        # A whole network, which --trust has unpickled.
        try:
            inside = inside.state_dict()
        # Code of the file's author.
        except Exception:
            inside = {}
    if isinstance(inside, Mapping):
        # Keys of Python 2 are bytes.
        yield from (
            (key.decode("latin1") if isinstance(key, bytes) else str(key), value)
            for key, value in inside.items()
        )
    elif isinstance(inside, list | tuple):
        yield from ((str(i), value) for i, value in enumerate(inside))


def fit(state: "Tensors", required: "Tensors") -> int:
    """Count the tensors that are there with their shapes."""
    return sum(1 for n, t in required.items() if n in state and state[n].shape == t.shape)


def candidates(listed: FileTensors, module: "nn.Module", purpose: Purpose) -> list[NetworkMatch]:
    """Find the places where the network is; where it is nowhere whole, those that come nearest.

    Parameters
    ----------
    module
        A translation may take out of it what the file lacks (untrained poolers).
    """
    required = required_tensors(module, purpose)
    found = list(_as_named(listed, required))
    return found or _as_translated(listed, required, module, purpose)


def _as_named(listed: FileTensors, required: "Tensors") -> Iterator[NetworkMatch]:
    """Find all prefixes under which a network is whole, by the names that it has."""
    votes: Counter[str] = Counter()
    for name, tensor in listed.tensors.items():
        at = 0
        while True:
            own = required.get(name[at:])
            if own is not None and own.shape == tensor.shape:
                votes[name[:at]] += 1
            at = name.find(".", at) + 1
            if at == 0:
                break
    for prefix, count in votes.items():
        if count == len(required):
            raw = _under(prefix, listed, required)
            yield NetworkMatch(prefix, raw, raw, count, renamed=False)


def _under(
    prefix: str, listed: FileTensors, named: "Tensors | None" = None
) -> "dict[str, torch.Tensor]":
    """Take the tensors under a prefix, by the rest of their names.

    Those in containers further inside belong to something else, unless they are `named`.
    """
    named = named or {}
    return {
        name[len(prefix) :]: tensor
        for name, tensor in listed.tensors.items()
        if name.startswith(prefix)
        and (listed.containers[name] <= len(prefix) or name[len(prefix) :] in named)
    }


def _as_translated(
    listed: FileTensors,
    required: "Tensors",
    module: "nn.Module",
    purpose: Purpose,
) -> list[NetworkMatch]:
    """Try the names of other programs at each place that is large enough."""
    translations: list[Translate] = [purpose.translate] if purpose.translate else []
    translations += LAYOUTS
    tried: list[NetworkMatch] = []
    whole: list[str] = []
    for prefix in _places(listed, len(required)):
        # What is inside a place that is whole is a part of it.
        if any(prefix.startswith(outer) for outer in whole):
            continue
        raw = _under(prefix, listed)
        options = [NetworkMatch(prefix, raw, raw, fit(raw, required), renamed=False)]
        for translate in translations:
            if (state := _translated(translate, raw, module)) is not None:
                required = required_tensors(module, purpose)
                renamed = state.keys() != raw.keys()
                options.append(NetworkMatch(prefix, raw, state, fit(state, required), renamed))
                if options[-1].fits == len(required):
                    break
        best = max(options, key=lambda option: option.fits)
        tried.append(best)
        if best.fits == len(required):
            whole.append(prefix)
    return tried


def _translated(
    translate: "Translate", raw: "Tensors", module: "nn.Module"
) -> "dict[str, torch.Tensor] | None":
    """Rename tensors; None where they are not what the translation is made for."""
    import torch

    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = translate(dict(raw), module)
    # A library's renaming takes for granted what this file lacks, each in its own way.
    except Exception:
        return None
    return {n: t for n, t in state.items() if isinstance(t, torch.Tensor)}


def _places(listed: FileTensors, n_required: int) -> list[str]:
    """Return the prefixes with enough tensors under them, outer ones first."""
    count: Counter[str] = Counter()
    # From the innermost container on: what lies in a container is not its outer one's.
    for name, at in listed.containers.items():
        while True:
            count[name[:at]] += 1
            at = name.find(".", at) + 1
            if at == 0:
                break
    enough = max(1, LEAST_SHARE * n_required)
    large = [prefix for prefix, n in count.items() if n >= enough]
    return sorted(large, key=lambda prefix: prefix.count("."))[:MOST_PLACES]


def _ranks(prefixes: list[str]) -> list[int]:
    """Return which kind of network each prefix is of, the lowest is taken: by its own parts.

    What all have in their names tells none from another (``online_net.encoder`` beside
    ``target_net.encoder``).
    """
    names = [prefix.rstrip(".").split(".") for prefix in prefixes]
    shared = set[str]().union(*names).intersection(*names) if len(names) > 1 else set[str]()
    own = [[part for part in parts if part not in shared] for parts in names]
    return [
        next((rank for rank, words in RANKS if any(map(words.fullmatch, parts))), AS_TRAINED)
        for parts in own
    ]


def choose(
    whole: list[NetworkMatch], purpose: Purpose, note: Callable[[str], None]
) -> NetworkMatch:
    """Choose among networks that are whole: the one that is named, or by the rule."""
    whole = _different(whole)
    labels = [label(one) for one in whole]
    if purpose.part not in (None, AVERAGE):
        named = [
            one
            for one in whole
            if label(one) == purpose.part or f".{purpose.part}." in f".{label(one)}."
        ]
        if len(named) != 1:
            raise UnknownNameError(f"part of {purpose.where}", str(purpose.part), labels)
        return named[0]
    ranks = _ranks([one.prefix for one in whole])
    best = [one for one, rank in zip(whole, ranks, strict=True) if rank == min(ranks)]
    if len(best) > 1:
        names = [label(one) for one in best]
        raise WeightsError(
            f"{purpose.where} holds {len(best)} networks that fit {purpose.architecture}: "
            f"{', '.join(names[:SHOWN])}: choose one with ?part={names[0]}",
            code="weights.ambiguous",
            file=purpose.where,
            found=names,
        )
    others = [label(one) for one in whole if one is not best[0]]
    if others:
        why = " (the average of the weights)" if min(ranks) == 0 else ""
        note(
            f"{Path(purpose.where).name}: took the weights '{label(best[0])}'{why}; "
            f"{', '.join(others[:SHOWN])} would fit too: choose with ?part={others[0]}"
        )
    return best[0]


def _different(whole: list[NetworkMatch]) -> list[NetworkMatch]:
    """Leave out networks that are another one's tensors under a second name."""
    kept: list[NetworkMatch] = []
    ranks = _ranks([one.prefix for one in whole])
    order = sorted(range(len(whole)), key=lambda i: (ranks[i], len(whole[i].prefix)))
    for one in (whole[i] for i in order):
        if not any(_equal(one.state, other.state) for other in kept):
            kept.append(one)
    return kept


def _equal(one: "Tensors", other: "Tensors") -> bool:
    import torch

    names = [n for n in one.keys() & other.keys() if one[n].shape == other[n].shape]
    try:
        return all(one[n] is other[n] or torch.equal(one[n], other[n]) for n in sorted(names))
    # Of types that cannot be compared, which are refused later.
    except (RuntimeError, TypeError):
        return False


def label(one: NetworkMatch) -> str:
    """Return a prefix as it is shown, ``.`` for none."""
    return one.prefix.rstrip(".") or "."
