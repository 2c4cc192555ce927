"""The twelve archives in small: true formats on disk, fewer classes, 2 to 5 images of each."""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from headstart.datasets.archives import Facts, facts_of
from headstart.spec import Sizes

CARS = ("AM General Hummer SUV 2000", "Audi S6 Sedan 2011", "Ram C/V Cargo Van Minivan 2012")
PETS = ("Abyssinian", "american_pit_bull_terrier", "Bengal")
SCENES = ("/a/abbey", "/c/church/indoor", "/s/swimming_pool/indoor")
SPECIES = (("1", "Acadian Flycatcher"), ("2", "Cooper's Hawk"), ("31", "Blue Jay"))
VARIANTS = ("707-320", "Cessna 172", "F/A-18")
VOC = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
]  # fmt: skip


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.RandomState(zlib.crc32(path.as_posix().encode()))
    Image.fromarray(noise.randint(0, 256, (16, 16, 3)).astype(np.uint8)).save(path)


def write_lines(path: Path, lines) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def python2_pickle(value) -> bytes:
    """Pickle as Python 2 did with protocol 2, text as bytes: CIFAR's files are of that time."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value) -> bytes:
    if isinstance(value, str):
        text = value.encode()
        return b"U" + bytes([len(text)]) + text
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(_opcodes, value)) + b"e"
    if isinstance(value, dict):
        pairs = b"".join(_opcodes(key) + _opcodes(inside) for key, inside in value.items())
        return b"}(" + pairs + b"u"
    # What numpy.ndarray.__reduce__ gives for uint8.
    _version, shape, _dtype, fortran_order, content = value.__reduce__()[2]
    dtype = b"cnumpy\ndtype\n" + b"U\x02u1K\x00K\x01\x87R" + b"(K\x03U\x01|NNNJ" + b"\xff" * 4
    dtype += b"J" + b"\xff" * 4 + b"K\x00tb"
    shape = b"(" + b"".join(_opcodes(int(n)) for n in shape) + b"t"
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    order = b"\x88" if fortran_order else b"\x89"
    return empty + b"(K\x01" + shape + dtype + order + _opcodes(content) + b"tb"


def write_food101(root: Path) -> None:
    dishes = ("apple_pie", "beignets", "waffles")
    for part, numbers in (("train", range(100, 104)), ("test", range(200, 202))):
        names = [f"{dish}/{n}" for dish in dishes for n in numbers]
        write_lines(root / "meta" / f"{part}.txt", names)
        by_dish = {dish: [name for name in names if name.startswith(dish)] for dish in dishes}
        (root / "meta" / f"{part}.json").write_text(json.dumps(by_dish))
        for name in names:
            write_image(root / "images" / f"{name}.jpg")


def cifar_batch(n: int, **labels) -> dict:
    """Give n images whose pixels are (row of the image, 100, 200) all over."""
    planes = np.zeros((n, 3, 32 * 32), np.uint8)
    planes += np.stack([[row, 100, 200] for row in range(n)])[:, :, None].astype(np.uint8)
    names = [f"{row}.png" for row in range(n)]
    return {"batch_label": "a batch", "data": planes.reshape(n, -1), "filenames": names, **labels}


def write_cifar10(root: Path) -> None:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    # The list of names is older: protocol 0.
    names = b"".join(b"S'%s'\na" % name for name in (b"airplane", b"automobile", b"bird"))
    meta = b"(dp1\nS'num_cases_per_batch'\nI6\nsS'label_names'\n(lp2\n" + names + b"s."
    (folder / "batches.meta").write_bytes(meta)
    for name in [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]:
        batch = cifar_batch(6, labels=[0, 1, 2, 2, 1, 0])
        (folder / name).write_bytes(python2_pickle(batch))


def write_cifar100(root: Path) -> None:
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    names = {"fine_label_names": ["apple", "aquarium_fish", "baby"], "coarse_label_names": ["a"]}
    (folder / "meta").write_bytes(python2_pickle(names))
    for name, n in (("train", 12), ("test", 6)):
        batch = cifar_batch(n, fine_labels=[row % 3 for row in range(n)], coarse_labels=[0] * n)
        (folder / name).write_bytes(python2_pickle(batch))


def write_birdsnap(root: Path) -> None:
    folders = [name.replace(" ", "_").replace("'", "") for _, name in SPECIES]
    lines = [
        f"{number}\t{name}\tGenus species\t{folder}"
        for (number, name), folder in zip(SPECIES, folders, strict=True)
    ]
    write_lines(root / "species.txt", ["id\tcommon\tscientific\tdir", *lines])
    paths = [(f"{folders[k]}/{100 * k + i}.jpg", SPECIES[k][0]) for k in range(3) for i in range(5)]
    # Parts of the bird that are not seen have no place: the fields are empty.
    header = "url\tmd5\tpath\tspecies_id\tbb_x1\tbb_y1\tbb_x2\tbb_y2\tback_x\tback_y"
    rows = [f"http://x/1\t0\t{path}\t{species}\t1\t1\t9\t9\t\t" for path, species in paths]
    write_lines(root / "images.txt", [header, *rows])
    write_lines(root / "test_images.txt", ["path", *(path for path, _ in paths[::5])])
    for path, _ in paths:
        write_image(root / "download" / "images" / path)


def write_sun397(root: Path) -> None:
    write_lines(root / "ClassName.txt", SCENES)
    for name, letters in (("Training_01.txt", "abcd"), ("Testing_01.txt", "xy")):
        paths = [f"{scene}/sun_{letter}.jpg" for scene in SCENES for letter in letters]
        write_lines(root / name, paths)
        for path in paths:
            write_image(root / path[1:])


def write_annotations(path: Path, labels) -> None:
    """Write a struct array of shape (1, n), as MATLAB does."""
    fields = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname"]
    records = np.zeros((1, len(labels)), dtype=[(field, object) for field in fields])
    for row, label in enumerate(labels):
        box = (np.uint8([[1]]),) * 4
        records[0, row] = (*box, np.uint8([[label]]), f"{row + 1:05d}.jpg")
    savemat(path, {"annotations": records}, do_compression=True)


def write_stanford_cars(root: Path) -> None:
    (root / "devkit").mkdir(parents=True)
    names = np.array([CARS], dtype=object)
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": names}, do_compression=True)
    files = (
        ("cars_train", "devkit/cars_train_annos.mat", 4),
        ("cars_test", "cars_test_annos_withlabels.mat", 2),
    )
    for folder, file, each in files:
        write_annotations(root / file, [3, 1, 2] * each)
        for row in range(3 * each):
            write_image(root / folder / f"{row + 1:05d}.jpg")


def write_fgvc_aircraft(root: Path) -> None:
    write_lines(root / "data" / "variants.txt", VARIANTS)
    for number, part in enumerate(("train", "val", "test")):
        lines = [
            f"0000{number}{k}{i} {variant}" for k, variant in enumerate(VARIANTS) for i in range(2)
        ]
        write_lines(root / "data" / f"images_variant_{part}.txt", lines)
        for line in lines:
            write_image(root / "data" / "images" / f"{line[:7]}.jpg")


def write_voc_annotation(path: Path, objects) -> None:
    """Write (class, difficult) of each object, with a part that has a name of its own."""
    inside = "".join(
        f"<object><name>{name}</name><pose>Left</pose><difficult>{int(difficult)}</difficult>"
        "<part><name>head</name></part></object>"
        for name, difficult in objects
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation><folder>VOC2007</folder>{inside}</annotation>")


def write_voc2007(root: Path) -> None:
    folder = root / "VOCdevkit" / "VOC2007"
    for number, part in enumerate(("train", "val", "test")):
        images = [f"{number}{i:05d}" for i in range(5)]
        write_lines(folder / "ImageSets" / "Main" / f"{part}.txt", images)
        for i, image in enumerate(images):
            write_image(folder / "JPEGImages" / f"{image}.jpg")
            objects = [(name, False) for name in VOC[i::5]]
            write_voc_annotation(folder / "Annotations" / f"{image}.xml", objects)


def write_dtd(root: Path) -> None:
    for part, numbers in (("train", (1, 2)), ("val", (3, 4)), ("test", (5, 6))):
        textures = ("banded", "blotchy", "zigzagged")
        names = [f"{name}/{name}_{n:04d}.jpg" for name in textures for n in numbers]
        write_lines(root / "labels" / f"{part}1.txt", names)
        # Of ten splits the first is read.
        write_lines(root / "labels" / f"{part}2.txt", names[::-1])
        for name in names:
            write_image(root / "images" / name)


def write_oxford_pets(root: Path) -> None:
    for name, numbers in (("trainval", range(1, 5)), ("test", range(5, 7))):
        rows = [(f"{pet}_{n}", k + 1) for k, pet in enumerate(PETS) for n in numbers]
        lines = [f"{image} {label} 1 {label}" for image, label in rows]
        write_lines(root / "annotations" / f"{name}.txt", lines)
        for image, _ in rows:
            write_image(root / "images" / f"{image}.jpg")


def write_caltech101(root: Path) -> None:
    root = root / "101_ObjectCategories"
    for name in ("BACKGROUND_Google", "Faces", "accordion", "airplanes"):
        for number in range(1, 6):
            write_image(root / name / f"image_{number:04d}.jpg")
    (root / "BACKGROUND_Google" / "tmp").write_bytes(b"no image")


def write_flowers102(root: Path) -> None:
    root.mkdir(parents=True)
    labels = np.uint8([[1 + row % 3 for row in range(21)]])
    savemat(root / "imagelabels.mat", {"labels": labels})
    numbers = np.arange(1, 22, dtype=np.uint16)[None]
    parts = {"trnid": numbers[:, :6], "valid": numbers[:, 6:12], "tstid": numbers[:, 12:]}
    savemat(root / "setid.mat", parts)
    for number in range(1, 22):
        write_image(root / "jpg" / f"image_{number:05d}.jpg")


# Of each archive as written above: classes, (train, validation, test), what each class has.
SMALL = {
    "food101": (3, (9, 3, 6), {"train": 3, "validation": 1, "test": 2}),
    "cifar10": (3, (24, 6, 6), {"train": 8, "validation": 2, "test": 2}),
    "cifar100": (3, (8, 4, 6), {"train+validation": 4, "test": 2}),
    "birdsnap": (3, (9, 3, 3), {}),
    "sun397": (3, (9, 3, 6), {"train": 3, "validation": 1, "test": 2}),
    "stanford_cars": (3, (8, 4, 6), {}),
    "fgvc_aircraft": (3, (6, 6, 6), {}),
    "voc2007": (20, (5, 5, 5), {}),
    "dtd": (3, (6, 6, 6), {"train": 2, "validation": 2, "test": 2}),
    "oxford_pets": (3, (9, 3, 6), {}),
    "caltech101": (4, (8, 4, 8), {"train": 2, "validation": 1}),
    "flowers102": (3, (6, 6, 9), {"train": 2, "validation": 2}),
}


def small_facts(key: str) -> Facts:
    """Give the published facts with the sizes of the small archive."""
    n_classes, (train, validation, test), per_class = SMALL[key]
    sizes = Sizes(train=train, validation=validation, test=test)
    changes = {"n_classes": n_classes, "sizes": sizes, "per_class": per_class, "files": {}}
    return facts_of(key).model_copy(update=changes)


@pytest.fixture
def small() -> Callable[[str], Facts]:
    return small_facts


@pytest.fixture
def pickled() -> Callable[[object], bytes]:
    return python2_pickle


@pytest.fixture
def write(tmp_path) -> Callable[[str], Path]:
    """Write the small archive of a key, and give the folder that a user would name."""

    def written(key: str) -> Path:
        root = tmp_path / key
        globals()[f"write_{key}"](root)
        return root

    return written


@pytest.fixture
def incomplete(write) -> Path:
    """Give a folder without two training images and one test image of Birdsnap."""
    folder = write("birdsnap")
    for name in ("Blue_Jay/202.jpg", "Acadian_Flycatcher/3.jpg", "Coopers_Hawk/100.jpg"):
        (folder / "download" / "images" / name).unlink()
    return folder


@pytest.fixture
def in_small(monkeypatch, small):
    """Have the small archives be what is published."""
    monkeypatch.setattr("headstart.datasets.sources.study_datasets.facts_of", small)
