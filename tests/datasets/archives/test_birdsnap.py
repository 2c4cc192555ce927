"""Birdsnap: lists that stay, images that go."""

import pytest

from headstart.datasets.archives import check_published, protocol_splits, without_missing
from headstart.datasets.archives.readers import read_birdsnap
from headstart.files import name_in_text
from headstart.spec import Sizes
from refusals import refused

# The byte e4, an a with two dots in Latin-1, as Python has it in the name of a file.
IN_LATIN_1 = "Blue_J\udce4y"


def test_images_may_lie_in_images(write, small):
    folder = write("birdsnap")
    (folder / "download" / "images").rename(folder / "images")
    (folder / "download").rmdir()
    raw = read_birdsnap(folder, allow_missing=True)
    assert (len(raw.parts["train"]), raw.missing) == (12, {})
    assert without_missing(small("birdsnap"), raw) == small("birdsnap")


def test_images_that_are_gone_are_counted_and_refused(incomplete):
    """An empty file counts as gone."""
    (incomplete / "download" / "images" / "Blue_Jay" / "203.jpg").write_bytes(b"")
    missing = {"train": 3, "test": 1}
    with refused("dataset.images_missing", n=4, missing=missing) as error:
        read_birdsnap(incomplete)
    assert error.value.values["first"].endswith("Acadian_Flycatcher/3.jpg")
    assert read_birdsnap(incomplete, allow_missing=True).missing == missing


def test_images_that_are_gone_may_be_accepted_and_stay_counted(incomplete, small):
    raw = read_birdsnap(incomplete, allow_missing=True)
    assert raw.missing == {"train": 2, "test": 1}
    # A row is the place in the whole list, gone images included.
    assert raw.parts["train"].rows.tolist() == [0, 1, 3, 4, 5, 6, 7, 8, 10, 11]
    assert raw.parts["train"].labels.tolist() == [0] * 3 + [1] * 4 + [2] * 3
    assert raw.parts["test"].rows.tolist() == [0, 2]
    facts = small("birdsnap")
    with refused("dataset.manifest", what="number of train images", expected=9, found=7):
        check_published(facts, protocol_splits(facts, raw))
    reduced = without_missing(facts, raw)
    # 3 of 12 validate, so of 10 it is 2.5, and 2 by rounding to even.
    assert reduced.sizes == Sizes(train=8, validation=2, test=2)
    check_published(reduced, protocol_splits(reduced, raw))


@pytest.fixture
def in_latin_1(write):
    """Lists of which one is not UTF-8, with a folder that is named in the same bytes."""
    folder = write("birdsnap")
    images = folder / "download" / "images"
    (images / "Blue_Jay").rename(images / IN_LATIN_1)
    for name in ("species.txt", "images.txt", "test_images.txt"):
        content = (folder / name).read_bytes()
        content = content.replace(b"Blue_Jay", b"Blue_J\xe4y").replace(b"Blue Jay", b"Blue J\xe4y")
        (folder / name).write_bytes(content)
    return folder


def test_lists_that_are_not_utf8(in_latin_1):
    raw = read_birdsnap(in_latin_1)
    assert raw.classes == ("Acadian Flycatcher", "Cooper's Hawk", "Blue Jäy")
    assert raw.missing == {}
    train = raw.parts["train"]
    assert train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert train.images.where(8).endswith(name_in_text(f"/{IN_LATIN_1}/201.jpg"))
    assert train.images.decode(8).size == (16, 16)


def test_a_name_in_utf8_stays_as_it_is(write):
    folder = write("birdsnap")
    (folder / "species.txt").write_text("id\tcommon\n1\tA\n2\tKāhuli\n31\tC\n", encoding="utf-8")
    assert read_birdsnap(folder).classes == ("A", "Kāhuli", "C")


def test_messages_are_legible_whatever_the_lists_are_written_in(in_latin_1):
    images = in_latin_1 / "download" / "images"
    (images / IN_LATIN_1 / "201.jpg").unlink()
    with refused("dataset.images_missing") as error:
        read_birdsnap(in_latin_1)
    assert error.value.values["first"].endswith("Blue_Jäy/201.jpg")
    with (in_latin_1 / "test_images.txt").open("ab") as lines:
        lines.write(b"Blue_J\xe4y/9.jpg\n")
    with refused("dataset.archive_invalid", found="Blue_Jäy/9.jpg"):
        read_birdsnap(in_latin_1)
    with (in_latin_1 / "species.txt").open("ab") as lines:
        lines.write(b"J\xe4y\n")
    with refused("dataset.archive_invalid", found="Jäy"):
        read_birdsnap(in_latin_1)
