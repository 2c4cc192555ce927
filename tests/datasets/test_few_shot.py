"""Few images of each class are drawn of train alone: none of them validates or tests."""

import numpy as np
import pytest

from conftest import write_folder
from headstart import datasets
from headstart.context import default_cache
from hub_files import write_images

FUNCTION = """
import numpy as np

def load():
    images = np.arange(40, dtype=np.uint8)[:, None, None] * np.ones((4, 4), np.uint8)
    return images, np.arange(40) % 2
"""


@pytest.fixture
def named(tmp_path):
    """Give a dataset of each source: two classes, their splits given or drawn."""

    def name(kind: str) -> str:
        whole = {"a": 20, "b": 20}
        if kind == "folder":
            return str(write_folder(tmp_path / "photos", {".": whole}))
        if kind == "split folders":
            parts = dict.fromkeys(("train", "validation", "test"), whole)
            return str(write_folder(tmp_path / "photos", parts))
        if kind == "table":
            write_folder(tmp_path / "photos", {".": whole})
            lines = [f"photos/{k}/{i}.png,{k}|c,{i // 2}" for k in "ab" for i in range(20)]
            (tmp_path / "photos.csv").write_text("\n".join(["path,labels,group", *lines]) + "\n")
            return f"{tmp_path}/photos.csv?sep=|&group=group"
        if kind == "hub":
            for seed, split in enumerate(("train", "test")):
                write_images(tmp_path / f"pets/{split}.parquet", [0, 1] * 15, "ab", seed=seed)
            return f"hf:{tmp_path}/pets"
        if kind == "torchvision":
            write_folder(tmp_path / "eurosat", {"2750": whole})
            return f"torchvision:EuroSAT?root={tmp_path}"
        if kind == "function":
            (tmp_path / "data.py").write_text(FUNCTION)
            return f"{tmp_path}/data.py:load"
        return kind

    return name


KINDS = (
    "folder", "split folders", "table", "hub", "torchvision", "function", "digits", "glyphs",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_few_images_of_each_class_are_no_images_of_another_split(kind, named, own_cache):
    name = named(kind)
    whole = datasets.load(datasets.find(name), 0, default_cache())
    n_classes = whole.n_classes
    drawn = set()
    for seed in range(2):
        few = datasets.load(datasets.find(name, limit=3 * n_classes), seed, default_cache())
        train, validation = (images_of(part.images) for part in (few.train, few.validation))
        assert len(train) == len(few.train) == 3 * n_classes
        assert not train & validation
        assert train <= images_of(whole.train.images)
        assert validation <= images_of(whole.validation.images)
        test = images_of(few.test.images)
        assert test <= images_of(whole.test.images)
        assert not test & (train | validation)
        if few.train.labels.ndim == 1:
            assert np.bincount(few.train.labels).tolist() == [3] * n_classes
        drawn.add(frozenset(train))
    assert len(drawn) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_images_a_class_are_nested_and_beside_whole_validation_and_test(kind, named, own_cache):
    name = named(kind)
    whole = datasets.load(datasets.find(name), 0, default_cache())
    held = images_of(whole.validation.images) | images_of(whole.test.images)
    drawn = []
    for seed in range(2):
        smaller = set()
        for n in (1, 3):
            dataset = datasets.find(name, examples_per_class=n)
            few = datasets.load(dataset, seed, default_cache())
            train = images_of(few.train.images)
            assert len(train) == len(few.train) == n * whole.n_classes
            assert smaller < train <= images_of(whole.train.images)
            assert not train & held
            assert images_of(few.validation.images) == images_of(whole.validation.images)
            assert images_of(few.test.images) == images_of(whole.test.images)
            if few.train.labels.ndim == 1:
                assert np.bincount(few.train.labels).tolist() == [n] * whole.n_classes
            smaller = train
        drawn.append(frozenset(smaller))
    assert len(set(drawn)) == 2


def images_of(images) -> set[bytes]:
    """Know images by their pixels: no two of these datasets have the same."""
    return {images.decode(row).tobytes() for row in range(len(images))}
