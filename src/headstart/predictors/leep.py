"""LEEP: the log likelihood of the labels under the classes that the network already knows."""

import numpy as np
import numpy.typing as npt

from headstart.predictors.class_statistics import Classes, SourceScore

__all__ = ["LEEP", "expected_log_likelihood"]

Floats = npt.NDArray[np.float64]


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
