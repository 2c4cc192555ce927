"""PASCAL VOC 2007: several classes an image, and objects that are marked difficult."""

import numpy as np

from headstart.datasets.archives.readers import VOC_CLASSES, read_voc2007
from headstart.metrics import voc_map_11point
from refusals import refused

ROOT = "VOCdevkit/VOC2007"


def annotate(folder, image, *objects):
    inside = "".join(f"<object>{text}</object>" for text in objects)
    path = folder / ROOT / "Annotations" / f"{image}.xml"
    path.write_text(f"<annotation>{inside}</annotation>")


def test_labels_are_present_or_absent(write):
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
    images = (folder / ROOT / "ImageSets" / "Main" / "train.txt").read_text().split()
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


def test_without_the_archive_of_the_test_images(write):
    folder = write("voc2007")
    for path in (folder / ROOT / "Annotations").glob("2*.xml"):
        path.unlink()
    with refused("dataset.file_missing", n=5, file="200000.xml"):
        read_voc2007(folder)
