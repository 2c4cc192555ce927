"""Digits and Fashion-MNIST, which come with headstart's dependencies or the operating system."""

import gzip
import math
import struct
import urllib.error
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headstart.context import ProgressReporter
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.images import ArrayImages
from headstart.datasets.manifest import Manifest
from headstart.datasets.sources.dataset_source import Description, Presence, Source
from headstart.datasets.sources.torchvision import socket_timeout
from headstart.datasets.splits import RawDataset, Split
from headstart.errors import DatasetError, DatasetMissingError
from headstart.files import storage_errors, writable_folder
from headstart.labels import kind_of
from headstart.spec import Sizes

__all__ = ["EMBEDDED", "EmbeddedSource"]

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
# Below the cache: the layout is torchvision's.
DOWNLOAD_FOLDER = Path("datasets", "FashionMNIST", "raw")
# Where Debian's package dataset-fashion-mnist puts the four files.
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FASHION_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
SINGLE = kind_of("top-1")


class Embedded(NamedTuple):
    """How one is read, and where its splits come from."""

    classes: tuple[str, ...]
    read: Callable[[Path], dict[str, Split]]
    split_rule: str
    drawn: tuple[str, ...]


def read_digits() -> dict[str, Split]:
    """Read scikit-learn's digits: 1,797 handwritten digits of 8 x 8 pixels, in the package itself.

    60 % train, 20 % validation, 20 % test, stratified, fixed once for all. The source has no
    official split, so this one is ours and stands in the manifest.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # The source counts ink in 0..16.
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    rest, test = SINGLE.hold_out(labels, 0.2, seed=0)
    kept, held = SINGLE.hold_out(labels[rest], 0.25, seed=1)
    rows = {"train": rest[kept], "validation": rest[held], "test": test}
    images = ArrayImages(pixels)
    return {
        name: Split(images.take(places), labels[places], np.arange(len(places)))
        for name, places in rows.items()
    }


def find_fashion_mnist(cache: Path) -> Path | None:
    """Find the folder that holds the four files, without touching the network."""
    for folder in (SYSTEM_FOLDER, cache / DOWNLOAD_FOLDER):
        if all((folder / name).exists() for pair in FASHION_FILES.values() for name in pair):
            return folder
    return None


def fetch_fashion_mnist(cache: Path) -> None:
    """Download through torchvision where the files are not on this machine.

    Raises
    ------
    DatasetMissingError
        The host does not answer; the message names the folder and the package that would do.
    """
    if find_fashion_mnist(cache) is not None:
        return
    from torchvision.datasets import FashionMNIST

    root = writable_folder(cache / DOWNLOAD_FOLDER.parts[0])
    with storage_errors(root):
        try:
            with socket_timeout():
                FashionMNIST(str(root), download=True)
        # torchvision's own word for a failed download is RuntimeError.
        except (urllib.error.URLError, RuntimeError, TimeoutError, ConnectionError) as error:
            raise DatasetMissingError(
                "dataset 'fashion_mnist' is not on this machine and its host does not answer: "
                "install Debian's package dataset-fashion-mnist, or put the four .gz files into "
                f"{cache / DOWNLOAD_FOLDER}"
            ) from error


def read_fashion_mnist(cache: Path) -> dict[str, Split]:
    """Read Fashion-MNIST: 70,000 pictures of clothes, 28 x 28 pixels (Xiao, Rasul, Vollgraf, 2017).

    A sixth of the training images, stratified and fixed, validates.
    """
    folder = find_fashion_mnist(cache)
    if folder is None:
        raise DatasetMissingError(
            f"dataset 'fashion_mnist' is in neither {SYSTEM_FOLDER} nor the cache"
        )
    whole = {}
    for part, (images, labels) in FASHION_FILES.items():
        numbers = _read_idx(folder / labels).astype(np.int64)
        whole[part] = Split(
            ArrayImages(_read_idx(folder / images)), numbers, np.arange(len(numbers))
        )
    kept, held = SINGLE.hold_out(whole["train"].labels, 1 / 6, seed=0)
    return {
        "train": whole["train"].take(kept),
        "validation": whole["train"].take(held),
        "test": whole["test"],
    }


def _read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read the IDX format: two zero bytes, 8 for uint8, how many dimensions, the dimensions."""
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise DatasetError(
            f"{path} is not a whole gzip file ({error}); fetch a fresh copy",
            code="dataset.archive_invalid",
            file=path.name,
        ) from error
    n_dims = content[3] if len(content) > 3 else 0
    head = 4 + 4 * n_dims
    shape = struct.unpack(f">{n_dims}I", content[4:head].ljust(4 * n_dims, b"\0"))
    if content[:3] != b"\0\0\x08" or len(content) - head != math.prod(shape):
        raise DatasetError(
            f"{path} is not an IDX file of bytes; fetch a fresh copy",
            code="dataset.archive_invalid",
            file=path.name,
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


EMBEDDED: Mapping[str, Embedded] = MappingProxyType(
    {
        "digits": Embedded(
            tuple("0123456789"),
            lambda _: read_digits(),
            "Drawn once for all: 60 % train, 20 % validation, 20 % test, stratified by class.",
            drawn=("train", "validation", "test"),
        ),
        "fashion_mnist": Embedded(
            FASHION_CLASSES,
            read_fashion_mnist,
            "The creators' train and test; a sixth of train validates, stratified by class.",
            drawn=("validation",),
        ),
    }
)


class EmbeddedSource(Source):
    """Datasets whose whole content is known: their manifests are part of the package."""

    name = "embedded"
    looks = False

    def names(self) -> tuple[str, ...]:
        return tuple(EMBEDDED)

    def describe(self, dataset_ref: DatasetName) -> Description:
        manifest = self.manifest(dataset_ref)
        return Description(
            title=dataset_ref.stem,
            split_rule=EMBEDDED[dataset_ref.stem].split_rule,
            n_classes=len(manifest.classes),
            drawn=EMBEDDED[dataset_ref.stem].drawn,
            sizes=Sizes(**{name: part.size for name, part in manifest.splits.items()}),
        )

    def presence(self, dataset_ref: DatasetName, cache: Path) -> Presence:
        if dataset_ref.stem != "fashion_mnist":
            return Presence(True, "comes with headstart's dependencies")
        if place := find_fashion_mnist(cache):
            return Presence(True, str(place))
        return Presence(False, "Debian package dataset-fashion-mnist, or downloaded on first use")

    def fetch(self, dataset_ref: DatasetName, cache: Path, reporter: ProgressReporter) -> None:
        if dataset_ref.stem == "fashion_mnist":
            fetch_fashion_mnist(cache)
        else:
            super().fetch(dataset_ref, cache, reporter)

    def read(self, dataset_ref: DatasetName, cache: Path) -> RawDataset:
        known = EMBEDDED[dataset_ref.stem]
        return RawDataset(known.classes, known.read(cache))

    def split(self, dataset_ref: DatasetName, raw: RawDataset) -> tuple[dict[str, Split], str]:
        return raw.parts, EMBEDDED[dataset_ref.stem].split_rule

    def manifest(self, dataset_ref: DatasetName) -> Manifest:
        # Splits that were drawn were drawn once for all.
        dataset_ref.refuse_split_seed()
        file = files("headstart.datasets").joinpath("manifests", f"{dataset_ref.stem}.json")
        text = file.read_text(encoding="utf-8")
        return Manifest.model_validate_json(text)
