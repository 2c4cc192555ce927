"""Match the tensors of a checkpoint with those of a network, and load them."""

import math
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.errors import WeightsError
from headstart.models.checkpoint_search import (
    COUNTERS,
    FileTensors,
    NetworkMatch,
    Purpose,
    candidates,
    choose,
    fit,
    label,
    list_tensors,
    multiplied_out,
    required_tensors,
    without_wrappers,
)
from headstart.models.weight_files import quantised
from headstart.models.weight_formats import shard_of
from headstart.spec.formatting import first_few

if TYPE_CHECKING:
    import torch
    from torch import nn

    Tensors = Mapping[str, torch.Tensor]

__all__ = ["load_state", "size_for"]

# Parts of a training method that are thrown away after it: heads, decoders, queues, losses.
LEFT_OVER = re.compile(
    r"(?!fc_norm|head_norm)(\w*_)?"
    r"(proj|projector|projection|predictor|pred|prediction|prototype|decoder|neck|head|classifier|fc"
    r"|mlp_head|last_layer|queue|center|centroid|loss|losses|criterion|temperature|temp|logit_scale"
    r"|logit_bias|memory|bank|linear|arcface|margin|discriminator|auxiliary|aux|metric|accuracy)"
    r"s?\d*(_\w+)?"
    r"|mask_token|masked_embed|mask_embed\w*|lm_head\w*|text_\w+|pixel_mean|pixel_std|mean|std"
    r"|normalizer?|preprocess\w*|data_preprocessor|n_averaged|initted|step"
)

REGISTERS = re.compile(r"(^|\.)(reg_token|reg_tokens|register_tokens?|storage_tokens?)$")

QUANTISED = re.compile(
    r"(\.|^)(qweight|qzeros|SCB|absmax|quant_map|weight_scale(_inv)?|zero_point|_packed_params"
    r"|weight_format|quant_state\.\w+)$"
)

# What profilers (thop, ptflops) leave in every part of a network.
PROFILED = ("total_ops", "total_params", "__flops__", "__params__")

# Tensors of low-rank adapters, which are added to the weights of a base network.
ADAPTER = re.compile(r"(^|\.)(lora_\w+|base_layer|ia3_l|vera_lambda_[bd]|hada_w1_a|lokr_w1)(\.|$)")

SHOWN = 4


def load_state(
    module: "nn.Module",
    content: Any,
    purpose: Purpose,
    note: Callable[[str], None] = lambda _: None,
) -> bool:
    """Load the tensors of a checkpoint into a network.

    A classifier that is missing or has another size keeps its weights. Where all names are the
    network's own, its classifier gets as many outputs as the file's.

    Parameters
    ----------
    module
        The network, changed.
    content
        What the file holds: tensors in mappings and lists of any depth.
    note
        Called with one line each on which of several networks was taken and what was ignored.

    Returns
    -------
    bool
        Whether the classifier came with them, all of its parts.

    Raises
    ------
    WeightsError
        ``weights.misfit`` (`missing`, `unexpected`, `reshaped` are names), ``weights.ambiguous``
        (`found` are prefixes), ``weights.size`` (`size` is the input that fits),
        ``weights.registers``, ``weights.adapter``, ``weights.quantised``,
        ``weights.not_finite``, ``weights.dtype``, ``weights.empty``.
    UnknownNameError
        The file has no such `part`.
    """
    listed = list_tensors(content)
    if not listed.tensors:
        keys = ", ".join(map(str, content))[:80] if isinstance(content, Mapping) else ""
        found = f"{type(content).__name__} with {keys}" if keys else type(content).__name__
        raise WeightsError(
            f"{purpose.where} holds no tensors: expected a state dict, found a {found}",
            code="weights.empty",
            file=purpose.where,
        )
    whole, required = _found(listed, module, purpose)
    plain, kinds = multiplied_out(without_wrappers(listed))
    if whole[0].fits < len(required) and plain.tensors.keys() != listed.tensors.keys():
        listed = plain
        whole, required = _found(listed, module, purpose)
        if whole[0].fits == len(required) and kinds:
            note(f"{Path(purpose.where).name}: multiplied out the weights of {kinds[0]}")
    if whole[0].fits < len(required):
        raise _misfit(whole[0], required, listed.tensors, purpose)
    chosen = choose(whole, purpose, note)
    _check_size(chosen, required, purpose, note)
    # Other networks that fit are not what was ignored: `_choose` has named them.
    others = tuple(one.prefix for one in whole if one is not chosen and one.prefix)
    rest = {n: t for n, t in listed.tensors.items() if not n.startswith(others)}
    return _put_in(module, chosen, listed._replace(tensors=rest), purpose, note)


