"""SFDA: a regularized Fisher discriminant that is tested on features made harder by itself."""

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.linalg import eigsh

from headstart.predictors.class_statistics import ROUNDING, Classes, ClassScore, decompose, softmax

__all__ = ["SFDA"]

Floats = npt.NDArray[np.float64]
STRENGTH = 5.0
LEAST = 1e-10
# Sizes up to which all eigenvalues are as quick as one.
SMALL = 64


class SFDA(ClassScore):
    """Mean log probability of the labels under a Fisher discriminant, after self-challenging.

    The discriminant's within-class covariance is shrunk by exp(-5 s), s its largest eigenvalue (of
    which the authors' code takes three power iterations): what is spread little is shrunk more.
    Each image is then moved towards the mean of the other classes, the farther the less probable
    its label was, and the discriminant is fitted again.

    Where the variance within classes is over 4 on some axis, the shrinkage is at its least, 1e-10:
    with no more images than features the discriminant then separates any labels, and the score is 0
    for every network. That is the paper's definition, which its authors apply to features as they
    are and to all training images; their code leaves out the logarithm.

    Source: W. Shao et al., "Not all models are equal: Predicting model transferability in a
    self-challenging Fisher space", ECCV 2022
    """

    label = "SFDA"

    def of_classes(self, features: Floats, classes: Classes) -> float:
        """Return the mean log probability, at most 0."""
        n, d = features.shape
        X = features - features.mean(axis=0)
        if n < d:
            # The same points on as many axes as they span: nothing below depends on the rotation.
            U, squared = decompose(X)
            X = U * np.sqrt(squared)
        shrunk = max(float(np.exp(-STRENGTH * _largest(_within(X, classes)))), LEAST)
        # The probabilities are softened once more before they mix.
        sure = softmax(_probabilities(X, classes, shrunk, d))[np.arange(n), classes.codes]
        means, counts = classes.means(X), classes.counts[:, None]
        others = (X.sum(axis=0) - means * counts) / (n - counts)
        mixed = sure[:, None] * X + (1 - sure[:, None]) * others[classes.codes]
        final = _probabilities(mixed, classes, shrunk, d)[np.arange(n), classes.codes]
        return float(np.log(np.maximum(final, np.finfo(float).tiny)).mean())


def _within(X: Floats, classes: Classes) -> Floats:
    residual = X - classes.means(X)[classes.codes]
    return np.asarray(residual.T @ residual / len(X))


def _largest(within: Floats) -> float:
    """Return the largest eigenvalue of a covariance."""
    if not within.any():
        return 0.0  # of images that are all the same, which may have no axes left
    if len(within) <= SMALL:
        return float(np.linalg.eigvalsh(within)[-1])
    start = within @ np.diag(within)
    return float(eigsh(within, k=1, v0=start, return_eigenvectors=False)[0])


def _probabilities(X: Floats, classes: Classes, shrunk: float, d: int) -> Floats:
    """(n, K) posteriors of the discriminant: linear, with one shrunk covariance for all classes.

    `d` is the number of features, of which X may have fewer axes.
    """
    within, means = _within(X, classes), classes.means(X)
    # A total of zero leaves nothing to divide by.
    width = max(shrunk * np.trace(within), ROUNDING * np.square(X).sum() / len(X)) / d
    regular = (1 - shrunk) * within
    regular.flat[:: len(regular) + 1] += max(width, np.finfo(float).tiny)
    coef = cho_solve(cho_factor(regular), means.T)
    offset = np.log(classes.counts / len(X)) - np.einsum("kd,dk->k", means, coef) / 2
    return softmax(X @ coef + offset)
