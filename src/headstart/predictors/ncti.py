"""NCTI: how far the features are from neural collapse on the target dataset."""

import numpy as np
import numpy.typing as npt

from headstart.predictors.class_statistics import Classes, ClassScore, principal, softmax, spread

__all__ = ["NCTI"]

Floats = npt.NDArray[np.float64]
AXES = 64
# Of the mean variance of an axis, added to that within classes.
RIDGE = 1e-3


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
        posteriors = _nearest_mean(Z, classes)
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


def _nearest_mean(Z: Floats, classes: Classes) -> Floats:
    """(n, K) posteriors: Gaussians with the pooled covariance, priors the shares of classes."""
    means = classes.means(Z)
    residual = Z - means[classes.codes]
    within = residual.T @ residual / len(Z)
    coef = np.linalg.solve(within + RIDGE * spread(Z) * np.eye(len(within)), means.T)
    offset = np.log(classes.counts / len(Z)) - np.einsum("kd,dk->k", means, coef) / 2
    return softmax(Z @ coef + offset)
