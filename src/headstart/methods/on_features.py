"""Methods on fixed features, and which of these are computed together."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from headstart.context import Clock, RunContext
from headstart.errors import HeadstartError
from headstart.labels import kind_of
from headstart.methods import ResourceEstimate, Rows, method_of, usable_rows
from headstart.spec import Candidate, Measurement, Setting, Trial, digest
from headstart.spec.formatting import count
from headstart.spec.setting import FEATURES_IMPLEMENTATION, Resize

# Not at run time: a setting of a stored result is read without what loads images or networks.
if TYPE_CHECKING:
    from headstart.datasets import Splits
    from headstart.executors import Send
    from headstart.features import FeatureRequest, Features
    from headstart.features.feature_table import FeatureTable

__all__ = [
    "ExtractionGroup",
    "FeatureSetting",
    "LabelledFeatures",
    "OnFeatures",
    "PreparedOnFeatures",
    "TrialFeatures",
    "extract_group",
    "plan_extractions",
]


class FeatureSetting(Setting):
    """A setting whose method works on features of unaugmented images.

    `resize` is how images are resized to the network's input: ``"whole"`` squeezes the whole image
    (Kornblith et al.), ``"center-crop"`` resizes the shorter side and crops the centre (SimCLR and
    later work).
    """

    random: ClassVar[bool] = False

    resize: Resize = "whole"

    @property
    def identity(self) -> dict[str, Any]:
        return {**super().identity, "features_implementation": FEATURES_IMPLEMENTATION}


@dataclass(frozen=True)
class LabelledFeatures:
    """Features with labels: X (n, d) float32 and y (n,) or (n, K) int64."""

    X: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]


class TrialFeatures:
    """Features of train, validation and test, without test labels and without broken images.

    Parameters
    ----------
    trial, splits
        The trial, and its examples.
    features
        Of train, validation and test, in this order.
    broken
        Name of a broken image -> reason given by the decoder.

    Raises
    ------
    DatasetError
        A class or a split is empty without broken images.
    """

    def __init__(
        self, trial: Trial, splits: "Splits", features: "Features", broken: dict[str, str]
    ) -> None:
        self.dataset = trial.dataset
        self.kind = kind_of(trial.dataset.metric)
        self.n_classes, self.revision = splits.n_classes, splits.revision
        self._features, self._broken = features, broken
        self._labels = np.concatenate([splits.train.labels, splits.validation.labels])
        self._train, self._validation, self._test = usable_rows(
            trial.dataset, splits, features.broken
        )

    @property
    def train(self) -> LabelledFeatures:
        """Training examples, to fit candidates to."""
        return self._examples(self._train)

    @property
    def validation(self) -> LabelledFeatures:
        """Validation examples, to select by."""
        return self._examples(self._validation)

    @property
    def fit(self) -> LabelledFeatures:
        """Examples of the final fit: train + validation, or only train in a study of its size."""
        few = self.dataset.examples_per_class is not None
        return self.train if few else self._examples(np.append(self._train, self._validation))

    @property
    def test(self) -> tuple[Rows, npt.NDArray[np.float32]]:
        """Indices into the test split, without broken images, and their features."""
        return self._test - len(self._labels), self._features.values[self._test]

    def provenance(self) -> dict[str, Any]:
        """Return the provenance of the features, as JSON."""
        return {
            "features_key": self._features.key,
            "features_sha256": self._features.sha256,
            "features_made_by": self._features.made_by,
            "skipped_images": self._broken,
        }

    def _examples(self, rows: Rows) -> LabelledFeatures:
        """Return some rows, which rise; a view where none is left out between them."""
        beside = rows[-1] - rows[0] + 1 == len(rows)
        where = slice(rows[0], rows[-1] + 1) if beside else rows
        return LabelledFeatures(self._features.values[where], self._labels[where])


class PreparedOnFeatures(ABC):
    """A trial on fixed features, whose one candidate holds everything that is tried on validation.

    The features are computed, or mapped, when they are first needed.
    """

    def __init__(self, trial: Trial, context: RunContext, splits: "Splits") -> None:
        self.trial, self._context, self._splits = trial, context, splits

    @cached_property
    def features(self) -> TrialFeatures:
        """Features of the trial's images, with labels of train and validation."""
        from headstart.features import penultimate_features

        request = _request(self.trial, self._splits)
        found = penultimate_features(self.trial.model, request, self._context)
        broken = {request.images.where(row): reason for row, reason in found.broken.items()}
        return TrialFeatures(self.trial, self._splits, found, broken)

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


