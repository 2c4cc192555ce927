"""Names that are not UTF-8, broken symlinks, and what lies among images and is no regular file."""

import csv
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.context import ProgressReporter
from headstart.datasets.audit import audit_images, check_audit, verify
from headstart.datasets.catalogue import find
from headstart.datasets.file_index import FileIndex
from headstart.datasets.image_cache import PreparedForm, prepare_images
from headstart.datasets.images import FileImages
from headstart.errors import BrokenImageError
from headstart.files import name_from_text, name_in_text, replaced, sha256_file, storage_errors
from headstart.models.model_catalogue import ModelName
from headstart.spec import Dataset, Decoding
from headstart.store import ResultStore
from own_datasets import split_of
from refusals import refused
from stores import add_result

# Bytes of names as Windows, old Unix and damaged archives leave them, and text that looks like
# what is written for them.
NAMES = {
    b"caf\xe9": r"caf\xe9",
    "café".encode(): "café",
    b"caf\\xe9": r"caf\x5cxe9",
    b"a\\b\xff": r"a\x5cb\xff",
    b"a\\x5cb": r"a\x5cx5cb",
    b"back\\slash": r"back\slash",
    "日本\U0001f600".encode(): "日本\U0001f600",
    b"\x93\xfa\x96{": r"\x93\xfa\x96{",
    b'a<b>:"|?*': 'a<b>:"|?*',
}


def paint(path: Path | bytes, value: int) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    pixels = np.random.RandomState(value).randint(0, 256, (8, 8, 3)).astype(np.uint8)
    with open(path, "wb") as file:
        Image.fromarray(pixels).save(file, "PNG")


def photos(folder: Path, names: tuple[bytes, ...] = (b"cat", b"dog")) -> Path:
    for label, name in enumerate(names):
        for number in range(6):
            paint(os.path.join(os.fsencode(folder), name, b"%d.png" % number), 10 * label + number)
    return folder


@pytest.fixture
def odd(tmp_path):
    """Make one of each kind of thing that must not be opened."""
    listening = socket.socket(socket.AF_UNIX)

    def make(kind: str, path: Path) -> str:
        if kind == "pipe":
            os.mkfifo(path)
            return "a named pipe"
        if kind == "socket":
            # The path of a socket may have 107 bytes.
            short = Path(f"/tmp/headstart-{os.getpid()}.socket")
            listening.bind(str(short))
            shutil.move(short, path)
            return "a socket"
        if kind == "device":
            path.symlink_to("/dev/zero")
            return "a device"
        path.symlink_to({"dead": "nowhere.png", "circle": path.name}[kind])
        return "a broken symlink"

    with listening:
        yield make


KINDS = ("pipe", "socket", "device", "dead", "circle")


def test_a_name_becomes_text_and_back():
    assert [name_in_text(os.fsdecode(name)) for name in NAMES] == list(NAMES.values())
    assert [os.fsencode(name_from_text(text)) for text in NAMES.values()] == list(NAMES)
    assert len(set(NAMES.values())) == len(NAMES)


@pytest.mark.parametrize("folder", [b"plain", b"\xe9t\xe9"])
def test_a_dataset_with_such_names_is_a_record_as_any(tmp_path, folder):
    place = photos(Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), folder))), tuple(NAMES))
    found = find(str(place), cache=tmp_path / "cache")
    assert set(found.classes) == set(NAMES.values())
    record = found.model_dump_json()
    assert Dataset.model_validate_json(record) == found
    checked = verify(str(place), tmp_path / "cache", ProgressReporter())
    assert checked.loaded.manifest.revision == found.revision
    names = {checked.loaded.image(split, 0) for split in checked.loaded.parts}
    assert all("/" in name and not name.startswith("/") for name in names)
    # What the record says of the place is enough to find it again.
    again = verify(found.location, tmp_path / "cache", ProgressReporter())
    assert again.loaded.manifest.revision == found.revision


def run_datasets(*arguments, cwd, **variables):
    command = [sys.executable, "-m", "headstart", "datasets", *arguments]
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | variables, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


ASCII = {
    "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii",
}  # fmt: skip


