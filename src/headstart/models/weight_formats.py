"""Format, shards and digest of a file of weights. Imports no torch.

The content decides the format, never the name alone. Hubs divide large networks into shards:
``model.safetensors.index.json`` holds ``{"weight_map": {"TENSOR":
"model-00001-of-00002.safetensors", ...}}``; ``pytorch_model.bin.index.json`` names pickles.
"""

import hashlib
import json
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

from headstart.errors import WeightsError, WeightsMissingError
from headstart.files import sha256_file, storage_errors
from headstart.spec.formatting import first_few

__all__ = [
    "AVERAGE",
    "ENDS",
    "INDEX",
    "INDEX_END",
    "check_kind",
    "combined",
    "damaged",
    "digest_of",
    "digests",
    "files_inside",
    "holds_average",
    "is_index",
    "n_bytes",
    "shard_of",
    "shards",
    "start_of",
    "weight_map",
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


def start_of(file: Path) -> bytes:
    """Return the first bytes of a file, as many as tell its format."""
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
    head, size = start_of(file), file.stat().st_size
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
        head = content.read(HEAD)
        if head.startswith(b"PK"):
            names = _member(file, "data.pkl")
        else:
            # Behind the header of safetensors are values alone, which take seconds to search.
            is_table = _is_safetensors(head, file.stat().st_size)
            most = 8 + struct.unpack("<Q", head[:8])[0] if is_table else MOST_NAMES
            content.seek(0)
            names = content.read(min(most, MOST_NAMES))
    return AVERAGES.search(names) is not None


def _member(file: Path, name: str) -> bytes:
    """Return the beginning of a member of an archive."""
    try:
        with zipfile.ZipFile(file) as archive:
            found = next(n for n in archive.namelist() if n.rpartition("/")[2] == name)
            with archive.open(found) as content:
                return content.read(MOST_NAMES)
    except (zipfile.BadZipFile, StopIteration, OSError, ValueError, RuntimeError) as error:
        raise damaged(file, "a truncated or damaged zip archive") from error


def _is_safetensors(head: bytes, size: int) -> bool:
    """Whether a file begins with the length of a header, and the header with a table."""
    length = struct.unpack("<Q", head[:8])[0] if len(head) > 8 else 0
    return 2 <= length < MOST_HEADER and head[8:9] == b"{" and size > 8


def _refused(file: Path, kind: str, what: str, remedy: str) -> WeightsError:
    return WeightsError(
        f"{file} is {what}: {remedy}", code="weights.kind", file=str(file), kind=kind
    )


def damaged(file: Path, what: str) -> WeightsError:
    """Return the error for a file that is cut off or mangled (code ``weights.damaged``)."""
    return WeightsError(f"{file} is {what}: {AGAIN}", code="weights.damaged", file=str(file))


def _unknown(file: Path, head: bytes, size: int) -> WeightsError:
    """Return the error for a file without a known signature."""
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
    listed = " ".join(start.split())[:40]
    return _refused(file, "text", f"a text file (begins with {listed!r})", EXPECTED)


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
        raise damaged(file, f"a truncated or damaged zip archive ({size:,} bytes)") from error
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
        listed = first_few(names, SHOWN) or "nothing"
        raise _refused(file, "zip", f"a zip archive of {listed}", UNPACK)
    if sum(entry.file_size for entry in entries) > MOST_COMPRESSED * size:
        raise damaged(file, "a zip archive that unpacks to a multiple of its size")


SHARDS = (".safetensors", ".bin", ".pth", ".pt")

INDEX_END = ".index.json"

INDEX = f".safetensors{INDEX_END}"

NUMBERED = re.compile(r"(.+)-\d{5}-of-(\d{5})(\.\w+)$")

SHOWN = 4


def is_index(file: Path) -> bool:
    """Whether a file of weights is, by its name, the index of several."""
    return file.name.endswith(INDEX_END)


def shard_of(file: Path) -> str | None:
    """Return the name of the index that a file is a shard of by its own name, None if of none."""
    found = NUMBERED.fullmatch(file.name)
    return f"{found[1]}{found[3]}{INDEX_END}" if found else None


def shards(index: Path) -> tuple[str, ...]:
    """Return the names of the files that an index is of, sorted; WeightsError if it is no index."""
    return tuple(sorted(set(weight_map(index).values())))


def digests(file: Path) -> dict[str, str]:
    """Return the SHA-256 of a file of weights by its name; of an index, and of each of its shards.

    Raises
    ------
    WeightsMissingError
        A shard is not beside its index.
    """
    names = shards(file) if is_index(file) else ()
    return {place.name: sha256_file(place) for place in (file, *beside(file, names))}


def digest_of(file: Path) -> str:
    """Return one SHA-256 of the weights: of shards that of sha256sum's list of them."""
    return combined(digests(file))


def combined(found: Mapping[str, str]) -> str:
    """Make one SHA-256 of those that `digests` gave."""
    if len(found) == 1:
        return next(iter(found.values()))
    listed = "".join(f"{digest}  {name}\n" for name, digest in sorted(found.items()))
    return hashlib.sha256(listed.encode()).hexdigest()


def n_bytes(file: Path) -> int:
    """Size of a file of weights, or of all shards of an index."""
    names = shards(file) if is_index(file) else ()
    return sum(place.stat().st_size for place in beside(file, names) or [file])


def weight_map(index: Path) -> dict[str, str]:
    """Return the shard of each tensor by its name; WeightsError if the file is no index."""
    with storage_errors(index, reading=True):
        content = index.read_bytes()
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise WeightsError(
            f"{index} is not JSON ({error}): expected an index of weights in several files",
            code="weights.index",
            file=str(index),
        ) from error
    found = parsed.get("weight_map") if isinstance(parsed, Mapping) else None
    if not isinstance(found, Mapping) or not found:
        raise WeightsError(
            f"{index} is no index of shards: expected 'weight_map', names of tensors and the file "
            "that holds each",
            code="weights.index",
            file=str(index),
        )
    for shard in found.values():
        # Nothing outside its folder.
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(SHARDS):
            raise WeightsError(
                f"{index} names a shard {shard!r}: expected a file in the same folder that ends "
                f"with {' or '.join(SHARDS)}",
                code="weights.index",
                file=str(index),
                shard=str(shard),
            )
    return dict(found)


def beside(index: Path, names: tuple[str, ...]) -> list[Path]:
    places = [index.parent / name for name in names]
    missing = [place.name for place in places if not place.is_file()]
    if missing:
        raise WeightsMissingError(
            f"{len(missing)} of {len(names)} shards of {index} are not beside it "
            f"({', '.join(missing[:SHOWN])}): fetch them into that folder",
            code="weights.shard_missing",
            missing=missing,
        )
    return places
