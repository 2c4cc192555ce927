"""The tensors of a checkpoint -> the tensors of a network: found, renamed, proven to fit.

A checkpoint holds a network's tensors somewhere: inside dictionaries of any name, under prefixes of
any name, beside optimizer states, averages, and heads of self-supervised methods. All tensors are
listed by their full names (``state_dict.module.conv1.weight``), and the network is looked for in
that list: a prefix under which each of its tensors is found, with its shape, by the names that it
has or by those of an older or another program.
"""

import re
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.errors import UnknownNameError, WeightsError
from headstart.models.heads import Head
from headstart.models.layouts import LAYOUTS, is_position, resampled, size_for
from headstart.models.shards import shard_of
from headstart.models.weight_files import AVERAGE, quantised

if TYPE_CHECKING:
    import torch
    from torch import nn

    Tensors = Mapping[str, torch.Tensor]
    Translate = Callable[[Tensors, nn.Module], dict[str, torch.Tensor]]

__all__ = ["Purpose", "list_tensors", "load_state"]

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
# Parts of a training method that are thrown away after it: heads, decoders, queues, losses.
LEFT_OVER = re.compile(
    r"(?!fc_norm|head_norm)(\w*_)?(proj|projs|projector|projectors|projection|projections|predictor|predictors|pred"
    r"|prediction|prototype|prototypes|decoder|decoders|neck|necks|head|heads|classifier|classifiers"
    r"|fc|mlp_head|last_layer|queue|queue_ptr|queue_id|center|centers|centroids|loss|losses"
    r"|criterion|criterions|temperature|temp|logit_scale|logit_bias|memory|memory_bank|bank|linear"
    r"|arcface|margin|discriminator|aux\w*|metric|metrics|accuracy)\d*(_\w+)?"
    r"|mask_token|masked_embed|mask_embed\w*|mask_pos_\w+|decoder_\w+|lm_head\w*|text_\w+"
    r"|pixel_mean|pixel_std|normalize|normalizer|mean|std|preprocess\w*|data_preprocessor|n_averaged|initted|step"
)
REGISTERS = re.compile(r"(^|\.)(reg_token|reg_tokens|register_tokens?|storage_tokens?)$")
QUANTISED = re.compile(
    r"(\.|^)(qweight|qzeros|SCB|absmax|quant_map|weight_scale(_inv)?|zero_point|_packed_params"
    r"|weight_format|quant_state\.\w+)$"
)
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
class Candidate:
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


def load_state(
    module: "nn.Module",
    content: Any,
    purpose: Purpose,
    note: Callable[[str], None] = lambda _: None,
) -> bool:
    """Load the tensors of a checkpoint into a network.

    A classifier that is lacking or other-sized stays as it is; where all names are the network's
    own, its classifier is made as wide as the file's.

    Parameters
    ----------
    module
        The network, changed.
    content
        What the file holds: tensors in mappings and lists of any depth.
    note
        Told, in one line each, which of several networks was taken and what was ignored.

    Returns
    -------
    bool
        Whether the classifier came with them, all of its parts.

    Raises
    ------
    WeightsError
        ``weights.misfit`` (`missing`, `unexpected`, `reshaped` are names), ``weights.ambiguous``
        (`found` are prefixes), ``weights.size`` (`size` is the input that fits),
        ``weights.registers``, ``weights.quantised``, ``weights.not_finite``, ``weights.dtype``,
        ``weights.empty``.
    UnknownNameError
        The file has no such `part`.
    """
    tensors, containers = _listed_tensors(content)
    if not tensors:
        keys = ", ".join(map(str, content))[:80] if isinstance(content, Mapping) else ""
        raise WeightsError(
            f"{purpose.where} holds no tensors: expected a state dict, found a "
            f"{type(content).__name__} with {keys or 'nothing'}",
            code="weights.empty",
            file=purpose.where,
        )
    required = _required(module, purpose)
    found = list(_as_named(tensors, containers, required))
    if not found:
        found = _as_translated(tensors, containers, required, module, purpose)
        # What a file lacks, a translation may have taken out of the network (untrained poolers).
        required = _required(module, purpose)
    whole = [one for one in found if one.fits == len(required)]
    if not whole:
        raise _misfit(_best(found, tensors, required), required, tensors, purpose)
    chosen = _choose(whole, purpose, note)
    _check_size(chosen, required, purpose, note)
    # Other networks that fit are not what was ignored: `_choose` has named them.
    others = tuple(one.prefix for one in whole if one is not chosen and one.prefix)
    rest = {n: t for n, t in tensors.items() if not n.startswith(others)}
    return _put_in(module, chosen, rest, containers, purpose, note)


def list_tensors(content: Any) -> "dict[str, torch.Tensor]":
    """List all tensors of a checkpoint by their full names, those of its containers before them."""
    return _listed_tensors(content)[0]