def _found(
    listed: FileTensors, module: "nn.Module", purpose: Purpose
) -> "tuple[list[NetworkMatch], dict[str, torch.Tensor]]":
    """Find where the network is whole, or else the one place that comes nearest; what it needs."""
    found = candidates(listed, module, purpose)
    required = required_tensors(module, purpose)
    # A library's translation resamples patches of another size, too: that is another network.
    found = [_without_stretched(one, required) for one in found]
    whole = [one for one in found if one.fits == len(required)]
    # All of it is the place that comes nearest where no other does, for the message.
    tensors = listed.tensors
    everything = NetworkMatch("", tensors, tensors, fit(tensors, required), renamed=False)
    return whole or [max(found, key=lambda one: one.fits, default=everything)], required


def _without_stretched(one: NetworkMatch, required: "Tensors") -> NetworkMatch:
    """Undo what a translation did to tensors of another size that are no position embeddings."""
    names = stretched(one.raw, one.state, required)
    state = {**one.state, **{n: one.raw[n] for n in names}}
    return replace(one, state=state, fits=one.fits - len(names)) if names else one


def _check_size(
    chosen: NetworkMatch, required: "Tensors", purpose: Purpose, note: Callable[[str], None]
) -> None:
    """Raise WeightsError where position embeddings are of another size than was asked for."""
    name = resampled(chosen.raw, chosen.state, required)
    if name is not None and not purpose.resample:
        raise _of_other_size(chosen.raw, required, purpose, name)
    if name is not None:
        note(f"{Path(purpose.where).name}: position embeddings resampled for {purpose.size} pixels")


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
    chosen: NetworkMatch,
    listed: FileTensors,
    purpose: Purpose,
    note: Callable[[str], None],
) -> bool:
    """Load what was chosen, after a look at what is left over and at the values."""
    from headstart.models.linear_map import resize

    own = module.state_dict()
    unexpected = [n for n in chosen.state if n not in own and not n.startswith(purpose.loose)]
    wrong = sorted(n for n in unexpected if not _is_left_over(n, own))
    if wrong:
        raise _misfit(chosen, required_tensors(module, purpose), listed.tensors, purpose)
    if not chosen.renamed:
        resize(module, purpose.head, chosen.state)
        own = module.state_dict()
    kept = {n: t for n, t in chosen.state.items() if n in own and t.shape == own[n].shape}
    kept = {n: _checked(n, t, own[n], purpose.where) for n, t in kept.items()}
    _note_ignored(chosen, unexpected, listed, purpose, note)
    fitting = OrderedDict(kept)
    # Modules refuse tensors that do not say of which version of their class they are (MNASNet).
    setattr(fitting, "_metadata", getattr(own, "_metadata", None))  # noqa: B010
    module.load_state_dict(fitting, strict=False)
    return all(f"{part.path}.weight" in kept for part in purpose.head.parts)


def _is_left_over(name: str, own: "Tensors") -> bool:
    """Whether a tensor is of a part that is thrown away after training, not of the backbone."""
    if name.rpartition(".")[2] in PROFILED:
        return True
    first = name.partition(".")[0]
    tops = {n.partition(".")[0] for n in own}
    return first not in tops and LEFT_OVER.fullmatch(first) is not None


def _note_ignored(
    chosen: NetworkMatch,
    unexpected: list[str],
    listed: FileTensors,
    purpose: Purpose,
    note: Callable[[str], None],
) -> None:
    """Report ignored tensors: left over inside, and beside it in the same container."""
    tensors, containers = listed
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
        shown = first_few([part for part, _ in parts.most_common()], SHOWN)
        note(
            f"{Path(purpose.where).name}: ignored {sum(parts.values())} tensors that are not of "
            f"the network: {shown}"
        )


def _first_parts(name: str) -> str:
    """Return the beginning of a name that says whose it is."""
    parts = name.split(".")
    if parts[-1] in PROFILED:
        return parts[-1]
    outer = ("module", "model", "_orig_mod", "module_list")
    while len(parts) > 1 and parts[0] in outer:
        parts = parts[1:]
    return parts[0]


def _checked(name: str, tensor: "torch.Tensor", own: "torch.Tensor", where: str) -> "torch.Tensor":
    """Return a tensor in the network's precision, if it is one of finite numbers."""
    import torch

    if tensor.is_quantized or (
        own.is_floating_point() and not tensor.dtype.is_floating_point and not tensor.is_complex()
    ):
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


