"""A file of weights, whatever program wrote it -> the objects in it, or one line on what it is.

What a file is, its content decides, never its name alone. Nothing in it is executed: safetensors
hold tensors alone, and a pickle is read by unpicklers that know tensors, plain containers and a
list of harmless types, of which they make plain dictionaries.
"""

import io
import os
import pickle
import re
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from headstart.errors import WeightsError
from headstart.files import storage_errors
from headstart.models.shards import is_index, read_safetensors, read_shards

__all__ = [
    "AVERAGE",
    "ENDS",
    "check_kind",
    "files_inside",
    "holds_average",
    "quantised",
    "read_weights",
]

# The part of a file that is taken where it holds an average beside the weights of the last step.
AVERAGE = "average"


EXPECTED = "expected safetensors, or what torch.save wrote"
AGAIN = "download or copy it again"
UNPACK = "unpack it and name the file inside"
CONVERT = "convert it, or take the PyTorch weights of the same network"
# (offset, bytes, kind, what it is, what to do).
SIGNATURES = (
    (0, b"version https://git-lfs", "git-lfs", "a Git LFS pointer, not the weights",
     "run 'git lfs pull' in its repository, or download the file itself"),
    (0, b"\x89HDF\r\n\x1a\n", "hdf5", "an HDF5 file (Keras, TensorFlow)", CONVERT),
    (0, b"\x1f\x8b", "gzip", "compressed by gzip", UNPACK),
    (0, b"BZh", "bzip2", "compressed by bzip2", UNPACK),
    (0, b"\xfd7zXZ\x00", "xz", "compressed by xz", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "zstd", "compressed by zstd", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "7z", "a 7z archive", UNPACK),
    (0, b"Rar!", "rar", "a RAR archive", UNPACK),
    (257, b"ustar", "tar", "a tar archive", UNPACK),
    (0, b"\x93NUMPY", "npy", "a NumPy array without names", EXPECTED),
    (0, b"GGUF", "gguf", "a GGUF file (llama.cpp)", CONVERT),
    (4, b"TFL3", "tflite", "a TensorFlow Lite model", CONVERT),
    (4, b"ET12", "executorch", "an ExecuTorch program", CONVERT),
    (0, b"\x12\x01\x00\x00\x00\x00\x00\x00", "mxnet", "an MXNet parameter file", CONVERT),
    (0, b"%PDF", "pdf", "a PDF document", EXPECTED),
    (0, b"\x89PNG", "image", "an image", EXPECTED),
    (0, b"\xff\xd8\xff", "image", "an image", EXPECTED),
    (0, b"SQLite format 3", "sqlite", "an SQLite database", EXPECTED),
)  # fmt: skip
# Formats without a signature, by the end of the name, asked when nothing else is known.
ENDINGS = (
    (r"\.onnx$", "onnx", "an ONNX model"),
    (r"\.pb(txt)?$", "tensorflow", "a TensorFlow graph"),
    (r"\.ckpt\.(index|meta|data-.*)$|\.data-\d+-of-\d+$", "tensorflow", "a TensorFlow checkpoint"),
    (r"\.msgpack$", "flax", "a Flax msgpack file"),
    (r"\.(mlmodel|mlpackage)$", "coreml", "a Core ML model"),
    (r"\.(engine|plan|trt)$", "tensorrt", "a TensorRT engine"),
    (r"\.(caffemodel|prototxt)$", "caffe", "a Caffe model"),
)
# Last bytes of a LevelDB table, which the index of a TensorFlow checkpoint is.
LEVELDB_END = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
HEAD = 4096
# torch.save's before version 1.6, in which a pickle follows another.
MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
MOST_NAMES = 1 << 24
# safetensors' own limit.
MOST_HEADER = 100_000_000
ENDS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".pkl", ".tar")
# A prefix of tensors' names, or the key of a dictionary of them in a pickle.
WORDS = rb"(?:ema\d*|\w*_ema|averaged?|avg|swa)(?:_[A-Za-z]+)?"
KEYS = (b"ema", b"ema_model", b"ema_state_dict", b"ema_state", b"ema_weights", b"ema_params",
        b"model_ema_state_dict", b"ema_model_state_dict", b"averaged_model", b"avg_model",
        b"swa_model", b"swa_state_dict")  # fmt: skip
