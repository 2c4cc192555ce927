"""Mangled checkpoints: they load, or a HeadstartError comes out; nothing in them is executed."""

import io
import os
import pickle
import random
import resource
import struct
import zipfile

import pytest
import torch
from safetensors.torch import save as save_tensors
from torch import nn

from headstart.errors import HeadstartError
from headstart.models.checkpoint_search import Purpose
from headstart.models.model_source import Head
from headstart.models.state_dict import load_state
from headstart.models.weight_files import read_weights
from networks import saved

# More memory than a file of some kilobytes may take.
MOST_BYTES = 300 << 20


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 5)


STATE = {n: t.clone() for n, t in Net().state_dict().items()}


# A file of each form that is read.
FORMS = {
    "zip": saved({"state_dict": STATE, "epoch": 3}),
    "legacy": saved({"model": STATE}, _use_new_zipfile_serialization=False),
    "later protocol": saved({"model": STATE}, pickle_protocol=4),
    "plain": pickle.dumps({"model": {n: t.numpy() for n, t in STATE.items()}}),
    "plain tensors": pickle.dumps(STATE),
    "safetensors": save_tensors(STATE),
}


def attempt(file):
    """Load a file into a network; return what kept it from being loaded."""
    try:
        load_state(Net(), read_weights(file), Purpose(Head.at("fc"), str(file)))
    except HeadstartError as error:
        return error
    return None


def peak():
    """Most memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("form", FORMS)
def test_mangled_files(form, tmp_path):
    """Cut, flip, insert, drop and repeat bytes of a file."""
    draw, whole, before = random.Random(f"checkpoint {form}"), FORMS[form], peak()
    file = tmp_path / "x.pth"
    file.write_bytes(whole)
    assert attempt(file) is None
    refused = 0
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(draw.choice((1, 1, 3, 20))):
            content = content or bytearray(b"\x80")
            at, length = draw.randrange(len(content)), draw.randrange(1, 40)
            change = draw.randrange(5)
            if change == 0:
                content[at] ^= 1 << draw.randrange(8)
            elif change == 1:
                content[at : at + length] = draw.randbytes(length)
            elif change == 2:
                del content[at : at + length]
            elif change == 3:
                content[at:at] = content[at : at + length]
            elif draw.random() < 0.3:
                del content[max(at, 1) :]
        file.write_bytes(content)
        error = attempt(file)
        assert "\n" not in str(error)
        refused += error is not None
    assert refused > 10
    assert peak() - before < MOST_BYTES


def values(draw, depth=0):
    """Draw anything that a checkpoint may hold."""
    kind = draw.randrange(12 if depth < 5 else 8)
    if kind < 4:
        shape = [draw.randrange(5) for _ in range(draw.randrange(5))]
        dtypes = (torch.float32, torch.float16, torch.int8, torch.bool, torch.complex64,
                  torch.float8_e4m3fn)  # fmt: skip
        return torch.zeros(shape, dtype=draw.choice(dtypes))
    if kind < 8:
        return draw.choice((None, 3, -1.5, "text", b"bytes", True, float("nan")))
    names = (*STATE, "model", "state_dict", "module", "ema", "", ".", "a.b", "reg_token", 0, None)
    if kind < 11:
        return {draw.choice(names): values(draw, depth + 1) for _ in range(draw.randrange(8))}
    return [values(draw, depth + 1) for _ in range(draw.randrange(4))]


def test_content_of_any_structure(tmp_path):
    draw, file = random.Random("structures"), tmp_path / "x.pth"
    for _ in range(300):
        content = values(draw)
        state = {n: t for n, t in STATE.items() if draw.random() < 0.95}
        if draw.random() < 0.5:
            state[draw.choice(list(STATE))] = values(draw, 5)
            content = {"model": state, "x": content}
        if draw.random() < 0.2 and isinstance(content, dict):
            content["itself"] = content
        torch.save(content, file)
        attempt(file)


def numpy_of_size(n):
    """Pickle an array that claims to have n values."""
    content = pickle.dumps({"conv1.weight": STATE["conv1.weight"].numpy()}, protocol=2)
    return content.replace(b"(K\x04K\x03K\x03K\x03t", b"(J" + struct.pack("<i", n) + b"t")


def zip_with(name, content):
    """Rewrite a member of a checkpoint."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(FORMS["zip"])) as old,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for entry in old.infolist():
            changed = entry.filename.rpartition("/")[2] == name
            new.writestr(entry.filename, content if changed else old.read(entry))
    return buffer.getvalue()


