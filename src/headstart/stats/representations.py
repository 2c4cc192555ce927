"""Measures of how well features separate classes, and of how similar two representations are."""

import numpy as np
import numpy.typing as npt

from headstart.errors import StatisticsError

__all__ = [
    "centred",
    "class_variance_ratio",
    "cosine_distances",
    "linear_cka",
    "mean_silhouette",
    "neighbour_accuracy",
    "unbiased_linear_cka",
    "unit_length",
]

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def centred(X: npt.ArrayLike) -> Floats:
    """Subtract each column's mean; a column of equal values becomes exactly 0.

    The mean of equal values is rounded, and what is left of them then would pass for variance. The
    first row is therefore subtracted first.

    Parameters
    ----------
    X
        (n, d) features, finite.
    """
    rows = np.asarray(X, dtype=np.float64)
    moved = rows - rows[:1]
    return np.asarray(moved - moved.mean(axis=0))


def unit_length(X: npt.ArrayLike) -> Floats:
    """Divide each row by its Euclidean norm; a row of zeros stays one.

    Between rows of unit length the squared Euclidean distance is twice the cosine distance.

    Parameters
    ----------
    X
        (n, d) features, finite.
    """
    rows = np.asarray(X, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norms > 0, norms, 1.0))


def cosine_distances(X: npt.ArrayLike) -> Floats:
    """(n, n) distances 1 - cos(x_i, x_j), in [0, 2], 0 on the diagonal.

    Parameters
    ----------
    X
        (n, d) features, finite.
    """
    unit = unit_length(X)
    distances = np.clip(1.0 - unit @ unit.T, 0.0, 2.0)
    np.fill_diagonal(distances, 0.0)
    return np.asarray(distances)


def mean_silhouette(distances: Floats, labels: Labels) -> float:
    """Mean silhouette of all examples, in [-1, 1]: 0 where classes lie in each other.

    With a(i) the mean distance to the others of its class, and b(i) the least mean distance to
    another class, s(i) = (b(i) - a(i)) / max(a(i), b(i)); it is 0 for an example that is alone in
    its class (P. J. Rousseeuw, "Silhouettes", J. Comput. Appl. Math. 20, 1987).

    Parameters
    ----------
    distances
        (n, n), symmetric, 0 on the diagonal.
    labels
        (n,) integers, of two classes at least.
    """
    _, y = np.unique(labels, return_inverse=True)
    members = np.eye(y.max() + 1)[y]
    sizes = members.sum(axis=0)
    # (n, K): summed distances of each example to each class, its own among them.
    sums, own = distances @ members, (np.arange(len(y)), y)
    within = sums[own] / np.maximum(sizes[y] - 1, 1)
    means = sums / sizes
    means[own] = np.inf
    nearest = means.min(axis=1)
    larger = np.maximum(within, nearest)
    silhouettes = (nearest - within) / np.where(larger > 0, larger, 1.0)
    return float(np.where(sizes[y] > 1, silhouettes, 0.0).mean())


def neighbour_accuracy(distances: Floats, labels: Labels, k: int) -> float:
    """Leave-one-out accuracy of the k nearest neighbours: the class that most of them have.

    Of classes with equally many votes the one whose member is nearest wins; of neighbours at the
    same distance the one that comes first counts as nearer.

    Parameters
    ----------
    distances
        (n, n), symmetric.
    labels
        (n,) integers.
    k
        Neighbours, from 1 to n - 1.

    Raises
    ------
    StatisticsError
        Another k.
    """
    n = len(labels)
    if not 1 <= k < n:
        raise StatisticsError(
            f"expected 1 to {n - 1} neighbours among {n} examples, found {k}",
            code="statistics.neighbours",
            most=n - 1,
            found=k,
        )
    _, y = np.unique(labels, return_inverse=True)
    apart = distances.copy()
    np.fill_diagonal(apart, np.inf)
    nearest = y[np.argsort(apart, axis=1, kind="stable")[:, :k]]
    # A vote is worth 1 and, for the nearer, less than 1 / k more: it decides equal counts alone.
    votes = np.zeros((n, y.max() + 1))
    for place in range(k):
        votes[np.arange(n), nearest[:, place]] += 1.0 + 2.0 ** -(place + 1) / (2 * k)
    return float((votes.argmax(axis=1) == y).mean())


