"""Each archive in its true format: classes, labels and images as they were written."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from headstart.datasets.archives import READERS, published_facts
from headstart.errors import DatasetError, DatasetMissingError


def read(key: str, folder: Path):
    return READERS[key](folder)


def listed(split, folder: Path) -> list[tuple[str, int]]:
    """Give (path seen from the folder, label) of each image."""
    return [
        (Path(split.images.where(row)).relative_to(folder).as_posix(), int(label))
        for row, label in enumerate(split.labels)
    ]


def test_there_is_a_reader_for_each_dataset_of_the_study():
    assert list(READERS) == list(published_facts())


@pytest.mark.parametrize("key", READERS)
def test_every_part_is_read_in_order_and_decodes(key, write, small):
    raw = read(key, write(key))
    assert set(raw.parts) == set(small(key).parts)
    assert len(raw.classes) == len(set(raw.classes)) == small(key).n_classes
    assert raw.missing == {}
    for split in raw.parts.values():
        assert len(split) == len(split.images) == len(split.rows) > 0
        assert split.labels.dtype == split.rows.dtype == np.int64
        np.testing.assert_array_equal(split.rows, np.arange(len(split)))
        assert split.images.decode(len(split) - 1).mode == "RGB"


@pytest.mark.parametrize("key", READERS)
def test_an_empty_folder_says_what_was_expected(key, tmp_path):
    with pytest.raises(DatasetMissingError, match=r"is not in .*: expected .* unpack"):
        read(key, tmp_path)
    with pytest.raises(DatasetMissingError, match=r"is not in .*: expected .* unpack"):
        read(key, tmp_path / "none")


@pytest.mark.parametrize(
    ("key", "inside"),
    [
        ("food101", "food-101"),
        ("birdsnap", "birdsnap"),
        ("sun397", "SUN397"),
        ("stanford_cars", "stanford_cars"),
        ("fgvc_aircraft", "fgvc-aircraft-2013b"),
        ("dtd", "dtd"),
        ("oxford_pets", "oxford-iiit-pet"),
        ("caltech101", "caltech-101"),
        ("flowers102", "flowers-102"),
    ],
)
def test_the_folder_above_will_do(key, inside, write, tmp_path):
    folder = write(key)
    (tmp_path / "above").mkdir()
    folder.rename(tmp_path / "above" / inside)
    assert read(key, tmp_path / "above").parts


@pytest.mark.parametrize(
    ("key", "inside"),
    [
        ("cifar10", "cifar-10-batches-py"),
        ("cifar100", "cifar-100-python"),
        ("voc2007", "VOCdevkit"),
        ("voc2007", "VOCdevkit/VOC2007"),
    ],
)
def test_the_folder_inside_will_do(key, inside, write):
    assert read(key, write(key) / inside).parts


@pytest.mark.parametrize(
    ("key", "gone", "message"),
    [
        ("food101", "images/beignets/*.jpg", r"4 of the 12 images .*train.txt.*beignets/100.jpg"),
        ("sun397", "c/church/indoor/*.jpg", r"4 of the 12 .*Training_01.txt.*indoor/sun_a.jpg"),
        ("stanford_cars", "cars_test/0000*.jpg", r"6 of the 6 .*withlabels.mat.*test/00001.jpg"),
        ("fgvc_aircraft", "data/images/0000001.jpg", r"1 of the 6 .*train.txt.*0000001.jpg"),
        ("voc2007", "VOCdevkit/VOC2007/JPEGImages/1*.jpg", r"5 of the 5 .*val.txt.*100000.jpg"),
        ("dtd", "images/banded/*5.jpg", r"1 of the 6 .*test1.txt.*banded_0005.jpg"),
        ("oxford_pets", "images/Bengal_6.jpg", r"1 of the 6 .*/test.txt.*Bengal_6.jpg"),
        ("flowers102", "jpg/image_0000*.jpg", r"6 of the 6 .*setid.mat.*image_00001.jpg"),
    ],
)
def test_missing_images_are_counted_and_the_first_is_named(key, gone, message, write):
    folder = write(key)
    for path in folder.glob(gone):
        path.unlink()
    with pytest.raises(DatasetMissingError, match=message):
        read(key, folder)


@pytest.mark.parametrize(
    ("key", "gone"),
    [
        ("food101", "meta/test.txt"),
        ("cifar10", "cifar-10-batches-py/data_batch_3"),
        ("cifar100", "cifar-100-python/test"),
        ("birdsnap", "species.txt"),
        ("sun397", "Testing_01.txt"),
        ("stanford_cars", "devkit/cars_train_annos.mat"),
        ("fgvc_aircraft", "data/images_variant_val.txt"),
        ("voc2007", "VOCdevkit/VOC2007/ImageSets/Main/test.txt"),
        ("dtd", "labels/val1.txt"),
        ("oxford_pets", "annotations/test.txt"),
        ("flowers102", "setid.mat"),
    ],
)
def test_a_missing_list_is_named(key, gone, write):
    folder = write(key)
    (folder / gone).unlink()
    with pytest.raises(DatasetMissingError, match=rf"{gone} is not there: unpack all"):
        read(key, folder)


@pytest.mark.parametrize(
    ("key", "path", "line", "message"),
    [
        ("food101", "meta/test.txt", "ramen/1", r"test.txt names the class 'ramen', .* 3"),
        ("fgvc_aircraft", "data/images_variant_val.txt", "1 A380", "names the class 'A380'"),
        ("fgvc_aircraft", "data/images_variant_val.txt", "1", "has the line '1': expected 2"),
        ("dtd", "labels/test1.txt", "woven/woven_0001.jpg", "names the class 'woven'"),
        ("oxford_pets", "annotations/test.txt", "Bengal_9 2 1 3", "Bengal_9 the class 2, which"),
        ("oxford_pets", "annotations/test.txt", "Birman_9 4 1 3", "the class 4, which is none"),
        ("oxford_pets", "annotations/test.txt", "Bengal_9 0 1 3", "number 0: expected whole"),
        ("oxford_pets", "annotations/test.txt", "Bengal_9 x 1 3", "number nan: expected whole"),
        ("oxford_pets", "annotations/trainval.txt", "Birman_9 5 1 3", "has no image of class 4"),
        ("oxford_pets", "annotations/test.txt", "Bengal_9", "'Bengal_9': expected 4 fields"),
    ],
)
def test_a_list_that_names_what_there_is_not(key, path, line, message, write):
    folder = write(key)
    with (folder / path).open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(DatasetError, match=message):
        read(key, folder)


def test_a_list_that_is_no_text(write):
    folder = write("food101")
    (folder / "meta" / "test.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match=r"test.txt is not text in UTF-8: fetch a fresh copy"):
        read("food101", folder)


def test_lines_of_another_system_are_read(write):
    folder = write("dtd")
    file = folder / "labels" / "train1.txt"
    file.write_bytes(b"\r\n".join(file.read_bytes().splitlines()) + b"\r\n\r\n")
    assert len(read("dtd", folder).parts["train"]) == 6


def test_food101(write):
    folder = write("food101")
    raw = read("food101", folder)
    assert raw.classes == ("apple_pie", "beignets", "waffles")
    assert listed(raw.parts["train"], folder)[3:5] == [
        ("images/apple_pie/103.jpg", 0),
        ("images/beignets/100.jpg", 1),
    ]
    assert listed(raw.parts["test"], folder)[-1] == ("images/waffles/201.jpg", 2)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"x" * 200, b"MATLAB 7.3".ljust(124) + b"\0\2IM"]
)
def test_a_file_that_is_not_matlabs(content, write):
    folder = write("flowers102")
    (folder / "imagelabels.mat").write_bytes(content)
    with pytest.raises(DatasetError, match=r"imagelabels.mat is not a MATLAB file .*fresh copy"):
        read("flowers102", folder)


def test_a_matlab_file_without_the_variable(write):
    folder = write("flowers102")
    savemat(folder / "setid.mat", {"trnid": [[1, 2]], "tstid": [[3]]})
    with pytest.raises(DatasetError, match=r"setid.mat has no variable 'valid'"):
        read("flowers102", folder)


def test_a_cut_matlab_file(write):
    folder = write("stanford_cars")
    file = folder / "devkit" / "cars_train_annos.mat"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(DatasetError, match=r"cars_train_annos.mat is not a MATLAB file"):
        read("stanford_cars", folder)


def test_fgvc_aircraft_variants_hold_blanks_and_slashes(write):
    folder = write("fgvc_aircraft")
    raw = read("fgvc_aircraft", folder)
    assert raw.classes == ("707-320", "Cessna 172", "F/A-18")
    assert raw.parts["validation"].labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert listed(raw.parts["test"], folder)[-1] == ("data/images/0000221.jpg", 2)


def test_dtd_reads_the_first_split_only(write):
    folder = write("dtd")
    shutil.copy(folder / "labels" / "val1.txt", folder / "labels" / "train2.txt")
    raw = read("dtd", folder)
    assert raw.classes == ("banded", "blotchy", "zigzagged")
    names = [Path(path).stem for path, _ in listed(raw.parts["train"], folder)]
    assert names == [f"{c}_{n:04d}" for c in raw.classes for n in (1, 2)]


def test_oxford_pets_names_keep_their_case(write):
    folder = write("oxford_pets")
    raw = read("oxford_pets", folder)
    assert raw.classes == ("Abyssinian", "american_pit_bull_terrier", "Bengal")
    pairs = listed(raw.parts["test"], folder)
    assert pairs[2] == ("images/american_pit_bull_terrier_5.jpg", 1)


def test_caltech101_counts_the_background_and_leaves_out_what_is_no_image(write):
    folder = write("caltech101")
    (folder / "101_ObjectCategories" / ".DS_Store").mkdir()
    raw = read("caltech101", folder)
    assert raw.classes == ("BACKGROUND_Google", "Faces", "accordion", "airplanes")
    assert raw.parts["all"].labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5
    assert listed(raw.parts["all"], folder)[5][0] == "101_ObjectCategories/Faces/image_0001.jpg"


def test_caltech101_with_the_archive_inside_still_packed(write, tmp_path):
    folder = tmp_path / "data"
    packed = folder / "caltech-101" / "101_ObjectCategories.tar.gz"
    packed.parent.mkdir(parents=True)
    packed.write_bytes(b"")
    message = (
        r"caltech-101/101_ObjectCategories.tar.gz is not unpacked: unpack it in .*/caltech-101"
    )
    with pytest.raises(DatasetMissingError, match=message):
        read("caltech101", folder)
    (write("caltech101") / "101_ObjectCategories").rename(packed.parent / "101_ObjectCategories")
    assert len(read("caltech101", folder).parts["all"]) == 20


def test_flowers102_labels_and_images_count_from_one(write):
    folder = write("flowers102")
    raw = read("flowers102", folder)
    assert raw.classes == ("1", "2", "3")
    assert listed(raw.parts["train"], folder)[:4] == [
        ("jpg/image_00001.jpg", 0),
        ("jpg/image_00002.jpg", 1),
        ("jpg/image_00003.jpg", 2),
        ("jpg/image_00004.jpg", 0),
    ]
    assert listed(raw.parts["test"], folder)[-1] == ("jpg/image_00021.jpg", 2)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2], "class number 0: expected whole numbers from 1;"),
        ([1, 1.5, 2], "class number 1.5: expected whole numbers from 1;"),
        ([1, 2, 3], "image number 4: expected whole numbers from 1 to 3;"),
    ],
)
def test_flowers102_numbers_that_cannot_be(labels, message, write):
    folder = write("flowers102")
    savemat(folder / "imagelabels.mat", {"labels": np.array([labels])})
    with pytest.raises(DatasetError, match=message):
        read("flowers102", folder)