PICKLED = zipfile.ZipFile(io.BytesIO(FORMS["zip"])).read("archive/data.pkl")
# The shape (4, 3, 3, 3) with 2^31 - 2^24 in place of 4.
LARGER = PICKLED.replace(b"(K\x04K\x03K\x03K\x03t", b"(J\x00\x00\x00\x7fK\x03K\x03K\x03t")
BYTEARRAY = b"\x80\x02cbuiltins\nbytearray\n\x8a\x06\xff\xff\xff\xff\xff\x00\x85R."
BOMBS = {
    "safetensors that claim a long header": struct.pack("<Q", 99_000_000) + b'{"a":',
    "safetensors that claim large tensors": FORMS["safetensors"].replace(b"[4,3", b"[9,9"),
    "array that claims to be large": numpy_of_size(2_000_000_000),
    "bytearray of gigabytes": BYTEARRAY,
    "bytearray of gigabytes in a zip": zip_with("data.pkl", BYTEARRAY),
    "memo at a far place": b"\x80\x02Nr\xff\xff\xff\xff.",
    "memo at a far place, later": b"\x80\x04Nr\xff\xff\xff\xff.",
    "text that claims to be long": b"\x80\x02X\xff\xff\xff\xffabc.",
    "bytes that claim to be long": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"abc.",
    "deep": b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b".",
    "deep lists": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "zip of zeros": zip_with("data.pkl", b"\0" * (200 << 20)),
    "tensor larger than its storage": zip_with("data.pkl", LARGER),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_absurd_sizes(bomb, tmp_path):
    # What is claimed is written where it is read.
    assert LARGER != PICKLED
    assert numpy_of_size(7) != numpy_of_size(8)
    before, file = peak(), tmp_path / "x.pth"
    file.write_bytes(BOMBS[bomb])
    assert attempt(file) is not None
    assert peak() - before < MOST_BYTES


# Functions that a pickle may call by name; those of torch and numpy execute what they are given.
CALLS = [
    ("os", "system", "touch {}"), ("posix", "system", "touch {}"), ("pathlib", "Path.touch", "{}"),
    ("builtins", "eval", "open('{}','w')"), ("builtins", "exec", "open('{}','w')"),
    ("builtins", "open", "{}"), ("__builtin__", "eval", "open('{}','w')"),
    ("subprocess", "getoutput", "touch {}"), ("runpy", "run_path", "{}"),
    ("torch", "load", "{}"), ("torch.storage", "_load_from_bytes", "{}"),
    ("numpy", "load", "{}"), ("numpy.testing._private.utils", "runstring", "{}"),
    ("argparse", "FileType", "{}"), ("types", "FunctionType", "{}"), ("pickle", "loads", "{}"),
    ("omegaconf.os", "system", "touch {}"), ("typing", "sys.modules", "{}"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name", "argument"), CALLS)
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("packed", [False, True])
def test_nothing_is_executed(module, name, argument, protocol, packed, tmp_path):
    proof, file = tmp_path / "executed", tmp_path / "x.pth"
    text = argument.format(proof).encode()
    said = b"X" + struct.pack("<I", len(text)) + text
    if protocol == 2:
        called = b"c" + module.encode() + b"\n" + name.encode() + b"\n"
    else:
        short = [b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name)]
        called = b"".join(short) + b"\x93"
    program = b"\x80" + bytes([protocol]) + called + said + b"\x85R."
    file.write_bytes(zip_with("data.pkl", program) if packed else program)
    attempt(file)
    assert not proof.exists()
    assert sorted(os.listdir(tmp_path)) == ["x.pth"]
