"""H-score: how much of the features' variance lies between classes, regularized."""

import numpy as np
import numpy.typing as npt

from headstart.predictors.class_statistics import Classes, ClassScore, decompose

__all__ = ["HScore", "shrinkage"]

Floats = npt.NDArray[np.float64]


class HScore(ClassScore):
    """tr(S_a^-1 (1 - a) S_z): the covariance S of features shrunk by a, S_z that of class means.

    S_a = (1 - a) S + a tr(S)/d I, with the a of Ledoit and Wolf (2004). Without shrinking (Bao et
    al. 2019) the score grows with the number of features alone where images are few.

    Source: S. Ibrahim, N. Ponomareva, R. Mazumder, "Newer is not always better: Rethinking
    transferability metrics, their peculiarities, stability and performance", ECML PKDD 2022
    """

    label = "H-score"

    def of_classes(self, features: Floats, classes: Classes) -> float:
        """Return the regularized H-score, between 0 and K - 1."""
        n = len(features)
        X = features - features.mean(axis=0)
        U, squared = decompose(X)
        eigenvalues = squared / n
        a, width = shrinkage(X, eigenvalues)
        # Class means in the basis of right singular vectors: S U', averaged over the class.
        means = classes.means(U) * np.sqrt(squared)
        between = (classes.counts[:, None] / n * means**2).sum(axis=0)
        return float(((1 - a) * between / ((1 - a) * eigenvalues + a * width)).sum())


def shrinkage(X: Floats, eigenvalues: Floats) -> tuple[float, float]:
    """Return Ledoit and Wolf's shrinkage, and the variance that is shrunk to.

    Parameters
    ----------
    X
        (n, d) centred features.
    eigenvalues
        (r,) those of X'X / n that are not zero.

    Source: O. Ledoit, M. Wolf, "A well-conditioned estimator for large-dimensional covariance
    matrices", Journal of Multivariate Analysis 88, 2004
    """
    n, d = X.shape
    width = float(eigenvalues.sum()) / d
    away = (float(np.square(eigenvalues).sum()) / d - width**2) * d
    noise = (float(np.square(np.square(X).sum(axis=1)).sum()) / n - away - d * width**2) / n
    return (min(max(noise, 0.0), away) / away if away > 0 else 1.0), width
