"""Test images with labels, for descriptions: the same that a trial opens at its end."""

import numpy as np
import pytest

from headstart import datasets
from headstart.datasets.labelled import class_pictures, labelled_test
from headstart.errors import BrokenImageError
from own_datasets import labels_of_test
from refusals import refused


@pytest.mark.parametrize("limit", [None, 70])
def test_images_labels_and_places_are_those_of_a_trial(session_cache, limit):
    dataset = datasets.find("digits", limit=limit, cache=session_cache)
    split, places = labelled_test(dataset, 3, session_cache)
    splits = datasets.load(dataset, 3, session_cache, test_labels=True)
    np.testing.assert_array_equal(split.labels, labels_of_test(splits))
    np.testing.assert_array_equal(split.rows, splits.test.rows)
    np.testing.assert_array_equal(places, splits.places[-len(split) :])
    whole = datasets.all_images(dataset, session_cache)
    for row in (0, len(split) - 1):
        image, same = split.images.decode(row), whole.decode(int(places[row]))
        np.testing.assert_array_equal(np.asarray(image), np.asarray(same))


def test_the_door_stays_shut_for_whoever_asks_the_usual_way(session_cache):
    """What a way to transfer loads has no labels, after a description has seen them too."""
    dataset = datasets.find("digits", limit=70, cache=session_cache)
    labelled_test(dataset, 0, session_cache)
    splits = datasets.load(dataset, 0, session_cache)
    with refused("test.sealed"):
        labels_of_test(splits)


def test_a_picture_per_class_the_first_that_can_be_decoded(session_cache, monkeypatch):
    dataset = datasets.find("digits", limit=70, cache=session_cache)
    split, _ = labelled_test(dataset, 0, session_cache)
    first = {int(label): int(np.flatnonzero(split.labels == label)[0]) for label in split.labels}
    found = class_pictures(dataset, 0, session_cache, 24)
    assert [name for name, _ in found] == list(dataset.classes)
    assert [image.where for _, image in found] == [
        split.images.where(first[label]) for label in range(10)
    ]
    assert all(image.tiny and image.picture.startswith("data:image/png") for _, image in found)
    spread = class_pictures(dataset, 0, session_cache, 4)
    assert [name for name, _ in spread] == ["0", "3", "6", "9"]

    decode = type(split.images).decode
    broken = split.images.where(first[3])

    def damaged(images, place):
        if images.where(place) == broken:
            raise BrokenImageError(broken, "damaged")
        return decode(images, place)

    monkeypatch.setattr(type(split.images), "decode", damaged)
    names = dict(class_pictures(dataset, 0, session_cache, 24))
    assert list(names) == list(dataset.classes)
    assert names["3"].where != broken
