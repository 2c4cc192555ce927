"""Each archive in its true format: classes, labels and images as they were written."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from headstart.datasets.archives import READERS, VOC_CLASSES, published_facts
from headstart.datasets.archives.readers import read_sun397, read_voc2007
from headstart.metrics import voc_map_11point
from hub_files import named
from refusals import refused

# As the creators write them and in their order.
CLASSES = {
    "food101": ("apple_pie", "beignets", "waffles"),
    "birdsnap": ("Acadian Flycatcher", "Cooper's Hawk", "Blue Jay"),
    # By the last part alone, the two `indoor` would be one class.
    "sun397": ("/a/abbey", "/c/church/indoor", "/s/swimming_pool/indoor"),
    "stanford_cars": (
        "AM General Hummer SUV 2000", "Audi S6 Sedan 2011", "Ram C/V Cargo Van Minivan 2012"),
    # Variants hold blanks and slashes.
    "fgvc_aircraft": ("707-320", "Cessna 172", "F/A-18"),
    "dtd": ("banded", "blotchy", "zigzagged"),
    # Names keep their case.
    "oxford_pets": ("Abyssinian", "american_pit_bull_terrier", "Bengal"),
    # The background counts; what is no image does not.
    "caltech101": ("BACKGROUND_Google", "Faces", "accordion", "airplanes"),
    "flowers102": ("1", "2", "3"),
}  # fmt: skip
BIRDS = "download/images"
# Where torchvision has no such images or splits to compare: (part, place) -> path, label.
IMAGES = {
    # Species are numbered, not by their order; the test list divides the images.
    "birdsnap": {
        ("train", 0): (f"{BIRDS}/Acadian_Flycatcher/1.jpg", 0),
        ("train", 8): (f"{BIRDS}/Blue_Jay/201.jpg", 2),
        ("test", 1): (f"{BIRDS}/Coopers_Hawk/100.jpg", 1)},
    "sun397": {
        ("test", 1): ("a/abbey/sun_y.jpg", 0),
        ("test", 2): ("c/church/indoor/sun_x.jpg", 1),
        ("test", 4): ("s/swimming_pool/indoor/sun_x.jpg", 2)},
    "caltech101": {
        ("all", 4): ("101_ObjectCategories/BACKGROUND_Google/image_0005.jpg", 0),
        ("all", 5): ("101_ObjectCategories/Faces/image_0001.jpg", 1)},
}  # fmt: skip


@pytest.mark.parametrize("key", CLASSES)
def test_classes_and_images_are_the_creators(key, write):
    folder, images = write(key), IMAGES.get(key, {})
    if key == "caltech101":
        (folder / "101_ObjectCategories" / ".DS_Store").mkdir()
    raw = READERS[key](folder)
    assert raw.classes == CLASSES[key]
    found = {part: named(split, folder) for part, split in raw.parts.items()}
    assert {(part, place): found[part][place] for part, place in images} == images


def test_there_is_a_reader_for_each_dataset_of_the_study():
    assert list(READERS) == list(published_facts())


@pytest.mark.parametrize("key", READERS)
def test_every_part_is_read_in_order_and_decodes(key, write, small):
    raw = READERS[key](write(key))
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
    for folder in (tmp_path, tmp_path / "none"):
        with refused("dataset.not_unpacked") as error:
            READERS[key](folder)
        assert all(marker in str(error.value) for marker in error.value.values["expected"])


@pytest.mark.parametrize(("key", "inside"), [
    ("food101", "food-101"), ("birdsnap", "birdsnap"), ("sun397", "SUN397"),
    ("stanford_cars", "stanford_cars"), ("fgvc_aircraft", "fgvc-aircraft-2013b"), ("dtd", "dtd"),
    ("oxford_pets", "oxford-iiit-pet"), ("caltech101", "caltech-101"),
    ("flowers102", "flowers-102"),
])  # fmt: skip
def test_the_folder_above_will_do(key, inside, write, tmp_path):
    folder = write(key)
    (tmp_path / "above").mkdir()
    folder.rename(tmp_path / "above" / inside)
    assert READERS[key](tmp_path / "above").parts


@pytest.mark.parametrize(("key", "inside"), [
    ("cifar10", "cifar-10-batches-py"), ("cifar100", "cifar-100-python"),
    ("voc2007", "VOCdevkit"), ("voc2007", "VOCdevkit/VOC2007"),
])  # fmt: skip
def test_the_folder_inside_will_do(key, inside, write):
    assert READERS[key](write(key) / inside).parts


@pytest.mark.parametrize(("key", "gone", "n", "of", "first"), [
    ("food101", "images/beignets/*.jpg", 4, 12, "beignets/100.jpg"),
    ("sun397", "c/church/indoor/*.jpg", 4, 12, "indoor/sun_a.jpg"),
    ("stanford_cars", "cars_test/0000*.jpg", 6, 6, "cars_test/00001.jpg"),
    ("fgvc_aircraft", "data/images/0000001.jpg", 1, 6, "0000001.jpg"),
    ("voc2007", "VOCdevkit/VOC2007/JPEGImages/1*.jpg", 5, 5, "100000.jpg"),
    ("dtd", "images/banded/*5.jpg", 1, 6, "banded_0005.jpg"),
    ("oxford_pets", "images/Bengal_6.jpg", 1, 6, "Bengal_6.jpg"),
    ("flowers102", "jpg/image_0000*.jpg", 6, 6, "image_00001.jpg"),
])  # fmt: skip
@pytest.mark.parametrize("empty", [False, True])
def test_missing_images_are_counted_and_the_first_is_named(key, gone, n, of, first, empty, write):
    folder = write(key)
    for path in folder.glob(gone):
        path.unlink()
        # What a failed download leaves.
        path.touch() if empty else None
    with refused("dataset.images_missing", n=n, of=of) as error:
        READERS[key](folder)
    assert error.value.values["first"].endswith(first)


@pytest.mark.parametrize(("key", "gone"), [
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
])  # fmt: skip
def test_a_missing_list_is_named(key, gone, write):
    folder = write(key)
    (folder / gone).unlink()
    with refused("dataset.file_missing", file=Path(gone).name):
        READERS[key](folder)


@pytest.mark.parametrize(("key", "path", "line", "values"), [
    ("food101", "meta/test.txt", b"ramen/1", {"found": "ramen"}),
    ("food101", "meta/test.txt", b"\xff\xfe\x00", {}),
    ("fgvc_aircraft", "data/images_variant_val.txt", b"1 A380", {"found": "A380"}),
    ("fgvc_aircraft", "data/images_variant_val.txt", b"1", {"found": "1"}),
    ("dtd", "labels/test1.txt", b"woven/woven_0001.jpg", {"found": "woven"}),
    ("oxford_pets", "annotations/test.txt", b"Bengal_9 2 1 3", {"found": 2, "image": "Bengal_9"}),
    ("oxford_pets", "annotations/test.txt", b"Birman_9 4 1 3", {"found": 4}),
    ("oxford_pets", "annotations/test.txt", b"Bengal_9 0 1 3", {"found": "0"}),
    ("oxford_pets", "annotations/test.txt", b"Bengal_9 x 1 3", {"found": "nan"}),
    ("oxford_pets", "annotations/trainval.txt", b"Birman_9 5 1 3", {"found": 4}),
    ("oxford_pets", "annotations/test.txt", b"Bengal_9", {"found": "Bengal_9"}),
    ("sun397", "Testing_01.txt", b"/c/church/sun_x.jpg", {"found": "/c/church"}),
    ("birdsnap", "test_images.txt", b"Blue_Jay/9.jpg", {"found": "Blue_Jay/9.jpg"}),
    ("birdsnap", "images.txt", b"u\t0\tBlue_Jay/9.jpg\t77", {"found": "77"}),
    ("birdsnap", "images.txt", b"u\t0\tBlue_Jay/9.jpg", {"found": "u 0 Blue_Jay/9.jpg"}),
])  # fmt: skip
def test_a_list_with_a_line_that_is_invalid(key, path, line, values, write):
    folder = write(key)
    with (folder / path).open("ab") as file:
        file.write(line + b"\n")
    with refused("dataset.archive_invalid", file=Path(path).name, **values):
        READERS[key](folder)


@pytest.mark.parametrize(
    ("key", "path", "content", "values"),
    [
        ("voc2007", "VOCdevkit/VOC2007/Annotations/000000.xml", content, values)
        for content, values in [
            (b"<annotation><object><name>unicorn</name></object></annotation>",
             {"found": "unicorn"}),
            (b"<annotation><object/></annotation>", {"found": ""}),
            (b"<annotation>", {}),
        ]
    ] + [
        ("flowers102", "imagelabels.mat", content, {})
        for content in (b"", b"hello", b"x" * 200, b"MATLAB 7.3".ljust(124) + b"\0\2IM")
    ] + [
        ("birdsnap", "species.txt", b"id\tname\n1\tBlue Jay\n", {"found": "common"}),
        ("birdsnap", "species.txt", b"", {"found": "id"}),
        ("cifar10", "cifar-10-batches-py/batches.meta", b"(dp1\n.", {"found": "label_names"}),
    ],
)  # fmt: skip
def test_a_file_with_other_content(key, path, content, values, write):
    folder = write(key)
    (folder / path).write_bytes(content)
    with refused("dataset.archive_invalid", file=Path(path).name, **values):
        READERS[key](folder)


def test_lines_of_another_system_are_read(write):
    folder = write("dtd")
    file = folder / "labels" / "train1.txt"
    file.write_bytes(b"\r\n".join(file.read_bytes().splitlines()) + b"\r\n\r\n")
    assert len(READERS["dtd"](folder).parts["train"]) == 6


@pytest.mark.parametrize(("file", "content", "values"), [
    ("setid.mat", {"trnid": [[1, 2]], "tstid": [[3]]}, {"found": "valid"}),
    ("imagelabels.mat", {"labels": [[0, 1, 2]]}, {"found": "0"}),
    ("imagelabels.mat", {"labels": [[1, 1.5, 2]]}, {"found": "1.5"}),
    # Of the numbers of images in the other file.
    ("imagelabels.mat", {"labels": [[1, 2, 3]]}, {"found": "4", "file": "setid.mat"}),
])  # fmt: skip
def test_flowers102_variables_that_are_invalid(file, content, values, write):
    folder = write("flowers102")
    savemat(folder / file, {name: np.array(value) for name, value in content.items()})
    with refused("dataset.archive_invalid", **{"file": file, **values}):
        READERS["flowers102"](folder)


def test_caltech101_with_the_archive_inside_still_packed(write, tmp_path):
    folder = tmp_path / "data"
    packed = folder / "caltech-101" / "101_ObjectCategories.tar.gz"
    packed.parent.mkdir(parents=True)
    packed.write_bytes(b"")
    with refused("dataset.file_missing", file="101_ObjectCategories"):
        READERS["caltech101"](folder)
    (write("caltech101") / "101_ObjectCategories").rename(packed.parent / "101_ObjectCategories")
    assert len(READERS["caltech101"](folder).parts["all"]) == 20


# SUN397: two archives that people unpack in different ways.
SUN_LISTS = ("Training_01.txt", "Testing_01.txt")


def unpack(written: Path, folder: Path, images: str, lists: str) -> None:
    """Place what the archive of the images holds, and what that of the lists holds."""
    for place in (folder / images, folder / lists):
        place.mkdir(parents=True, exist_ok=True)
    names = (written / "ClassName.txt").read_bytes()
    for name in ("a", "c", "s"):
        (written / name).rename(folder / images / name)
    for name in SUN_LISTS:
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
def test_sun397s_images_and_lists_are_found_apart(images, lists, write, tmp_path):
    folder = tmp_path / "data"
    unpack(write("sun397"), folder, images, lists)
    raw = read_sun397(folder)
    assert len(raw.classes) == 3
    assert named(raw.parts["train"], folder / images)[4] == ("c/church/indoor/sun_a.jpg", 1)
    assert named(raw.parts["test"], folder / images)[0] == ("a/abbey/sun_x.jpg", 0)


def test_sun397s_names_of_classes_are_in_either_archive(write, tmp_path):
    folder = tmp_path / "data"
    unpack(write("sun397"), folder, "SUN397", ".")
    (folder / "ClassName.txt").unlink()
    assert len(read_sun397(folder).parts["train"]) == 12
    # Without the archive of the lists: what torchvision downloads.
    for name in SUN_LISTS:
        (folder / name).unlink()
    with refused("dataset.file_missing", file="Training_01.txt"):
        read_sun397(folder)


def test_sun397_without_the_archive_of_the_images(write, tmp_path):
    folder = tmp_path / "data"
    unpack(write("sun397"), folder, "elsewhere", "Partitions")
    with refused("dataset.file_missing", file="SUN397.tar.gz"):
        read_sun397(folder)


# PASCAL VOC 2007: several classes per image, and objects that are marked difficult.
VOC_ROOT = "VOCdevkit/VOC2007"


def annotate(folder, image, *objects):
    inside = "".join(f"<object>{text}</object>" for text in objects)
    path = folder / VOC_ROOT / "Annotations" / f"{image}.xml"
    path.write_text(f"<annotation>{inside}</annotation>")


def test_voc2007_labels_are_present_or_absent(write):
    raw = read_voc2007(write("voc2007"))
    assert raw.classes[14] == "person"
    labels = raw.parts["test"].labels
    assert labels.shape == (5, 20)
    # The archive was written with every fifth class in an image.
    np.testing.assert_array_equal(labels == 1, np.tile(np.eye(5, dtype=bool), 4))
    assert (labels[labels != 1] == -1).all()


def test_a_class_that_is_only_difficult_is_neither(write):
    folder = write("voc2007")
    annotate(
        folder,
        "000000",
        "<name>car</name><difficult>1</difficult>",
        "<name>dog</name><difficult>1</difficult>",
        "<name>dog</name><difficult>0</difficult>",
        "<name>cat</name>",
        # The head is a part of the person, not an object.
        "<name>person</name><difficult>0</difficult><part><name>head</name></part>",
        "<name>person</name><difficult>1</difficult>",
    )
    labels = read_voc2007(folder).parts["train"].labels[0]
    found = {VOC_CLASSES[k]: int(label) for k, label in enumerate(labels) if label != -1}
    assert found == {"car": 0, "cat": 1, "dog": 1, "person": 1}


def test_labels_are_those_of_the_development_kits_own_lists(write):
    """The kit's ``Main/CLASS_train.txt``: -1 no object, 1 one that is easy, 0 difficult ones."""
    folder = write("voc2007")
    draw = np.random.RandomState(3)
    images = (folder / VOC_ROOT / "ImageSets" / "Main" / "train.txt").read_text().split()
    lists = {name: {} for name in VOC_CLASSES}
    for image in images:
        objects = []
        for name in VOC_CLASSES:
            easy, difficult = draw.randint(0, 2, 2) * draw.randint(1, 3, 2)
            objects += [f"<name>{name}</name><difficult>0</difficult>"] * easy
            objects += [f"<name>{name}</name><difficult>1</difficult>"] * difficult
            lists[name][image] = 1 if easy else 0 if difficult else -1
        annotate(folder, image, *draw.permutation(objects))
    found = read_voc2007(folder).parts["train"].labels
    assert {-1, 0, 1} == set(found.ravel().tolist())
    for place, by_image in enumerate(lists.values()):
        assert found[:, place].tolist() == list(by_image.values())