AVERAGES = re.compile(
    rb"(?<![\w.])(?:module\.|model\.)?" + WORDS + rb"\.\w+\.(?:\w+\.)*\w"
    rb"|X(?:" + b"|".join(re.escape(struct.pack("<I", len(key)) + key) for key in KEYS) + rb")"
    # Whose value is a dictionary: put into the memo, then begun.
    rb"(?:q.|r....)?(?:\}|ccollections|h.|j....)",
    re.DOTALL,
)
SHOWN = 4
# torch.save does not compress: what becomes this many times larger was not written by it.
MOST_COMPRESSED = 100
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
        return read_shards(file, lambda shard: read_weights(shard, trust=trust))
    if kind == "safetensors":
        return read_safetensors(file)
    by_torch = kind == "zip" or MAGIC in _start(file)[:32]
    with warnings.catch_warnings():
        # What torch and numpy warn of in a file is no concern of who reads it.
        warnings.simplefilter("ignore")
        if trust:
            return _read_trusted(file, by_torch)
        return _read_pickle(file) if by_torch else _read_plain(file)


def _start(file: Path) -> bytes:
    with storage_errors(file, reading=True), file.open("rb") as content:
        return content.read(HEAD)


def check_kind(file: Path) -> str:
    """Return ``safetensors``, ``index``, ``zip`` or ``pickle``; imports no torch.

    Raises
    ------
    WeightsError
        It is something else, which the message names (code ``weights.kind``), or a damaged archive
        (``weights.damaged``).
    """
    if is_index(file):
        return "index"
    head, size = _start(file), file.stat().st_size
    for offset, signature, kind, what, remedy in SIGNATURES:
        if head[offset:].startswith(signature):
            raise _refused(file, kind, what, remedy)
    if not head:
        raise _refused(file, "empty", "empty", AGAIN)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        _check_archive(file, size)
        return "zip"
    if _is_safetensors(head, size):
        return "safetensors"
    if head[0] == 0x80 and len(head) > 1 and head[1] <= pickle.HIGHEST_PROTOCOL:
        return "pickle"
    raise _unknown(file, head, size)


def files_inside(folder: Path) -> str:
    """Return what to say of a folder that was named in place of a file; nothing of what is none."""
    if not folder.is_dir():
        return ""
    names = sorted(one.name for one in folder.iterdir() if one.suffix in ENDS or is_index(one))
    if any(name.endswith(".distcp") for name in os.listdir(folder)):
        return ": a folder of torch.distributed.checkpoint: join it with dcp_to_torch_save"
    inside = f", which holds {', '.join(names[:SHOWN])}" if names else ""
    return f": it is a folder{inside}: name the file"


def holds_average(file: Path) -> bool:
    """Whether a file holds an average of weights by a name that tells so; imports no torch.

    Only names that were passed over before averages were looked for everywhere: what is found
    makes the model another one, so that no feature of the other weights is taken for its own.
    """
    with storage_errors(file, reading=True), file.open("rb") as content:
        names = content.read(MOST_NAMES)
        if names.startswith(b"PK"):
            names = _member(file, "data.pkl")
    return AVERAGES.search(names) is not None


def _member(file: Path, name: str) -> bytes:
    """Return the beginning of a member of an archive."""
    try:
        with zipfile.ZipFile(file) as archive:
            found = next(n for n in archive.namelist() if n.rpartition("/")[2] == name)
            with archive.open(found) as content:
                return content.read(MOST_NAMES)
    except (zipfile.BadZipFile, StopIteration, OSError, ValueError, RuntimeError) as error:
        raise _damaged(file, "a truncated or damaged zip archive") from error


def _is_safetensors(head: bytes, size: int) -> bool:
    """Whether a file begins with the length of a header, and the header with a table."""
    length = struct.unpack("<Q", head[:8])[0] if len(head) > 8 else 0
    return 2 <= length < MOST_HEADER and head[8:9] == b"{" and size > 8


def _refused(file: Path, kind: str, what: str, remedy: str) -> WeightsError:
    return WeightsError(
        f"{file} is {what}: {remedy}", code="weights.kind", file=str(file), kind=kind
    )


def _damaged(file: Path, what: str) -> WeightsError:
    return WeightsError(f"{file} is {what}: {AGAIN}", code="weights.damaged", file=str(file))