def _required(module: "nn.Module", purpose: Purpose) -> "dict[str, torch.Tensor]":
    """Return the network's tensors that a file has to have."""
    return {
        name: tensor
        for name, tensor in module.state_dict().items()
        if not name.startswith(purpose.loose) and not name.endswith(COUNTERS)
    }


def _listed_tensors(content: Any) -> "tuple[dict[str, torch.Tensor], dict[str, int]]":
    """List all tensors by their full names, and how much of each name is the containers' around."""
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
    return tensors, containers


def _entries(inside: Any) -> Iterator[tuple[str, Any]]:
    if hasattr(inside, "state_dict") and not isinstance(inside, Mapping):
        # A whole network, which --trust has unpickled.
        try:
            inside = inside.state_dict()
        # Code of the file's author.
        except Exception:
            inside = {}
    if isinstance(inside, Mapping):
        yield from ((str(key), value) for key, value in inside.items())
    elif isinstance(inside, list | tuple):
        yield from ((str(i), value) for i, value in enumerate(inside))


def _fit(state: "Tensors", required: "Tensors") -> int:
    """Count the tensors that are there with their shapes."""
    return sum(1 for n, t in required.items() if n in state and state[n].shape == t.shape)


def _as_named(
    tensors: "Tensors", containers: dict[str, int], required: "Tensors"
) -> Iterator[Candidate]:
    """Find all prefixes under which a network is whole, by the names that it has."""
    votes: Counter[str] = Counter()
    for name, tensor in tensors.items():
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
            raw = _under(prefix, tensors, containers, required)
            yield Candidate(prefix, raw, raw, count, renamed=False)


def _under(
    prefix: str, tensors: "Tensors", containers: dict[str, int], named: "Tensors | None" = None
) -> "dict[str, torch.Tensor]":
    """Take the tensors under a prefix, by the rest of their names.

    Those in containers further inside belong to something else, unless they are `named`.
    """
    named = named or {}
    return {
        name[len(prefix) :]: tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
        and (containers[name] <= len(prefix) or name[len(prefix) :] in named)
    }


def _as_translated(
    tensors: "Tensors",
    containers: dict[str, int],
    required: "Tensors",
    module: "nn.Module",
    purpose: Purpose,
) -> list[Candidate]:
    """Try the names of other programs at each place that is large enough."""
    translations: list[Translate] = [purpose.translate] if purpose.translate else []
    translations += LAYOUTS
    tried: list[Candidate] = []
    whole: list[str] = []
    for prefix in _places(tensors, containers, len(required)):
        # What is inside a place that is whole is a part of it.
        if any(prefix.startswith(outer) for outer in whole):
            continue
        raw = _under(prefix, tensors, containers)
        options = [Candidate(prefix, raw, raw, _fit(raw, required), renamed=False)]
        for translate in translations:
            if (state := _translated(translate, raw, module)) is not None:
                required = _required(module, purpose)
                renamed = state.keys() != raw.keys()
                options.append(Candidate(prefix, raw, state, _fit(state, required), renamed))
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


def _places(tensors: "Tensors", containers: dict[str, int], n_required: int) -> list[str]:
    """Return the prefixes with enough tensors under them, outer ones first."""
    count: Counter[str] = Counter()
    for name in tensors:
        # From the innermost container on: what lies in a container is not its outer one's.
        at = containers[name]
        while True:
            count[name[:at]] += 1
            at = name.find(".", at) + 1
            if at == 0:
                break
    enough = max(1, LEAST_SHARE * n_required)
    large = [prefix for prefix, n in count.items() if n >= enough]
    return sorted(large, key=lambda prefix: prefix.count("."))[:MOST_PLACES]


def _rank(prefix: str) -> int:
    """Return which kind of network a prefix is of; the lowest is taken."""
    parts = prefix.rstrip(".").split(".")
    return next(
        (rank for rank, words in RANKS if any(words.fullmatch(part) for part in parts)), AS_TRAINED
    )


def _choose(whole: list[Candidate], purpose: Purpose, note: Callable[[str], None]) -> Candidate:
    """Choose among networks that are whole: the one that is named, or by the rule."""
    whole = _different(whole)
    shown = [_name(one) for one in whole]
    if purpose.part not in (None, AVERAGE):
        named = [one for one in whole if _is_named(one.prefix, str(purpose.part))]
        if len(named) != 1:
            raise UnknownNameError(f"part of {purpose.where}", str(purpose.part), shown)
        return named[0]
    ranks = [_rank(one.prefix) for one in whole]
    best = [one for one, rank in zip(whole, ranks, strict=True) if rank == min(ranks)]
    if len(best) > 1:
        names = [_name(one) for one in best]
        raise WeightsError(
            f"{purpose.where} holds {len(best)} networks that fit {purpose.architecture}: "
            f"{', '.join(names[:SHOWN])}: choose one with ?part={names[0]}",
            code="weights.ambiguous",
            file=purpose.where,
            found=names,
        )
    others = [_name(one) for one in whole if one is not best[0]]
    if others:
        why = " (the average of the weights)" if min(ranks) == 0 else ""
        note(
            f"{Path(purpose.where).name}: took the weights '{_name(best[0])}'{why}; "
            f"{', '.join(others[:SHOWN])} would fit too: choose with ?part={others[0]}"
        )
    return best[0]


