import hashlib
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

import awkward
from headstart.datasets import file_index as module
from headstart.datasets.decode import inspect_image
from headstart.datasets.file_index import FileIndex
from headstart.errors import StorageError

LONG_AGO = 1_000_000_000_000_000_000  # ns since 1970: a September of 2001


def write(path: Path, content: bytes, modified: int = LONG_AGO) -> Path:
    path.write_bytes(content)
    os.utime(path, ns=(modified, modified))
    return path


@pytest.fixture
def files(tmp_path) -> list[Path]:
    folder = tmp_path / "files"
    folder.mkdir()
    return [write(folder / name, content) for name, content in awkward.whole_files().items()]


@pytest.fixture
def looks(monkeypatch) -> list[str]:
    """Digests of what was read, in any order."""
    read = []

    def counted(content: bytes):
        seen = inspect_image(content)
        read.append(seen.sha256)
        return seen

    monkeypatch.setattr(module, "inspect_image", counted)
    return read


@pytest.mark.parametrize("kept", [True, False])
def test_a_file_is_read_once(files, looks, tmp_path, kept):
    file_index = FileIndex(tmp_path / "new" / "files.db" if kept else None)
    expected = [inspect_image(file.read_bytes()) for file in files]
    assert file_index.inspect_files(files) == expected
    assert len(looks) == len(files)
    if kept:  # a run later
        file_index = FileIndex(tmp_path / "new" / "files.db")
    # Equal in words too: SQLite has no truth values.
    assert repr(file_index.inspect_files(files[::-1])) == repr(expected[::-1])
    assert len(looks) == len(files)


@pytest.mark.parametrize("kept", [True, False])
def test_a_file_that_changed_is_read_again(files, looks, tmp_path, kept):
    file_index = FileIndex(tmp_path / "files.db" if kept else None)
    before = file_index.inspect_files(files)
    longer, later = awkward.encoded(Image.new("L", (3, 3))), files[1].read_bytes()[::-1]
    write(files[0], longer)
    write(files[1], later, modified=LONG_AGO + 1)
    after = file_index.inspect_files(files)
    assert after[:2] == [inspect_image(longer), inspect_image(later)]
    assert after[2:] == before[2:]
    assert len(looks) == len(files) + 2


def test_a_file_of_now_is_not_remembered(files, looks, tmp_path):
    """Within one tick of a file system's clock it may change again: size and time do not tell."""
    modified = time.time_ns() + 3_600_000_000_000
    file_index = FileIndex(tmp_path / "files.db")
    write(files[0], b"one", modified)
    assert file_index.inspect_files(files[:1]) == [inspect_image(b"one")]
    write(files[0], b"two", modified)
    assert file_index.inspect_files(files[:1]) == [inspect_image(b"two")]


def test_another_version_of_pillow_looks_anew(files, looks, tmp_path, monkeypatch):
    FileIndex(tmp_path / "files.db").inspect_files(files)
    monkeypatch.setattr(module, "VERSION", "1, Pillow 99")
    FileIndex(tmp_path / "files.db").inspect_files(files)
    assert len(looks) == 2 * len(files)


def test_digests_of_any_files(tmp_path, monkeypatch):
    content = os.urandom(100)
    table, image = write(tmp_path / "x.csv", content), write(tmp_path / "x.png", b"")
    file_index = FileIndex(tmp_path / "files.db")
    expected = [hashlib.sha256(content).hexdigest(), hashlib.sha256(b"").hexdigest()]
    assert file_index.sha256([table, image]) == expected
    # A look at the bytes is none at the image.
    assert file_index.inspect_files([image])[0].problem == "empty file"
    assert file_index.sha256([image]) == expected[1:]
    monkeypatch.setattr(module, "sha256_file", None)
    assert FileIndex(tmp_path / "files.db").sha256([table, image]) == expected


def test_images_inside_a_file(tmp_path, looks):
    """A file of one byte an image: what is in it holds until it changes."""
    container, read = write(tmp_path / "x.parquet", b"abc"), []
    digests = [hashlib.sha256(letter).hexdigest() for letter in (b"a", b"b", b"c")]

    def content(row: int) -> bytes:
        read.append(row)
        return container.read_bytes()[row : row + 1]

    def found(rows):
        file_index = FileIndex(tmp_path / "files.db")
        return [seen.sha256 for seen in file_index.inspect_inside(container, rows, content)]

    assert found([2, 0]) == [digests[2], digests[0]]
    assert found([0, 1, 2]) == digests
    assert sorted(read) == [0, 1, 2]
    # The file itself is another thing than the images in it.
    whole = hashlib.sha256(b"abc").hexdigest()
    assert FileIndex(tmp_path / "files.db").sha256([container]) == [whole]
    write(container, b"abcd")
    assert found([1]) == digests[1:2]
    assert sorted(read) == [0, 1, 1, 2]


