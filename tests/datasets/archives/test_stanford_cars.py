"""Stanford Cars: the creators' two forms, and what is made of them elsewhere."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from headstart.datasets.archives import stanford_cars
from headstart.errors import DatasetError, DatasetMissingError


def listed(split, folder: Path) -> list[tuple[str, int]]:
    """Give (path seen from the folder, label) of each image."""
    return [
        (Path(split.images.where(row)).relative_to(folder).as_posix(), int(label))
        for row, label in enumerate(split.labels)
    ]


def test_labels_count_from_one(write):
    folder = write("stanford_cars")
    raw = stanford_cars.read(folder)
    assert raw.classes[2] == "Ram C/V Cargo Van Minivan 2012"
    assert raw.parts["train"].labels.tolist() == [2, 0, 1] * 4
    assert listed(raw.parts["test"], folder)[0] == ("cars_test/00001.jpg", 2)


def test_the_labels_of_the_test_images_may_lie_in_devkit(write):
    folder = write("stanford_cars")
    file = folder / "cars_test_annos_withlabels.mat"
    file.rename(folder / "devkit" / file.name)
    assert len(stanford_cars.read(folder).parts["test"]) == 6
    # This file is in devkit as distributed, without labels.
    (folder / "devkit" / file.name).rename(folder / "devkit" / "cars_test_annos.mat")
    with pytest.raises(DatasetMissingError, match=r"withlabels.mat is not there: the labels of"):
        stanford_cars.read(folder)


def test_annotations_without_a_class(write):
    folder = write("stanford_cars")
    records = np.array([[("00001.jpg",)]], dtype=[("fname", object)])
    savemat(folder / "cars_test_annos_withlabels.mat", {"annotations": records})
    with pytest.raises(DatasetError, match="has no 'class' and 'fname' for each image"):
        stanford_cars.read(folder)


def test_a_class_number_over_the_classes(write):
    folder = write("stanford_cars")
    savemat(
        folder / "devkit" / "cars_meta.mat",
        {"class_names": np.array([["AM General Hummer SUV 2000", "Audi"]], dtype=object)},
    )
    with pytest.raises(DatasetError, match="class number 3: expected whole numbers from 1 to 2"):
        stanford_cars.read(folder)


def test_a_copy_with_each_folder_in_itself(write):
    folder = write("stanford_cars")
    expected = stanford_cars.read(folder)
    for name in ("cars_train", "cars_test"):
        (folder / name).rename(folder / "moved")
        (folder / name).mkdir()
        (folder / "moved").rename(folder / name / name)
    (folder / "car_devkit").mkdir()
    (folder / "devkit").rename(folder / "car_devkit" / "devkit")
    raw = stanford_cars.read(folder)
    assert raw.classes == expected.classes
    for part, split in raw.parts.items():
        deeper = [
            (path.replace("/", f"/cars_{part}/"), label)
            for path, label in listed(expected.parts[part], folder)
        ]
        assert listed(split, folder) == deeper


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
    raw = stanford_cars.read(whole)
    assert raw.classes == ("AM General Hummer SUV 2000", "Audi S6 2011", "Ram C/V 2012")
    assert listed(raw.parts["train"], whole) == [
        ("car_ims/000001.jpg", 0),
        ("car_ims/000003.jpg", 1),
        ("car_ims/000006.jpg", 2),
    ]
    assert listed(raw.parts["test"], whole) == [
        ("car_ims/000002.jpg", 0),
        ("car_ims/000004.jpg", 1),
        ("car_ims/000005.jpg", 2),
    ]
    for split in raw.parts.values():
        assert split.rows.tolist() == [0, 1, 2]


def test_an_image_that_is_not_in_the_one_folder(whole):
    (whole / "car_ims" / "000004.jpg").unlink()
    message = r"1 of the 3 images that .*cars_annos.mat lists are missing or empty, .*000004.jpg"
    with pytest.raises(DatasetMissingError, match=message):
        stanford_cars.read(whole)


@pytest.mark.parametrize("without", ["devkit/cars_meta.mat", "cars_test_annos_withlabels.mat"])
def test_annotations_of_other_images_are_not_taken(without, write):
    # A copy on Kaggle is like this.
    folder = write("stanford_cars")
    (folder / without).unlink()
    write_whole(folder)
    message = (
        r"cars_annos.mat numbers the images of car_ims, which is not in .*; those of cars_train "
        r"and cars_test have other numbers: fetch car_ims.tgz, or for cars_train and cars_test "
        r"car_devkit.tgz and cars_test_annos_withlabels.mat"
    )
    with pytest.raises(DatasetMissingError, match=message):
        stanford_cars.read(folder)


def test_with_both_annotations_the_halves_are_read(write):
    folder = write("stanford_cars")
    write_whole(folder)
    assert len(stanford_cars.read(folder).parts["train"]) == 12


@pytest.mark.parametrize(
    ("tests", "labels", "message"),
    [
        ((0, 1, 2), (1, 2, 3), r"value of 'test' 2: expected whole numbers from 0 to 1;"),
        ((0, 1, 1), (1, 2, 4), r"class number 4: expected whole numbers from 1 to 3;"),
    ],
)
def test_numbers_that_cannot_be(tests, labels, message, whole):
    write_whole(whole, tests, labels)
    with pytest.raises(DatasetError, match=rf"cars_annos.mat has the {message}"):
        stanford_cars.read(whole)


def test_one_file_of_annotations_without_parts(whole):
    records = np.array([[("car_ims/000001.jpg", 1)]], [("relative_im_path", "O"), ("class", "O")])
    names = np.array([["Audi", "Ram"]], dtype=object)
    savemat(whole / "cars_annos.mat", {"annotations": records, "class_names": names})
    message = r"cars_annos.mat has no 'class', 'relative_im_path' and 'test' for each image"
    with pytest.raises(DatasetError, match=message):
        stanford_cars.read(whole)