def test_the_labels_are_what_the_metric_wants(write):
    labels = read_voc2007(write("voc2007")).parts["test"].labels
    assert voc_map_11point(labels, labels) == 1.0


def test_voc2007_without_the_archive_of_the_test_images(write):
    folder = write("voc2007")
    for path in (folder / VOC_ROOT / "Annotations").glob("2*.xml"):
        path.unlink()
    with refused("dataset.file_missing", n=5, file="200000.xml"):
        read_voc2007(folder)


# Files that are not what their names say, where the creators have such.
def picture(mode: str) -> Image.Image:
    """Give an image of one colour that every mode can hold, opaque."""
    return Image.new("RGBA", (24, 16), (255, 0, 0, 255)).convert(mode)


@pytest.mark.parametrize(("key", "name", "kind", "mode"), [
    # Abyssinian_34.jpg, Egyptian_Mau_191.jpg and others are GIF.
    ("oxford_pets", "images/Abyssinian_1.jpg", "GIF", "P"),
    ("oxford_pets", "images/Abyssinian_1.jpg", "PNG", "RGBA"),
    ("sun397", "a/abbey/sun_a.jpg", "PNG", "RGBA"),
    ("sun397", "a/abbey/sun_a.jpg", "PNG", "L"),
    ("sun397", "a/abbey/sun_a.jpg", "GIF", "P"),
    ("sun397", "a/abbey/sun_a.jpg", "BMP", "RGB"),
    ("caltech101", "101_ObjectCategories/BACKGROUND_Google/image_0001.jpg", "JPEG", "L"),
])  # fmt: skip
def test_another_kind_of_image_under_the_name(key, name, kind, mode, write):
    folder = write(key)
    picture(mode).save(folder / name, kind)
    images = next(iter(READERS[key](folder).parts.values())).images
    assert images.where(0) == str(folder / name)
    decoded = images.decode(0)
    assert decoded.size == (24, 16)
    assert decoded.mode in ("L", "RGB")
    expected = np.asarray(picture(mode).convert("RGB"))
    np.testing.assert_array_equal(np.asarray(decoded.convert("RGB")), expected)


@pytest.mark.parametrize(("key", "name"), [
    ("oxford_pets", "images/Abyssinian_1.jpg"), ("sun397", "a/abbey/sun_a.jpg"),
])  # fmt: skip
def test_a_broken_image_is_an_error_that_names_it(key, name, write):
    folder = write(key)
    (folder / name).write_bytes((folder / name).read_bytes()[:-200])
    images = READERS[key](folder).parts["train"].images
    with refused("image.broken", where=str(folder / name)):
        images.decode(0)
