"""Datasets whose creators list their images in text files, or in folders.

* Food-101: 101,000 photographs of dishes (Bossard, Guillaumin, Van Gool, ECCV 2014).
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
* Oxford-IIIT Pets: 7,349 cats and dogs of 37 breeds (Parkhi et al., CVPR 2012).
* Caltech-101: 9,144 pictures in 101 classes and a background class (Fei-Fei et al., 2004).
* PASCAL VOC 2007, classification: 9,963 photographs, 20 classes, any number in one image
  (Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 88, 2010).

Each reader raises DatasetMissingError for files that are missing, and DatasetError for files that
are not as the creators made them.
"""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from headstart.datasets.archives.list_files import (
    Labels,
    classes_in,
    first_with,
    from_one,
    has_content,
    invalid_file,
    labels_of,
    listed_split,
    read_content,
    read_lines,
    read_rows,
    split_by_folder,
    unpacked,
)
from headstart.datasets.images import FileImages
from headstart.datasets.splits import RawDataset, Split
from headstart.errors import DatasetMissingError
from headstart.files import storage_errors

__all__ = [
    "VOC_CLASSES",
    "read_birdsnap",
    "read_caltech101",
    "read_dtd",
    "read_fgvc_aircraft",
    "read_food101",
    "read_oxford_pets",
    "read_sun397",
    "read_voc2007",
]

# The first of the ten splits that the creators made.
DTD_LISTS = {"train": "train1.txt", "validation": "val1.txt", "test": "test1.txt"}
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
PETS_LISTS = {"train": "trainval.txt", "test": "test.txt"}
CALTECH_IMAGES = "101_ObjectCategories"
CALTECH_PLACES = ("caltech-101", "caltech101")
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
    classes = classes_in(root / "meta" / "train.txt")
    parts = {
        part: split_by_folder(root / "meta" / f"{part}.txt", root / "images", classes, ".jpg")
        for part in ("train", "test")
    }
    return RawDataset(classes, parts)


def read_dtd(folder: Path) -> RawDataset:
    """Read ``dtd``: lists of ``CLASS/IMAGE``, images in ``images``; an image's key attribute."""
    # torchvision unpacks into a folder of its own: dtd/dtd.
    root = unpacked("DTD", folder, "labels/train1.txt", "dtd", "dtd/dtd")
    classes = classes_in(root / "labels" / DTD_LISTS["train"])
    parts = {
        part: split_by_folder(root / "labels" / name, root / "images", classes)
        for part, name in DTD_LISTS.items()
    }
    return RawDataset(classes, parts)


def read_fgvc_aircraft(folder: Path) -> RawDataset:
    """Read ``fgvc-aircraft-2013b``, labelled by variant."""
    root = unpacked("FGVC Aircraft", folder, "data/variants.txt", "fgvc-aircraft-2013b")
    classes = tuple(read_lines(root / "data" / "variants.txt"))
    parts = {
        part: _read_aircraft(root / "data", name, classes) for part, name in AIRCRAFT_LISTS.items()
    }
    return RawDataset(classes, parts)


def _read_aircraft(data: Path, name: str, classes: tuple[str, ...]) -> Split:
    # A line is `1025794 Cessna 172`: the variant may hold blanks, and slashes (F/A-18).
    rows = read_rows(data / name, 2)
    labels = labels_of((variant for _, variant in rows), classes, data / name)
    paths = [data / "images" / f"{image}.jpg" for image, _ in rows]
    return listed_split(paths, labels, data / name)


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


def read_oxford_pets(folder: Path) -> RawDataset:
    """Read ``images`` and ``annotations``, with the creators' own two lists.

    A class is named as its files are, in their case: cats begin with a capital letter.
    """
    root = unpacked("Oxford-IIIT Pets", folder, "annotations/trainval.txt", "oxford-iiit-pet")
    lists = {part: root / "annotations" / name for part, name in PETS_LISTS.items()}
    listed = {part: _read_pets(path) for part, path in lists.items()}
    classes = _breeds(*listed["train"], lists["train"])
    parts: dict[str, Split] = {}
    for part, (images, labels) in listed.items():
        _check_breeds(images, labels, classes, lists[part])
        paths = [root / "images" / f"{image}.jpg" for image in images]
        parts[part] = listed_split(paths, labels, lists[part])
    return RawDataset(classes, parts)


def _read_pets(path: Path) -> tuple[list[str], Labels]:
    # A line is `Abyssinian_100 1 1 1`: image, class from 1, species, breed within the species.
    rows = read_rows(path, 4)
    return [row[0] for row in rows], from_one((row[1] for row in rows), path, "class number")


def _breed(image: str) -> str:
    return image.rpartition("_")[0]


def _breeds(images: list[str], labels: Labels, path: Path) -> tuple[str, ...]:
    names = dict(zip(labels.tolist(), map(_breed, images), strict=True))
    if absent := set(range(max(names, default=0) + 1)) - set(names):
        number = min(absent) + 1
        raise invalid_file(path, f"has no image of class {number}", found=number)
    return tuple(names[label] for label in sorted(names))


def _check_breeds(images: list[str], labels: Labels, classes: tuple[str, ...], path: Path) -> None:
    for image, label in zip(images, labels.tolist(), strict=True):
        expected = classes[label] if label < len(classes) else "none"
        if _breed(image) != expected:
            fault = f"gives {image} the class {label + 1}, which is {expected}"
            raise invalid_file(path, fault, found=label + 1, image=image)


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
    with storage_errors(path, reading=True):
        content = path.read_bytes()
    try:
        # The parser limits the expansion of entities itself (expat from 2.4.1 on).
        annotation = ElementTree.fromstring(content)  # noqa: S314
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


@dataclass(frozen=True)
class _BirdsnapPart:
    """What the lists say of a part: n paths, (n,) labels, and (n,) whether the file is there."""

    paths: list[Path]
    labels: Labels
    present: npt.NDArray[np.bool_]

    @property
    def missing(self) -> list[Path]:
        return [self.paths[row] for row in np.flatnonzero(~self.present)]

    def split(self) -> Split:
        rows = np.flatnonzero(self.present).astype(np.int64)
        return Split(FileImages([self.paths[row] for row in rows]), self.labels[rows], rows)


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
    listed = _read_birdsnap_lists(root, [number for number, _ in species])
    gone = {part: images.missing for part, images in listed.items()}
    missing = {part: len(paths) for part, paths in gone.items() if paths}
    if missing and not allow_missing:
        train, test = (f"{len(gone[p]):,} of {len(listed[p].paths):,}" for p in ("train", "test"))
        first = next(path for paths in gone.values() for path in paths)
        raise DatasetMissingError(
            f"Birdsnap in {root} lacks {train} training images and {test} test images, first "
            f"{_legible(str(first))}: run the creators' get_birdsnap.py, or measure on what is "
            "left with birdsnap?allow_missing=yes",
            code="dataset.images_missing",
            n=sum(missing.values()),
            missing=missing,
            first=_legible(str(first)),
        )
    parts = {part: images.split() for part, images in listed.items()}
    return RawDataset(tuple(name for _, name in species), parts, missing)


def _read_birdsnap_lists(root: Path, species: list[str]) -> dict[str, _BirdsnapPart]:
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
        paths = [path for path, _ in chosen]
        labels = labels_of((number for _, number in chosen), species, root / "images.txt")
        present = np.array([has_content(path) for path in paths], dtype=np.bool_)
        listed[part] = _BirdsnapPart(paths, labels, present)
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
