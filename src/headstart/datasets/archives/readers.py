"""One reader for each dataset of the study, of the layout that its creators' archive unpacks to.

* Food-101: 101,000 photographs of dishes (Bossard, Guillaumin, Van Gool, ECCV 2014).
* CIFAR-10 and CIFAR-100: 60,000 pictures of 32 x 32 pixels each, pickled (Krizhevsky, 2009).
* Describable Textures (DTD): 5,640 textures in 47 classes (Cimpoi et al., CVPR 2014).
* FGVC Aircraft: 10,000 aeroplanes of 100 variants (Maji et al., 2013).
* SUN397: scenes in 397 classes (Xiao et al., CVPR 2010). Some files are PNG, GIF or BMP under names
  that end in ``.jpg``. The content of two is badly encoded, and tensorflow/datasets leaves them
  out: ``c/church/outdoor/sun_bhenjvsvrtumjuri.jpg``, ``t/track/outdoor/sun_aophkoiosslinihb.jpg``.
  Here they are images like the others, as in the creators' lists.
* Birdsnap: 49,829 photographs of 500 North American birds (Berg et al., CVPR 2014). The creators
  distribute lists, and a script that fetches the images from where they were found. Many are gone
  by now: what was measured without them was measured on another dataset, so they are counted, and
  left out only on request.
* Stanford Cars: 16,185 cars of 196 makes, models and years (Krause et al., 2013), given out twice:
  as ``cars_train`` and ``cars_test``, numbered apart, with a ``devkit``; and as ``car_ims``,
  numbered through by class, with ``cars_annos.mat``. The parts are the same, the numbers are not,
  so the annotations of the one say nothing of the images of the other.
* Oxford-IIIT Pets: 7,349 cats and dogs of 37 breeds (Parkhi et al., CVPR 2012).
* Caltech-101: 9,144 pictures in 101 classes and a background class (Fei-Fei et al., 2004).
* 102 Flowers: 8,189 photographs of British flowers (Nilsback, Zisserman, ICVGIP 2008).
* PASCAL VOC 2007, classification: 9,963 photographs, 20 classes, any number in one image
  (Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 88, 2010).

Each reader raises DatasetMissingError for files that are missing, and DatasetError for files that
are not as the creators made them.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from headstart.datasets.archives.archive_files import (
    Labels,
    first_with,
    has_content,
    invalid_file,
    labels_of,
    listed_split,
    read_content,
    read_lines,
    read_pickle,
    read_rows,
    read_variable,
    split_by_folder,
    unpacked,
    whole_numbers,
)
from headstart.datasets.images import ArrayImages, FileImages
from headstart.datasets.splits import RawDataset, Split
from headstart.errors import DatasetError, DatasetMissingError, NotUnpackedError

__all__ = ["INCOMPLETE", "READERS", "VOC_CLASSES", "is_archive"]

FOOD_LISTS = {"train": "meta/train.txt", "test": "meta/test.txt"}
CIFAR10_FILES = {
    "train": [f"data_batch_{number}" for number in range(1, 6)],
    "test": ["test_batch"],
}
CIFAR_SIDE = 32
# The first of the ten splits that the creators made.
DTD_LISTS = {
    "train": "labels/train1.txt",
    "validation": "labels/val1.txt",
    "test": "labels/test1.txt",
}
AIRCRAFT_LISTS = {
    "train": "images_variant_train.txt",
    "validation": "images_variant_val.txt",
    "test": "images_variant_test.txt",
}
# The first of the ten splits that the creators made.
SUN_LISTS = {"train": "Training_01.txt", "test": "Testing_01.txt"}
SUN_CLASSES = "ClassName.txt"
# The archive of the images makes SUN397; that of the lists makes no folder, so that people make
# one, and either may lie in the other's.
SUN_WITH_LISTS = ("SUN397", "Partitions", "SUN397/Partitions")
SUN_WITH_IMAGES = ("SUN397", "SUN397/SUN397")
CARS_META = "cars_meta.mat"
CARS_TEST_LABELS = "cars_test_annos_withlabels.mat"
# The second is how a copy on Kaggle has it.
CARS_DEVKITS = ("devkit", "car_devkit/devkit")
CARS_WHOLE = "cars_annos.mat"
CARS_WHOLE_IMAGES = "car_ims"
PETS_LISTS = {"train": "trainval.txt", "test": "test.txt"}
CALTECH_IMAGES = "101_ObjectCategories"
CALTECH_PLACES = ("caltech-101", "caltech101")
# The test part is the largest: some copies call it the training part.
FLOWER_LISTS = {"train": "trnid", "validation": "valid", "test": "tstid"}
VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
VOC_LISTS = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}
PRESENT, DIFFICULT_ONLY, ABSENT = 1, 0, -1


def read_food101(folder: Path) -> RawDataset:
    """Read ``food-101``: lists of ``CLASS/NUMBER``, images in ``images``."""
    root = unpacked("Food-101", folder, "meta/train.txt", "food-101")
    return _by_lists_of_classes(root, FOOD_LISTS, ".jpg")


def read_dtd(folder: Path) -> RawDataset:
    """Read ``dtd``: lists of ``CLASS/IMAGE``, images in ``images``; an image's key attribute."""
    # torchvision unpacks into a folder of its own: dtd/dtd.
    root = unpacked("DTD", folder, "labels/train1.txt", "dtd", "dtd/dtd")
    return _by_lists_of_classes(root, DTD_LISTS)