def test_more_files_than_a_batch(files, looks, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 3)
    monkeypatch.setattr(module, "MOST_VARIABLES", 4)
    expected = [inspect_image(file.read_bytes()) for file in files]
    assert FileIndex(tmp_path / "files.db").inspect_files(files) == expected
    assert FileIndex(tmp_path / "files.db").inspect_files(files) == expected
    assert len(looks) == len(files)


def test_an_interrupted_look_goes_on(files, looks, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 3)

    def interrupt(steps: int) -> None:
        if len(looks) > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FileIndex(tmp_path / "files.db").inspect_files(files, interrupt)
    del looks[:]
    FileIndex(tmp_path / "files.db").inspect_files(files)
    assert len(looks) == len(files) - 3


def test_progress_adds_up(files, tmp_path):
    file_index, steps = FileIndex(tmp_path / "files.db"), []
    assert file_index.inspect_files([]) == []
    file_index.inspect_files(files[:5], steps.append)
    assert steps == [0, 1, 1, 1, 1, 1]
    del steps[:]
    file_index.inspect_files(files, steps.append)
    assert steps[0] == 5
    assert sum(steps) == len(files)


def test_names_that_are_no_text_and_relative_ones(tmp_path, looks, monkeypatch):
    name = os.fsdecode(b"f\xe2ret.png")  # as a file of SUN397 is named, not in UTF-8
    file = write(tmp_path / name, awkward.whole_files()["rgb.png"])
    FileIndex(tmp_path / "files.db").inspect_files([file])
    monkeypatch.chdir(tmp_path)
    assert FileIndex(tmp_path / "files.db").inspect_files([Path(name)])[0].format == "PNG"
    assert len(looks) == 1


@pytest.mark.parametrize("look", ["inspect_files", "sha256"])
def test_a_file_that_is_not_there_is_named(files, look):
    missing = files[0].with_name("none.png")
    with pytest.raises(StorageError):
        getattr(FileIndex(None), look)([files[0], missing])
    with pytest.raises(StorageError):
        getattr(FileIndex(None), look)([files[0].parent])


def damaged(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def of_another_program(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE seen (name TEXT)")
    connection.close()


def in_no_folder(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("a file")


@pytest.mark.parametrize("spoil", [damaged, of_another_program, in_no_folder])
def test_a_database_that_cannot_be_used_stops_nothing(files, looks, tmp_path, spoil):
    (tmp_path / "cache").mkdir()
    path, notes = tmp_path / "cache" / "files.db", []
    spoil(path)
    file_index = FileIndex(path, notes.append)
    expected = [inspect_image(file.read_bytes()) for file in files]
    assert file_index.inspect_files(files) == expected
    assert file_index.inspect_files(files) == expected
    assert len(looks) == len(files)
    assert len(notes) == 1
    assert notes[0].startswith(f"cannot use {path} (")
    assert "\n" not in notes[0]
    FileIndex(path).inspect_files(files)  # nobody to tell


def test_a_database_that_another_holds_stops_nothing(files, tmp_path, monkeypatch):
    path, notes = tmp_path / "files.db", []
    FileIndex(path).inspect_files(files[:1])
    monkeypatch.setattr(module, "WAIT_SECONDS", 0)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert FileIndex(path, notes.append).inspect_files(files[:1])[0].format == "PNG"
    other.close()
    assert "locked" in notes[0]


def test_a_full_disk_stops_nothing(files, looks, tmp_path, monkeypatch):
    """The first look can be read, the second cannot be written."""
    path, notes = tmp_path / "files.db", []

    def fail(self, kept):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(FileIndex, "_write", fail)
    file_index = FileIndex(path, notes.append)
    assert file_index.inspect_files(files) == file_index.inspect_files(files)
    assert len(looks) == len(files)
    assert len(notes) == 1
    assert "database or disk is full" in notes[0]


def test_several_at_once(files, tmp_path):
    expected = [inspect_image(file.read_bytes()) for file in files]
    path = tmp_path / "files.db"
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: FileIndex(path).inspect_files(files), range(12)))
    assert found == [expected] * 12