def _unknown(file: Path, head: bytes, size: int) -> WeightsError:
    """State what a file is that has no signature of weights."""
    for pattern, kind, what in ENDINGS:
        if re.search(pattern, file.name.lower()):
            return _refused(file, kind, what, CONVERT)
    with file.open("rb") as content:
        content.seek(max(0, size - len(LEVELDB_END)))
        if content.read() == LEVELDB_END:
            return _refused(file, "tensorflow", "the index of a TensorFlow checkpoint", CONVERT)
    # A protocol buffer whose first two fields are a version and who produced it.
    if head[0] == 0x08 and re.match(rb"\x08[\x01-\x20]\x12[\x01-\x40][a-zA-Z]", head):
        return _refused(file, "onnx", "an ONNX model", CONVERT)
    if 0x81 <= head[0] <= 0x8F:
        return _refused(file, "flax", "no PyTorch file, perhaps a Flax msgpack file", CONVERT)
    text = _as_text(head)
    if text is None:
        return _refused(
            file, "unknown", f"of no known format (begins with {head[:8].hex(' ')})", EXPECTED
        )
    start = text.lstrip("\ufeff \r\n\t")
    if re.match(r"(?i)<!doctype|<html|<\?xml|<head|<body|<!--", start):
        return _refused(
            file, "html", "a web page, not the weights",
            "download the file itself (a login or a confirmation may be needed)",
        )  # fmt: skip
    if start.startswith("model_checkpoint_path"):
        return _refused(file, "tensorflow", "the index of a TensorFlow checkpoint", CONVERT)
    shown = " ".join(start.split())[:40]
    return _refused(file, "text", f"a text file (begins with {shown!r})", EXPECTED)


def _as_text(head: bytes) -> str | None:
    """Decode the beginning of a file if it is text; its last character may be cut in two."""
    for cut in range(min(4, len(head))):
        try:
            text = head[: len(head) - cut].decode("utf-8")
        except UnicodeDecodeError:
            continue
        return text if all(c.isprintable() or c in "\r\n\t\f\ufeff" for c in text) else None
    return None


def _check_archive(file: Path, size: int) -> None:
    """Raise WeightsError unless a zip file is what torch.save writes."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, RuntimeError) as error:
        raise _damaged(file, f"a truncated or damaged zip archive ({size:,} bytes)") from error
    names = [entry.filename for entry in entries]
    last = {name.rpartition("/")[2] for name in names}
    inside = {part for name in names for part in name.split("/")[:-1]}
    if "constants.pkl" in last or "bytecode.pkl" in last:
        raise _refused(
            file, "torchscript", "a TorchScript program",
            "save its weights alone: torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth')",
        )  # fmt: skip
    if last & {"archive_format", "serialized_exported_program.json"} or "aotinductor" in inside:
        raise _refused(
            file, "torch.export", "a torch.export program",
            "save its weights alone: torch.save(torch.export.load(FILE).state_dict, 'weights.pth')",
        )  # fmt: skip
    if ".data" in inside and "extern_modules" in last:
        raise _refused(file, "torch.package", "a torch.package archive", EXPECTED)
    if "model.weights.h5" in last:
        raise _refused(file, "keras", "a Keras model", CONVERT)
    if names and all(name.endswith(".npy") for name in names):
        raise _refused(file, "npz", "an archive of NumPy arrays (JAX, Flax)", CONVERT)
    if "data.pkl" not in last:
        shown = ", ".join(names[:SHOWN]) or "nothing"
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise _refused(file, "zip", f"a zip archive of {shown}{more}", UNPACK)
    if sum(entry.file_size for entry in entries) > MOST_COMPRESSED * size:
        raise _damaged(file, "a zip archive that unpacks to a multiple of its size")


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
        raise _damaged(file, f"damaged, or no file of weights ({_short(error)})") from error


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
                raise _damaged(file, f"damaged ({_short(error)})") from error
            name = _global_name(found[1] or found[2])
            if name in allowed or not _is_harmless(name):
                raise _unsafe(file, name) from error
            allowed[name] = _stand_in()
    raise _damaged(file, "a pickle of too many types")


def _global_name(said: str) -> str:
    """Return the full name of a global; torch leaves ``builtins`` out of its message."""
    return said if "." in said else f"builtins.{said}"


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
        raise _damaged(file, f"damaged, or no file of weights ({_short(error)})") from error


def _read_later_protocol(file: Path) -> Any:
    """Read what torch.save wrote with a pickle protocol that its own careful unpickler lacks."""
    import torch

    module = SimpleNamespace(Unpickler=_PlainUnpickler, load=_load_plain, __name__="pickle")
    try:
        with file.open("rb") as content:
            return torch.load(content, map_location="cpu", weights_only=False, pickle_module=module)
    except _UnsafeGlobalError as error:
        raise _unsafe(file, str(error)) from error
    except Exception as error:
        raise _damaged(file, f"damaged ({_short(error)})") from error


def _load_plain(file: Any, **_: Any) -> Any:
    return _PlainUnpickler(file).load()


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


def _short(error: Exception) -> str:
    """Shorten what a library says to the fact, without its advice."""
    text = str(error).strip()
    found = re.search(r"WeightsUnpickler error:\s*(.+)", text)
    first = [found[1]] if found else text.splitlines()[:1]
    said = re.split(r"[.:;]( |$)", first[0])[0][:80] if first else ""
    return f"{type(error).__name__}{': ' if said else ''}{said}"
