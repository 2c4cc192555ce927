"""Certified L2-regularized logistic regression along a path of penalties.

For linear probes, where one needs the regression for many penalties (45 in Kornblith et al. 2019)
on fixed features, and wants to know that each fit has converged. Every fit comes with a duality
gap, computed in float64 on the features as given: a proven bound on its distance to the optimum.

It fits multinomial regression (`Softmax`) and independent binary regressions (`Binary`), with an
unpenalized bias, on a CPU or an NVIDIA GPU, for in-memory and memory-mapped features::

    import torch
    from headstart.probe import Softmax, fit_path

    loss = Softmax.of(labels, n_classes=10)      # labels: (n,) int64 tensor
    for fit in fit_path(X, loss, [1e3, 1.0, 1e-3]):  # X: (n, d) float32 array
        print(fit.lam, fit.objective, fit.relative_gap, fit.converged)
        scores = fit.scores(X_test)              # (m, 10) float32

`LogisticRegressionPath` is the same as a scikit-learn estimator, with selection on validation data.
`certify` computes the gap of any solution, from any solver.

Read in this order: `losses`, `certificate`, `axes` (the basis, and products along it), `hessian`,
`newton` (one batch of problems), `path` (all penalties), `estimator`.

This package depends on NumPy, SciPy, scikit-learn and torch, and within headstart only on
`headstart.errors`, `headstart.devices`, `headstart.threads` and `headstart.metrics` (arrays ->
numbers).
"""

from headstart.probe.certificate import Certificate, Fit, certify
from headstart.probe.estimator import LogisticRegressionPath
from headstart.probe.losses import Binary, Softmax
from headstart.probe.path import fit_path

__all__ = [
    "Binary",
    "Certificate",
    "Fit",
    "LogisticRegressionPath",
    "Softmax",
    "certify",
    "fit_path",
]
