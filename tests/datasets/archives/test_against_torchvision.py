"""The same archives read by torchvision, in its own layout: the same images, the same labels."""

from pathlib import Path

import numpy as np
import pytest

from headstart.datasets.archives import READERS, VOC_CLASSES


@pytest.fixture
def downloaded(write, tmp_path):
    """Place an archive where torchvision unpacks it, and give the folder that is its root."""

    def placed(key: str, place: str) -> Path:
        root = tmp_path / "torchvision"
        (root / place).parent.mkdir(parents=True)
        write(key).rename(root / place)
        return root

    return placed


def ours(split) -> list[tuple[str, int]]:
    return [
        (str(Path(split.images.where(row)).resolve()), int(label))
        for row, label in enumerate(split.labels)
    ]


def theirs(dataset) -> list[tuple[str, int]]:
    if hasattr(dataset, "_samples"):
        pairs = dataset._samples
    else:
        files = getattr(dataset, "_image_files", None) or dataset._images
        pairs = zip(files, dataset._labels, strict=True)
    return [(str(Path(path).resolve()), int(label)) for path, label in pairs]


HALVES = {"train": "train", "test": "test"}
THREE = {"train": "train", "validation": "val", "test": "test"}


@pytest.mark.parametrize(("key", "place", "name", "parts"), [
    ("food101", "food-101", "Food101", HALVES),
    ("stanford_cars", "stanford_cars", "StanfordCars", HALVES),
    ("fgvc_aircraft", "fgvc-aircraft-2013b", "FGVCAircraft", THREE),
    ("dtd", "dtd/dtd", "DTD", THREE),
    ("oxford_pets", "oxford-iiit-pet", "OxfordIIITPet", {"train": "trainval", "test": "test"}),
    ("flowers102", "flowers-102", "Flowers102", THREE),
])  # fmt: skip
def test_files_and_labels(key, place, name, parts, downloaded, monkeypatch):
    from torchvision import datasets

    root = downloaded(key, place)
    raw = READERS[key](root)
    # It wants the digests of the real files.
    monkeypatch.setattr(datasets.Flowers102, "_check_integrity", lambda self: True)
    assert set(parts) == set(raw.parts)
    for part, split in parts.items():
        dataset = getattr(datasets, name)(str(root), split=split)
        assert ours(raw.parts[part]) == theirs(dataset)


def test_sun397_has_the_same_labels_and_splits_besides(downloaded):
    from torchvision.datasets import SUN397

    root = downloaded("sun397", "SUN397")
    raw = READERS["sun397"](root)
    dataset = SUN397(str(root))
    assert [name[3:] for name in raw.classes] == dataset.classes
    assert sorted(ours(raw.parts["train"]) + ours(raw.parts["test"])) == sorted(theirs(dataset))


def test_caltech101_has_the_same_labels_and_the_background_besides(downloaded):
    from torchvision.datasets import Caltech101

    root = downloaded("caltech101", "caltech101")
    raw = READERS["caltech101"](root)
    dataset = Caltech101(str(root))
    assert raw.classes == ("BACKGROUND_Google", *dataset.categories)
    found = [(Path(path).name, label) for path, label in ours(raw.parts["all"]) if label]
    assert found == [
        (f"image_{number:04d}.jpg", label + 1)
        for number, label in zip(dataset.index, dataset.y, strict=True)
    ]


def test_voc2007_has_the_same_objects(write):
    from torchvision.datasets import VOCDetection

    root = write("voc2007")
    raw = READERS["voc2007"](root)
    for part, name in THREE.items():
        dataset = VOCDetection(str(root), year="2007", image_set=name)
        split = raw.parts[part]
        assert [split.images.where(row) for row in range(len(split))] == dataset.images
        for labels, (_, target) in zip(split.labels, dataset, strict=True):
            found = {item["name"] for item in target["annotation"]["object"]}
            assert {VOC_CLASSES[k] for k in np.flatnonzero(labels == 1)} == found


# Some releases of NumPy complain of what Python 2 wrote.
@pytest.mark.filterwarnings("ignore:dtype")
@pytest.mark.parametrize(("key", "name"), [("cifar10", "CIFAR10"), ("cifar100", "CIFAR100")])
def test_pixels_and_labels(key, name, write, monkeypatch):
    from torchvision import datasets

    # It wants the digests of the real files.
    monkeypatch.setattr(datasets.cifar, "check_integrity", lambda *arguments: True)
    folder = write(key)
    raw = READERS[key](folder)
    assert set(raw.parts) == {"train", "test"}
    for part, split in raw.parts.items():
        dataset = getattr(datasets, name)(str(folder), train=part == "train")
        assert tuple(dataset.classes) == raw.classes
        assert dataset.targets == split.labels.tolist()
        pixels = [np.asarray(split.images.decode(row)) for row in range(len(split))]
        np.testing.assert_array_equal(dataset.data, pixels)
