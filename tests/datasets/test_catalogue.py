import gzip
import shutil
import struct

import numpy as np
import pytest

from conftest import write_folder
from headstart import datasets
from headstart.context import ProgressReporter, default_cache
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.manifest import check_manifest
from headstart.datasets.sources import SOURCES, embedded
from own_datasets import labels_of_test
from refusals import refused


def published_manifest(name: str):
    return SOURCES["embedded"].manifest(DatasetName.parse(name))


def load(name: str, seed: int = 0, **options):
    return datasets.load(datasets.find(name, **options), seed, default_cache(), test_labels=True)


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    splits = load("digits")
    bunch = load_digits()
    assert len(splits.train) + len(splits.validation) + len(splits.test) == len(bunch.target)
    # Every source image is there once: compare as sets of bytes.
    ours = [
        (int(label), np.asarray(part.images.decode(i)).tobytes())
        for part, labels in (
            (splits.train, splits.train.labels),
            (splits.validation, splits.validation.labels),
            (splits.test, labels_of_test(splits)),
        )
        for i, label in enumerate(labels)
    ]
    pixels = np.round(bunch.images * 255 / 16).astype(np.uint8)
    source = [(int(t), p.tobytes()) for t, p in zip(bunch.target, pixels, strict=True)]
    assert sorted(ours) == sorted(source)


def test_fashion_mnist_is_the_published_one(real_fashion_mnist):
    splits = load("fashion_mnist")
    # Sizes and class balance from the dataset's own README (Xiao et al. 2017).
    assert len(splits.train) + len(splits.validation) == 60000
    assert np.bincount(labels_of_test(splits)).tolist() == [1000] * 10
    both = np.concatenate([splits.train.labels, splits.validation.labels])
    assert np.bincount(both).tolist() == [6000] * 10


def test_the_limit_draws_a_balanced_subset_by_seed():
    splits = load("digits", limit=100)
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [100, 100, 100]
    assert np.bincount(splits.train.labels).tolist() == [10] * 10
    again, other = load("digits", limit=100), load("digits", limit=100, seed=1)
    assert again.revision == splits.revision != other.revision
    full = load("digits")
    np.testing.assert_array_equal(splits.train.labels, full.train.labels[splits.train.rows])


def test_a_limit_over_some_splits_keeps_them_whole():
    splits = load("digits", limit=500)
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [500, 359, 359]
    assert dict(datasets.find("digits", limit=500).used_sizes) == {
        "train": 500, "validation": 359, "test": 359,
    }  # fmt: skip


@pytest.mark.parametrize(("limit", "values"), [
    (5000, {"sizes": {"train": 1079, "validation": 359, "test": 359}}), (9, {"n_classes": 10}),
])  # fmt: skip
def test_limits_that_cannot_be(limit, values):
    with refused("dataset.limit", found=limit, **values):
        datasets.find("digits", limit=limit)


@pytest.mark.parametrize(("change", "what", "expected", "found"), [
    (lambda m: {"classes": m.classes[:-1]}, "number of classes", 10, 9),
    ({"size": 5}, "number of train images", 1079, 5),
    ({"class_counts": (1,) * 10}, "number of train images of class '0'", 106, 1),
    ({"labels_sha256": "0" * 64}, "digest of the train labels", "10645bc60b46", "0" * 12),
    ({"images_sha256": "0" * 64}, "digest of the train images", "86b1ff9e3198", "0" * 12),
    (lambda m: {"classes": (*m.classes[:-1], "nine")}, "class names", None, None),
])  # fmt: skip
def test_a_manifest_says_what_differs(change, what, expected, found):
    published = published_manifest("digits")
    if callable(change):
        other = published.model_copy(update=change(published))
    else:
        train = published.splits["train"].model_copy(update=change)
        other = published.model_copy(update={"splits": {**published.splits, "train": train}})
    values = {"expected": expected, "found": found} if expected else {}
    with refused("dataset.manifest", what=what, **values):
        check_manifest("digits", published, other)
    check_manifest("digits", published, published)


