"""PARC: whether images that are alike for the network have the same label."""

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from headstart.predictors.class_statistics import Classes, ClassScore

__all__ = ["PARC"]

Floats = npt.NDArray[np.float64]


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
        Z = features - features.mean(axis=1, keepdims=True)
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
