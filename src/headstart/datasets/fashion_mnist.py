"""Fashion-MNIST: 70,000 pictures of clothes, 28 x 28 pixels (Xiao, Rasul, Vollgraf, 2017)."""

import gzip
import socket
import urllib.error
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart.datasets.images import ArrayImages
from headstart.datasets.splits import Split
from headstart.errors import DatasetError, DatasetMissingError
from headstart.files import storage_errors, writable_folder
from headstart.labels import hold_out

__all__ = ["CLASSES", "SYSTEM_FOLDER", "fetch", "find", "read"]

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
# Where Debian's package dataset-fashion-mnist puts the four files.
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
HOST_SECONDS = 10


def find(cache: Path) -> Path | None:
    """Find the folder that holds the four files, without touching the network."""
    for folder in (SYSTEM_FOLDER, _download_folder(cache)):
        if all((folder / name).exists() for pair in FILES.values() for name in pair):
            return folder
    return None


def fetch(cache: Path) -> None:
    """Download through torchvision where the files are not on this machine.

    Raises
    ------
    DatasetMissingError
        The host does not answer; the message names the folder and the package that would do.
    """
    if find(cache) is not None:
        return
    from torchvision.datasets import FashionMNIST

    root = writable_folder(_download_root(cache))
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(HOST_SECONDS)
    with storage_errors(root):
        try:
            FashionMNIST(str(root), download=True)
        # torchvision's own word for a failed download is RuntimeError.
        except (urllib.error.URLError, RuntimeError, TimeoutError, ConnectionError) as error:
            raise DatasetMissingError(
                "dataset 'fashion_mnist' is not on this machine and its host does not answer: "
                "install Debian's package dataset-fashion-mnist, or put the four .gz files into "
                f"{_download_folder(cache)}"
            ) from error
        finally:
            socket.setdefaulttimeout(patience)


def read(cache: Path) -> dict[str, Split]:
    """Read the files; a sixth of the training images, stratified and fixed, validates."""
    folder = find(cache)
    if folder is None:
        raise DatasetMissingError(
            f"dataset 'fashion_mnist' is in neither {SYSTEM_FOLDER} nor the cache"
        )
    pixels, train_labels = (_read_idx(folder / name) for name in FILES["train"])
    labels = train_labels.astype(np.int64)
    kept, held = hold_out(labels, 1 / 6, seed=0)
    images = ArrayImages(pixels)
    test_pixels, test_labels = (_read_idx(folder / name) for name in FILES["test"])
    return {
        "train": Split(images.take(kept), labels[kept], kept),
        "validation": Split(images.take(held), labels[held], held),
        "test": Split(
            ArrayImages(test_pixels), test_labels.astype(np.int64), np.arange(len(test_labels))
        ),
    }


def _download_root(cache: Path) -> Path:
    return cache / "datasets"


def _download_folder(cache: Path) -> Path:
    # The layout is torchvision's.
    return _download_root(cache) / "FashionMNIST" / "raw"


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
    shape = (
        np.frombuffer(content, ">u4", count=n_dims, offset=4)
        if len(content) >= 4 + 4 * n_dims
        else ()
    )
    values = np.frombuffer(content, np.uint8, offset=min(len(content), 4 + 4 * n_dims))
    if content[:3] != b"\0\0\x08" or values.size != np.prod(shape):
        raise DatasetError(
            f"{path} is not an IDX file of bytes; fetch a fresh copy",
            code="dataset.archive_invalid",
            file=path.name,
        )
    return values.reshape(shape)
