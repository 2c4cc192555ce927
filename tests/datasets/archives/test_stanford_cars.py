"""Stanford Cars: the creators' two forms, and what is made of them elsewhere."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from headstart.datasets.archives.readers import read_stanford_cars
from hub_files import named
from refusals import refused


def test_the_labels_of_the_test_images_may_lie_in_devkit(write):
    folder = write("stanford_cars")
    file = folder / "cars_test_annos_withlabels.mat"
    file.rename(folder / "devkit" / file.name)
    assert len(read_stanford_cars(folder).parts["test"]) == 6
    # This file is in devkit as distributed, without labels.
    (folder / "devkit" / file.name).rename(folder / "devkit" / "cars_test_annos.mat")
    with refused("dataset.file_missing", file=file.name):
        read_stanford_cars(folder)


def test_annotations_that_are_invalid(write):
    folder = write("stanford_cars")
    file = folder / "cars_test_annos_withlabels.mat"
    whole = file.read_bytes()
    file.write_bytes(whole[:-40])
    with refused("dataset.archive_invalid", file=file.name):
        read_stanford_cars(folder)
    records = np.array([[("00001.jpg",)]], dtype=[("fname", object)])
    savemat(file, {"annotations": records})
    with refused("dataset.archive_invalid", expected=("class", "fname")):
        read_stanford_cars(folder)
    file.write_bytes(whole)
    names = np.array([["AM General Hummer SUV 2000", "Audi"]], dtype=object)
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names})
    with refused("dataset.archive_invalid", found="3", expected="whole numbers from 1 to 2"):
        read_stanford_cars(folder)


def test_a_copy_with_each_folder_in_itself(write):
    folder = write("stanford_cars")
    expected = read_stanford_cars(folder)
    for name in ("cars_train", "cars_test"):
        (folder / name).rename(folder / "moved")
        (folder / name).mkdir()
        (folder / "moved").rename(folder / name / name)
    (folder / "car_devkit").mkdir()
    (folder / "devkit").rename(folder / "car_devkit" / "devkit")
    raw = read_stanford_cars(folder)
    assert raw.classes == expected.classes
    for part, split in raw.parts.items():
        deeper = [
            (path.replace("/", f"/cars_{part}/"), label)
            for path, label in named(expected.parts[part], folder)
        ]
        assert named(split, folder) == deeper


def write_whole(folder: Path, tests=(0, 1, 0, 1, 1, 0), labels=(1, 1, 2, 2, 3, 3)) -> None:
    """Write cars_annos.mat as MATLAB does: paths, boxes, classes from 1, and 1 for test images."""
    boxes = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"]
    fields = ["relative_im_path", *boxes, "class", "test"]
    records = np.zeros((1, len(tests)), dtype=[(field, object) for field in fields])
    for row, (test, label) in enumerate(zip(tests, labels, strict=True)):
        box = (np.uint16([[300]]),) * 4
        name = f"car_ims/{row + 1:06d}.jpg"
        records[0, row] = (name, *box, np.uint8([[label]]), np.uint8([[test]]))
    names = np.array([["AM General Hummer SUV 2000", "Audi S6 2011", "Ram C/V 2012"]], dtype=object)
    content = {"annotations": records, "class_names": names}
    savemat(folder / "cars_annos.mat", content, do_compression=True)


@pytest.fixture
def whole(write, tmp_path) -> Path:
    """Give the form with all images in one folder."""
    folder = tmp_path / "whole"
    folder.mkdir()
    images = write("stanford_cars") / "cars_train"
    (folder / "car_ims").mkdir()
    for row in range(6):
        (images / f"{row + 1:05d}.jpg").rename(folder / "car_ims" / f"{row + 1:06d}.jpg")
    write_whole(folder)
    return folder


def test_all_images_in_one_folder(whole):
    raw = read_stanford_cars(whole)
    assert raw.classes == ("AM General Hummer SUV 2000", "Audi S6 2011", "Ram C/V 2012")
    for part, numbers in (("train", (1, 3, 6)), ("test", (2, 4, 5))):
        expected = [(f"car_ims/{n:06d}.jpg", label) for label, n in enumerate(numbers)]
        assert named(raw.parts[part], whole) == expected
        assert raw.parts[part].rows.tolist() == [0, 1, 2]


def test_an_image_that_is_not_in_the_one_folder(whole):
    (whole / "car_ims" / "000004.jpg").unlink()
    with refused("dataset.images_missing", n=1, of=3):
        read_stanford_cars(whole)


@pytest.mark.parametrize("without", ["devkit/cars_meta.mat", "cars_test_annos_withlabels.mat"])
def test_annotations_of_other_images_are_not_taken(without, write):
    # A copy on Kaggle is like this.
    folder = write("stanford_cars")
    (folder / without).unlink()
    write_whole(folder)
    with refused("dataset.file_missing", file="car_ims"):
        read_stanford_cars(folder)


def test_with_both_annotations_the_halves_are_read(write):
    folder = write("stanford_cars")
    write_whole(folder)
    assert len(read_stanford_cars(folder).parts["train"]) == 12


@pytest.mark.parametrize(("tests", "labels", "found", "expected"), [
    ((0, 1, 2), (1, 2, 3), "2", "whole numbers from 0 to 1"),
    ((0, 1, 1), (1, 2, 4), "4", "whole numbers from 1 to 3"),
])  # fmt: skip
def test_numbers_that_are_invalid(tests, labels, found, expected, whole):
    write_whole(whole, tests, labels)
    file = "cars_annos.mat"
    with refused("dataset.archive_invalid", file=file, found=found, expected=expected):
        read_stanford_cars(whole)


def test_one_file_of_annotations_without_parts(whole):
    records = np.array([[("car_ims/000001.jpg", 1)]], [("relative_im_path", "O"), ("class", "O")])
    names = np.array([["Audi", "Ram"]], dtype=object)
    savemat(whole / "cars_annos.mat", {"annotations": records, "class_names": names})
    fields = ("class", "relative_im_path", "test")
    with refused("dataset.archive_invalid", file="cars_annos.mat", expected=fields):
        read_stanford_cars(whole)
