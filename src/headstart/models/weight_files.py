"""Read a file of weights that any program wrote; write tensors to a file.

Nothing in a file is executed: safetensors hold tensors alone, and a pickle is read by unpicklers
that know tensors, plain containers and a list of harmless types, of which they make plain
dictionaries.
"""

import io
import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from headstart.errors import WeightsError
from headstart.files import replaced, utf8_name
from headstart.models.weight_formats import (
    SHOWN,
    beside,
    check_kind,
    damaged,
    shards,
    start_of,
    weight_map,
)

if TYPE_CHECKING:
    import torch

__all__ = ["WEIGHTS", "quantised", "read_weights", "write_weights"]

# What headstart calls the weights that it writes.
WEIGHTS = "model.safetensors"

# torch.save's before version 1.6, in which a pickle follows another.
MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")

# Most globals of one pickle that are looked into.
MOST_GLOBALS = 200

# Settings, paths, times and logs that training programs keep beside the tensors. They become
# plain dictionaries that nobody looks into, so that not even their libraries need be installed.
HARMLESS = re.compile(
    r"argparse\.Namespace|types\.SimpleNamespace|collections\.(defaultdict|deque)|typing\.\w+"
    r"|pathlib(\._local)?\.\w*Path|datetime\.\w+|decimal\.Decimal|fractions\.Fraction|uuid\.UUID"
    r"|builtins\.(dict|list|tuple|set|frozenset|int|float|str|bool|slice|range)|__builtin__\.\w+"
    r"|(omegaconf|yacs|easydict|addict|ml_collections|attrdict|munch)(\.\w+)+"
    r"|(mmengine|mmcv)(\.\w+)*\.(ConfigDict|Config|HistoryBuffer)"
    r"|(pytorch_lightning|lightning|lightning_fabric|lightning_utilities)(\.\w+)*"
    r"\.(AttributeDict|_FaultTolerantMode|Device|BatchSizeFinder)"
    r"|torch\.(device|memory_format|layout|Size)|torch\.optim\.lr_scheduler\.\w+"
    r"|numpy\.random\.\w+(\.\w+)*"
)

# The ones of __builtin__ (Python 2) and builtins that are types of plain values.
PLAIN = ("dict", "list", "tuple", "set", "frozenset", "int", "float", "str", "bool", "slice",
         "range", "bytes", "bytearray", "complex", "long", "unicode", "object")  # fmt: skip

UNSUPPORTED = re.compile(r"GLOBAL (\S+) was not an allowed global|unsupported GLOBAL (\S+) whose")


def read_weights(file: Path, *, trust: bool = False) -> Any:
    """Read what a file of weights holds: tensors in containers, arrays, and what is beside them.

    Parameters
    ----------
    file
        safetensors, the index of several files, what ``torch.save`` wrote, or a pickle of arrays.
    trust
        Execute what a pickle says, if it holds more than tensors and harmless values.

    Raises
    ------
    WeightsError
        ``weights.kind`` (`kind` says what the file is), ``weights.damaged``, or ``weights.unsafe``
        (a pickle that would have to be executed; `names` are the functions and classes).
    """
    kind = check_kind(file)
    if kind == "index":
        return _read_shards(file, lambda shard: read_weights(shard, trust=trust))
    if kind == "safetensors":
        return _read_safetensors(file)
    by_torch = kind == "zip" or MAGIC in start_of(file)[:32]
    with warnings.catch_warnings():
        # What torch and numpy warn of in a file is no concern of who reads it.
        warnings.simplefilter("ignore")
        if trust:
            return _read_trusted(file, by_torch)
        return _read_pickle(file) if by_torch else _read_plain(file)


def _read_trusted(file: Path, by_torch: bool) -> Any:
    import torch

    try:
        if not by_torch:
            return pickle.loads(file.read_bytes())  # noqa: S301 - the user trusts it
        with file.open("rb") as content:
            return torch.load(content, map_location="cpu", weights_only=False)
    except (ModuleNotFoundError, AttributeError) as error:
        raise WeightsError(
            f"{file} is a pickle of code that is not installed here ({_short(error)}): install it, "
            "or save its state dict alone",
            code="weights.unsafe",
            file=str(file),
        ) from error
    # A pickle may raise anything.
    except Exception as error:
        raise damaged(file, f"damaged, or no file of weights ({_short(error)})") from error


