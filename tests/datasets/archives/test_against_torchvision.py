"""The same archives read by torchvision: the same images with the same labels."""

from pathlib import Path

import numpy as np
import pytest

from headstart.datasets.archives import READERS


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


@pytest.mark.parametrize(
    ("key", "place", "name", "parts"),
    [
        ("stanford_cars", "stanford_cars", "StanfordCars", {"train": "train", "test": "test"}),
        (
            "fgvc_aircraft",
            "fgvc-aircraft-2013b",
            "FGVCAircraft",
            {"train": "train", "validation": "val", "test": "test"},
        ),
        ("dtd", "dtd/dtd", "DTD", {"train": "train", "validation": "val", "test": "test"}),
        ("oxford_pets", "oxford-iiit-pet", "OxfordIIITPet", {"train": "trainval", "test": "test"}),
        (
            "flowers102",
            "flowers-102",
            "Flowers102",
            {"train": "train", "validation": "val", "test": "test"},
        ),
    ],
)
def test_files_and_labels(key, place, name, parts, write, tmp_path, monkeypatch):
    from torchvision import datasets

    archive = READERS[key](write(key))
    root = tmp_path / "torchvision"
    (root / place).parent.mkdir(parents=True)
    (root / place).symlink_to(tmp_path / key)
    # It wants the digests of the real files.
    monkeypatch.setattr(datasets.Flowers102, "_check_integrity", lambda self: True)
    assert set(parts) == set(archive.parts)
    for part, split in parts.items():
        dataset = getattr(datasets, name)(str(root), split=split)
        assert ours(archive.parts[part]) == theirs(dataset)


# Some releases of NumPy complain of what Python 2 wrote.
@pytest.mark.filterwarnings("ignore:dtype")
@pytest.mark.parametrize(("key", "name"), [("cifar10", "CIFAR10"), ("cifar100", "CIFAR100")])
def test_pixels_and_labels(key, name, write, monkeypatch):
    from torchvision import datasets

    # It wants the digests of the real files.
    monkeypatch.setattr(datasets.cifar, "check_integrity", lambda *arguments: True)
    folder = write(key)
    archive = READERS[key](folder)
    for part, split in archive.parts.items():
        dataset = getattr(datasets, name)(str(folder), train=part == "train")
        assert tuple(dataset.classes) == archive.classes
        assert dataset.targets == split.labels.tolist()
        pixels = [np.asarray(split.images.decode(row)) for row in range(len(split))]
        np.testing.assert_array_equal(dataset.data, pixels)