def _different(whole: list[Candidate]) -> list[Candidate]:
    """Leave out networks that are another one's tensors under a second name."""
    kept: list[Candidate] = []
    for one in sorted(whole, key=lambda c: (_rank(c.prefix), len(c.prefix))):
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


def _name(one: Candidate) -> str:
    return one.prefix.rstrip(".") or "."


def _is_named(prefix: str, part: str) -> bool:
    """Whether a prefix is, or holds as one of its parts, what the user names."""
    whole = prefix.rstrip(".") or "."
    return whole == part or f".{part}." in f".{whole}."


def _check_size(
    chosen: Candidate, required: "Tensors", purpose: Purpose, note: Callable[[str], None]
) -> None:
    """Raise WeightsError where position embeddings are of another size than was asked for."""
    name = resampled(chosen.raw, chosen.state, required)
    if name is None:
        return
    if purpose.resample:
        note(f"{Path(purpose.where).name}: position embeddings resampled for {purpose.size} pixels")
        return
    raise _of_other_size(chosen.raw, required, purpose, name)


def _of_other_size(
    raw: "Tensors", required: "Tensors", purpose: Purpose, name: str
) -> WeightsError:
    size = size_for(raw, required, purpose.size)
    remedy = f"give it with ?size={size}" if size else "give the size that they are for with ?size="
    return WeightsError(
        f"weights {purpose.where} are for images of {size or 'another number of'} pixels, "
        f"{purpose.architecture} takes {purpose.size} ({name}): {remedy}",
        code="weights.size",
        file=purpose.where,
        size=size,
        name=name,
    )


def _put_in(
    module: "nn.Module",
    chosen: Candidate,
    tensors: "Tensors",
    containers: dict[str, int],
    purpose: Purpose,
    note: Callable[[str], None],
) -> bool:
    """Load what was chosen, after a look at what is left over and at the values."""
    from headstart.models.linear_map import resize

    own = module.state_dict()
    unexpected = [n for n in chosen.state if n not in own and not n.startswith(purpose.loose)]
    wrong = sorted(n for n in unexpected if not _is_left_over(n, own))
    if wrong:
        raise _misfit(chosen, _required(module, purpose), tensors, purpose)
    if not chosen.renamed:
        resize(module, purpose.head, chosen.state)
        own = module.state_dict()
    kept = {n: t for n, t in chosen.state.items() if n in own and t.shape == own[n].shape}
    kept = {n: _checked(n, t, own[n], purpose.where) for n, t in kept.items()}
    _note_ignored(chosen, unexpected, tensors, containers, purpose, note)
    fitting = OrderedDict(kept)
    # Modules refuse tensors that do not say of which version of their class they are (MNASNet).
    setattr(fitting, "_metadata", getattr(own, "_metadata", None))  # noqa: B010
    module.load_state_dict(fitting, strict=False)
    return all(f"{part.path}.weight" in kept for part in purpose.head.parts)


def _is_left_over(name: str, own: "Tensors") -> bool:
    """Whether a tensor is of a part that is thrown away after training, not of the backbone."""
    first = name.partition(".")[0]
    tops = {n.partition(".")[0] for n in own}
    return first not in tops and LEFT_OVER.fullmatch(first) is not None


def _note_ignored(
    chosen: Candidate,
    unexpected: list[str],
    tensors: "Tensors",
    containers: dict[str, int],
    purpose: Purpose,
    note: Callable[[str], None],
) -> None:
    """Say what was ignored: left over inside, and what lies beside it in the same container."""
    inner = {f"{chosen.prefix}{n}" for n in chosen.raw}
    outer = max((containers[n] for n in inner), default=0)
    around = next(iter(inner))[:outer] if inner else ""
    beside = [
        n[outer:]
        for n in tensors
        if n not in inner and containers[n] == outer and n.startswith(around)
    ]
    parts = Counter(_first_parts(n) for n in [*unexpected, *beside])
    if parts:
        shown = ", ".join(f"{part}" for part, _ in parts.most_common(SHOWN))
        more = f" and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
        note(
            f"{Path(purpose.where).name}: ignored {sum(parts.values())} tensors that are not of "
            f"the network: {shown}{more}"
        )


