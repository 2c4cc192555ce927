"""Small classification problems, and the objective as the definition writes it."""

import numpy as np
import torch
from scipy.special import logsumexp

from headstart.probe import Binary, Softmax, fit_path


def problem(n=60, d=20, k=4, seed=0, spread=1.0, dtype=np.float64):
    random = np.random.RandomState(seed)
    labels = np.arange(n) % k
    X = random.randn(n, d) + spread * random.randn(k, d)[labels]
    return X.astype(dtype), labels


def many_labels(n=60, d=20, k=3, seed=0, dtype=np.float64):
    random = np.random.RandomState(seed)
    X = random.randn(n, d)
    Y = (X @ random.randn(d, k) + random.randn(n, k) > 1).astype(int)
    Y[0], Y[1] = 0, 1
    return X.astype(dtype), Y


def some_left_out(n=60, d=20, k=3, seed=0, dtype=np.float64):
    """`many_labels` of {1, 0 left out, -1}: of each label other examples, a third of them."""
    X, Y = many_labels(n, d, k, seed, dtype)
    left_out = np.random.RandomState(seed + 1).rand(n, k) < 1 / 3
    left_out[:2] = False
    return X, np.where(left_out, 0, 2 * Y - 1)


def fit(X, y, lambdas, tolerance=1e-4, **options):
    """All fits of the path, in decreasing order of lambda."""
    y = torch.as_tensor(np.asarray(y))
    loss = Binary.of(2 * y - 1) if y.ndim == 2 else Softmax.of(y, int(y.max()) + 1)
    return fit_loss(X, loss, lambdas, tolerance, **options)


def fit_loss(X, loss, lambdas, tolerance=1e-4, **options):
    fits = list(fit_path(X, loss, lambdas, tolerance, **options))
    assert "go_on" in options or {fit.lam for fit in fits} == set(lambdas)
    return sorted(fits, key=lambda fit: fit.lam, reverse=True)


def objective(X, y, coef, bias, lam):
    """The objective in two lines, in float64."""
    logits = np.asarray(X, dtype=np.float64) @ coef.T + bias
    if y.ndim == 2:
        losses = np.logaddexp(0, -(2 * y - 1) * logits).sum(1)
    else:
        losses = logsumexp(logits, axis=1) - logits[np.arange(len(y)), y]
    return losses.sum() + lam / 2 * (coef**2).sum()
