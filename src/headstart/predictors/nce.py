"""NCE: how little is left to learn of the labels when the network's own answer is known."""

import numpy as np
import numpy.typing as npt

from headstart.predictors.base import ScaleName, need_source
from headstart.predictors.class_statistics import classes_of

__all__ = ["NCE"]

Floats = npt.NDArray[np.float64]


class NCE:
    """Negative conditional entropy -H(Y | Z) in nats, Z the class that the network predicts.

    Source: A. Tran, C. Nguyen, T. Hassner, "Transferability and hardness of supervised
    classification tasks", ICCV 2019
    """

    label = "NCE"
    scale: ScaleName = "number"
    needs_source = True

    def score(
        self,
        features: Floats,  # noqa: ARG002
        labels: npt.NDArray[np.int64],
        source_predictions: Floats | None,
    ) -> float:
        """Return -H(Y | Z), at most 0."""
        source = need_source(self.label, source_predictions)
        predicted = classes_of(source.argmax(axis=1).astype(np.int64))
        joint = classes_of(labels).one_hot.T @ predicted.one_hot / len(labels)
        given = joint / joint.sum(axis=0)
        return float((joint * np.log(given, out=np.zeros_like(given), where=joint > 0)).sum())
