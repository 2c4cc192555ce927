"""TransRate: mutual information of features and labels, by coding rates."""

import numpy as np
import numpy.typing as npt

from headstart.predictors.class_statistics import Classes, ClassScore

__all__ = ["TransRate"]

Floats = npt.NDArray[np.float64]
# The squared distortion.
EPSILON = 1e-4


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
        Z = features - features.mean(axis=0)
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
