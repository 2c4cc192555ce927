"""What public copies and tools get wrong is caught: each known trap, and what it says."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from headstart.datasets import ArrayImages, FileImages, Split
from headstart.datasets.archives import READERS, RawDataset, check_published, protocol_splits
from headstart.datasets.file_index import FileIndex
from headstart.datasets.manifest import make_manifest
from headstart.labels import balanced_subset, hold_out, kind_of
from refusals import refused


@pytest.fixture
def differs(small):
    """Check that splits are differs, and what of them differs from what is published."""

    def check(key: str, splits: dict[str, Split], what: str, **values: object) -> None:
        with refused("dataset.manifest", **values) as error:
            check_published(small(key), splits)
        assert re.fullmatch(what, error.value.values["what"])

    return check


@pytest.fixture
def splits_of(write, small):
    def splits(key: str) -> dict[str, Split]:
        return protocol_splits(small(key), READERS[key](write(key)))

    return splits


def relabelled(splits, change) -> dict[str, Split]:
    return {name: replace(split, labels=change(split.labels)) for name, split in splits.items()}


def joined(*splits: Split) -> Split:
    """Put splits of the same files behind one another."""
    paths = [Path(split.images.where(row)) for split in splits for row in range(len(split))]
    labels = np.concatenate([split.labels for split in splits])
    return Split(FileImages(paths), labels, np.arange(len(labels)))


def test_sun397_classes_merged_by_their_last_part(splits_of, differs):
    # /c/church/indoor and /s/swimming_pool/indoor both become `indoor`.
    merged = relabelled(splits_of("sun397"), lambda labels: np.minimum(labels, 1))
    differs("sun397", merged, "number of classes", expected=3, found=2)


def test_sun397_with_all_its_images(write, small, differs):
    # A mirror splits all images anew: more than 50 of a class, and not the same number.
    folder = write("sun397")
    lists = folder / "Training_01.txt", folder / "Testing_01.txt"
    moved = lists[1].read_text().splitlines()[0]
    lists[1].write_text(lists[1].read_text().replace(f"{moved}\n", ""))
    with lists[0].open("a") as file:
        file.write(f"{moved}\n")
    splits = protocol_splits(small("sun397"), READERS["sun397"](folder))
    differs("sun397", splits, "number of train images", expected=9, found=10)


def test_caltech101_drawn_with_replacement(splits_of, differs):
    splits = splits_of("caltech101")
    twice = splits["train"].take(np.array([0, 0, 2, 3, 4, 5, 6, 7]))
    differs(
        "caltech101",
        {**splits, "train": twice},
        "image .*image_0.*jpg",
        found="it in train and train",
    )


def test_caltech101_first_files(write, differs):
    whole = READERS["caltech101"](write("caltech101")).parts["all"]
    places = {"train": [0, 1], "validation": [2], "test": [3, 4]}
    splits = {
        name: whole.take(np.array([5 * label + i for label in range(4) for i in first]))
        for name, first in places.items()
    }
    differs(
        "caltech101",
        splits,
        "images of train and validation",
        found="the first files of every class",
    )


def test_caltech101_split_again_at_random(write, differs):
    whole = READERS["caltech101"](write("caltech101")).parts["all"]
    fitted, test = hold_out(whole.labels, 0.2, seed=0)
    kept, held = hold_out(whole.labels[fitted], 0.25, seed=0)
    splits = {"train": fitted[kept], "validation": fitted[held], "test": test}
    splits = {name: whole.take(places) for name, places in splits.items()}
    differs("caltech101", splits, "number of train images", expected=8, found=12)


def test_caltech101_unequal_classes(splits_of, differs):
    splits = splits_of("caltech101")
    # One image of another class in train, and back: the sizes stay.
    train, test = splits["train"], splits["test"]
    here, there = int(np.argmax(train.labels == 0)), int(np.argmax(test.labels == 1))
    whole = joined(train, test)
    order = np.arange(len(whole))
    order[[here, len(train) + there]] = order[[len(train) + there, here]]
    swapped = {
        **splits,
        "train": whole.take(order[: len(train)]),
        "test": whole.take(order[len(train) :]),
    }
    differs(
        "caltech101",
        swapped,
        "number of train images of the class with label 0",
        expected=2,
        found=1,
    )


def test_caltech101_without_the_background(write, small, differs):
    folder = write("caltech101")
    for path in (folder / "101_ObjectCategories" / "BACKGROUND_Google").iterdir():
        path.unlink()
    (folder / "101_ObjectCategories" / "BACKGROUND_Google").rmdir()
    splits = protocol_splits(small("caltech101"), READERS["caltech101"](folder))
    differs("caltech101", splits, "number of classes", expected=4, found=3)


def test_oxford_pets_split_again_at_random(write, small, differs):
    raw = READERS["oxford_pets"](write("oxford_pets"))
    whole = joined(raw.parts["train"], raw.parts["test"])
    kept, held = hold_out(whole.labels, 0.2, seed=0)
    again = RawDataset(raw.classes, {"train": whole.take(kept), "test": whole.take(held)})
    splits = protocol_splits(small("oxford_pets"), again)
    differs("oxford_pets", splits, "number of train images", expected=9, found=12)


def test_oxford_pets_split_again_in_the_published_sizes(write, small):
    """No count tells this: what does is the digest, by which two people compare their copies."""
    raw = READERS["oxford_pets"](write("oxford_pets"))
    whole = joined(raw.parts["train"], raw.parts["test"])
    order = np.argsort(whole.labels, kind="stable")
    test = order.reshape(3, 6)[:, :2].ravel()
    parts = {"train": whole.take(np.setdiff1d(order, test)), "test": whole.take(test)}
    facts, revisions = small("oxford_pets"), set()
    for copy in (raw, RawDataset(raw.classes, parts)):
        splits = protocol_splits(facts, copy)
        check_published(facts, splits)
        made = make_manifest(copy.classes, splits, kind_of(facts.metric), FileIndex(None))
        revisions.add(made.revision)
    assert len(revisions) == 2


def test_dtd_with_a_wrong_number_of_classes(write, small, differs):
    folder = write("dtd")
    # A folder that is no class, listed as one.
    for part in ("train", "val", "test"):
        lists = folder / "labels" / f"{part}1.txt"
        last = lists.read_text().splitlines()[-1]
        lists.write_text(lists.read_text().replace(last, f"extra/{part}.jpg"))
        (folder / "images" / "extra").mkdir(exist_ok=True)
        (folder / "images" / last).rename(folder / "images" / "extra" / f"{part}.jpg")
    splits = protocol_splits(small("dtd"), READERS["dtd"](folder))
    differs("dtd", splits, "number of classes", expected=3, found=4)


def test_a_class_that_is_only_tested(splits_of, differs):
    splits = splits_of("dtd")
    lacking = splits["train"].take(np.flatnonzero(splits["train"].labels < 2))
    differs(
        "dtd",
        {**splits, "train": lacking},
        "number of classes with training images",
        expected=3,
        found=2,
    )


@pytest.mark.parametrize("key", ["food101", "cifar10"])
def test_a_few_shot_subset_that_leaks_validation_images(key, splits_of, differs):
    splits = splits_of(key)
    # As many of each class as there should be, but one of them validates.
    train, validation = splits["train"], splits["validation"]
    kept = np.delete(np.arange(len(train)), np.argmax(train.labels == validation.labels[0]))
    if key == "food101":
        leaked = joined(train.take(kept), validation.take(np.array([0])))
    else:
        # Arrays: the images of both come from the same part.
        places = np.append(train.rows[kept], validation.rows[0])
        labels = np.append(train.labels[kept], validation.labels[0])
        leaked = Split(ArrayImages(train.images._pixels, places), labels, places)
    differs(
        key,
        {**splits, "train": leaked},
        "image .*",
        found="it in train and validation",
    )


def test_test_images_that_are_trained_on(splits_of, differs):
    splits = splits_of("dtd")
    differs("dtd", {**splits, "test": splits["train"]}, "image .*", found="it in train and test")


def test_flowers102_labels_that_count_from_one(splits_of, differs):
    shifted = relabelled(splits_of("flowers102"), lambda labels: labels + 1)
    differs("flowers102", shifted, "labels", expected="0 to 2", found="1 to 3")


def test_flowers102_with_train_and_test_swapped(write, small, differs):
    folder = write("flowers102")
    parts = {name: loadmat(folder / "setid.mat")[name] for name in ("trnid", "valid", "tstid")}
    parts["trnid"], parts["tstid"] = parts["tstid"], parts["trnid"]
    savemat(folder / "setid.mat", parts)
    splits = protocol_splits(small("flowers102"), READERS["flowers102"](folder))
    differs("flowers102", splits, "number of train images", expected=6, found=9)


def test_flowers102_of_two_parts(write, small):
    # A mirror has 7,169 images to train on (train and test together) and 1,020 to validate on.
    raw = READERS["flowers102"](write("flowers102"))
    parts = {"train": joined(raw.parts["train"], raw.parts["test"])}
    parts["validation"] = raw.parts["validation"]
    with refused("dataset.manifest", what="parts", found="train, validation"):
        protocol_splits(small("flowers102"), RawDataset(raw.classes, parts))


def test_voc2007_of_object_crops(splits_of, differs):
    # One class an image: each crop shows one object.
    crops = relabelled(splits_of("voc2007"), lambda labels: labels.argmax(axis=1))
    differs("voc2007", crops, "train labels", found="one class per image")


def test_several_classes_where_there_is_one(splits_of, differs):
    several = relabelled(splits_of("dtd"), lambda labels: 2 * np.eye(3, dtype=int)[labels] - 1)
    differs("dtd", several, "train labels", found="several classes per image")


def test_voc2007_labels_of_another_coding(splits_of, differs):
    strange = relabelled(splits_of("voc2007"), lambda labels: labels + 1)
    differs("voc2007", strange, "train labels", expected="1, 0 or -1", found=2)


def test_voc2007_with_other_classes(splits_of, differs):
    fewer = relabelled(splits_of("voc2007"), lambda labels: labels[:, :19])
    differs("voc2007", fewer, "number of classes", expected=20, found=19)
    splits = splits_of_absent(splits_of("voc2007"))
    differs("voc2007", splits, "number of classes with training images", expected=20, found=19)


def splits_of_absent(splits):
    labels = splits["train"].labels.copy()
    labels[:, 3] = -1
    return {**splits, "train": replace(splits["train"], labels=labels)}


def test_a_subset_is_no_dataset(splits_of, differs):
    splits = splits_of("food101")
    few = splits["train"].take(balanced_subset(splits["train"].labels, 6, seed=0))
    differs("food101", {**splits, "train": few}, "number of train images", expected=9, found=6)
