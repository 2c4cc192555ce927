"""GBC: how little the classes overlap, each taken as a Gaussian."""

import numpy as np
import numpy.typing as npt

from headstart.predictors.base import ScaleName
from headstart.predictors.class_statistics import classes_of, principal, spread

__all__ = ["GBC"]

Floats = npt.NDArray[np.float64]
AXES = 64
# Of the mean variance of all images: no class is narrower. One image alone has no variance.
NARROWEST = 1e-3


class GBC:
    """Gaussian Bhattacharyya coefficient: minus the sum of exp(-D) over ordered pairs of classes.

    D is the Bhattacharyya distance of two Gaussians with diagonal covariances, on the 64 leading
    principal axes. Variances are at least 1e-3 of the mean variance of an axis, so that classes
    of one or two images have a distance; the paper has none so small.

    Source: M. Pandy, A. Agostinelli, J. Uijlings, V. Ferrari, T. Mensink, "Transferability
    estimation using Bhattacharyya class separability", CVPR 2022
    """

    label = "GBC"
    scale: ScaleName = "number"

    def score(
        self,
        features: Floats,
        labels: npt.NDArray[np.int64],
        source_predictions: Floats | None,  # noqa: ARG002
    ) -> float:
        """Return the score, at most 0."""
        classes = classes_of(labels)
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