def test_an_ascii_locale_gives_the_same_files(tmp_path):
    photos(tmp_path / "p", (b"caf\xe9", "été".encode(), "日本".encode(), "\uff21".encode()))
    files = []
    for name, variables in (("utf8", {"PYTHONUTF8": "1"}), ("ascii", ASCII)):
        caches = {"HEADSTART_CACHE": str(tmp_path / name)}
        export = f"{name}.csv"
        run_datasets("splits", "./p", "--export", export, cwd=tmp_path, **variables, **caches)
        said = run_datasets("verify", "./p", "--json", cwd=tmp_path, **variables, **caches)
        files.append((said, (tmp_path / export).read_bytes()))
    assert files[0] == files[1]
    rows = list(csv.DictReader(files[0][1].decode().splitlines()))
    assert {row["labels"] for row in rows} == {r"caf\xe9", "été", "日本", "\uff21"}
    assert {row["image"].split("/")[0] for row in rows} == {row["labels"] for row in rows}


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_that_must_not_be_opened_is_named_or_left_out(tmp_path, odd, kind):
    paint(tmp_path / "a.png", 1)
    what = odd(kind, tmp_path / "b.png")
    images = FileImages([tmp_path / "a.png", tmp_path / "b.png"])
    recipe, folder = PreparedForm("revision"), tmp_path / "prepared"
    with refused("image.broken", where=str(tmp_path / "b.png"), reason=what):
        images.decode(1)
    with refused("image.broken", reason=what):
        prepare_images(images, recipe, folder, ProgressReporter())
    prepared = prepare_images(images, recipe, folder, ProgressReporter(), skip_broken=True)
    assert prepared.broken == {1: what}
    steps, parts = [], {"train": split_of(images)}
    found = audit_images(parts, FileIndex(tmp_path / "files.db"), Decoding(), steps.append)
    assert sum(steps) == 2
    assert [(problem.row, problem.reason) for problem in found.problems] == [(1, what)]
    with refused("dataset.images_broken", found=1):
        check_audit(found, "photos", skip_broken=False)


@pytest.mark.parametrize("kind", KINDS[:3])
def test_no_file_is_read_or_replaced_that_is_none(tmp_path, odd, kind):
    path = tmp_path / "x.csv"
    odd(kind, path)

    def read():
        with storage_errors(path, reading=True):
            path.read_bytes()

    def write():
        with replaced(path) as temporary:
            temporary.write_bytes(b"")

    for open_it in (read, write, lambda: sha256_file(path)):
        with refused("storage.no_file", path=str(path)):
            open_it()
    # A store is known by the file that a link leads to.
    with refused("store.not_file", path=str(path.resolve())):
        ResultStore(path, create=True)
    assert not path.is_file()
    with refused("dataset.missing"):
        find(str(path), cache=tmp_path / "cache")


@pytest.mark.parametrize("call", ["stat", "read_bytes"])
def test_an_image_that_may_not_be_read_is_one_line(tmp_path, monkeypatch, call):
    """An environment's fault, not the image's: nothing is left out for it."""
    paint(tmp_path / "a.png", 1)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    images = FileImages([tmp_path / "a.png"])
    monkeypatch.setattr(*((os, "stat") if call == "stat" else (Path, "read_bytes")), refuse)
    for use in (lambda: images.decode(0), lambda: images.info(FileIndex(None))):
        with refused("storage.not_readable") as error:
            use()
        assert not isinstance(error.value, BrokenImageError)


def test_a_pipe_among_the_images_stops_nothing(tmp_path, odd):
    folder = photos(tmp_path / "p", (b"Cat", b"cat"))
    # Names that differ in case alone are two images, and two classes.
    for number, name in enumerate(("A.PNG", "a.png")):
        paint(folder / "cat" / name, 90 + number)
    found = find(str(folder), cache=tmp_path / "cache")
    assert found.classes == ("Cat", "cat")
    assert sum(dict(found.sizes).values()) == 14
    odd("pipe", folder / "cat" / "p.png")
    odd("dead", folder / "Cat" / "d.png")
    checked = verify(str(folder), tmp_path / "cache", ProgressReporter())
    reasons = sorted(problem.reason for problem in checked.audit.problems)
    assert reasons == ["a broken symlink", "a named pipe"]


def test_an_exported_table_of_such_names_finds_its_files(tmp_path):
    folder = photos(tmp_path / "p", (b"caf\xe9", "été".encode()))
    names = [path.relative_to(folder) for path in sorted(folder.rglob("*.png"))]
    lines = [f"{name_in_text(str(name))},{name_in_text(name.parts[0])}" for name in names]
    table = tmp_path / os.fsdecode(b"t\xe9.csv")
    table.write_text("\n".join(["path,label", *lines]), encoding="utf-8")
    found = find(f"{table}?root={folder}", cache=tmp_path / "cache")
    assert sum(dict(found.sizes).values()) == len(names) == 12
    assert set(found.classes) == {r"caf\xe9", "été"}
    # A broken symlink in a table is an image that cannot be used, as in a folder.
    gone = folder / names[0]
    gone.unlink()
    gone.symlink_to("nowhere.png")
    checked = verify(f"{table}?root={folder}", tmp_path / "cache", ProgressReporter())
    assert [problem.reason for problem in checked.audit.problems] == ["a broken symlink"]


def test_a_store_may_have_any_name(tmp_path):
    store = ResultStore(tmp_path / os.fsdecode(b"st\xe9") / "r.db", create=True)
    result = add_result(store, "net_a", 0.8)
    assert [stored.trial.key for stored in store.results()] == [result.trial.key]
    read = store.predictions(result.trial.key)
    np.testing.assert_array_equal(read.label, result.predictions.label)
    with refused("model.name_not_utf8") as error:
        ModelName.parse("small:vgg6_w8?weights=mod\udce9l/x.safetensors")
    assert error.value.values["name"].endswith(r"mod\xe9l/x.safetensors")
