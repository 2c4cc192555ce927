"""How alike two networks' features of the same images are."""

import numpy as np
import numpy.typing as npt

__all__ = ["linear_cka", "unbiased_linear_cka"]

Floats = npt.NDArray[np.float64]


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
    return _ratio(float((K * L).sum()), float((K * K).sum()), float((L * L).sum()))


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
    return _ratio(_hsic(K, L), _hsic(K, K), _hsic(L, L))


def _gram(X: npt.ArrayLike) -> Floats:
    rows = np.asarray(X, dtype=np.float64)
    centred = rows - rows.mean(axis=0)
    return np.asarray(centred @ centred.T)


def _hsic(K: Floats, L: Floats) -> float:
    n = len(K)
    k, m = K.sum(axis=0), L.sum(axis=0)
    whole = (K * L).sum() + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k @ m)
    return float(whole / (n * (n - 3)))


def _ratio(both: float, first: float, second: float) -> float:
    return both / float(np.sqrt(first * second)) if first > 0 and second > 0 else float("nan")
