"""GBC: how little the classes overlap, each taken as a Gaussian."""

import numpy as np
import numpy.typing as npt

from headstart.predictors.class_statistics import Classes, ClassScore, principal, spread

__all__ = ["GBC"]

Floats = npt.NDArray[np.float64]
AXES = 64
# Of the mean variance of all images: no class is narrower. One image alone has no variance.
NARROWEST = 1e-3


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
