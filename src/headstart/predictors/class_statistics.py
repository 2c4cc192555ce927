"""What several transfer scores share: classes, their Gaussians, principal coordinates."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.special import softmax

from headstart.errors import AnalysisError
from headstart.predictors.predictor import ScaleName
from headstart.stats.representations import centred

__all__ = [
    "ROUNDING",
    "ClassScore",
    "Classes",
    "Decomposition",
    "SourceScore",
    "classes_of",
    "decompose",
    "gaussian_posteriors",
    "principal",
    "spread",
    "within_covariance",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
# Of the largest eigenvalue: smaller ones are rounding.
ROUNDING = 1e-12
# Columns more than are wanted, and products with the covariance, of the randomized subspace
# iteration (Halko et al. 2011, algorithm 4.4): what is returned has the variances to about 1e-3.
MORE, ITERATIONS, SEED = 16, 4, 0


class Classes(NamedTuple):
    """(n,) class numbers 0..K-1 without gaps, and (K,) counts, each at least 1."""

    codes: Ints
    counts: Ints

    @property
    def one_hot(self) -> Floats:
        """(n, K) float64."""
        return np.asarray(self.codes[:, None] == np.arange(len(self.counts)), dtype=np.float64)

    def means(self, X: Floats) -> Floats:
        """(K, d) mean of each class's rows."""
        return np.asarray(self.one_hot.T @ X / self.counts[:, None])


def classes_of(labels: Ints) -> Classes:
    """Number the classes that occur.

    Raises
    ------
    AnalysisError
        Labels of several classes per image.
    """
    if labels.ndim != 1:
        raise AnalysisError(
            "this score is defined for one label per image: use logme for several",
            code="analysis.predictor_labels",
        )
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return Classes(codes.astype(np.int64), counts.astype(np.int64))


class ClassScore(ABC):
    """A transfer score of features and classes, of images with one label each.

    The subclass has the `label`, its source, and the formula.
    """

    label: str
    scale: ScaleName = "number"

    def score(
        self,
        features: Floats,
        labels: Ints,
        source_predictions: Floats | None,  # noqa: ARG002
    ) -> float:
        """Return the score, as `TransferScore` has it."""
        return self.of_classes(features, classes_of(labels))

    @abstractmethod
    def of_classes(self, features: Floats, classes: Classes) -> float:
        """Return the score of (n, d) features, as the network gives them."""


class SourceScore(ABC):
    """A transfer score of the network's own answers, of images with one label each."""

    label: str
    scale: ScaleName = "number"
    needs_source = True

    def score(
        self,
        features: Floats,  # noqa: ARG002
        labels: Ints,
        source_predictions: Floats | None,
    ) -> float:
        """Return the score, as `TransferScore` has it."""
        if source_predictions is None:
            raise AnalysisError(
                f"{self.label} needs the probabilities of the network's own classifier: expected "
                "source_predictions (n, C)",
                code="analysis.predictor_source", predictor=self.label,
            )  # fmt: skip
        return self.of_source(source_predictions, classes_of(labels))

    @abstractmethod
    def of_source(self, source: Floats, classes: Classes) -> float:
        """Return the score of (n, C) probabilities of the network's own classes."""


class Decomposition(NamedTuple):
    """X = U S V' of rank r: (n, r) U, (r,) squared singular values, in increasing order."""

    U: Floats
    squared: Floats


def decompose(X: Floats) -> Decomposition:
    """Decompose by the eigenvectors of the smaller of X'X and XX': a fifth of the time of the SVD.

    Directions whose squared singular value is under 1e-12 of the largest are left out.
    """
    n, d = X.shape
    values, vectors = np.linalg.eigh(X @ X.T if n <= d else X.T @ X)
    kept = values > ROUNDING * max(values[-1], np.finfo(float).tiny)
    values, vectors = values[kept], vectors[:, kept]
    U = vectors if n <= d else X @ vectors / np.sqrt(values)
    return Decomposition(U, values)


def principal(X: Floats, most: int) -> Floats:
    """Return the coordinates of rows on their leading principal axes, the widest first.

    Parameters
    ----------
    X
        (n, d) float64.
    most
        Number of axes.

    Returns
    -------
    numpy.ndarray
        (n, min(most, d, n)), centred. The same for any order of the rows, but for rounding.
    """
    moved = centred(X)
    n, d = X.shape
    if min(n, d) <= 2 * (most + MORE):
        U, squared = decompose(moved)
        return np.asarray((U * np.sqrt(squared))[:, ::-1][:, :most])
    # Numbers of fixed seed, one row per feature: which images there are does not count.
    Q = np.random.RandomState(SEED).standard_normal((d, most + MORE))
    for _ in range(ITERATIONS):
        Q, _ = np.linalg.qr(moved.T @ (moved @ Q))
    inside = moved @ Q
    _, vectors = np.linalg.eigh(inside.T @ inside)
    return np.asarray((inside @ vectors)[:, ::-1][:, :most])


def spread(Z: Floats) -> float:
    """Return the mean variance of columns, never 0: what floors of variances are relative to."""
    mean: float = float(Z.var(axis=0).sum()) / max(Z.shape[1], 1)
    return max(mean, float(np.finfo(float).tiny))


def within_covariance(X: Floats, classes: Classes) -> Floats:
    """(d, d) covariance within classes, pooled."""
    residual = X - classes.means(X)[classes.codes]
    return np.asarray(residual.T @ residual / len(X))


def gaussian_posteriors(X: Floats, classes: Classes, covariance: Floats) -> Floats:
    """(n, K) posteriors of Gaussians with one covariance, priors the shares of classes."""
    means = classes.means(X)
    coef = cho_solve(cho_factor(covariance), means.T)
    offset = np.log(classes.counts / len(X)) - np.einsum("kd,dk->k", means, coef) / 2
    return np.asarray(softmax(X @ coef + offset, axis=1))
