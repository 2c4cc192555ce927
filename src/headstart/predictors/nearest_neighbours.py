"""k nearest neighbours: accuracy when each image is classified by the others."""

import numpy as np
import numpy.typing as npt

from headstart.predictors.class_statistics import Classes, ClassScore

__all__ = ["NearestNeighbours"]

Floats = npt.NDArray[np.float64]
NEIGHBOURS = 5


class NearestNeighbours(ClassScore):
    """Leave-one-out accuracy of the five nearest neighbours by the cosine, a proportion.

    Each neighbour votes with its similarity; features are centred first, as the mean image says
    nothing about the class.

    Source: C. Renggli et al., "Which model to transfer? Finding the needle in the growing
    haystack", CVPR 2022 (a task-aware search by nearest neighbours).
    """

    label = "k-NN accuracy"
    # Accuracies of 0 and 100 % occur, and have no log odds.

    def of_classes(self, features: Floats, classes: Classes) -> float:
        """Return the accuracy."""
        n = len(features)
        X = features - features.mean(axis=0)
        X /= np.maximum(np.linalg.norm(X, axis=1, keepdims=True), np.finfo(float).tiny)
        near = X @ X.T
        np.fill_diagonal(near, -np.inf)
        k = min(NEIGHBOURS, n - 1)
        nearest = np.argpartition(-near, k - 1, axis=1)[:, :k]
        votes = np.zeros((n, len(classes.counts)))
        # One that is the very opposite counts, too, where there is no other.
        weights = np.maximum(1 + np.take_along_axis(near, nearest, axis=1), np.finfo(float).eps)
        np.add.at(votes, (np.arange(n)[:, None], classes.codes[nearest]), weights)
        return float((votes.argmax(axis=1) == classes.codes).mean())
