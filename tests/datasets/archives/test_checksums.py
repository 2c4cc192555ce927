"""MD5s that are published of the creators' files, held against the files that are here."""

import hashlib
import json
import os
import shutil

import pytest

from headstart.context import ProgressReporter
from headstart.datasets.archives import READERS
from headstart.datasets.file_index import FileIndex
from headstart.datasets.manifest import check_published_files, find_published
from hub_files import write_copy
from refusals import ended, refused


def md5(path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.fixture
def publish(monkeypatch, small, own_cache):
    """Have the small archives be what is published, and these MD5s of their files."""

    def published(**changes):
        def facts(key):
            return small(key).model_copy(update=changes)

        monkeypatch.setattr("headstart.datasets.sources.study_datasets.facts_of", facts)

    return published


def test_files_of_the_folder_are_compared(publish, write, cli):
    folder = write("flowers102")
    names = ("imagelabels.mat", "setid.mat")
    files = {f"flowers-102/{name}": md5(folder / name) for name in names}
    publish(files={**files, "flowers-102/102flowers.tgz": "0" * 32})
    outcome = cli("datasets", "prepare", "flowers102", "--from", folder)
    assert outcome.code == 0, outcome.err
    said = "  verified    MD5 as published: imagelabels.mat, setid.mat; not here: 102flowers.tgz\n"
    assert said in outcome.out
    record = json.loads(cli("datasets", "verify", "flowers102", "--json").out)
    assert record["verified"] == {
        "imagelabels.mat": True, "setid.mat": True, "102flowers.tgz": False,
    }  # fmt: skip
    assert record["manifest"]["archives"] == {name: md5(folder / name) for name in names}
    # What was kept beside the images changes nothing of the content.
    publish(files={})
    plain = json.loads(cli("datasets", "verify", "flowers102", "--json").out)
    assert plain["revision"] == record["revision"]


def test_another_file_than_was_published_is_refused(publish, write, cli, own_cache):
    folder = write("cifar10")
    batch = next(folder.rglob("data_batch_3"))
    publish(files={"cifar-10-batches-py/data_batch_3": "0" * 32})
    for command in (("prepare", "cifar10", "--from", folder), ("verify", f"cifar10?root={folder}")):
        outcome = cli("datasets", *command)
        values = {"what": f"MD5 of {batch}", "expected": "0" * 32, "found": md5(batch)}
        ended(outcome, "dataset.manifest", **values)
    assert not list(own_cache.rglob("*.place.json"))


@pytest.mark.parametrize("place", ["food101", ".", "food101/deep"])
def test_an_archive_lies_in_the_folder_or_beside_it(place, publish, write, tmp_path, cli):
    folder = write("food101")
    (tmp_path / place).mkdir(exist_ok=True)
    archive = tmp_path / place / "food-101.tar.gz"
    archive.write_bytes(b"as published")
    publish(archives={"deep/food-101.tar.gz": md5(archive)})
    named = f"food101?root={folder}"
    assert "verified    MD5 as published: food-101.tar.gz\n" in cli("datasets", "verify", named).out
    archive.write_bytes(b"broken off")
    ended(cli("datasets", "verify", named), "dataset.manifest", what=f"MD5 of {archive}")


def test_what_cannot_be_compared_is_said(publish, write, small, cli, tmp_path):
    publish(archives={"food-101.tar.gz": "0" * 32})
    verified = cli("datasets", "verify", f"food101?root={write('food101')}")
    assert (
        "  verified    sizes and classes are as published; the content is not known, without "
        "food-101.tar.gz\n" in verified.out
    )
    # A copy of the hub is made of other files.
    copy = write_copy(tmp_path / "copy", small("food101"), READERS["food101"](tmp_path / "food101"))
    verified = cli("datasets", "verify", f"food101?root={copy}")
    said = "  verified    sizes and classes are as published; no MD5 is, of any file here\n"
    assert said in verified.out
    publish(archives={})
    birds = write("birdsnap")
    assert said in cli("datasets", "verify", f"birdsnap?root={birds}").out
    # Nobody published the sizes of what is left.
    next(birds.rglob("202.jpg")).unlink()
    verified = cli("datasets", "verify", f"birdsnap?root={birds}&allow_missing=yes")
    assert "  verified    classes are as published; no MD5 is, of any file here\n" in verified.out


def test_nothing_is_said_of_datasets_that_nobody_published(photos, own_cache, cli):
    assert "verified" not in cli("datasets", "verify", photos).out
    record = json.loads(cli("datasets", "verify", photos, "--json").out)
    assert record["verified"] is None
    assert record["manifest"]["archives"] == {}


def test_files_of_common_names_beside_the_folder_are_others(tmp_path):
    (tmp_path / "pets").mkdir()
    (tmp_path / "images.tar.gz").touch()
    (found,) = find_published({}, {"oxford-iiit-pet/images.tar.gz": "0" * 32}, tmp_path / "pets")
    assert found.path is None


def test_an_archive_is_read_once(tmp_path, monkeypatch):
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"content")
    os.utime(archive, (0, 0))
    published = find_published({"a.tar": md5(archive)}, {}, tmp_path)
    for _ in range(2):
        file_index = FileIndex(tmp_path / "files.db")
        assert check_published_files("d", published, file_index, ProgressReporter()) == {
            "a.tar": md5(archive)
        }
        # A SHA-256 of the same file is none of its MD5.
        assert file_index.sha256([archive]) == [hashlib.sha256(b"content").hexdigest()]
        monkeypatch.setattr("headstart.datasets.file_index.md5_file", None)
    shutil.copy(__file__, archive)
    monkeypatch.undo()
    with refused("dataset.manifest", what=f"MD5 of {archive}"):
        check_published_files("d", published, FileIndex(tmp_path / "files.db"), ProgressReporter())