def _by_lists_of_classes(root: Path, lists: Mapping[str, str], suffix: str = "") -> RawDataset:
    """Read lists of ``CLASS/IMAGE`` lines, and ``images``; the classes are those of train."""
    lines = read_lines(root / lists["train"])
    classes = tuple(sorted({line.rpartition("/")[0] for line in lines}))
    parts = {
        part: split_by_folder(root / name, root / "images", classes, suffix)
        for part, name in lists.items()
    }
    return RawDataset(classes, parts)


def read_cifar10(folder: Path) -> RawDataset:
    """Read ``cifar-10-batches-py``, the version for Python."""
    root = unpacked("CIFAR-10", folder, "batches.meta", "cifar-10-batches-py")
    return _read_cifar(root, "batches.meta", "label_names", "labels", CIFAR10_FILES)


def read_cifar100(folder: Path) -> RawDataset:
    """Read ``cifar-100-python``, the version for Python, with its 100 fine labels."""
    # CIFAR-10's archive has no file of this name, so the two are not taken for one another.
    root = unpacked("CIFAR-100", folder, "meta", "cifar-100-python")
    files = {"train": ["train"], "test": ["test"]}
    return _read_cifar(root, "meta", "fine_label_names", "fine_labels", files)


def _read_cifar(
    root: Path, meta: str, names_key: str, labels_key: str, files: Mapping[str, Sequence[str]]
) -> RawDataset:
    """Read the names of the classes in `meta`, in the order of the labels, and the batches."""
    names = read_pickle(root / meta).get(names_key.encode())
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise invalid_file(root / meta, f"has no list of names '{names_key}'", found=names_key)
    classes = tuple(name.decode(errors="replace") for name in names)
    parts = {}
    for part, batches in files.items():
        read = [_read_cifar_batch(root / name, labels_key, len(classes)) for name in batches]
        pixels, labels = (np.concatenate(arrays) for arrays in zip(*read, strict=True))
        rows = np.arange(len(labels), dtype=np.int64)
        parts[part] = Split(ArrayImages(pixels), labels, rows)
    return RawDataset(classes, parts)


def _read_cifar_batch(
    path: Path, labels_key: str, n_classes: int
) -> tuple[npt.NDArray[np.uint8], Labels]:
    """Read (n, 32, 32, 3) pixels and (n,) labels of 0 to `n_classes` - 1."""
    batch = read_pickle(path)
    data, labels = batch.get(b"data"), batch.get(labels_key.encode())
    n_bytes = 3 * CIFAR_SIDE * CIFAR_SIDE
    if not isinstance(data, np.ndarray) or data.shape[1:] != (n_bytes,):
        fault = f"has no array 'data' of {n_bytes:,} bytes per image"
        raise invalid_file(path, fault, found="data")
    if (
        not isinstance(labels, list)
        or len(labels) != len(data)
        or not all(isinstance(n, int) and 0 <= n < n_classes for n in labels)
    ):
        fault = f"has no list '{labels_key}' of {len(data):,} labels of 0 to {n_classes - 1}"
        raise invalid_file(path, fault, found=labels_key)
    # An image is stored as its red, its green and its blue plane, each row by row.
    pixels = data.reshape(-1, 3, CIFAR_SIDE, CIFAR_SIDE).transpose(0, 2, 3, 1)
    return pixels, np.array(labels, dtype=np.int64)