def _read_pickle(file: Path) -> Any:
    """Read by torch's unpickler that executes nothing, with harmless types more."""
    import torch

    allowed: dict[str, Any] = dict(_numpy_globals())
    for _ in range(MOST_GLOBALS):
        listed: list[Any] = [(stands_for, name) for name, stands_for in allowed.items()]
        try:
            # Opened here: by its name torch takes what ends with .safetensors for that.
            with torch.serialization.safe_globals(listed), file.open("rb") as content:
                return torch.load(content, map_location="cpu", weights_only=True)
        # A mangled pickle may raise anything; the exceptions of the system keep their meaning.
        except Exception as error:
            found = UNSUPPORTED.search(str(error))
            if found is None and "Unsupported operand" in str(error):
                return _read_later_protocol(file)
            if found is None:
                raise damaged(file, f"damaged ({_short(error)})") from error
            name = found[1] or found[2]
            # torch leaves `builtins` out of its message.
            name = name if "." in name else f"builtins.{name}"
            if name in allowed or not _is_harmless(name):
                raise _unsafe(file, name) from error
            allowed[name] = _stand_in()
    raise damaged(file, "a pickle of too many types")


def _is_harmless(name: str) -> bool:
    module, _, last = name.rpartition(".")
    if module in ("builtins", "__builtin__"):
        return last in PLAIN
    return HARMLESS.fullmatch(name) is not None


def _stand_in() -> type:
    """Make what an object is read as whose type is not looked into: an empty dictionary."""

    class StandIn:
        def __new__(cls, *_: object, **__: object) -> Any:
            return OrderedDict()

    return StandIn


def _numpy_globals() -> dict[str, Any]:
    """Return what pickles of numbers and arrays of NumPy call, by the names of NumPy 1 and 2."""
    import numpy as np
    from numpy._core import multiarray, numeric

    functions = {
        "numeric._frombuffer": vars(numeric)["_frombuffer"],
        "multiarray._reconstruct": multiarray._reconstruct,
        "multiarray.scalar": multiarray.scalar,
    }
    found: dict[str, Any] = {
        f"{core}.{name}": function
        for core in ("numpy.core", "numpy._core")
        for name, function in functions.items()
    }
    plain = [kind for kind in vars(np.dtypes).values() if isinstance(kind, type)]
    kinds = {f"numpy.dtypes.{k.__name__}": k for k in plain if k is not np.dtypes.ObjectDType}
    return found | kinds | {"numpy.ndarray": np.ndarray, "numpy.dtype": np.dtype}


def _unsafe(file: Path, name: str) -> WeightsError:
    if name.startswith("torch.distributed"):
        return WeightsError(
            f"{file} holds one process's part of sharded tensors ({name}): gather them when saving "
            "(torch.distributed.checkpoint.state_dict.get_model_state_dict with full_state_dict)",
            code="weights.sharded",
            file=str(file),
            names=[name],
        )
    if name.startswith(("torch.ao.", "torchao.", "torch.quantization")) or "quantize" in name:
        return quantised(str(file), name)
    return WeightsError(
        f"{file} holds more than tensors ({name}): reading it would execute code of its author. "
        "Save the state dict alone (torch.save(model.state_dict(), FILE)), or pass --trust if you "
        "trust the author",
        code="weights.unsafe",
        file=str(file),
        names=[name],
    )


def quantised(where: str, name: str) -> WeightsError:
    """Make the error for weights in integers with scales."""
    return WeightsError(
        f"weights {where} are quantised ({name}): expected floating-point weights: take those of "
        "before the quantisation, or dequantise them",
        code="weights.quantised",
        file=where,
        name=name,
    )


def _read_plain(file: Path) -> Any:
    """Read a pickle that ``pickle.dump`` wrote, of arrays or tensors (detectron2's)."""
    try:
        # The whole, so that no length in it leads to more memory than the file has.
        return _PlainUnpickler(io.BytesIO(file.read_bytes())).load()
    except _UnsafeGlobalError as error:
        raise _unsafe(file, str(error)) from error
    # A mangled pickle may raise anything.
    except Exception as error:
        raise damaged(file, f"damaged, or no file of weights ({_short(error)})") from error


