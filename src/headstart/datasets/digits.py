"""scikit-learn's digits: 1,797 handwritten digits of 8 x 8 pixels, in the package itself."""

import numpy as np

from headstart.datasets.images import ArrayImages
from headstart.datasets.splits import Split
from headstart.labels import hold_out

__all__ = ["CLASSES", "read"]

CLASSES = tuple("0123456789")


def read() -> dict[str, Split]:
    """Read the images; 60 % train, 20 % validation, 20 % test, stratified, fixed once for all.

    The source has no official split, so this one is ours and stands in the manifest.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # The source counts ink in 0..16.
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    rest, test = hold_out(labels, 0.2, seed=0)
    kept, held = hold_out(labels[rest], 0.25, seed=1)
    rows = {"train": rest[kept], "validation": rest[held], "test": test}
    images = ArrayImages(pixels)
    return {
        name: Split(images.take(places), labels[places], np.arange(len(places)))
        for name, places in rows.items()
    }
