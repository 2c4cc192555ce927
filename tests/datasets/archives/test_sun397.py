"""SUN397: two archives that people unpack in different ways, and classes known by their path."""

from pathlib import Path

import pytest

from headstart.datasets.archives.readers import read_sun397
from hub_files import named
from refusals import refused

LISTS = ("Training_01.txt", "Testing_01.txt")


def unpack(written: Path, folder: Path, images: str, lists: str) -> None:
    """Place what the archive of the images holds, and what that of the lists holds."""
    for place in (folder / images, folder / lists):
        place.mkdir(parents=True, exist_ok=True)
    names = (written / "ClassName.txt").read_bytes()
    for name in ("a", "c", "s"):
        (written / name).rename(folder / images / name)
    for name in LISTS:
        (written / name).rename(folder / lists / name)
    for place in (images, lists):
        (folder / place / "ClassName.txt").write_bytes(names)


@pytest.mark.parametrize(("images", "lists"), [
    # The lists make no folder: unpacked beside SUN397, into it, or into one that was made.
    ("SUN397", "."),
    ("SUN397", "SUN397"),
    ("SUN397", "Partitions"),
    ("SUN397", "SUN397/Partitions"),
    (".", "Partitions"),
    ("SUN397/SUN397", "SUN397/Partitions"),
])  # fmt: skip
def test_images_and_lists_are_found_apart(images, lists, write, tmp_path):
    folder = tmp_path / "data"
    unpack(write("sun397"), folder, images, lists)
    raw = read_sun397(folder)
    assert len(raw.classes) == 3
    assert named(raw.parts["train"], folder / images)[4] == ("c/church/indoor/sun_a.jpg", 1)
    assert named(raw.parts["test"], folder / images)[0] == ("a/abbey/sun_x.jpg", 0)


def test_the_names_of_the_classes_are_in_either_archive(write, tmp_path):
    folder = tmp_path / "data"
    unpack(write("sun397"), folder, "SUN397", ".")
    (folder / "ClassName.txt").unlink()
    assert len(read_sun397(folder).parts["train"]) == 12
    # Without the archive of the lists: what torchvision downloads.
    for name in LISTS:
        (folder / name).unlink()
    with refused("dataset.file_missing", file="Training_01.txt"):
        read_sun397(folder)


def test_without_the_archive_of_the_images(write, tmp_path):
    folder = tmp_path / "data"
    unpack(write("sun397"), folder, "elsewhere", "Partitions")
    with refused("dataset.file_missing", file="SUN397.tar.gz"):
        read_sun397(folder)
