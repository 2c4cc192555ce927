"""Scores by the classes that a network already knows, or by clusters in their place.

How well do a network's own classes predict the labels? NCE asks how little is left to learn of the
labels when the network's answer is known; LEEP for the log likelihood of the labels under the
probabilities of its classes; NLEEP takes the components of a Gaussian mixture in place of these.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from headstart.predictors.class_statistics import (
    Classes,
    ClassScore,
    SourceScore,
    classes_of,
    principal,
    spread,
)
from headstart.stats.representations import centred

__all__ = ["LEEP", "NCE", "NLEEP", "expected_log_likelihood", "split_by_variance"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class NCE(SourceScore):
    """Negative conditional entropy -H(Y | Z) in nats, Z the class that the network predicts.

    Source: A. Tran, C. Nguyen, T. Hassner, "Transferability and hardness of supervised
    classification tasks", ICCV 2019
    """

    label = "NCE"

    def of_source(self, source: Floats, classes: Classes) -> float:
        """Return -H(Y | Z), at most 0."""
        predicted = classes_of(source.argmax(axis=1).astype(np.int64))
        joint = classes.one_hot.T @ predicted.one_hot / len(source)
        given = joint / joint.sum(axis=0)
        return float((joint * np.log(given, out=np.zeros_like(given), where=joint > 0)).sum())


class LEEP(SourceScore):
    """Log expected empirical prediction: the mean log likelihood per image, at most 0.

    With theta(x)_z the probability that the network's own classifier gives to its class z, and
    P(y | z) estimated from the same images, LEEP = mean log sum_z P(y_i | z) theta(x_i)_z.

    Source: C. Nguyen, T. Hassner, M. Seeger, C. Archambeau, "LEEP: A new measure to evaluate
    transferability of learned representations", ICML 2020
    """

    label = "LEEP"

    def of_source(self, source: Floats, classes: Classes) -> float:
        """Return the mean log likelihood."""
        return expected_log_likelihood(source, classes)


def expected_log_likelihood(source: Floats, classes: Classes) -> float:
    """Return the mean of log sum_z P(y_i | z) theta(x_i)_z.

    Parameters
    ----------
    source
        (n, C) probabilities theta.
    classes
        Those of the n labels.
    """
    joint = classes.one_hot.T @ source
    # A class that no image is given has no share in any likelihood.
    given = np.divide(joint, joint.sum(axis=0), out=np.zeros_like(joint), where=joint > 0)
    likelihood = np.einsum("ic,ic->i", given[classes.codes], source)
    return float(np.log(np.maximum(likelihood, np.finfo(float).tiny)).mean())


AXES = 64
SHARE = 0.8
PER_CLASS = 5
STEPS = 20
# Mean log likelihood per image and step, in nats: EM has converged.
TOLERANCE = 1e-3
# Of the mean variance of an axis: no component is narrower.
NARROWEST = 1e-3
# Images per component: fewer say nothing of its variances.
FEWEST = 2


class NLEEP(ClassScore):
    """LEEP of the posteriors of a Gaussian mixture that is fitted to the features.

    The features are reduced to the principal axes that have 80 % of the variance, 64 at most, and
    the mixture has five components per class. Components are diagonal, and EM starts from clusters
    that are split along the widest axis (Su and Dy 2007, "Var-Part"): no draw, so that the order of
    images does not count. The paper starts from random ones and leaves the covariance open.

    Source: Y. Li et al., "Ranking neural checkpoints", CVPR 2021
    """

    label = "NLEEP"

    def of_classes(self, features: Floats, classes: Classes) -> float:
        """Return the mean log likelihood per image, at most 0."""
        Z = principal(features, AXES)
        total = float(np.square(centred(features)).sum())
        share = np.cumsum(np.square(Z).sum(axis=0)) / max(total, np.finfo(float).tiny)
        Z = Z[:, : int(np.searchsorted(share, SHARE)) + 1]
        most = min(PER_CLASS * len(classes.counts), max(len(Z) // FEWEST, 1))
        return expected_log_likelihood(_posteriors(Z, split_by_variance(Z, most)), classes)


def split_by_variance(Z: Floats, most: int) -> Ints:
    """(n,) clusters: the one with the largest variance on an axis is split at its mean there.

    Parameters
    ----------
    Z
        (n, k) coordinates.
    most
        Number of clusters; fewer where images coincide.
    """
    clusters = np.zeros(len(Z), dtype=np.int64)
    sums = [np.square(Z - Z.mean(axis=0)).sum(axis=0)]
    while len(sums) < most and Z.shape[1]:
        widest = int(np.argmax([one.max() for one in sums]))
        axis = int(np.argmax(sums[widest]))
        own = np.flatnonzero(clusters == widest)
        upper = own[Z[own, axis] > Z[own, axis].mean()]
        if not 0 < len(upper) < len(own):
            break
        clusters[upper] = len(sums)
        sums.append(np.square(Z[upper] - Z[upper].mean(axis=0)).sum(axis=0))
        lower = own[clusters[own] == widest]
        sums[widest] = np.square(Z[lower] - Z[lower].mean(axis=0)).sum(axis=0)
    return clusters


def _posteriors(Z: Floats, clusters: Ints) -> Floats:
    """(n, V) probabilities of components, by expectation and maximization."""
    posteriors = (clusters[:, None] == np.arange(clusters.max() + 1)).astype(np.float64)
    floor = NARROWEST * spread(Z)
    squares, before = Z**2, -np.inf
    for _ in range(STEPS):
        weight = posteriors.sum(axis=0) + np.finfo(float).tiny
        mean = posteriors.T @ Z / weight[:, None]
        variance = np.maximum(posteriors.T @ squares / weight[:, None] - mean**2, floor)
        logs = squares @ (-0.5 / variance).T + Z @ (mean / variance).T
        logs += np.log(weight / len(Z)) - 0.5 * (mean**2 / variance + np.log(variance)).sum(axis=1)
        each = logsumexp(logs, axis=1, keepdims=True)
        posteriors = np.exp(logs - each)
        if each.mean() - before < TOLERANCE:
            break
        before = float(each.mean())
    return np.asarray(posteriors)
