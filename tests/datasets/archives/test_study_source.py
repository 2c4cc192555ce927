"""How a dataset of the study comes here: downloaded as torchvision does, from the hub, or said."""

import json
import shutil
from pathlib import Path

import pytest

from conftest import MODEL
from headstart import datasets
from headstart.datasets.archives import READERS
from headstart.datasets.sources.study_datasets import Place, adopt, adopted, place_of
from hub_files import COMMITS, write_copy
from refusals import ended, refused

# Where the classes of torchvision unpack the archives, seen from the folder that they are given.
UNPACKED = {
    "Food101": ("food101", "food-101"), "CIFAR10": ("cifar10", "."), "CIFAR100": ("cifar100", "."),
    "FGVCAircraft": ("fgvc_aircraft", "fgvc-aircraft-2013b"), "VOCDetection": ("voc2007", "."),
    "DTD": ("dtd", "dtd/dtd"), "OxfordIIITPet": ("oxford_pets", "oxford-iiit-pet"),
    "Caltech101": ("caltech101", "caltech101"), "Flowers102": ("flowers102", "flowers-102"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def without_hub(in_small, own_cache, no_hub):
    """The small archives are what is published; no hub can be reached."""


@pytest.fixture
def torchvision(monkeypatch):
    """Put a class of torchvision.datasets in the place of the true one: what it does, and calls."""

    def placed(name, download):
        calls = []

        def made(root, **arguments):
            calls.append(arguments)
            download(root, len(calls))

        made.__name__ = name
        monkeypatch.setattr(f"torchvision.datasets.{name}", made)
        return calls

    return placed


def refuse(root, call):
    raise RuntimeError("Error downloading the archive:\n404")


@pytest.mark.parametrize("name", UNPACKED)
def test_torchvisions_download_is_taken_from_where_it_was_unpacked(
    name, write, small, torchvision, cli, own_cache
):
    key, place = UNPACKED[name]
    assert small(key).torchvision == name
    written = write(key)

    def download(root, call):
        shutil.copytree(written, f"{root}/{place}", dirs_exist_ok=True)

    calls = torchvision(name, download)
    outcome = cli("datasets", "prepare", key)
    assert outcome.code == 0, outcome.err
    folder = own_cache / "datasets" / key
    assert str(folder) in outcome.out
    assert all(arguments.pop("download") for arguments in calls)
    years = [{"year": "2007", "image_set": part} for part in ("trainval", "test")]
    assert calls == (years if name == "VOCDetection" else [{}])
    assert datasets.presence(key, own_cache) == (True, str(folder))
    # Once: another time nothing is asked for.
    n_calls = len(calls)
    assert cli("datasets", "prepare", key).code == 0
    assert len(calls) == n_calls


def test_what_torchvision_cannot_fetch_comes_from_the_hub(
    write, small, torchvision, hub, cli, own_cache
):
    write_copy(hub.tree(COMMITS["main"]), small("dtd"), READERS["dtd"](write("dtd")))
    torchvision("DTD", refuse)
    outcome = cli("datasets", "prepare", "dtd")
    assert outcome.code == 0, outcome.err
    assert len(hub.downloaded) == 2
    present, place = datasets.presence("dtd", own_cache)
    assert present
    assert place.endswith("datasets--tanganke--dtd/snapshots/" + "a" * 40)
    assert cli("datasets", "verify", "dtd").code == 0
    assert cli("datasets", "prepare", "dtd").code == 0
    assert len(hub.downloaded) == 2


def test_what_nobody_gives_is_one_line_with_both_reasons(torchvision, cli, own_cache):
    torchvision("Food101", refuse)
    outcome = cli("datasets", "prepare", "food101")
    ended(outcome, "dataset.no_download", dataset="food101")
    torchvision_said, hub_said = outcome.error.values["reasons"]
    assert "torchvision.datasets.Food101" in torchvision_said
    assert "hf:ethz/food101" in hub_said
    assert not datasets.presence("food101", own_cache).present
    assert adopted("food101", own_cache) is None


def test_what_was_never_offered_and_what_is_not_asked(write, photos, cli, tmp_path):
    outcome = cli("datasets", "prepare", "birdsnap")
    ended(outcome, "dataset.no_download", dataset="birdsnap", reasons=[])
    outcome = cli("datasets", "prepare", "dtd?allow_missing=yes", "--from", write("dtd"))
    ended(outcome, "dataset.option_unused", option="allow_missing")
    # A folder is for the datasets of the study.
    for name in ("digits", "hf:user/pets", "torchvision:EuroSAT", photos):
        ended(cli("datasets", "prepare", name, "--from", tmp_path), "dataset.from_unused")


def test_ctrl_c_in_a_download_of_torchvision_leaves_nothing(write, torchvision, cli, own_cache):
    written = write("voc2007")

    def interrupted(root, call):
        shutil.copytree(written, root, dirs_exist_ok=True)
        if call == 2:
            raise KeyboardInterrupt

    torchvision("VOCDetection", interrupted)
    outcome = cli("datasets", "prepare", "voc2007")
    assert outcome.code == 130
    assert (
        outcome.err == "interrupted: what is done is kept; run the same command again to resume\n"
    )
    assert not datasets.presence("voc2007", own_cache).present
    assert [path.name for path in (own_cache / "datasets").iterdir()] == []
    torchvision("VOCDetection", lambda root, call: shutil.copytree(written, root, dirs_exist_ok=1))
    assert cli("datasets", "prepare", "voc2007").code == 0


def test_ctrl_c_in_a_download_of_the_hub_carries_on(write, small, hub, cli, own_cache):
    write_copy(hub.tree(COMMITS["main"]), small("sun397"), READERS["sun397"](write("sun397")))
    hub.fails["data/test-00000-of-00001.parquet"] = KeyboardInterrupt()
    assert cli("datasets", "prepare", "sun397").code == 130
    assert not datasets.presence("sun397", own_cache).present
    assert len(hub.downloaded) == 1
    hub.fails.clear()
    assert cli("datasets", "prepare", "sun397").code == 0
    assert len(hub.downloaded) == len(set(hub.downloaded)) == 2


def test_a_folder_that_is_another_dataset_is_not_remembered(write, cli, own_cache):
    dtd = write("dtd")
    outcome = cli("datasets", "prepare", "food101", "--from", dtd)
    ended(outcome, "dataset.not_unpacked", expected=("meta/train.txt",))
    (dtd / "labels" / "val1.txt").write_text("banded/banded_0003.jpg\n")
    outcome = cli("datasets", "prepare", "dtd", "--from", dtd)
    what = "number of validation images"
    ended(outcome, "dataset.manifest", what=what, expected=6, found=1)
    for key in ("food101", "dtd"):
        assert adopted(key, own_cache) is None
        ended(cli("datasets", "verify", key), "dataset.missing")
    # Nor does it replace what was remembered.
    pets = write("oxford_pets")
    assert cli("datasets", "prepare", "oxford_pets", "--from", pets).code == 0
    assert cli("datasets", "prepare", "oxford_pets", "--from", dtd).code == 2
    assert adopted("oxford_pets", own_cache).folder == pets


def test_a_folder_with_images_that_do_not_decode_is_not_remembered(write, cli, own_cache):
    dtd = write("dtd")
    (dtd / "images" / "banded" / "banded_0001.jpg").write_bytes(b"<html>")
    outcome = cli("datasets", "prepare", "dtd", "--from", dtd)
    ended(outcome, "dataset.images_broken", found=1)
    assert adopted("dtd", own_cache) is None
    outcome = cli("datasets", "prepare", "dtd", "--from", dtd, "--skip-broken")
    assert outcome.code == 0, outcome.err
    assert "1 of 18 images cannot be used" in outcome.out
    # Accepted once is not forgotten: it is reported again.
    ended(cli("datasets", "verify", "dtd"), "dataset.images_broken", found=1)


def test_birdsnaps_missing_images_are_refused_and_accepted_on_request(incomplete, cli, own_cache):
    outcome = cli("datasets", "prepare", "birdsnap", "--from", incomplete)
    ended(outcome, "dataset.images_missing", missing={"train": 2, "test": 1})
    assert adopted("birdsnap", own_cache) is None
    named = "birdsnap?allow_missing=yes"
    outcome = cli("datasets", "prepare", named, "--from", incomplete)
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith(f"{named}\n")
    assert "8 train, 2 validation, 2 test, 3 classes" in outcome.out
    assert "2 listed train images are missing: " in outcome.out
    # The plain name stays what is published.
    assert cli("datasets", "verify", "birdsnap").code == 2


def test_results_on_what_is_left_of_birdsnap_say_so(incomplete, cli, tmp_path):
    from headstart.store import ResultStore

    named = f"birdsnap?allow_missing=yes&root={incomplete}"
    store = tmp_path / "r.db"
    arguments = ("run", "--models", MODEL, "--datasets", named, "--store", store)
    outcome = cli(*arguments)
    assert outcome.code == 0, outcome.err
    said = " ".join(outcome.out.split())
    for missing in ("2 listed train images are", "1 listed test image is"):
        assert f"birdsnap?allow_missing=yes: {missing} missing: " in said
    (result,) = ResultStore(store).results()
    assert result.trial.dataset.name == "birdsnap?allow_missing=yes"
    assert dict(result.trial.dataset.sizes) == {"train": 8, "validation": 2, "test": 2}
    assert result.n_test == 2


@pytest.mark.parametrize("key", READERS)
def test_a_table_in_an_archive_makes_it_no_copy_of_the_hub(key, write, own_cache):
    folder = write(key)
    (folder / "my").mkdir()
    (folder / "my" / "notes.parquet").write_bytes(b"PAR1")
    assert place_of(key, folder).form == "archive"
    whole = datasets.find(f"{key}?root={folder}")
    # Nor if the archive lacks something: then that is what has to be told.
    image = Path(datasets.load(whole, 0, own_cache).train.images.where(0))
    if image.is_file():
        image.unlink()
        assert place_of(key, folder).form == "archive"


def test_where_a_dataset_is_is_remembered(tmp_path, monkeypatch):
    assert adopted("dtd", tmp_path) is None
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    adopt("dtd", place_of("dtd", (tmp_path / "here").relative_to(tmp_path)), tmp_path)
    # From any folder.
    assert adopted("dtd", tmp_path) == Place(tmp_path / "here", "archive")
    assert adopted("food101", tmp_path) is None
    adopt("dtd", Place(tmp_path, "hub"), tmp_path)
    assert adopted("dtd", tmp_path) == Place(tmp_path, "hub")


@pytest.mark.parametrize("record", [
    b"", b"{", b"[]", b"3", b"null", b'"folder"', b"{}", b'{"folder": "/x"}', b'{"form": "hub"}',
    b'{"folder": 3, "form": "hub"}', b"\xff\xfe\x00",
])  # fmt: skip
def test_a_damaged_record_is_no_record(tmp_path, record):
    adopt("dtd", Place(tmp_path, "hub"), tmp_path)
    (file,) = (tmp_path / "datasets").iterdir()
    assert json.loads(file.read_text()) == {"folder": str(tmp_path), "form": "hub"}
    file.write_bytes(record)
    assert adopted("dtd", tmp_path) is None
    adopt("dtd", Place(tmp_path), tmp_path)
    assert adopted("dtd", tmp_path) == Place(tmp_path)


def test_a_record_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "datasets").write_text("a file where a folder has to be")
    with refused("storage.not_folder"):
        adopt("dtd", Place(tmp_path), tmp_path)


def test_parquet_files_tell_a_copy_of_the_hub(tmp_path):
    assert place_of("dtd", tmp_path) == Place(tmp_path, "archive")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").touch()
    assert place_of("dtd", tmp_path).form == "archive"
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "deep" / "train-0.parquet").touch()
    assert place_of("dtd", tmp_path) == Place(tmp_path, "hub")