def _read_later_protocol(file: Path) -> Any:
    """Read what torch.save wrote with a pickle protocol that its own careful unpickler lacks."""
    import torch

    module = SimpleNamespace(
        Unpickler=_PlainUnpickler,
        load=lambda content, **_: _PlainUnpickler(content).load(),
        __name__="pickle",
    )
    try:
        with file.open("rb") as content:
            return torch.load(content, map_location="cpu", weights_only=False, pickle_module=module)
    except _UnsafeGlobalError as error:
        raise _unsafe(file, str(error)) from error
    except Exception as error:
        raise damaged(file, f"damaged ({_short(error)})") from error


class _UnsafeGlobalError(pickle.UnpicklingError):
    """A function or class that is not known to be harmless."""


# Python's own unpickler, not the one in C, which allocates what a memo's index asks for.
class _PlainUnpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        known = {
            **_numpy_globals(),
            "collections.OrderedDict": OrderedDict,
            "_codecs.encode": _encode,
            **_torch_globals(),
        }
        if full in known:
            return known[full]
        if _is_harmless(full):
            return _stand_in()
        raise _UnsafeGlobalError(full)

    def persistent_load(self, pid: Any) -> Any:  # noqa: ARG002
        raise pickle.UnpicklingError("a reference to another file")


def _short(error: Exception) -> str:
    """Shorten what a library says to the fact, without its advice."""
    text = str(error).strip()
    found = re.search(r"WeightsUnpickler error:\s*(.+)", text)
    first = [found[1]] if found else text.splitlines()[:1]
    fact = re.split(r"[.:;]( |$)", first[0])[0][:80] if first else ""
    return f"{type(error).__name__}{': ' if fact else ''}{fact}"


def _read_shards(index: Path, read: Callable[[Path], Any]) -> "dict[str, torch.Tensor]":
    """Read all tensors that an index names; each shard has to hold exactly what it says."""
    named = weight_map(index)
    state: dict[str, torch.Tensor] = {}
    for shard in beside(index, shards(index)):
        held = read(shard)
        if not isinstance(held, Mapping):
            raise WeightsError(
                f"{shard} holds a {type(held).__name__}: expected tensors by name",
                code="weights.damaged",
                file=str(shard),
            )
        wrong = held.keys() ^ {name for name, of in named.items() if of == shard.name}
        if wrong:
            listed = ", ".join(sorted(wrong)[:SHOWN])
            raise WeightsError(
                f"{shard} does not hold the tensors that {index.name} says it does: {len(wrong)} "
                f"are in one of them alone ({listed}): download both again",
                code="weights.damaged",
                file=str(shard),
                names=sorted(wrong),
            )
        state |= held
    return state


def _read_safetensors(file: Path) -> "dict[str, torch.Tensor]":
    """Read one file of tensors; WeightsError if it is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with utf8_name(file) as name:
            return load_file(name)
    except SafetensorError as error:
        raise WeightsError(
            f"{file} is a truncated or damaged safetensors file ({file.stat().st_size:,} bytes): "
            "download or copy it again",
            code="weights.damaged",
            file=str(file),
        ) from error


def _torch_globals() -> dict[str, Callable[..., Any]]:
    """Return what pickles of tensors call; new functions, which nothing in a file can change."""
    import torch

    def storage(content: bytes) -> Any:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)

    def tensor(*arguments: Any) -> Any:
        return torch._utils._rebuild_tensor_v2(*arguments[:6])  # type: ignore[no-untyped-call]

    def parameter(data: Any, *_: Any) -> Any:
        return data

    return {
        "torch.storage._load_from_bytes": storage,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_parameter": parameter,
    }


def _encode(text: str, encoding: str = "latin1") -> bytes:
    return text.encode("latin1" if encoding != "utf-8" else encoding)


def write_weights(state: "Mapping[str, torch.Tensor]", file: Path) -> None:
    """Write tensors as safetensors, whole or not at all; StorageError where that cannot be."""
    import torch
    from safetensors.torch import save

    copies = {
        # A copy: what two names share is written twice, and channels-last is no order of a file.
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in state.items()
    }
    with replaced(file) as temporary:
        # Not by save_file, whose files only their owner may read.
        temporary.write_bytes(save(copies, metadata={"format": "pt"}))
