"""The problems that solvers of the probe are compared on: features, labels, lambdas.

* `digits`, `fashion`: penultimate features of EfficientNet-Lite0 on the training images of digits
  and on 6,400 of Fashion-MNIST;
* `flowers`, `large`: synthetic features of the sizes of Oxford Flowers with a ResNet-50 and of
  50,000 images of 100 classes;
* `spectrum`: Gaussian features whose standard deviations fall as a power of their number;
* `copies`: features of one layer with ReLU whose labels are drawn, a tenth of the examples twice
  and mostly in two classes, as in folders of photos that nobody has sorted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.probe.estimator import LAMBDAS

__all__ = ["CASES", "TARGET", "Problem", "make_problem", "synthetic"]

# The relative gap that everyone is brought to.
TARGET = 1e-4
# (n, d, K) and the lambdas on which rivals are compared: a few where the path takes them hours.
SYNTHETIC = {
    "flowers": ((3060, 2048, 102), LAMBDAS),
    "large": ((50_000, 2048, 100), (1e4, 1e2, 1e0)),
}
# Dataset, and how many of its training images.
IMAGES = {"digits": ("digits", None), "fashion": ("fashion_mnist", 6400)}
CASES = (*IMAGES, *SYNTHETIC, "spectrum", "copies")
SPECTRUM = tuple(float(f"{10 ** (3 - i / 4):.12g}") for i in range(17))
ROWS = 4096


@dataclass(frozen=True)
class Problem:
    """Features and labels, and the lambdas on which everyone is compared.

    Parameters
    ----------
    name
        Of the case.
    X, y
        (n, d) float32 and (n,) int64 in 0..K-1, each class at least once.
    lambdas
        In decreasing order.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    lambdas: Sequence[float]

    @property
    def n_classes(self) -> int:
        """K."""
        return int(self.y.max()) + 1


def make_problem(name: str, scale: float = 1.0) -> Problem:
    """Make a case, with `scale` times its examples, but two of each class at least."""
    if name in IMAGES:
        X, y = some_rows(*image_features(name), scale)
        return Problem(name, X, y, LAMBDAS)
    if name == "spectrum":
        X, y = some_rows(*spectrum(3000, 768, 10), scale)
        return Problem(name, X, y, SPECTRUM)
    if name == "copies":
        X, y = some_rows(*copies(3000, 512, 30), scale)
        return Problem(name, X, y, LAMBDAS)
    (n, d, n_classes), lambdas = SYNTHETIC[name]
    X, y = synthetic(max(int(n * scale), 2 * n_classes), d, n_classes)
    return Problem(name, X, y, lambdas)


def synthetic(n: int, d: int, n_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Make features like the pooled ones of a convolutional network: (n, d) and (n,) labels.

    An image is the mean of two draws of ``relu((C[y] + 1.5 e) A + b + 0.5 f)``: e is within-class
    variation, which like the class centres C lives in m directions of power-law spectrum, mixed
    into d correlated units by A; f is noise of a unit's own. So features are nonnegative, and
    classes overlap somewhat. Classes are balanced.
    """
    rng = np.random.default_rng(seed)
    m = min(256, d)
    spectrum = ((1 + np.arange(m)) ** -0.8).astype(np.float32)
    centres = rng.standard_normal((n_classes, m), dtype=np.float32) * spectrum
    A = rng.standard_normal((m, d), dtype=np.float32) * np.float32(4 / np.sqrt(m))
    b = rng.standard_normal(d, dtype=np.float32) * np.float32(0.3)
    y = rng.permutation(np.arange(n) % n_classes)
    X = np.empty((n, d), np.float32)
    for first in range(0, n, ROWS):
        own = y[first : first + ROWS]
        X[first : first + ROWS] = 0
        for _ in range(2):
            within = rng.standard_normal((len(own), m), dtype=np.float32) * spectrum
            units = (centres[own] + np.float32(1.5) * within) @ A + b
            units += np.float32(0.5) * rng.standard_normal(units.shape, dtype=np.float32)
            X[first : first + ROWS] += np.maximum(units, 0) / 2
    return X, y


def spectrum(n: int, d: int, n_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Make Gaussian features in a random rotation: (n, d) and (n,) labels.

    The k-th standard deviation is 20 k^-0.8, and the means of the classes, which are balanced, are
    0.3 such standard deviations apart from the common one in the first 64 directions: classes
    overlap, until the penalty is so small that every training example is fitted.
    """
    rng = np.random.default_rng(seed)
    scales = 20 * np.arange(1, d + 1) ** -0.8
    rotation = np.linalg.qr(rng.standard_normal((d, d)))[0]
    y = rng.permutation(np.arange(n) % n_classes)
    centres = 0.3 * rng.standard_normal((n_classes, d)) * (np.arange(d) < 64)
    X = (rng.standard_normal((n, d)) + centres[y]) * scales
    return (X @ rotation).astype(np.float32), y


def copies(n: int, d: int, n_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Make (1.1 n, d) features and labels that are drawn: the last are copies of the first."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 64)) @ rng.standard_normal((64, d)) / 8
    X = np.concatenate([X, X[: n // 10]])
    return np.maximum(X, 0).astype(np.float32), rng.integers(0, n_classes, len(X))


def image_features(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Extract the features of a dataset's training images, or read them from the cache."""
    # Only here: the synthetic cases need neither a model nor a dataset.
    from headstart import datasets, models
    from headstart.context import RunContext, default_cache
    from headstart.features import FeatureRequest, penultimate_features

    dataset_name, limit = IMAGES[name]
    dataset = datasets.find(dataset_name, limit=limit)
    splits = datasets.load(dataset, 0, default_cache())
    images = splits.train.images
    request = FeatureRequest(images, np.arange(len(images)), splits.revision, len(images))
    values = penultimate_features(models.find("efficientnet_lite0"), request, RunContext()).values
    return np.array(values, np.float32), np.asarray(splits.train.labels)


def some_rows(X: np.ndarray, y: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Take the first examples of each class, `scale` of them but two at least."""
    if scale >= 1:
        return X, y
    kept = [np.flatnonzero(y == k) for k in np.unique(y)]
    rows = np.sort(np.concatenate([own[: max(2, int(len(own) * scale))] for own in kept]))
    return X[rows], y[rows]