def _misfit(
    best: NetworkMatch, required: "Tensors", tensors: "Tensors", purpose: Purpose
) -> WeightsError:
    """Return the error for a file that does not fit: its cause if known, else the names."""
    own = required
    state = best.state
    packed = next((n for n, t in tensors.items() if t.is_quantized or QUANTISED.search(n)), None)
    if packed is not None:
        return quantised(purpose.where, packed)
    adapted = next((n for n in tensors if ADAPTER.search(n)), None)
    if adapted is not None:
        return WeightsError(
            f"weights {purpose.where} hold a low-rank adapter ({adapted}): merge it into the "
            "network's weights and save those (peft: model.merge_and_unload().state_dict())",
            code="weights.adapter",
            file=purpose.where,
            name=adapted,
        )
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
    only_positions = not missing and reshaped and all(is_position(n) for n in reshaped)
    if only_positions and size_for(best.raw, required, purpose.size):
        return _of_other_size(best.raw, required, purpose, reshaped[0])
    first = next((f"{n} is {_size(state[n])}, not {_size(own[n])}" for n in reshaped), "")
    under = f" under '{label(best)}'" if best.prefix else ""
    text = (
        f"weights {purpose.where} do not fit {purpose.architecture}{under}: "
        f"{_listed('missing', missing)}; {_listed('unexpected', unexpected)}; "
        f"{_listed('other shape', reshaped)}" + (f" ({first})" if first else "")
    )
    if "fc_norm.weight" in unexpected and "norm.weight" in missing:
        bare = purpose.architecture.rpartition(":")[2]
        text += (
            "; the file's network has its last norm behind the mean of the patches: name a "
            f"function of your own that builds it: timm.create_model('{bare}', global_pool='avg')"
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


def _of_registers(best: NetworkMatch, required: "Tensors", purpose: Purpose) -> WeightsError | None:
    """Return the error if only the file or only the network has register tokens."""
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
    return f"{len(names)} {what}" + (f": {first_few(names, SHOWN)}" if names else "")


# Embeddings of places, and biases by distances, under the names of timm, torchvision, transformers
# and of the papers' own releases.
POSITIONS = re.compile(
    r"(^|\.)(pos_embed(_(win|h|w|spatial|x|y))?|pos_embedding|position_embeddings?|positional_embedding"
    r"|position_embedding\.weight|absolute_pos_embed|relative_position_bias_table|rel_pos_[hw]"
    r"|rel_pos(_bias)?(_table)?|attention_biases|lepe_pos\w*)(\.weight)?$"
)

# Before the embeddings of places: class, distillation and register tokens.
MOST_TOKENS = 8


def is_position(name: str) -> bool:
    """Whether a tensor is an embedding of places, whose size is that of the input."""
    return POSITIONS.search(name) is not None


def resampled(raw: "Tensors", state: "Tensors", required: "Tensors") -> str | None:
    """Return the first position embedding of `required` that a translation has resampled, if any.

    `raw` and `state` are the file's tensors before and after the translation.
    """
    sides = {_side(n, t) for n, t in raw.items() if is_position(n)}
    return next(
        (n for n in required if is_position(n) and sides and _side(n, state[n]) not in sides), None
    )


def stretched(raw: "Tensors", state: "Tensors", required: "Tensors") -> list[str]:
    """Return the tensors, other than position embeddings, that a translation made fit by size."""
    # What only was renamed is still the file's own tensor.
    own = {_place(t) for t in raw.values()}
    return [
        n
        for n in required
        if n in raw
        and n in state
        and raw[n].numel() != state[n].numel() == required[n].numel()
        and _place(state[n]) not in own
        and not is_position(n)
    ]


def _place(tensor: "torch.Tensor") -> int:
    """Return where a tensor's values are; a sparse one has no such place."""
    import torch

    return tensor.data_ptr() if tensor.layout == torch.strided else id(tensor)


def size_for(raw: "Tensors", required: "Tensors", size: int) -> int | None:
    """Return the side of the images, in pixels, that a file's position embeddings are made for.

    The network's own, `required`, are for images of `size` pixels. None where the side is unknown,
    or is no whole number.
    """
    ours = {n: t for n, t in required.items() if is_position(n)}
    by_end = {n.rpartition(".")[2]: t for n, t in ours.items()}
    for name, tensor in raw.items():
        end = name.rpartition(".")[2]
        own = ours.get(name, by_end.get(end))
        if own is None or not is_position(name) or own.shape == tensor.shape:
            continue
        here, there = _side(name, own), _side(name, tensor)
        if here and there and here != there and size * there % here == 0:
            return size * there // here
    return None


def _side(name: str, tensor: "torch.Tensor") -> int | None:
    """Return how many places a side has, from the shape of position embeddings.

    Shapes are (1, n, d) or (n, d) with a few tokens before the places, (1, h, w, d) for maps, and
    ((2 h - 1)^2 + a few, heads) for biases by distance, where h is the side of a window.
    """
    shape = tuple(tensor.shape)
    if name.endswith("table"):
        side = math.isqrt(shape[0])
        return (side + 1) // 2 if side % 2 else None
    if len(shape) == 4:
        return shape[1] if shape[1] == shape[2] else shape[2]
    if len(shape) not in (2, 3):
        return None
    side = math.isqrt(shape[-2])
    return side if shape[-2] - side * side <= MOST_TOKENS else None