def read_birdsnap(folder: Path, *, allow_missing: bool = False) -> RawDataset:
    """Read the lists and the images that there are; what is missing is counted in the archive.

    An empty file, which a failed download leaves, is missing. The lists may be in any encoding
    that has ASCII in it: paths are taken byte for byte, names as UTF-8 or else as Latin-1.

    Raises
    ------
    DatasetMissingError
        The lists are not there; or images are missing and `allow_missing` is False.
    DatasetError
        Lists that contradict each other.
    """
    root = unpacked("Birdsnap", folder, "images.txt", "birdsnap")
    species = _read_columns(root / "species.txt", "id", "common")
    parts: dict[str, Split] = {}
    gone: dict[str, list[Path]] = {}
    for part, (paths, labels) in _read_birdsnap_lists(root, [n for n, _ in species]).items():
        present = np.array([has_content(path) for path in paths], dtype=np.bool_)
        rows = np.flatnonzero(present).astype(np.int64)
        parts[part] = Split(FileImages([paths[row] for row in rows]), labels[rows], rows)
        gone[part] = [paths[row] for row in np.flatnonzero(~present)]
    missing = {part: len(paths) for part, paths in gone.items() if paths}
    if missing and not allow_missing:
        train, test = (
            f"{len(gone[part]):,} of {len(gone[part]) + len(split):,}"
            for part, split in parts.items()
        )
        first = _legible(str(next(path for paths in gone.values() for path in paths)))
        raise DatasetMissingError(
            f"Birdsnap in {root} lacks {train} training images and {test} test images, first "
            f"{first}: run the creators' get_birdsnap.py, or measure on what is left with "
            "birdsnap?allow_missing=yes",
            code="dataset.images_missing",
            n=sum(missing.values()),
            missing=missing,
            first=first,
        )
    return RawDataset(tuple(name for _, name in species), parts, missing)


def _read_birdsnap_lists(root: Path, species: list[str]) -> dict[str, tuple[list[Path], Labels]]:
    """Return the paths and labels that are listed of train and of test."""
    rows = _read_columns(root / "images.txt", "path", "species_id")
    tests = {path for (path,) in _read_columns(root / "test_images.txt", "path")}
    if unknown := tests - {path for path, _ in rows}:
        name = _legible(min(unknown))
        fault = f"names {name}, which images.txt does not list"
        raise invalid_file(root / "test_images.txt", fault, found=name)
    # The creators' script writes into download/images.
    script = root / "download" / "images"
    images = script if script.is_dir() else root / "images"
    listed = {}
    for part, wanted in (("train", False), ("test", True)):
        chosen = [(images / path, number) for path, number in rows if (path in tests) == wanted]
        labels = labels_of((number for _, number in chosen), species, root / "images.txt")
        listed[part] = [path for path, _ in chosen], labels
    return listed


def _read_columns(path: Path, *columns: str) -> list[tuple[str, ...]]:
    """Read some columns of a table between tabs, whose first line names them.

    Bytes that are not UTF-8 stay in ``path`` as Python keeps them in file names (PEP 383).
    """
    text = read_content(path).decode(errors="surrogateescape")
    lines = [line.rstrip("\r") for line in text.split("\n") if line.strip()]
    header, *rows = [line.split("\t") for line in lines] or [[]]
    if absent := [column for column in columns if column not in header]:
        raise invalid_file(path, f"has no column '{absent[0]}'", found=absent[0])
    places = [header.index(column) for column in columns]
    if short := [row for row in rows if len(row) <= max(places)]:
        line = _legible(" ".join(short[0]))
        fault = f"has the line '{line}': expected {len(header)} fields"
        raise invalid_file(path, fault, found=line)
    return [
        tuple(
            row[place] if column == "path" else _legible(row[place])
            for column, place in zip(columns, places, strict=True)
        )
        for row in rows
    ]