def _first_parts(name: str) -> str:
    """Return the beginning of a name that says whose it is."""
    parts = name.split(".")
    outer = ("module", "model", "_orig_mod", "module_list")
    while len(parts) > 1 and parts[0] in outer:
        parts = parts[1:]
    return parts[0]


def _checked(name: str, tensor: "torch.Tensor", own: "torch.Tensor", where: str) -> "torch.Tensor":
    """Return a tensor in the network's precision, if it is one of finite numbers."""
    import torch

    if tensor.is_quantized or (own.is_floating_point() and tensor.dtype in _integers()):
        raise quantised(where, f"{name} is {str(tensor.dtype).removeprefix('torch.')}")
    if tensor.is_meta or (tensor.is_complex() and not own.is_complex()):
        what = "has no values" if tensor.is_meta else "is complex"
        raise WeightsError(
            f"weights {where}: {name} {what}: expected {str(own.dtype).removeprefix('torch.')}",
            code="weights.dtype",
            file=where,
            name=name,
        )
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    tensor = tensor.detach().to(own.dtype)
    if own.is_floating_point():
        bad = int((~torch.isfinite(tensor)).sum())
        # A mask may hold infinities from the beginning.
        if bad and not torch.equal(torch.isfinite(tensor), torch.isfinite(own)):
            raise WeightsError(
                f"weights {where}: {bad:,} of {tensor.numel():,} values of {name} are NaN or "
                "infinite: the training diverged, or the file is damaged: take an earlier "
                "checkpoint",
                code="weights.not_finite",
                file=where,
                name=name,
                n=bad,
            )
    return tensor


def _integers() -> tuple[Any, ...]:
    import torch

    return (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool)


def _best(found: list[Candidate], tensors: "Tensors", required: "Tensors") -> Candidate:
    """Return the place that comes nearest, for the message."""
    everything = Candidate("", tensors, tensors, _fit(tensors, required), renamed=False)
    return max(found, key=lambda one: one.fits, default=everything)


def _misfit(
    best: Candidate, required: "Tensors", tensors: "Tensors", purpose: Purpose
) -> WeightsError:
    """Say why a file does not fit: the cause where it is known, else the names."""
    own = required
    state = best.state
    packed = next((n for n, t in tensors.items() if t.is_quantized or QUANTISED.search(n)), None)
    if packed is not None:
        return quantised(purpose.where, packed)
    if registers := _of_registers(best, required, purpose):
        return registers
    missing = sorted(own.keys() - state.keys())
    reshaped = sorted(n for n in own.keys() & state.keys() if state[n].shape != own[n].shape)
    unexpected = sorted(
        n
        for n in state.keys() - own.keys()
        if not n.startswith(purpose.loose)
        and not n.endswith(COUNTERS)
        and not _is_left_over(n, own)
    )
    if not missing and reshaped and all(is_position(n) for n in reshaped):
        return _of_other_size(best.raw, required, purpose, reshaped[0])
    first = next((f"{n} is {_size(state[n])}, not {_size(own[n])}" for n in reshaped), "")
    under = f" under '{_name(best)}'" if best.prefix else ""
    text = (
        f"weights {purpose.where} do not fit {purpose.architecture}{under}: "
        f"{_listed('missing', missing)}; {_listed('unexpected', unexpected)}; "
        f"{_listed('other shape', reshaped)}" + (f" ({first})" if first else "")
    )
    index = shard_of(Path(purpose.where))
    if index and missing:
        text += f"; the file is one of several: name their index, {index}"
    return WeightsError(
        text,
        code="weights.misfit",
        file=purpose.where,
        missing=missing,
        unexpected=unexpected,
        reshaped=reshaped,
    )


def _of_registers(best: Candidate, required: "Tensors", purpose: Purpose) -> WeightsError | None:
    """Say so where only one of file and network has register tokens."""
    theirs = next((n for n in best.raw if REGISTERS.search(n)), None)
    ours = next((n for n in required if REGISTERS.search(n)), None)
    if (theirs is None) == (ours is None):
        return None
    if theirs is not None:
        count = best.raw[theirs].shape[-2] if best.raw[theirs].ndim > 1 else 1
        bare = purpose.architecture.rpartition(":")[2]
        text = (
            f"weights {purpose.where} have {count} register tokens ({theirs}), "
            f"{purpose.architecture} has none: name an architecture with them "
            f"('headstart models --search reg{count}'), or a function of your own that builds it: "
            f"timm.create_model('{bare}', reg_tokens={count})"
        )
    else:
        count = 0
        text = (
            f"weights {purpose.where} have no register tokens, {purpose.architecture} has: name an "
            "architecture without them"
        )
    return WeightsError(text, code="weights.registers", file=purpose.where, n=count)


def _size(tensor: Any) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _listed(what: str, names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {what}" + (f": {shown}{more}" if names else "")
