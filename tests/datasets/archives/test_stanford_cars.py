"""Stanford Cars: the creators' two forms, and what is made of them elsewhere."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from headstart.datasets.archives.matlab import read_stanford_cars
from refusals import refused


def join_names(split, folder: Path) -> list[tuple[str, int]]:
    """Give (path seen from the folder, label) of each image."""
    return [
        (Path(split.images.where(row)).relative_to(folder).as_posix(), int(label))
        for row, label in enumerate(split.labels)
    ]


def test_labels_count_from_one(write):
    folder = write("stanford_cars")
    raw = read_stanford_cars(folder)
    assert raw.classes[2] == "Ram C/V Cargo Van Minivan 2012"
    assert raw.parts["train"].labels.tolist() == [2, 0, 1] * 4
    assert join_names(raw.parts["test"], folder)[0] == ("cars_test/00001.jpg", 2)


def test_the_labels_of_the_test_images_may_lie_in_devkit(write):
    folder = write("stanford_cars")
    file = folder / "cars_test_annos_withlabels.mat"
    file.rename(folder / "devkit" / file.name)
    assert len(read_stanford_cars(folder).parts["test"]) == 6
    # This file is in devkit as distributed, without labels.
    (folder / "devkit" / file.name).rename(folder / "devkit" / "cars_test_annos.mat")
    with refused("dataset.file_missing", file=file.name):
        read_stanford_cars(folder)


def test_annotations_without_a_class(write):
    folder = write("stanford_cars")
    records = np.array([[("00001.jpg",)]], dtype=[("fname", object)])
    savemat(folder / "cars_test_annos_withlabels.mat", {"annotations": records})
    with refused("dataset.archive_invalid", expected=("class", "fname")):
        read_stanford_cars(folder)


def test_a_class_number_over_the_classes(write):
    folder = write("stanford_cars")
    savemat(
        folder / "devkit" / "cars_meta.mat",
        {"class_names": np.array([["AM General Hummer SUV 2000", "Audi"]], dtype=object)},
    )
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
            for path, label in join_names(expected.parts[part], folder)
        ]
        assert join_names(split, folder) == deeper


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
    assert join_names(raw.parts["train"], whole) == [
        ("car_ims/000001.jpg", 0),
        ("car_ims/000003.jpg", 1),
        ("car_ims/000006.jpg", 2),
    ]
    assert join_names(raw.parts["test"], whole) == [
        ("car_ims/000002.jpg", 0),
        ("car_ims/000004.jpg", 1),
        ("car_ims/000005.jpg", 2),
    ]
    for split in raw.parts.values():
        assert split.rows.tolist() == [0, 1, 2]


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
