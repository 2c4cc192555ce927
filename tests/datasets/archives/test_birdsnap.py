"""Birdsnap: lists that stay, images that go."""

import pytest

from headstart.datasets.archives import (
    birdsnap,
    check_published,
    protocol_splits,
    without_missing,
)
from headstart.errors import DatasetError, DatasetMissingError, ManifestError
from headstart.spec import Sizes


def test_the_test_list_divides_the_images(write):
    folder = write("birdsnap")
    archive = birdsnap.read(folder)
    assert archive.classes == ("Acadian Flycatcher", "Cooper's Hawk", "Blue Jay")
    train, test = archive.parts["train"], archive.parts["test"]
    # Species are numbered by the creators, not by their order.
    assert train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert test.labels.tolist() == [0, 1, 2]
    images = folder / "download" / "images"
    assert test.images.where(1) == str(images / "Coopers_Hawk" / "100.jpg")
    assert train.images.where(0) == str(images / "Acadian_Flycatcher" / "1.jpg")


def test_images_may_lie_in_images(write):
    folder = write("birdsnap")
    (folder / "download" / "images").rename(folder / "images")
    (folder / "download").rmdir()
    assert len(birdsnap.read(folder).parts["train"]) == 12


@pytest.fixture
def incomplete(write):
    """Without two training images and one test image."""
    folder = write("birdsnap")
    for name in ("Blue_Jay/202.jpg", "Acadian_Flycatcher/3.jpg", "Coopers_Hawk/100.jpg"):
        (folder / "download" / "images" / name).unlink()
    return folder


def test_images_that_are_gone_are_counted_and_refused(incomplete):
    message = (
        r"lacks 2 of 12 training images and 1 of 3 test images, first .*Acadian_Flycatcher/3.jpg: "
        r"run the creators' get_birdsnap.py, or measure on what is left with allow_missing"
    )
    with pytest.raises(DatasetMissingError, match=message):
        birdsnap.read(incomplete)


def test_images_that_are_gone_may_be_accepted_and_stay_counted(incomplete, small):
    archive = birdsnap.read(incomplete, allow_missing=True)
    assert archive.missing == {"train": 2, "test": 1}
    # A row is the place in the whole list, gone images included.
    assert archive.parts["train"].rows.tolist() == [0, 1, 3, 4, 5, 6, 7, 8, 10, 11]
    assert archive.parts["train"].labels.tolist() == [0] * 3 + [1] * 4 + [2] * 3
    assert archive.parts["test"].rows.tolist() == [0, 2]
    facts = small("birdsnap")
    with pytest.raises(ManifestError, match="number of train images should be 9, found 7"):
        check_published(facts, protocol_splits(facts, archive))
    reduced = without_missing(facts, archive)
    # 3 of 12 validate, so of 10 it is 2.5, and 2 by rounding to even.
    assert reduced.sizes == Sizes(train=8, validation=2, test=2)
    check_published(reduced, protocol_splits(reduced, archive))


def test_nothing_missing_changes_nothing(write, small):
    archive = birdsnap.read(write("birdsnap"), allow_missing=True)
    assert archive.missing == {}
    assert without_missing(small("birdsnap"), archive) == small("birdsnap")


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("test_images.txt", "Blue_Jay/9.jpg", r"test_images.txt names Blue_Jay/9.jpg, which"),
        ("images.txt", "u\t0\tBlue_Jay/9.jpg\t77", r"images.txt names the class '77'"),
        ("images.txt", "u\t0\tBlue_Jay/9.jpg", r"the line .u 0 Blue_Jay/9.jpg.: expected 10"),
    ],
)
def test_lists_that_contradict_each_other(file, line, message, write):
    folder = write("birdsnap")
    with (folder / file).open("a") as lines:
        lines.write(f"{line}\n")
    with pytest.raises(DatasetError, match=message):
        birdsnap.read(folder)


def test_a_table_without_its_column(write):
    folder = write("birdsnap")
    (folder / "species.txt").write_text("id\tname\n1\tBlue Jay\n")
    with pytest.raises(DatasetError, match=r"species.txt has no column 'common'"):
        birdsnap.read(folder)
    (folder / "species.txt").write_text("")
    with pytest.raises(DatasetError, match=r"species.txt has no column 'id'"):
        birdsnap.read(folder)