@pytest.fixture
def small_fashion_mnist(tmp_path, monkeypatch):
    """Give a writer of tiny files in the true format, where the Debian package would be."""
    monkeypatch.setattr(embedded, "SYSTEM_FOLDER", tmp_path)

    def write(train_labels, test_labels=None) -> None:
        for part, labels in zip(
            embedded.FASHION_FILES, (train_labels, test_labels or train_labels), strict=True
        ):
            images, names = embedded.FASHION_FILES[part]
            n = len(labels)
            pixels = np.random.RandomState(0).randint(0, 255, (n, 28, 28)).astype(np.uint8)
            head = struct.pack(">HBBIII", 0, 8, 3, n, 28, 28)
            (tmp_path / images).write_bytes(gzip.compress(head + pixels.tobytes()))
            head = struct.pack(">HBBI", 0, 8, 1, n)
            (tmp_path / names).write_bytes(gzip.compress(head + bytes(labels)))

    yield write
    datasets.loading._load_cached.cache_clear()


def test_other_content_under_fashion_mnists_name_is_found(small_fashion_mnist, own_cache):
    small_fashion_mnist(list(range(10)) * 6)
    with refused("dataset.manifest", what="number of train images", expected=50000, found=50):
        load("fashion_mnist")


def test_labels_outside_the_classes_are_found(small_fashion_mnist, own_cache):
    small_fashion_mnist(list(range(10)) * 6, [3, 12])
    with refused("dataset.class_unknown", split="test", row=1):
        load("fashion_mnist")


def test_a_damaged_file_is_named(small_fashion_mnist, own_cache, tmp_path):
    small_fashion_mnist(list(range(10)) * 6)
    file = tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-20])
    with refused("dataset.archive_invalid", file="train-images-idx3-ubyte.gz"):
        load("fashion_mnist")
    file.write_bytes(gzip.compress(b"hello"))
    with refused("dataset.archive_invalid", file="train-images-idx3-ubyte.gz"):
        load("fashion_mnist")


def test_a_dataset_that_cannot_be_fetched_says_what_would_do(tmp_path, monkeypatch, own_cache):
    import torchvision.datasets

    def refuse(*arguments, **options):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr(embedded, "SYSTEM_FOLDER", tmp_path / "none")
    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", refuse)
    present, place = datasets.presence("fashion_mnist", own_cache)
    assert not present
    assert "dataset-fashion-mnist" in place
    with refused("dataset.missing"):
        datasets.fetch(datasets.find("fashion_mnist"), own_cache, ProgressReporter())


def test_files_in_torchvisions_layout_are_found(
    real_fashion_mnist, tmp_path, monkeypatch, own_cache
):
    folder = own_cache / "datasets" / "FashionMNIST" / "raw"
    shutil.copytree(real_fashion_mnist, folder)
    monkeypatch.setattr(embedded, "SYSTEM_FOLDER", tmp_path / "none")
    assert datasets.presence("fashion_mnist", own_cache) == (True, str(folder))
    assert len(load("fashion_mnist").test) == 10000


@pytest.mark.parametrize("option", ["decoding=torchvision", "max_pixels=5"])
@pytest.mark.parametrize("kind", ["embedded", "function", "torchvision"])
def test_a_decoding_of_what_is_no_file_is_refused(kind, option, tmp_path, own_cache):
    """Else two names would stand for the same images."""
    write_folder(tmp_path / "eurosat", {"2750": {"Forest": 5, "River": 5}})
    (tmp_path / "data.py").write_text(
        "import numpy as np\ndef load():\n    return np.zeros((10, 2, 2), np.uint8), [0, 1] * 5\n"
    )
    name = {
        "embedded": "digits?",
        "function": f"{tmp_path}/data.py:load?",
        "torchvision": f"torchvision:EuroSAT?root={tmp_path}&",
    }[kind]
    with refused("dataset.option_unused"):
        datasets.find(name + option)
    datasets.find(name[:-1])
