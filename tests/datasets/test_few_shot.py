"""Few images of each class are drawn of train alone: none of them validates or tests."""

import numpy as np
import pytest

from headstart import datasets
from own_datasets import write_dataset

KINDS = (
    "folder", "split folders", "several labels", "hub", "torchvision", "function", "digits",
    "glyphs",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_few_images_are_of_their_split_balanced_and_drawn_by_the_seed(kind, tmp_path, own_cache):
    name = write_dataset(kind, tmp_path)

    def drawn(seed, **options):
        """Return the splits, and the pixels of the images of each: no two have the same."""
        splits = datasets.load(datasets.find(name, **options), seed, own_cache)
        parts = (splits.train.images, splits.validation.images, splits.test.images)
        return splits, [{part.decode(i).tobytes() for i in range(len(part))} for part in parts]

    whole, whole_parts = drawn(0)
    n_classes = whole.n_classes

    def check_train(few, train, per_class):
        assert len(train) == len(few.train) == per_class * n_classes
        if few.train.labels.ndim == 1:
            assert np.bincount(few.train.labels).tolist() == [per_class] * n_classes

    limited, nested = set(), set()
    for seed in range(2):
        few, parts = drawn(seed, limit=3 * n_classes)
        check_train(few, parts[0], 3)
        assert all(part <= all_ for part, all_ in zip(parts, whole_parts, strict=True))
        assert not (parts[0] & parts[1]) | (parts[0] & parts[2]) | (parts[1] & parts[2])
        limited.add(frozenset(parts[0]))
        smaller = set()
        for per_class in (1, 3):
            few, (train, *held) = drawn(seed, examples_per_class=per_class)
            check_train(few, train, per_class)
            assert smaller < train <= whole_parts[0]
            assert held == whole_parts[1:]
            assert not train & (held[0] | held[1])
            smaller = train
        nested.add(frozenset(smaller))
    assert (len(limited), len(nested)) == (2, 2)
