"""Scores by a classifier: one that is fitted in a moment, or the network's own.

Nearest neighbours and a ridge probe, left-one-out; SFDA: a regularized Fisher discriminant that is
tested on features made harder by itself; LogME: the evidence of a Bayesian linear model. NCE asks
how little is left to learn of the labels when the network's answer is known; LEEP for the log
likelihood of the labels under the probabilities of its classes; NLEEP takes the components of a
Gaussian mixture in place of these.
"""

import numpy as np
import numpy.typing as npt
from scipy.sparse.linalg import eigsh
from scipy.special import logsumexp, softmax

from headstart.predictors.class_statistics import (
    ROUNDING,
    Classes,
    ClassScore,
    Decomposition,
    SourceScore,
    classes_of,
    decompose,
    gaussian_posteriors,
    principal,
    spread,
    within_covariance,
)
from headstart.predictors.predictor import ScaleName
from headstart.stats.representations import centred

__all__ = [
    "LEEP",
    "NCE",
    "NLEEP",
    "SFDA",
    "LogME",
    "NearestNeighbours",
    "RidgeProbe",
    "expected_log_likelihood",
    "left_out",
    "log_evidence",
    "split_by_variance",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
NEIGHBOURS = 5
# Of the ridge probe, times the mean squared singular value.
PENALTIES = 10.0 ** np.arange(-4.0, 3.0)
# Of SFDA: how fast shrinkage falls with the largest eigenvalue within classes, and its least.
STRENGTH, LEAST = 5.0, 1e-10
# Sizes up to which all eigenvalues are as quick as one.
SMALL = 64
# Of LogME: the ratio of the two precisions is found to this relative accuracy.
TOLERANCE = 1e-10
MOST_STEPS = 10_000
# Of |y|^2: a smaller residual is rounding.
RESIDUAL_ROUNDING = 1e-12
# Of NLEEP: principal axes, at most, and the share of the variance that they have.
AXES, SHARE = 64, 0.8
# Components, and images that each has at least: fewer say nothing of its variances.
PER_CLASS, FEWEST = 5, 2
# Steps of EM, at most; mean log likelihood per image and step, in nats, at which it has converged.
STEPS, CONVERGED = 20, 1e-3
# Of the mean variance of an axis: no component is narrower.
NARROWEST = 1e-3


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
        X = centred(features)
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


class RidgeProbe(ClassScore):
    """Leave-one-out accuracy of ridge regression on one-hot labels, a proportion.

    An image's prediction by all others is (f_i - h_i y_i) / (1 - h_i), f the fit and h the
    leverages: no second fit is needed. The penalty, one of seven, has the least squared error left
    out; the intercept is not penalised.

    Source: D. Allen, "The relationship between variable selection and data augmentation and a
    method for prediction", Technometrics 16, 1974 (PRESS); as a score of features S. Kornblith et
    al., "Why do better loss functions lead to less transferable features?", NeurIPS 2021.
    """

    label = "ridge probe accuracy"

    def of_classes(self, features: Floats, classes: Classes) -> float:
        """Return the accuracy."""
        parts = decompose(centred(features))
        Y = classes.one_hot
        usual = float(parts.squared.mean()) if len(parts.squared) else 1.0
        predictions = [left_out(parts, Y, usual * penalty) for penalty in PENALTIES]
        errors = [float(np.square(Y - one).sum()) for one in predictions]
        best = predictions[int(np.argmin(errors))]
        return float((best.argmax(axis=1) == classes.codes).mean())


def left_out(parts: Decomposition, Y: Floats, penalty: float) -> Floats:
    """Predict each row of Y by ridge regression on all others.

    Parameters
    ----------
    parts
        Of the centred features.
    Y
        (n, K) targets.
    penalty
        On the squared coefficients; none on the intercept.
    """
    U, squared = parts
    shrunk = squared / (squared + penalty)
    mean = Y.mean(axis=0)
    fit = mean + (U * shrunk) @ (U.T @ (Y - mean))
    leverage = 1 / len(Y) + np.square(U) @ shrunk
    return np.asarray((fit - leverage[:, None] * Y) / (1 - leverage)[:, None])


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
        X = centred(features)
        if n < d:
            # The same points on as many axes as they span: nothing below depends on the rotation.
            U, squared = decompose(X)
            X = U * np.sqrt(squared)
        shrunk = max(float(np.exp(-STRENGTH * _largest(within_covariance(X, classes)))), LEAST)
        # The probabilities are softened once more before they mix.
        sure = softmax(_probabilities(X, classes, shrunk, d), axis=1)[np.arange(n), classes.codes]
        means, counts = classes.means(X), classes.counts[:, None]
        others = (X.sum(axis=0) - means * counts) / (n - counts)
        mixed = sure[:, None] * X + (1 - sure[:, None]) * others[classes.codes]
        final = _probabilities(mixed, classes, shrunk, d)[np.arange(n), classes.codes]
        return float(np.log(np.maximum(final, np.finfo(float).tiny)).mean())


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
    within = within_covariance(X, classes)
    # A total of zero leaves nothing to divide by.
    width = max(shrunk * np.trace(within), ROUNDING * np.square(X).sum() / len(X)) / d
    regular = (1 - shrunk) * within
    regular.flat[:: len(regular) + 1] += max(width, np.finfo(float).tiny)
    return gaussian_posteriors(X, classes, regular)


class LogME:
    """Logarithm of maximum evidence, per example, averaged over classes.

    Each class is a target y, 1 for its examples and 0 for others, of the model y = F w + e with
    w ~ N(0, I / alpha) and e ~ N(0, I / beta); its evidence p(y | F, alpha, beta) is maximised over
    alpha and beta. It needs no training, and other than the fit of the best w it does not rise
    with the number of features alone.

    Source: K. You, Y. Liu, J. Wang, M. Long, "LogME: Practical assessment of pre-trained models for
    transfer learning", ICML 2021, equations 2 and 3 and algorithm 1; by the singular values of F
    as in K. You et al., "Ranking and tuning pre-trained models", JMLR 23, 2022, section 4.3.
    """

    label = "LogME"
    scale: ScaleName = "number"

    def score(
        self,
        features: Floats,
        labels: npt.NDArray[np.int64],
        source_predictions: Floats | None,  # noqa: ARG002
    ) -> float:
        """Return the mean over classes of the log evidence per example; any real number."""
        targets = (
            (labels == 1).astype(np.float64)
            if labels.ndim == 2
            else (labels[:, None] == np.unique(labels)).astype(np.float64)
        )
        # A class that no image has says nothing.
        targets = targets[:, targets.any(axis=0)]
        U, squared = decompose(features)
        Z = U.T @ targets
        found = [
            log_evidence(y, z, squared, features.shape[1])[0]
            for y, z in zip(targets.T, Z.T, strict=True)
        ]
        return float(np.mean(found)) / len(features)


def log_evidence(y: Floats, z: Floats, squared: Floats, d: int) -> tuple[float, float, float]:
    """Maximise log p(y | F, alpha, beta) by fixed-point iteration.

    Parameters
    ----------
    y
        (n,) target.
    z
        (k,) U'y, with F = U S V' and k = min(n, d).
    squared
        (k,) squared singular values of F.
    d
        Number of features.

    Returns
    -------
    tuple
        The log evidence, alpha and beta.
    """
    n = len(y)
    # |m|^2 is of the order of |y|^2 / s^2; features that are all zero have none.
    least = RESIDUAL_ROUNDING * float(y @ y) / float(squared.max(initial=0.0) or 1.0)
    outside = max(float(y @ y - z @ z), 0.0)
    ratio = 1.0
    for _ in range(MOST_STEPS):
        # alpha / beta = ratio: the effective number of parameters, |m|^2 and |F m - y|^2.
        gamma = float((squared / (squared + ratio)).sum())
        weights = float((squared * z**2 / (squared + ratio) ** 2).sum())
        residual = float((z**2 * ratio**2 / (squared + ratio) ** 2).sum()) + outside
        residual = max(residual, RESIDUAL_ROUNDING * float(y @ y))
        alpha = max(gamma, RESIDUAL_ROUNDING) / max(weights, least)
        beta = (n - gamma) / residual
        if beta <= 0 or abs(alpha / beta - ratio) <= TOLERANCE * ratio:
            break
        ratio = alpha / beta
    beta = max(beta, RESIDUAL_ROUNDING)
    alpha = ratio * beta
    weights = float((squared * z**2 / (squared + ratio) ** 2).sum())
    residual = float((z**2 * ratio**2 / (squared + ratio) ** 2).sum()) + outside
    logs = float(np.log(alpha + beta * squared).sum()) + (d - len(squared)) * np.log(alpha)
    value = n * np.log(beta) + d * np.log(alpha) - n * np.log(2 * np.pi)
    value -= beta * residual + alpha * weights + logs
    return float(value) / 2, alpha, beta


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
        if each.mean() - before < CONVERGED:
            break
        before = float(each.mean())
    return np.asarray(posteriors)
