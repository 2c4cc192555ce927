"""Ridge probe: a linear classifier by least squares, left-one-out in closed form."""

import numpy as np
import numpy.typing as npt

from headstart.predictors.class_statistics import Classes, ClassScore, Decomposition, decompose

__all__ = ["RidgeProbe", "left_out"]

Floats = npt.NDArray[np.float64]
# Times the mean squared singular value.
PENALTIES = 10.0 ** np.arange(-4.0, 3.0)


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
        parts = decompose(features - features.mean(axis=0))
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
