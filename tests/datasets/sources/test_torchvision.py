"""Classes of torchvision.datasets as datasets."""

import gzip
import hashlib
import os
import shutil
import socket

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets as theirs
from torchvision.datasets.utils import verify_str_arg

from conftest import write_folder
from headstart.context import ProgressReporter
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.file_index import FileIndex, Fingerprint
from headstart.datasets.images import IndexedImages
from headstart.datasets.sources import embedded
from headstart.datasets.sources.torchvision import TorchvisionSource
from headstart.spec import Decoding
from refusals import refused

SOURCE = TorchvisionSource()


def ask(name, **options):
    query = "&".join(f"{option}={value}" for option, value in options.items())
    stem = f"torchvision:{name}"
    return DatasetName(f"{stem}?{query}", stem, {n: str(value) for n, value in options.items()})


def read(name, **options):
    return SOURCE.read(ask(name, **options), None)


@pytest.fixture
def eurosat(tmp_path):
    """The folders of EuroSAT: one for each class, and no splits."""
    write_folder(tmp_path / "eurosat", {"2750": {"Forest": 3, "River": 2}})
    return tmp_path


@pytest.fixture
def dtd(tmp_path):
    """The folders and lists of DTD: three splits, numbered from 1."""
    write_folder(tmp_path / "dtd" / "dtd", {"images": {"banded": 4, "dotted": 4}})
    labels = tmp_path / "dtd" / "dtd" / "labels"
    labels.mkdir()
    for number in (1, 2):
        for part, rows in (("train", (3, 0)), ("val", (1,)), ("test", (2,))):
            lines = [f"{name}/{(row + number) % 4}.png\n" for row in rows for name in
                     ("dotted", "banded")]  # fmt: skip
            (labels / f"{part}{number}.txt").write_text("".join(lines))
    return tmp_path


def test_a_class_without_splits(eurosat):
    raw = read("EuroSAT", root=eurosat)
    assert raw.classes == ("Forest", "River")
    whole = raw.parts["all"]
    assert list(raw.parts) == ["all"]
    assert whole.labels.tolist() == [0, 0, 0, 1, 1]
    assert whole.labels.dtype == np.int64
    assert whole.images.where(3) == "torchvision:EuroSAT all, number 3"
    path = eurosat / "eurosat/2750/River/0.png"
    np.testing.assert_array_equal(whole.images.decode(3), Image.open(path))
    taken = whole.take(np.array([4, 0]))
    assert taken.labels.tolist() == [1, 0]
    assert taken.images.take(np.array([1])).where(0) == "torchvision:EuroSAT all, number 0"


@pytest.mark.parametrize("partition", [1, 2])
def test_a_class_with_split_and_an_option_of_its_own(dtd, partition):
    raw = read("DTD", root=dtd, partition=partition)
    assert raw.classes == ("banded", "dotted")
    assert list(raw.parts) == ["train", "validation", "test"]
    for part, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        expected = theirs.DTD(str(dtd), split=name, partition=partition)
        assert raw.parts[part].labels.tolist() == [label for _, label in expected]
        for row, (image, _) in enumerate(expected):
            np.testing.assert_array_equal(raw.parts[part].images.decode(row), image)
    only = read("DTD", root=dtd, partition=partition, split="val")
    assert only.parts["all"].labels.tolist() == [1, 0]


