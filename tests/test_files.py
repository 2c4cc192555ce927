import errno
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from headstart.errors import DiskFullError, NotWritableError, StorageError
from headstart.files import (
    Appender,
    check_free_space,
    locked,
    replaced,
    sha256_start,
    split_names,
    storage_errors,
    writable_folder,
)
from processes import limit_file_size
from refusals import refused


def test_a_replaced_file_is_whole_or_untouched(tmp_path):
    path = tmp_path / "file"
    with replaced(path) as temporary:
        temporary.write_text("first")

    def fail_half_way():
        with replaced(path) as temporary:
            temporary.write_text("half of the sec")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "reading", "kind", "code"),
    [
        (errno.ENOSPC, False, DiskFullError, "storage.full"),
        (errno.EDQUOT, False, DiskFullError, "storage.full"),
        (errno.EROFS, False, NotWritableError, "storage.not_writable"),
        (errno.EACCES, False, NotWritableError, "storage.not_writable"),
        (errno.EIO, False, StorageError, "storage.unusable"),
        # Who may not read is not told of writing.
        (errno.EACCES, True, StorageError, "storage.not_readable"),
        (errno.EPERM, True, StorageError, "storage.not_readable"),
    ],
)
def test_the_systems_errors_have_codes(tmp_path, number, reading, kind, code):
    file = tmp_path / "x"
    with refused(code, path=str(file)) as raised, storage_errors(file, reading=reading):
        raise OSError(number, os.strerror(number))
    assert type(raised.value) is kind


def test_a_folder_that_cannot_be_written_is_found_at_once():
    # Not even root writes here.
    with refused("storage.unusable", path="/proc/headstart"):
        writable_folder(Path("/proc/headstart"))


def test_too_little_space_is_found_before_writing(tmp_path):
    with refused("storage.full", path=str(tmp_path / "not" / "yet" / "there")):
        check_free_space(tmp_path / "not" / "yet" / "there", 10**18)
    with refused("storage.full", path=str(tmp_path)) as full:
        check_free_space(tmp_path, 10**18, "pictures")
    assert "pictures" in str(full.value)
    check_free_space(tmp_path, 1)


@pytest.mark.parametrize(("code", "most"), [
    ("writable_folder(folder)", 0),
    ("with replaced(folder / 'file') as file: file.write_bytes(b'x' * 100_000)", 50_000),
])  # fmt: skip
def test_a_full_disk_leaves_nothing_half_written(tmp_path, code, most):
    imports = "from pathlib import Path; from headstart.files import replaced, writable_folder"
    process = subprocess.run(
        [sys.executable, "-c", f"{imports}\nfolder = Path({str(tmp_path)!r})\n{code}"],
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=lambda: limit_file_size(most),
    )
    assert "DiskFullError: no space left to write" in process.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_grows_goes_on_behind_what_was_safe(tmp_path):
    path = tmp_path / "file"
    with Appender(path) as out:
        out.write(b"first")
        assert out.sync() == hashlib.sha256(b"first").hexdigest()
        out.write(b" half of the sec")
    with Appender(path, 5, sha256_start(path, 5)) as out:
        out.write(b" second")
        assert out.sync() == hashlib.sha256(b"first second").hexdigest()
        assert not out.due
    assert path.read_bytes() == b"first second"
    assert sha256_start(path, 100) is None


def test_a_file_made_anew_leaves_the_old_one_to_who_has_it_open(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with path.open("rb") as old:
        with Appender(path) as out:
            out.write(b"new")
        assert old.read() == b"old"
    assert path.read_bytes() == b"new"


def test_a_lock_is_waited_for(tmp_path):
    told, done = threading.Event(), []

    def second():
        with locked(tmp_path / "x" / "lock", told.set):
            done.append("second")

    with locked(tmp_path / "x" / "lock", lambda: pytest.fail("nobody has it")):
        thread = threading.Thread(target=second)
        thread.start()
        assert told.wait(60)
        done.append("first")
    thread.join()
    assert done == ["first", "second"]


@pytest.mark.parametrize(("text", "names"), [
    ("p,q", ["p", "q"]), (" p , q ,", ["p", "q"]), (",", []), ("", []), ("0,1,2", ["0", "1", "2"]),
    # The value of an option.
    ("m?mean=0,0,0.5,n", ["m?mean=0,0,0.5", "n"]), ("t.csv?sep=,", ["t.csv?sep=,"]),
    ("t.csv?sep=,,digits", ["t.csv?sep=,", "digits"]), ("t.csv?sep=,x", ["t.csv?sep=", "x"]),
    ("t.csv?sep=,&root=x,b", ["t.csv?sep=,&root=x", "b"]),
    # Quotes.
    ('"x,y",z', ["x,y", "z"]), ("z, 'x,y?sep=,'", ["z", "x,y?sep=,"]), ("don't,b", ["don't", "b"]),
    # Paths that exist.
    ("./a,b", ["./a,b"]), ("./a,b?split_seed=1,c", ["./a,b?split_seed=1", "c"]),
    ("x,a,b,y", ["x", "a,b", "y"]), ("hf:./a,b?train=x,y", ["hf:./a,b?train=x", "y"]),
    ("f,g.py:load,h", ["f,g.py:load", "h"]),
    ("checkpoint:./f,g.py?arch=r", ["checkpoint:./f,g.py?arch=r"]),
    ("f,g.py:one?mean=0,0,0,f,g.py:two?size=8", ["f,g.py:one?mean=0,0,0", "f,g.py:two?size=8"]),
    ("./a,none", ["./a", "none"]),
])  # fmt: skip
def test_names_in_a_list(tmp_path, monkeypatch, text, names):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a,b").mkdir()
    (tmp_path / "f,g.py").touch()
    assert split_names(text) == names


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    with refused("storage.no_file_name", path=str(tmp_path)), replaced(tmp_path):
        pass