def _legible(text: str) -> str:
    """Make text of what was decoded with bytes left in it: Latin-1 if it is not UTF-8."""
    content = text.encode(errors="surrogateescape")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def read_sun397(folder: Path) -> RawDataset:
    """Read the images of ``SUN397.tar.gz`` and the lists of ``Partitions.zip``.

    Each is looked for on its own: in the folder, in ``SUN397``, and the lists in ``Partitions``
    too. A class is known by its whole path, ``/c/church/indoor``: by their last part, all that
    end in ``indoor`` would be one.
    """
    places = [folder, *(folder / name for name in SUN_WITH_LISTS)]
    lists = first_with(SUN_LISTS.values(), *places)
    # Both archives have the names of the classes.
    names = unpacked("SUN397", folder, SUN_CLASSES, *SUN_WITH_LISTS) / SUN_CLASSES
    if lists is None:
        raise DatasetMissingError(
            f"the splits of SUN397 are not in {folder}: expected {SUN_LISTS['train']} there, or in "
            f"{' or '.join(SUN_WITH_LISTS)}; the archive of the images has none, unpack "
            "Partitions.zip (vision.princeton.edu/projects/2010/SUN/download) in that folder",
            code="dataset.file_missing",
            file=SUN_LISTS["train"],
        )
    classes = tuple(read_lines(names))
    images = first_with(
        (name.lstrip("/") for name in classes), folder, *(folder / name for name in SUN_WITH_IMAGES)
    )
    if images is None:
        raise DatasetMissingError(
            f"the images of SUN397 are not in {folder}: expected the classes of {names} as folders "
            f"there, or in {' or '.join(SUN_WITH_IMAGES)}; unpack SUN397.tar.gz in that folder",
            code="dataset.file_missing",
            file="SUN397.tar.gz",
        )
    parts = {
        part: split_by_folder(lists / name, images, classes) for part, name in SUN_LISTS.items()
    }
    return RawDataset(classes, parts)


def read_stanford_cars(folder: Path) -> RawDataset:
    """Read ``cars_train``, ``cars_test`` and ``devkit``, with the labels of the test images.

    Or ``car_ims`` and ``cars_annos.mat``, where the first are not there. The images may lie a
    level deeper, as in ``cars_train/cars_train``.
    """
    markers = (*(f"{name}/{CARS_META}" for name in CARS_DEVKITS), CARS_WHOLE)
    root = unpacked("Stanford Cars", folder, markers, "stanford_cars")
    devkit = first_with([CARS_META], *(root / name for name in CARS_DEVKITS))
    # The creators gave the labels of the test images out apart, so they are found in either place.
    labelled = None if devkit is None else first_with([CARS_TEST_LABELS], devkit, root)
    if devkit and labelled:
        return _read_cars_halves(root, devkit, labelled / CARS_TEST_LABELS)
    if (root / CARS_WHOLE).is_file():
        return _read_cars_whole(root)
    raise DatasetMissingError(
        f"{root / CARS_TEST_LABELS} is missing: the labels of the test images are a file of their "
        "own (cars_test_annos.mat has none); put it there",
        code="dataset.file_missing",
        file=CARS_TEST_LABELS,
    )


def _read_cars_halves(root: Path, devkit: Path, test_labels: Path) -> RawDataset:
    classes = _car_names(devkit / CARS_META)
    annotations = {"train": devkit / "cars_train_annos.mat", "test": test_labels}
    parts = {}
    for part, path in annotations.items():
        records = _read_car_records(path, "class", "fname")
        labels = whole_numbers(records["class"], path, "class number", most=len(classes))
        images = root / f"cars_{part}"
        if (images / images.name).is_dir():
            images = images / images.name
        parts[part] = listed_split([images / str(name) for name in records["fname"]], labels, path)
    return RawDataset(classes, parts)


def _read_cars_whole(root: Path) -> RawDataset:
    path = root / CARS_WHOLE
    if not (root / CARS_WHOLE_IMAGES).is_dir():
        raise DatasetMissingError(
            f"{path} numbers the images of {CARS_WHOLE_IMAGES}, which is not in {root}; those of "
            f"cars_train and cars_test have other numbers: fetch car_ims.tgz, or for cars_train "
            f"and cars_test car_devkit.tgz and {CARS_TEST_LABELS}",
            code="dataset.file_missing",
            file=CARS_WHOLE_IMAGES,
        )
    classes = _car_names(path)
    records = _read_car_records(path, "class", "relative_im_path", "test")
    labels = whole_numbers(records["class"], path, "class number", most=len(classes))
    numbers = whole_numbers(records["test"], path, "value of 'test'", least=0, most=1)
    paths = [root / str(name) for name in records["relative_im_path"]]
    parts = {}
    for number, part in enumerate(("train", "test")):
        rows = np.flatnonzero(numbers == number)
        parts[part] = listed_split([paths[row] for row in rows], labels[rows], path)
    return RawDataset(classes, parts)