class OnFeatures:
    """A method on fixed features, whose trials are opened as `prepared`; see `methods.Method`."""

    name: str
    on_features = True
    setting: type[Setting]
    protocols: Mapping[str, Mapping[str, Any]]
    prepared: Any

    def needs(self, trial: Trial, measured: Sequence[Measurement] = ()) -> ResourceEstimate:  # noqa: ARG002
        """Return the resources of a trial: weights, and disk for features."""
        from headstart.features import bytes_needed, features_content

        setting, dataset = trial.setting, trial.dataset
        # Features of every runtime have the same size.
        content = features_content(
            trial.model, dataset.images_revision, _resize(trial), setting.precision, "torch"
        )
        which = [dataset.limit, dataset.examples_per_class]
        return ResourceEstimate(
            weights=setting.pretrained,
            features=True,
            table=digest(content),
            rows=digest([*which, trial.seed if dataset.is_drawn else None]),
            n_bytes=bytes_needed(trial.model, sum(n for _, n in dataset.used_sizes)),
            whole=bytes_needed(trial.model, sum(n for _, n in dataset.sizes)),
        )

    def open(self, trial: Trial, context: RunContext, splits: "Splits") -> Any:
        """Open a trial; read no images yet."""
        return self.prepared(trial, context, splits)


@dataclass(frozen=True)
class ExtractionGroup:
    """Trials on features of the same images, of which several tables lack some.

    Parameters
    ----------
    trials
        All trials that need one of these tables. They should wait for the job, or they compute
        their features themselves.
    """

    trials: tuple[Trial, ...]

    @property
    def title(self) -> str:
        """What the job does, in one line."""
        n_models = len({trial.model.name for trial in self.trials})
        return f"features of {count(n_models, 'model')} on {self.trials[0].dataset.name}"


def plan_extractions(trials: Sequence[Trial], context: RunContext) -> list[ExtractionGroup]:
    """Group the trials that lack features of the same images, if these are of several tables.

    Only cards of feature tables are read; and the labels of a dataset if a trial's seed draws its
    images and a table may or may not have them. Nothing is changed. Groups are in the order of
    their first trials, and a trial is in one at most.
    """
    from headstart.features import table_of

    by_images: dict[tuple[str, int], list[Trial]] = {}
    for trial in trials:
        if method_of(trial).on_features and _resize(trial):
            dataset = trial.dataset
            images = (dataset.model_dump_json(), trial.seed if dataset.is_drawn else 0)
            by_images.setdefault(images, []).append(trial)
    groups = []
    for some in by_images.values():
        dataset = some[0].dataset
        tables = [
            table_of(
                one.model,
                dataset.images_revision,
                sum(n for _, n in dataset.sizes),
                _resize(one),
                one.setting.precision,
                context,
                skip_broken=dataset.skip_broken,
            )
            for one in some
        ]
        by_key = {table.key: table for table in tables}
        lacking = _lacking(some[0], by_key, context) if len(by_key) > 1 else set()
        if len(lacking) > 1:
            pairs = zip(some, tables, strict=True)
            groups.append(ExtractionGroup(tuple(one for one, t in pairs if t.key in lacking)))
    return groups


def extract_group(group: ExtractionGroup, context: RunContext, send: "Send | None" = None) -> None:
    """Compute the features that the trials of a group lack; decode each image once.

    It may run in another process, and beside the trials: the second to open a table waits for the
    first. Errors are not raised: a trial that lacks features afterwards computes them itself, and
    meets the error where it is reported. In another process, `send` takes what is reported.
    """
    from headstart import datasets
    from headstart.features import extract_together

    context = context.reporting_to(send) if send else context
    first = group.trials[0]
    with suppress(Exception):
        context.reporter.stage("reading the dataset")
        splits = datasets.load(first.dataset, first.seed, context.cache)
        extract_together([(one.model, _request(one, splits)) for one in group.trials], context)


def _lacking(trial: Trial, tables: "dict[str, FeatureTable]", context: RunContext) -> set[str]:
    """Return the keys of the tables that lack images of this trial."""
    from headstart import datasets

    dataset, n_used = trial.dataset, sum(n for _, n in trial.dataset.used_sizes)
    lacking = {key for key, table in tables.items() if table.lacks(n_used)}
    if len(lacking) == len(tables):
        return lacking
    rows = np.arange(n_used)
    if dataset.is_drawn:
        try:
            rows = datasets.load(dataset, trial.seed, context.cache).places
        except HeadstartError:
            # The trial reports it.
            return lacking
    return {key for key, table in tables.items() if table.lacks(rows)}


def _request(trial: Trial, splits: "Splits") -> "FeatureRequest":
    from headstart.features import FeatureRequest

    return FeatureRequest.of(trial.dataset, splits, _resize(trial), trial.setting.precision)


def _resize(trial: Trial) -> Any:
    """How a trial resizes images; None for a method of others that does not say it so."""
    return getattr(trial.setting, "resize", None)
