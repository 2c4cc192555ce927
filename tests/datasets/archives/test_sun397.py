"""SUN397: two archives that people unpack in different ways, and classes known by their path."""

from pathlib import Path

import pytest

from headstart.datasets.archives import sun397
from headstart.errors import DatasetError, DatasetMissingError

LISTS = ("Training_01.txt", "Testing_01.txt")


def listed(split, folder: Path) -> list[tuple[str, int]]:
    """Give (path seen from the folder, label) of each image."""
    return [
        (Path(split.images.where(row)).relative_to(folder).as_posix(), int(label))
        for row, label in enumerate(split.labels)
    ]


def test_the_whole_path_is_the_class(write):
    folder = write("sun397")
    raw = sun397.read(folder)
    # By the last part alone, the two `indoor` would be one class.
    assert raw.classes == ("/a/abbey", "/c/church/indoor", "/s/swimming_pool/indoor")
    assert listed(raw.parts["test"], folder) == [
        ("a/abbey/sun_x.jpg", 0),
        ("a/abbey/sun_y.jpg", 0),
        ("c/church/indoor/sun_x.jpg", 1),
        ("c/church/indoor/sun_y.jpg", 1),
        ("s/swimming_pool/indoor/sun_x.jpg", 2),
        ("s/swimming_pool/indoor/sun_y.jpg", 2),
    ]


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


@pytest.mark.parametrize(
    ("images", "lists"),
    [
        # The lists make no folder: unpacked beside SUN397, into it, or into one that was made.
        ("SUN397", "."),
        ("SUN397", "SUN397"),
        ("SUN397", "Partitions"),
        ("SUN397", "SUN397/Partitions"),
        (".", "Partitions"),
        ("SUN397/SUN397", "SUN397/Partitions"),
    ],
)
def test_images_and_lists_are_found_apart(images, lists, write, tmp_path):
    folder = tmp_path / "data"
    unpack(write("sun397"), folder, images, lists)
    raw = sun397.read(folder)
    assert len(raw.classes) == 3
    assert listed(raw.parts["train"], folder / images)[4] == ("c/church/indoor/sun_a.jpg", 1)
    assert listed(raw.parts["test"], folder / images)[0] == ("a/abbey/sun_x.jpg", 0)


def test_the_names_of_the_classes_are_in_either_archive(write, tmp_path):
    folder = tmp_path / "data"
    unpack(write("sun397"), folder, "SUN397", ".")
    (folder / "ClassName.txt").unlink()
    assert len(sun397.read(folder).parts["train"]) == 12


def test_without_the_archive_of_the_lists(write, tmp_path):
    # What torchvision downloads.
    folder = tmp_path / "data"
    unpack(write("sun397"), folder, "SUN397", "SUN397")
    for name in LISTS:
        (folder / "SUN397" / name).unlink()
    message = (
        r"the splits of SUN397 are not in .*/data: expected Training_01.txt there, or in SUN397 or "
        r"Partitions or SUN397/Partitions; .* unpack Partitions.zip \(vision.princeton.edu/.*\) in"
    )
    with pytest.raises(DatasetMissingError, match=message):
        sun397.read(folder)


def test_without_the_archive_of_the_images(write, tmp_path):
    folder = tmp_path / "data"
    unpack(write("sun397"), folder, "elsewhere", "Partitions")
    message = (
        r"the images of SUN397 are not in .*/data: expected the classes of .*Partitions/"
        r"ClassName.txt as folders there, or in SUN397 or SUN397/SUN397; unpack SUN397.tar.gz in"
    )
    with pytest.raises(DatasetMissingError, match=message):
        sun397.read(folder)


def test_an_image_of_no_class(write):
    folder = write("sun397")
    with (folder / "Testing_01.txt").open("a") as file:
        file.write("/c/church/sun_x.jpg\n")
    with pytest.raises(DatasetError, match="class '/c/church', which is none of the dataset's 3"):
        sun397.read(folder)
