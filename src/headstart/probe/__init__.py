"""L2-regularised multinomial logistic regression along a path of lambdas. Knows arrays only."""

from headstart.probe.path import Fit, fit_path

__all__ = ["Fit", "fit_path"]
