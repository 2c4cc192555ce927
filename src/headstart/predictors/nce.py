"""NCE: how little is left to learn of the labels when the network's own answer is known."""

import numpy as np
import numpy.typing as npt

from headstart.predictors.class_statistics import Classes, SourceScore, classes_of

__all__ = ["NCE"]

Floats = npt.NDArray[np.float64]


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
