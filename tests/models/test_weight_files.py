"""What a file is that holds no weights, in one line; and safe reading of those that do."""

import io
import json
import os
import struct
import sys
import types
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save as save_tensors
from torch import nn

from headstart import models
from headstart.errors import StorageError, WeightsMissingError
from headstart.models.weight_files import read_weights
from headstart.models.weight_formats import check_kind
from networks import saved
from refusals import refused

STATE = {"a.weight": torch.ones(2, 3), "a.bias": torch.zeros(2)}


def archive(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(name, "x")
    return buffer.getvalue()


def arrays(**content):
    buffer = io.BytesIO()
    np.savez(buffer, **content)
    return buffer.getvalue()


def torchscript():
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(nn.Linear(2, 3), torch.zeros(1, 2)), buffer)
    return buffer.getvalue()


PTH, LEGACY = saved(STATE), saved(STATE, _use_new_zipfile_serialization=False)
TENSORS = save_tensors(STATE)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12345\n"
KINDS = {
    "lfs.pth": (LFS, "git-lfs"),
    "lfs.safetensors": (LFS, "git-lfs"),
    "page.pth": (b"\n<!DOCTYPE html><html>Sign in</html>", "html"),
    "page.bin": (b"<html><head></head></html>", "html"),
    "denied.pth": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "html"),
    "empty.pth": (b"", "empty"),
    "log.pth": (b"epoch 3: loss 0.2\n" * 400, "text"),
    "umlaut.pth": ("ä".encode() * 2100, "text"),
    "error.pth": (b'{"error": "not found"}', "text"),
    "net.py": (b"import torch\n", "text"),
    "zeros.pth": (b"\0" * 5000, "unknown"),
    "noise.safetensors": (b"\xff\xfe\xfd" * 50, "unknown"),
    "w.pth.gz": (b"\x1f\x8b\x08\x00rest", "gzip"),
    "w.pth": (b"\x1f\x8b\x08\x00rest", "gzip"),
    "w.tar": (b"\0" * 257 + b"ustar\x0000" + b"\0" * 300, "tar"),
    "w.zip": (archive("a/weights.pth"), "zip"),
    "none.zip": (archive(), "zip"),
    "jax.npz": (arrays(a=np.ones(3)), "npz"),
    "one.npy": (b"\x93NUMPY\x01\x00", "npy"),
    "keras.h5": (b"\x89HDF\r\n\x1a\nrest", "hdf5"),
    "m.keras": (archive("metadata.json", "config.json", "model.weights.h5"), "keras"),
    "m.onnx": (b"\x08\x08\x12\x07pytorch\x1a\x032.1", "onnx"),
    "m.pth": (b"\x08\x08\x12\x07pytorch\x1a\x032.1", "onnx"),
    "saved_model.pb": (b"\x08\x01\x12\xdb\x04\n\x00", "tensorflow"),
    "model.ckpt.index": (b"\0" * 40 + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb", "tensorflow"),
    "renamed": (b"\0" * 40 + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb", "tensorflow"),
    "model.ckpt.data-00000-of-00001": (b"\x01\x02\x03" * 9, "tensorflow"),
    "checkpoint": (b'model_checkpoint_path: "model.ckpt"', "tensorflow"),
    "m.tflite": (b"\x1c\0\0\0TFL3rest", "tflite"),
    "flax_model.msgpack": (b"\x82\xa6params\x81", "flax"),
    "m.gguf": (b"GGUF\x03\0\0\0", "gguf"),
    "script.pt": (torchscript(), "torchscript"),
    "renamed.pth": (torchscript(), "torchscript"),
    "program.pt2": (archive("p/archive_format", "p/models/model.json"), "torch.export"),
    "old.pt2": (archive("serialized_exported_program.json", "version"), "torch.export"),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_is_no_file_of_weights_is_named(name, tmp_path):
    content, kind = KINDS[name]
    (tmp_path / name).write_bytes(content)
    # Found by the name alone, before anything is computed.
    with refused("weights.kind", kind=kind) as error:
        models.find(f"checkpoint:{tmp_path / name}?arch=timm:resnet18")
    assert "--trust" not in str(error.value)
    assert name in str(error.value)


DAMAGED = {
    "half.pth": PTH[: len(PTH) // 2],
    "end.pth": PTH[:-10],
    "head.pth": b"PK\x03\x04 nor an archive",
    "legacy.pth": LEGACY[: len(LEGACY) - 20],
    "legacy start.pth": LEGACY[:60],
    "half.safetensors": TENSORS[: len(TENSORS) - 8],
    "head.safetensors": TENSORS[:30],
    "long.safetensors": struct.pack("<Q", 9_999_999) + b'{"a":1}',
}


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("trust", [False, True])
def test_damaged_files(name, trust, tmp_path):
    (tmp_path / name).write_bytes(DAMAGED[name])
    with refused("weights.damaged") as error:
        read_weights(tmp_path / name, trust=trust)
    assert "--trust" not in str(error.value)


@pytest.mark.parametrize(("name", "content"), [
    ("weights.pth", TENSORS), ("UPPER.SAFETENSORS", TENSORS), ("weights", TENSORS),
    ("weights.safetensors", PTH), ("weights.bin", LEGACY), ("weights.ckpt", PTH),
    ("model.pth.tar", PTH), ("later.pth", saved(STATE, pickle_protocol=5)),
    ("later.bin", saved(STATE, pickle_protocol=4, _use_new_zipfile_serialization=False)),
])  # fmt: skip
def test_the_content_decides_not_the_name(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    found = read_weights(tmp_path / name)
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[n], STATE[n]) for n in STATE)


def test_pickles_in_shards(tmp_path):
    index = {"weight_map": {"a.weight": "w-00001-of-00002.bin", "a.bias": "w-00002-of-00002.bin"}}
    for name, shard in index["weight_map"].items():
        torch.save({name: STATE[name]}, tmp_path / shard)
    (tmp_path / "w.bin.index.json").write_text(json.dumps(index))
    assert read_weights(tmp_path / "w.bin.index.json").keys() == STATE.keys()


@pytest.mark.parametrize(("inside", "said"), [
    ("weights.pth", "weights.pth"), ("__0_0.distcp", "dcp_to_torch_save"), ("note.txt", "folder"),
])  # fmt: skip
def test_a_folder_in_place_of_a_file(inside, said, tmp_path):
    (tmp_path / inside).write_bytes(PTH)
    with pytest.raises(WeightsMissingError) as error:
        models.find(f"checkpoint:{tmp_path}?arch=timm:resnet18")
    assert said in str(error.value)


class Gone:
    """Of a program that is not installed where its file is read."""


def test_a_pickle_of_a_class_that_is_nowhere(tmp_path, monkeypatch):
    monkeypatch.setattr(Gone, "__module__", "gone_program")
    monkeypatch.setitem(sys.modules, "gone_program", types.SimpleNamespace(Gone=Gone))
    (tmp_path / "x.pth").write_bytes(saved({"model": STATE, "x": Gone()}))
    monkeypatch.delitem(sys.modules, "gone_program")
    for trust in (False, True):
        with refused("weights.unsafe"):
            read_weights(tmp_path / "x.pth", trust=trust)


def test_tensors_of_several_processes(tmp_path):
    # To make such a tensor takes a process group: its class is named as `torch.save` names it.
    program = b"\x80\x02ctorch.distributed._shard.sharded_tensor.api\nShardedTensor\n)\x81."
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", program)
        file.writestr("archive/version", "3")
    (tmp_path / "x.pth").write_bytes(buffer.getvalue())
    with refused("weights.sharded") as error:
        read_weights(tmp_path / "x.pth")
    assert "--trust" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(StorageError):
        check_kind(tmp_path / "x.pth")


def test_a_folder_whose_name_is_not_utf8(tmp_path):
    """The library of safetensors opens none in it, which is no damage of the file."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    tensors = {"weight": torch.arange(6.0).reshape(2, 3)}
    (folder / "w.safetensors").write_bytes(save_tensors(tensors))
    torch.testing.assert_close(read_weights(folder / "w.safetensors"), tensors)
    (folder / "w.safetensors").write_bytes(save_tensors(tensors)[:40])
    with refused("weights.damaged"):
        read_weights(folder / "w.safetensors")
