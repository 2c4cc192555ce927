"""Features and labels of a trial, for methods on fixed features."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart.context import Clock, RunContext
from headstart.errors import DatasetError
from headstart.labels import kind_of
from headstart.methods.base import ResourceEstimate
from headstart.spec import Candidate, Measurement, Trial, digest
from headstart.spec.setting import Precision, Resize

if TYPE_CHECKING:
    from headstart.datasets import Splits
    from headstart.features import Features

__all__ = ["LabelledFeatures", "PreparedOnFeatures", "TrialFeatures", "needs_features"]

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LabelledFeatures:
    """Features with labels: X (n, d) float32 and y (n,) or (n, K) int64."""

    X: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]


def needs_features(trial: Trial, resize: Resize) -> ResourceEstimate:
    """Return the resources of a trial on fixed features: weights, and disk for features."""
    # Imported here: listing results needs nothing of features.
    from headstart.features import bytes_needed, features_content

    setting, dataset = trial.setting, trial.dataset
    # Features of every runtime have the same size.
    content = features_content(
        trial.model, dataset.images_revision, resize, setting.precision, "torch"
    )
    used, whole = (sum(n for _, n in sizes) for sizes in (dataset.used_sizes, dataset.sizes))
    n_bytes, all_bytes = (bytes_needed(trial.model, n) for n in (used, whole))
    which = [dataset.limit, dataset.examples_per_class]
    rows = digest([*which, trial.seed if dataset.is_drawn else None])
    return ResourceEstimate(setting.pretrained, True, digest(content), rows, n_bytes, all_bytes)


class TrialFeatures:
    """Features of train, validation and test, in this order of rows, without test labels."""

    def __init__(
        self, trial: Trial, splits: "Splits", features: "Features", broken: dict[str, str]
    ) -> None:
        self.dataset = trial.dataset
        self.kind = kind_of(trial.dataset.metric)
        self.n_classes, self.revision = splits.n_classes, splits.revision
        self._features, self._broken = features, broken
        self._n_train = len(splits.train)
        self._n_fit = self._n_train + len(splits.validation)
        self._fit_labels = np.concatenate([splits.train.labels, splits.validation.labels])

    @classmethod
    def of(
        cls,
        trial: Trial,
        splits: "Splits",
        resize: Resize,
        precision: Precision,
        context: RunContext,
    ) -> "TrialFeatures":
        """Extract the features of all images of a trial, or map them if they are there.

        Raises
        ------
        DatasetError
            Leaving out broken images left a class or a split empty.
        """
        from headstart.features import FeatureRequest, penultimate_features

        request = FeatureRequest.of(trial.dataset, splits, resize, precision)
        features = penultimate_features(trial.model, request, context)
        broken = {request.images.where(row): reason for row, reason in features.broken.items()}
        found = cls(trial, splits, features, broken)
        found.check_enough()
        return found

    def check_enough(self) -> None:
        """Raise DatasetError if leaving out broken images left a class or a split empty."""
        n_all = len(self._features.values)
        parts = {"validation": (self._n_train, self._n_fit), "test": (self._n_fit, n_all)}
        for name, (first, last) in parts.items():
            if not len(self._whole(first, last)):
                raise DatasetError(
                    f"dataset '{self.dataset.name}' has no {name} image that decodes",
                    code="dataset.split_empty",
                    split=name,
                )
        labels = self._fit_labels[self._whole(0, self._n_train)]
        counts = self.kind.counts(labels, self.n_classes)
        if not counts.all():
            empty = self.dataset.classes[int(np.argmin(counts))]
            raise DatasetError(
                f"dataset '{self.dataset.name}' has a class with no training example that "
                f"decodes: '{empty}'",
                code="dataset.class_empty",
                name=empty,
            )

    @property
    def train(self) -> LabelledFeatures:
        """Training examples, to fit candidates to."""
        return self._examples(0, self._n_train)

    @property
    def validation(self) -> LabelledFeatures:
        """Validation examples, to select by."""
        return self._examples(self._n_train, self._n_fit)

    @property
    def fit(self) -> LabelledFeatures:
        """Examples of the final fit: train + validation, or only train in a study of its size."""
        few = self.dataset.examples_per_class is not None
        return self._examples(0, self._n_train if few else self._n_fit)

    @property
    def test(self) -> tuple[Rows, npt.NDArray[np.float32]]:
        """Indices into the test split, without broken images, and their features."""
        rows = self._whole(self._n_fit, len(self._features.values))
        return rows - self._n_fit, self._features.values[rows]

    def provenance(self) -> dict[str, Any]:
        """Return the provenance of the features, as JSON."""
        return {
            "features_key": self._features.key,
            "features_sha256": self._features.sha256,
            "features_made_by": self._features.made_by,
            "skipped_images": self._broken,
        }

    def _examples(self, first: int, last: int) -> LabelledFeatures:
        """Return rows first..last without broken images; a view if there are none."""
        if not self._features.broken:
            return LabelledFeatures(self._features.values[first:last], self._fit_labels[first:last])
        rows = self._whole(first, last)
        return LabelledFeatures(self._features.values[rows], self._fit_labels[rows])

    def _whole(self, first: int, last: int) -> Rows:
        rows = np.arange(first, last, dtype=np.int64)
        return rows[~np.isin(rows, list(self._features.broken))]


class PreparedOnFeatures(ABC):
    """A trial on fixed features, whose one candidate holds everything that is tried on validation.

    Parameters
    ----------
    trial, context, splits
        As in `Method.open`.
    resize
        How an image meets the network's input size.
    """

    def __init__(self, trial: Trial, context: RunContext, splits: "Splits", resize: Resize) -> None:
        self.trial, self._context, self._splits, self._resize = trial, context, splits, resize

    @cached_property
    def features(self) -> TrialFeatures:
        """Features of the trial's images, with labels of train and validation."""
        precision = self.trial.setting.precision
        return TrialFeatures.of(self.trial, self._splits, self._resize, precision, self._context)

    def candidates(self, measured: Sequence[Measurement]) -> tuple[Candidate, ...]:
        """Return the one candidate, or none once it was measured."""
        return () if measured else (Candidate(),)

    def measure(self, candidate: Candidate) -> Measurement:
        """Compute or map the features, then everything that is scored on validation."""
        clock = Clock()
        with clock("prepare"):
            features = self.features
        with clock("select"):
            curve = self.curve()
        return Measurement(
            candidate=candidate, examples=features.revision, curve=curve, seconds=clock.seconds
        )

    @abstractmethod
    def curve(self) -> tuple[dict[str, float], ...]:
        """Return the validation curve: one row per value that is tried."""