def test_a_class_with_train_on_real_images(real_fashion_mnist, tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in real_fashion_mnist.glob("*.gz"):
        with gzip.open(file) as packed, (raw / file.stem).open("wb") as out:
            shutil.copyfileobj(packed, out)
    raw = read("FashionMNIST", root=tmp_path)
    assert raw.classes[0] == "T-shirt/top"
    ours = embedded.read_fashion_mnist(tmp_path)
    test = raw.parts["test"]
    assert len(raw.parts["train"]) == 60_000
    np.testing.assert_array_equal(test.labels, ours["test"].labels)
    for row in (0, 77, 9_999):
        np.testing.assert_array_equal(test.images.decode(row), ours["test"].images.decode(row))


def test_the_digest_is_of_pixels_in_order(eurosat):
    images = read("EuroSAT", root=eurosat).parts["all"].images
    content = hashlib.sha256()
    for name in ("River/1", "Forest/2"):
        image = Image.open(eurosat / f"eurosat/2750/{name}.png")
        content.update(hashlib.sha256(b"RGB (32, 24)" + image.tobytes()).digest())
    file_index, told = FileIndex(None), []
    taken = images.take(np.array([4, 2]))
    assert taken.digest(file_index) == content.hexdigest()
    assert images.take(np.array([2, 4])).digest(file_index) != content.hexdigest()
    assert taken.decoded(Decoding(like="torchvision")).digest(file_index) == content.hexdigest()
    # Once in a process: the files may go.
    shutil.rmtree(eurosat / "eurosat")
    (seen, _) = taken.info(file_index, told.append)
    assert (seen.width, seen.height, seen.mode, seen.n_bytes) == (32, 24, "RGB", 3 * 32 * 24)
    assert sum(told) == 2


def test_images_are_decoded_again_only_if_a_file_changed(eurosat, monkeypatch):
    for file in eurosat.rglob("*.png"):
        os.utime(file, (0, 0))
    decoded = []
    look = IndexedImages._look

    def counted(images, number):
        decoded.append(number)
        return look(images, number)

    def digest():
        decoded.clear()
        images = read("EuroSAT", root=eurosat).parts["all"].images
        # Elsewhere: below the root it would be one of the files.
        return images.digest(FileIndex(eurosat.with_name("files.db")))

    monkeypatch.setattr(IndexedImages, "_look", counted)
    first = digest()
    assert sorted(decoded) == [0, 1, 2, 3, 4]
    assert digest() == first
    assert decoded == []
    changed = eurosat / "eurosat/2750/River/0.png"
    Image.new("RGB", (32, 24)).save(changed)
    os.utime(changed, (1, 1))
    second = digest()
    assert second != first
    assert len(decoded) == 5
    # What was changed just now may change again within the same tick of the clock.
    os.utime(changed)
    assert digest() == digest() == second
    assert len(decoded) == 5


def test_images_that_do_not_decode_are_named(eurosat):
    (eurosat / "eurosat/2750/Forest/1.png").write_bytes(b"no image")
    images = read("EuroSAT", root=eurosat).parts["all"].images
    with refused("image.broken", where="torchvision:EuroSAT all, number 1"):
        images.decode(1)
    problems = [bool(seen.problem) for seen in images.info(FileIndex(None))]
    assert problems == [False, True, False, False, False]
    (eurosat / "eurosat/2750/Forest/0.png").write_bytes(b"no image")
    with refused("dataset.unreadable"):
        read("EuroSAT", root=eurosat)


class Items:
    """Stands for a class of torchvision, with items of any kind."""

    def __init__(self, items, **kept):
        self.items = items
        self.__dict__ |= kept
        self.asked = []

    def __len__(self):
        return len(self.items)

    def __getitem__(self, place):
        self.asked.append(place)
        return self.items[place]


@pytest.fixture
def serve(monkeypatch):
    """Put an object in the place of EuroSAT."""

    def put(items, **kept):
        class EuroSAT:
            def __new__(cls, root):
                return Items(items, **kept)

            def __init__(self, root):
                pass

        monkeypatch.setattr(theirs, "EuroSAT", EuroSAT)

    return put


def labelled(*labels):
    return [(Image.new("L", (2, 2)), label) for label in labels]


@pytest.mark.parametrize(("kept", "asked"), [
    ({"targets": [5, 7, 5]}, 2),
    ({"_labels": np.array([5, 7, 5])}, 2),
    ({"_samples": [("a", 5), ("b", 7), ("c", 5)]}, 2),
    # Of another length, of another kind, or other numbers than the items give.
    ({"targets": [5, 7]}, 5),
    ({"targets": ["a", "b", "c"]}, 5),
    ({"labels": [0, 1, 0], "y": [5, 7, 5]}, 2),
    ({}, 5),
])  # fmt: skip
def test_labels_are_those_that_the_items_have(kept, asked, serve):
    serve(labelled(5, 7, 5), classes=["zero"], **kept)
    raw = read("EuroSAT", root=".")
    assert raw.parts["all"].labels.tolist() == [0, 1, 0]
    assert raw.classes == ("5", "7")
    assert len(raw.parts["all"].images._dataset.asked) == asked


def test_names_of_classes(serve):
    serve(labelled(0, 2), classes=[("tench", "Tinca tinca"), ("goldfish",), ("shark", "tiger")])
    # A class without images is none of this dataset's.
    assert read("EuroSAT", root=".").classes == ("tench, Tinca tinca", "shark, tiger")
    serve(labelled(0, 1), categories=["ant", "bee"])
    assert read("EuroSAT", root=".").classes == ("ant", "bee")


IMAGE = Image.new("L", (2, 2))


@pytest.mark.parametrize(("items", "code", "found"), [
    ([(np.zeros((2, 2)), 0)], "cell_type", "ndarray"), ([(IMAGE, 0, 1)], "cell_type", "Image"),
    (labelled([0, 1]), "cell_type", "list"), (labelled(IMAGE), "cell_type", "Image"),
    (labelled(0, None), "cell_type", "NoneType"), (labelled(0, -1), "cell_empty", -1),
])  # fmt: skip
def test_items_of_another_kind_are_refused(items, code, found, serve):
    serve(items)
    with refused(f"dataset.{code}", found=found):
        read("EuroSAT", root=".")


def test_other_modes_become_rgb():
    items = Items([(Image.new("P", (2, 2)), 0), (None, 0)])
    images = IndexedImages(items, "theirs", Fingerprint("theirs", 0, 0, 0))
    assert images.decode(0).mode == "RGB"
    with refused("image.broken", where="theirs, number 1"):
        images.decode(1)


def test_classes_and_options_that_there_are_not(tmp_path):
    assert SOURCE.recognises("torchvision:EuroSAT")
    assert not SOURCE.recognises("EuroSAT")
    assert SOURCE.location("torchvision:eurosat") == "torchvision:EuroSAT"
    kind = "class of torchvision.datasets"
    with refused("name.unknown", kind=kind, name="eurosad", near=["eurosat"]):
        SOURCE.location("torchvision:EuroSAD")
    with refused("name.unknown", kind="option of torchvision:EuroSAT", name="partition", near=[]):
        read("EuroSAT", root=tmp_path, partition=2)
    for name, code in (("FakeData", "no_folder"), ("UCF101", "torchvision")):
        with refused(f"dataset.{code}"):
            read(name, root=tmp_path)


def test_splits_of_other_names(tmp_path, monkeypatch):
    class DTD:
        def __init__(self, root, split):
            verify_str_arg(split, "split", ("left", "right"))

    monkeypatch.setattr(theirs, "DTD", DTD)
    with refused("dataset.split_unknown"):
        read("DTD", root=tmp_path)
    with refused("dataset.split_unknown", found="up"):
        read("DTD", root=tmp_path, split="up")


def test_a_folder_of_the_users_is_only_read(eurosat, tmp_path):
    cache = tmp_path / "cache"
    here = ask("EuroSAT", root=eurosat)
    assert SOURCE.presence(here, cache) == (True, str(eurosat))
    SOURCE.fetch(here, cache, ProgressReporter())
    assert SOURCE.describe(here).title == "EuroSAT"
    elsewhere = ask("EuroSAT", root=tmp_path / "none")
    assert not SOURCE.presence(elsewhere, cache).present
    for act in (SOURCE.read, lambda asked, cache: SOURCE.fetch(asked, cache, ProgressReporter())):
        with refused("dataset.missing"):
            act(elsewhere, cache)
    assert not (tmp_path / "none").exists()


def test_a_download_has_its_name_when_it_is_whole(eurosat, tmp_path, monkeypatch):
    cache, asked = tmp_path / "cache", ask("EuroSAT")
    root = cache / "torchvision" / "EuroSAT"
    waits = []

    def download(self):
        waits.append(socket.getdefaulttimeout())
        shutil.copytree(eurosat / "eurosat", self._base_folder)

    monkeypatch.setattr(theirs.EuroSAT, "download", download)
    before = SOURCE.presence(asked, cache)
    assert not before.present
    assert "torchvision:EuroSAT?root=" in before.place
    # What an interrupt has left is not taken for the dataset.
    (root.parent / ".EuroSAT.partial" / "eurosat" / "2750" / "Half").mkdir(parents=True)
    for _ in range(2):
        SOURCE.fetch(asked, cache, ProgressReporter())
    assert (waits, socket.getdefaulttimeout()) == ([10], None)
    assert SOURCE.presence(asked, cache) == (True, str(root))
    assert SOURCE.read(asked, cache).classes == ("Forest", "River")
    assert [path.name for path in root.parent.iterdir()] == ["EuroSAT"]


@pytest.mark.parametrize("name", ["EuroSAT", "StanfordCars", "FER2013"])
def test_a_download_that_fails_says_what_would_do(name, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("Connection refused\nmore of it")

    monkeypatch.setattr("torchvision.datasets.eurosat.download_and_extract_archive", refuse)
    with refused("dataset.no_download"):
        SOURCE.fetch(ask(name), tmp_path, ProgressReporter())
    assert not list(tmp_path.glob("torchvision/*"))