def _car_names(path: Path) -> tuple[str, ...]:
    return tuple(str(name) for name in read_variable(path, "class_names"))


def _read_car_records(path: Path, *fields: str) -> npt.NDArray[Any]:
    records = read_variable(path, "annotations")
    if not set(fields) <= set(records.dtype.names or ()):
        *first, last = (f"'{field}'" for field in fields)
        fault = f"has no {', '.join(first)} and {last} for each image"
        raise invalid_file(path, fault, expected=fields)
    return records


def read_fgvc_aircraft(folder: Path) -> RawDataset:
    """Read ``fgvc-aircraft-2013b``, labelled by variant."""
    root = unpacked("FGVC Aircraft", folder, "data/variants.txt", "fgvc-aircraft-2013b")
    classes = tuple(read_lines(root / "data" / "variants.txt"))
    parts = {}
    for part, name in AIRCRAFT_LISTS.items():
        path = root / "data" / name
        # A line is `1025794 Cessna 172`: the variant may hold blanks, and slashes (F/A-18).
        rows = read_rows(path, 2)
        labels = labels_of((variant for _, variant in rows), classes, path)
        images = [root / "data" / "images" / f"{image}.jpg" for image, _ in rows]
        parts[part] = listed_split(images, labels, path)
    return RawDataset(classes, parts)


def read_voc2007(folder: Path) -> RawDataset:
    """Read ``VOC2007``, where the archives of train + val and of test unpack to.

    Labels are (n, 20) int64 in {1 present, 0 difficult only, -1 absent}, as in the development
    kit: a class of which an image shows only objects that are marked difficult is neither.
    """
    marker = "ImageSets/Main/train.txt"
    root = unpacked("PASCAL VOC 2007", folder, marker, "VOC2007", "VOCdevkit/VOC2007")
    parts = {
        part: _read_voc(root, root / "ImageSets" / "Main" / name)
        for part, name in VOC_LISTS.items()
    }
    return RawDataset(VOC_CLASSES, parts)


def _read_voc(root: Path, path: Path) -> Split:
    images = read_lines(path)
    annotations = [root / "Annotations" / f"{image}.xml" for image in images]
    gone = [place for place in annotations if not place.is_file()]
    if gone:
        raise DatasetMissingError(
            f"{len(gone):,} of the {len(images):,} images that {path} lists have no annotations, "
            f"first {gone[0]}: unpack the archives of train + val and of test in the same folder",
            code="dataset.file_missing",
            file=gone[0].name,
            n=len(gone),
        )
    labels = [_read_voc_labels(place) for place in annotations]
    paths = [root / "JPEGImages" / f"{image}.jpg" for image in images]
    return listed_split(paths, np.array(labels, np.int64).reshape(-1, len(VOC_CLASSES)), path)


def _read_voc_labels(path: Path) -> npt.NDArray[np.int64]:
    """Read which classes are in an image: (20,) int64."""
    try:
        # The parser limits the expansion of entities itself (expat from 2.4.1 on).
        annotation = ElementTree.fromstring(read_content(path))  # noqa: S314
    except ElementTree.ParseError as error:
        raise invalid_file(path, f"is not XML ({error})") from error
    labels = np.full(len(VOC_CLASSES), ABSENT, dtype=np.int64)
    # Objects have parts with names of their own (head, hand), which lie a level deeper.
    for found in annotation.findall("object"):
        name = found.findtext("name", "").strip()
        if name not in VOC_CLASSES:
            fault = f"has an object of class '{name}', which is none of the 20"
            raise invalid_file(path, fault, found=name)
        difficult = found.findtext("difficult", "0").strip() == "1"
        place = VOC_CLASSES.index(name)
        labels[place] = max(labels[place], DIFFICULT_ONLY if difficult else PRESENT)
    return labels


