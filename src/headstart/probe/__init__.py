"""L2-regularised logistic regression along a path of lambdas. Knows arrays only."""

from headstart.probe.certificate import Certificate, certify
from headstart.probe.estimator import LogisticRegressionPath
from headstart.probe.fits import Fit
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
