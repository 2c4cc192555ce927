"""Scores by how far classes lie apart in the features.

H-score: how much of the features' variance lies between classes. GBC: how little the classes
overlap, each taken as a Gaussian. PARC: whether images that are alike for the network have the same
label. TransRate: mutual information of features and labels, by coding rates. NCTI: how far the
features are from neural collapse.
"""

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from headstart.predictors.class_statistics import (
    Classes,
    ClassScore,
    decompose,
    gaussian_posteriors,
    principal,
    spread,
    within_covariance,
)
from headstart.stats.representations import centred

__all__ = ["GBC", "NCTI", "PARC", "HScore", "TransRate", "shrinkage"]

Floats = npt.NDArray[np.float64]
# Principal axes, at most.
AXES = 64
# Of the mean variance of all images, in GBC: no class is narrower. One image alone has no variance.
NARROWEST = 1e-3
# The squared distortion of TransRate.
EPSILON = 1e-4
# Of the mean variance of an axis, added to that within classes, in NCTI.
RIDGE = 1e-3


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
        X = centred(features)
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
    return (min(max(noise, 0.0), away) / away if away > 0 else 0.0), width


class GBC(ClassScore):
    """Gaussian Bhattacharyya coefficient: minus the sum of exp(-D) over ordered pairs of classes.

    D is the Bhattacharyya distance of two Gaussians with diagonal covariances, on the 64 leading
    principal axes. Variances are at least 1e-3 of the mean variance of an axis, so that classes
    of one or two images have a distance; the paper has none so small.

    Source: M. Pandy, A. Agostinelli, J. Uijlings, V. Ferrari, T. Mensink, "Transferability
    estimation using Bhattacharyya class separability", CVPR 2022
    """

    label = "GBC"

    def of_classes(self, features: Floats, classes: Classes) -> float:
        """Return the score, at most 0."""
        Z = principal(features, AXES)
        means = classes.means(Z)
        variances = classes.means(Z**2) - means**2
        variances = np.maximum(variances, NARROWEST * spread(Z))
        logs = np.log(variances).sum(axis=1)
        total = 0.0
        for c in range(len(means)):
            average = (variances[c] + variances) / 2
            distance = (np.square(means[c] - means) / average).sum(axis=1) / 8
            distance += (np.log(average).sum(axis=1) - (logs[c] + logs) / 2) / 2
            total += float(np.exp(-distance).sum()) - 1
        return -total


class PARC(ClassScore):
    """Pairwise annotation representation comparison: a rank correlation over pairs of images.

    Spearman's correlation of 1 - r(x_i, x_j), r Pearson's correlation of two images' features, with
    the same of their one-hot labels. The features are not reduced to principal axes first, as the
    paper tries: Pearson's correlation would depend on the signs of the axes, which are arbitrary.

    Source: D. Bolya, R. Mittapalli, J. Hoffman, "Scalable diverse model selection for accessible
    transfer learning", NeurIPS 2021
    """

    label = "PARC"

    def of_classes(self, features: Floats, classes: Classes) -> float:
        """Return the correlation, in [-1, 1]."""
        n = len(features)
        Z = centred(features.T).T
        Z /= np.maximum(np.linalg.norm(Z, axis=1, keepdims=True), np.finfo(float).tiny)
        rows, columns = np.triu_indices(n, 1)
        unlike = classes.codes[rows] != classes.codes[columns]
        if unlike.all() or not unlike.any():
            return 0.0
        ranks = rankdata(-(Z @ Z.T)[rows, columns])
        # Labels have two distances: ranks that are correlated with them are those of two groups.
        share, spread = unlike.mean(), ranks.std()
        gap = ranks[unlike].mean() - ranks[~unlike].mean()
        return float(np.sqrt(share * (1 - share)) * gap / spread) if spread > 0 else 0.0


class TransRate(ClassScore):
    """Coding rate of all features less that of each class's, in nats.

    R(Z) = 1/2 log det(I + Z'Z / (n e)), with e = 1e-4; the score is R(Z) less the mean of R(Z_c)
    over images. Features are centred and scaled so that their variances add up to 1: the paper's
    remedy for networks whose features differ in scale.

    Source: L.-K. Huang, J. Huang, Y. Rong, Q. Yang, Y. Wei, "Frustratingly easy transferability
    estimation", ICML 2022
    """

    label = "TransRate"

    def of_classes(self, features: Floats, classes: Classes) -> float:
        """Return the rate, not negative."""
        n = len(features)
        Z = centred(features)
        size = np.sqrt(np.square(Z).sum() / n)
        Z = Z / size if size > 0 else Z
        within = [
            count / n * _rate(Z[classes.codes == c]) for c, count in enumerate(classes.counts)
        ]
        return max(_rate(Z) - float(sum(within)), 0.0)


def _rate(Z: Floats) -> float:
    """Half the log determinant, of the smaller of the two matrices that have the same one."""
    n, d = Z.shape
    gram = Z.T @ Z if d <= n else Z @ Z.T
    return float(np.linalg.slogdet(np.eye(len(gram)) + gram / (n * EPSILON))[1]) / 2


class NCTI(ClassScore):
    """Neural collapse transferability index: three measures of collapse, added.

    On the 64 leading principal axes Z, with P the posteriors of the nearest class mean (one
    covariance for all classes):

    * the nuclear norm of Z, which is large where the geometry of interpolated labels is near;
    * less the nuclear norms of P within each class, small where a class varies little;
    * plus the mean posterior of the label.

    The paper brings each of the three to [0, 1] over the networks that are compared. A score of one
    network cannot know the others: here the first is divided by its largest value for the same
    total variance, sqrt(rank) |Z|, and the second by the sum of sqrt(n_c), which it is where each
    class has collapsed.

    Source: Z. Wang et al., "How far pre-trained models are from neural collapse on the target
    dataset informs their transferability", ICCV 2023
    """

    label = "NCTI"

    def of_classes(self, features: Floats, classes: Classes) -> float:
        """Return the sum of the three."""
        Z = principal(features, AXES)
        covariance = within_covariance(Z, classes) + RIDGE * spread(Z) * np.eye(Z.shape[1])
        posteriors = gaussian_posteriors(Z, classes, covariance)
        size = np.linalg.norm(Z) * np.sqrt(min(Z.shape))
        geometry = _nuclear(Z) / max(size, np.finfo(float).tiny)
        varied = sum(_nuclear(posteriors[classes.codes == c]) for c in range(len(classes.counts)))
        sure = posteriors[np.arange(len(posteriors)), classes.codes].mean()
        return float(geometry - varied / np.sqrt(classes.counts).sum() + sure)


def _nuclear(matrix: Floats) -> float:
    """Return the sum of singular values."""
    n, d = matrix.shape
    gram = matrix.T @ matrix if d <= n else matrix @ matrix.T
    return float(np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0)).sum())