def class_variance_ratio(X: npt.ArrayLike, labels: Labels) -> float:
    """Variance within classes over variance between them, tr(S_W) / tr(S_B); the lower the tighter.

    S_W sums (x - m_c)(x - m_c)' over examples, S_B n_c (m_c - m)(m_c - m)' over classes, with m_c
    the mean of class c and m that of all (K. Fukunaga, "Introduction to Statistical Pattern
    Recognition", 2nd ed., 1990, section 10.2). Infinite where all classes have the same mean.

    Parameters
    ----------
    X
        (n, d) features, finite.
    labels
        (n,) integers.
    """
    rows = centred(X)
    _, y = np.unique(labels, return_inverse=True)
    members = np.eye(y.max() + 1)[y]
    means = (members.T @ rows) / members.sum(axis=0)[:, None]
    within = float(((rows - means[y]) ** 2).sum())
    between = float((means[y] ** 2).sum())
    return within / between if between > 0 else float("inf")


def linear_cka(X: npt.ArrayLike, Y: npt.ArrayLike) -> float:
    """Linear centred kernel alignment, in [0, 1]; 1 for the same features.

    |Y'X|^2 / (|X'X| |Y'Y|) in Frobenius norms, with centred columns (S. Kornblith, M. Norouzi,
    H. Lee, G. Hinton, "Similarity of neural network representations revisited", ICML 2019). It is
    the same under rotations and a common scaling of either's features. With no more examples than
    features it is high even for features that have nothing to do with each other:
    `unbiased_linear_cka` is not.

    Parameters
    ----------
    X, Y
        (n, d) and (n, e) features of the same n examples, finite. NaN where all examples have the
        same features.
    """
    # By Gram matrices, (n, n): |Y'X|^2 = <XX', YY'>. Networks have more features than images here.
    K, L = _gram(X), _gram(Y)
    return _aligned(float((K * L).sum()), float((K * K).sum()), float((L * L).sum()))


def unbiased_linear_cka(X: npt.ArrayLike, Y: npt.ArrayLike) -> float:
    """Linear CKA of unbiased estimates of HSIC: about 0, or under it, for unrelated features.

    HSIC(K, L) = [tr(KL) + 1'K1 1'L1 / ((n - 1)(n - 2)) - 2 / (n - 2) 1'KL1] / (n (n - 3)), with
    Gram matrices whose diagonals are set to 0 (L. Song et al., "Feature selection via dependence
    maximization", JMLR 13, 2012, theorem 5; in CKA: T. Nguyen, M. Raghu, S. Kornblith, "Do wide
    and deep networks learn the same things?", ICLR 2021).

    Parameters
    ----------
    X, Y
        (n, d) and (n, e) features of the same n >= 4 examples, finite. NaN where an estimate of
        either's own HSIC is not above 0.
    """
    K, L = _gram(X), _gram(Y)
    for matrix in (K, L):
        np.fill_diagonal(matrix, 0.0)
    return _aligned(_hsic(K, L), _hsic(K, K), _hsic(L, L))


def _gram(X: npt.ArrayLike) -> Floats:
    rows = centred(X)
    return np.asarray(rows @ rows.T)


def _hsic(K: Floats, L: Floats) -> float:
    n = len(K)
    k, m = K.sum(axis=0), L.sum(axis=0)
    whole = (K * L).sum() + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k @ m)
    return float(whole / (n * (n - 3)))


def _aligned(both: float, first: float, second: float) -> float:
    return both / float(np.sqrt(first * second)) if first > 0 and second > 0 else float("nan")