def read_oxford_pets(folder: Path) -> RawDataset:
    """Read ``images`` and ``annotations``, with the creators' own two lists.

    A class is named as its files are, in their case: cats begin with a capital letter.
    """
    root = unpacked("Oxford-IIIT Pets", folder, "annotations/trainval.txt", "oxford-iiit-pet")
    classes: tuple[str, ...] = ()
    parts = {}
    for part, name in PETS_LISTS.items():
        path = root / "annotations" / name
        # A line is `Abyssinian_100 1 1 1`: image, class from 1, species, breed within the species.
        rows = read_rows(path, 4)
        labels = whole_numbers((row[1] for row in rows), path, "class number")
        breeds = [row[0].rpartition("_")[0] for row in rows]
        if part == "train":
            classes = _breeds_in_order(dict(zip(labels.tolist(), breeds, strict=True)), path)
        for row, label, breed in zip(rows, labels.tolist(), breeds, strict=True):
            expected = classes[label] if label < len(classes) else "none"
            if breed != expected:
                fault = f"gives {row[0]} the class {label + 1}, which is {expected}"
                raise invalid_file(path, fault, found=label + 1, image=row[0])
        images = [root / "images" / f"{row[0]}.jpg" for row in rows]
        parts[part] = listed_split(images, labels, path)
    return RawDataset(classes, parts)


def _breeds_in_order(breeds: Mapping[int, str], path: Path) -> tuple[str, ...]:
    """Name the classes in the order of their labels, of which none may be lacking."""
    for label in range(max(breeds, default=0) + 1):
        if label not in breeds:
            raise invalid_file(path, f"has no image of class {label + 1}", found=label + 1)
    return tuple(breeds[label] for label in sorted(breeds))


def read_caltech101(folder: Path) -> RawDataset:
    """Read ``101_ObjectCategories``: one part, ``all``, since the creators made no split.

    ``BACKGROUND_Google`` is a class like the others, which makes 102. Its folder also holds a
    file that is no image, so only ``image_*.jpg`` are read.
    """
    places = [folder / name for name in CALTECH_PLACES]
    # The archive holds another one, which is easily left as it is.
    inner = f"{CALTECH_IMAGES}.tar.gz"
    packed = first_with([inner], folder, *places)
    if packed and not first_with([CALTECH_IMAGES], folder, *places):
        raise DatasetMissingError(
            f"{packed / inner} is still packed: unpack it in {packed}",
            code="dataset.file_missing",
            file=CALTECH_IMAGES,
        )
    root = unpacked("Caltech-101", folder, CALTECH_IMAGES, *CALTECH_PLACES) / CALTECH_IMAGES
    classes = tuple(
        sorted(place.name for place in root.iterdir() if place.is_dir() and place.name[0] != ".")
    )
    files = [sorted((root / name).glob("image_*.jpg")) for name in classes]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(inside) for inside in files])
    paths = [path for inside in files for path in inside]
    return RawDataset(classes, {"all": listed_split(paths, labels, root)})


def read_flowers102(folder: Path) -> RawDataset:
    """Read ``jpg``, ``imagelabels.mat`` and ``setid.mat``; labels and images count from 1 there.

    The files have no names for the classes, so their numbers are the names.
    """
    root = unpacked("102 Flowers", folder, "imagelabels.mat", "flowers-102")
    numbers, lists = root / "imagelabels.mat", root / "setid.mat"
    labels = whole_numbers(read_variable(numbers, "labels"), numbers, "class number")
    classes = tuple(str(number) for number in range(1, int(labels.max(initial=-1)) + 2))
    parts = {}
    for part, name in FLOWER_LISTS.items():
        images = read_variable(lists, name)
        places = whole_numbers(images, lists, "image number", most=len(labels))
        paths = [root / "jpg" / f"image_{place + 1:05d}.jpg" for place in places]
        parts[part] = listed_split(paths, labels[places], lists)
    return RawDataset(classes, parts)


# By key of the catalogue.
READERS: dict[str, Callable[[Path], RawDataset]] = {
    "food101": read_food101,
    "cifar10": read_cifar10,
    "cifar100": read_cifar100,
    "birdsnap": read_birdsnap,
    "sun397": read_sun397,
    "stanford_cars": read_stanford_cars,
    "fgvc_aircraft": read_fgvc_aircraft,
    "voc2007": read_voc2007,
    "dtd": read_dtd,
    "oxford_pets": read_oxford_pets,
    "caltech101": read_caltech101,
    "flowers102": read_flowers102,
}
# Those of which images are known to be gone: they can be read without.
INCOMPLETE: dict[str, Callable[[Path], RawDataset]] = {
    "birdsnap": partial(read_birdsnap, allow_missing=True)
}


def is_archive(key: str, folder: Path) -> bool:
    """Whether a folder holds the creators' archive of a dataset, whole or in part."""
    try:
        READERS[key](folder)
    except NotUnpackedError:
        return False
    except DatasetError:
        return True
    return True
