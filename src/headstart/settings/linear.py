"""The linear setting: logistic regression on penultimate features (Kornblith et al., section 3).

Features of unaugmented images; one regression for each lambda; the lambda that is best on
validation; one more fit on train + validation. Where an image may show several classes, a
regression is one binary problem a class, all with the same lambda.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart import datasets, metrics, models
from headstart.clock import Clock
from headstart.datasets import Splits
from headstart.errors import DatasetError
from headstart.features import (
    Asked,
    Features,
    bytes_needed,
    features_content,
    penultimate_features,
)
from headstart.labels import kind_of
from headstart.settings.needs import Needs
from headstart.settings.way import Tested
from headstart.spec import Candidate, LinearSetting, Measurement, Selection, Trial, digest
from headstart.spec.labels import number_label
from headstart.workspace import Workspace

if TYPE_CHECKING:
    from headstart.models.network import Network
    from headstart.probe import Fit

__all__ = ["Examples", "LinearTransfer", "LinearWay"]


@dataclass(frozen=True)
class Examples:
    """Features with labels: X (n, d) float32 and y (n,) or (n, K) int64."""

    X: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]


class LinearWay:
    """One candidate, which is the whole path: each solution is a good start for the next."""

    def needs(self, trial: Trial) -> Needs:
        """Say what a trial needs: weights, and room for the features of its images."""
        setting, dataset = _setting(trial), trial.dataset
        # Every runtime's features take the same room.
        content = features_content(trial.model, dataset.images_revision, setting, "torch")
        used, whole = (sum(n for _, n in sizes) for sizes in (dataset.used_sizes, dataset.sizes))
        n_bytes, all_bytes = (bytes_needed(trial.model, n) for n in (used, whole))
        which = [dataset.limit, dataset.examples_per_class]
        rows = digest([*which, trial.seed if dataset.is_drawn else None])
        return Needs(setting.pretrained, True, digest(content), rows, n_bytes, all_bytes)

    def candidates(
        self,
        trial: Trial,  # noqa: ARG002
        measured: Sequence[Measurement],
    ) -> tuple[Candidate, ...]:
        return () if measured else (Candidate(),)

    def measure(self, trial: Trial, candidate: Candidate, workspace: Workspace) -> Measurement:
        clock = Clock()
        with clock("prepare"):
            transfer = LinearTransfer.of(trial, workspace)
        with clock("select"):
            curve = transfer.curve()
        return Measurement(
            candidate=candidate, examples=transfer.revision, curve=curve, seconds=clock.seconds
        )

    def choose(
        self,
        trial: Trial,  # noqa: ARG002
        measured: Sequence[Measurement],
    ) -> Selection:
        """Choose the lambda with the best validation score; of equals the largest, the simplest."""
        (path,) = measured
        best = max(path.curve, key=lambda row: (row["accuracy"], row["lambda"]))
        return Selection(
            examples=path.examples, chosen={"lambda": best["lambda"]}, validation_curve=path.curve
        )

    def test(self, trial: Trial, selection: Selection, workspace: Workspace) -> Tested:
        clock = Clock()
        transfer = LinearTransfer.of(trial, workspace)
        with clock("refit"):
            transfer.refit(float(selection.chosen["lambda"]))
        places, scores = transfer.test_scores()
        facts = transfer.provenance()
        return Tested(places, scores, facts, clock.seconds, lambda: transfer.network(trial))


class LinearTransfer:
    """Logistic regression on features of train, validation and test, in this order of rows."""

    def __init__(
        self,
        trial: Trial,
        splits: Splits,
        features: Features,
        broken: dict[str, str],
        workspace: Workspace,
    ) -> None:
        self._dataset = trial.dataset
        self._setting = _setting(trial)
        self._kind = kind_of(trial.dataset.metric)
        self._n_classes, self.revision = splits.n_classes, splits.revision
        self._features, self._broken = features, broken
        self._watcher, self._device = workspace.watcher, workspace.device
        self._cache, self._trust = workspace.cache, workspace.trust
        self._n_train = len(splits.train)
        self._n_fit = self._n_train + len(splits.validation)
        self._fit_labels = np.concatenate([splits.train.labels, splits.validation.labels])
        self._refit: Fit | None = None

    @classmethod
    def of(cls, trial: Trial, workspace: Workspace) -> "LinearTransfer":
        """Read the examples and extract the features of all images, or map them if they are there.

        Raises
        ------
        DatasetError
            Leaving out broken images left a class or a split empty.
        """
        workspace.watcher.stage("reading the dataset")
        splits = datasets.load(trial.dataset, trial.seed, workspace.cache)
        asked = Asked.of(trial.dataset, splits)
        features = penultimate_features(trial.model, asked, _setting(trial), workspace)
        broken = {asked.images.where(row): reason for row, reason in features.broken.items()}
        transfer = cls(trial, splits, features, broken, workspace)
        transfer.check_enough()
        return transfer

    def check_enough(self) -> None:
        """Raise DatasetError if leaving out broken images left a class or a split empty."""
        n_all = len(self._features.values)
        parts = {"validation": (self._n_train, self._n_fit), "test": (self._n_fit, n_all)}
        for name, (first, last) in parts.items():
            if not len(self._whole(first, last)):
                raise DatasetError(
                    f"dataset '{self._dataset.name}' has no {name} image that decodes"
                )
        labels = self._fit_labels[self._whole(0, self._n_train)]
        counts = self._kind.counts(labels, self._n_classes)
        if not counts.all():
            raise DatasetError(
                f"dataset '{self._dataset.name}' has a class with no training example that "
                f"decodes: '{self._dataset.classes[int(np.argmin(counts))]}'"
            )

    def curve(self) -> tuple[dict[str, float], ...]:
        """Fit the path on train; give what each lambda reaches on validation, the largest first."""
        train = self._examples(0, self._n_train)
        validation = self._examples(self._n_train, self._n_fit)
        curve = []
        for fit in self._fits(train, self._setting.lambdas, "selecting lambda"):
            scores = fit.scores(validation.X)
            accuracy = metrics.score(self._dataset.metric, validation.y, scores)
            curve.append({**_facts(fit), "accuracy": accuracy})
        return tuple(sorted(curve, key=lambda row: row["lambda"], reverse=True))

    def refit(self, lam: float) -> None:
        """Fit train + validation with the chosen lambda; train alone where its size counts."""
        few = self._dataset.examples_per_class is not None
        examples = self._examples(0, self._n_train if few else self._n_fit)
        (self._refit,) = self._fits(examples, [lam], "fitting the choice")

    def test_scores(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Score the test images that could be decoded."""
        if self._refit is None:
            raise RuntimeError("refit() comes before test_scores()")
        rows = self._whole(self._n_fit, len(self._features.values))
        return rows - self._n_fit, self._refit.scores(self._features.values[rows])

    def network(self, trial: Trial) -> "Network":
        """Give the network whose classifier is the regression."""
        import torch

        if self._refit is None:
            raise RuntimeError("refit() comes before network()")
        network = models.load(trial.model, self._cache, trust=self._trust, note=self._watcher.note)
        network = network.with_head(len(self._refit.coef), 0)
        fitted = (self._refit.coef, self._refit.bias)
        for own, part in zip(network.classifier.parameters(), fitted, strict=True):
            own.data.copy_(torch.from_numpy(part))
        network.trained_classifier = True
        return network

    def provenance(self) -> dict[str, Any]:
        """Say what features and what fit made the number."""
        facts: dict[str, Any] = {
            "features_key": self._features.key,
            "features_sha256": self._features.sha256,
            "features_made_by": self._features.made_by,
            "skipped_images": self._broken,
        }
        return facts if self._refit is None else {**facts, "refit": _facts(self._refit)}

    def _fits(self, examples: Examples, lambdas: Any, stage: str) -> Any:
        # Results are listed without torch, which takes seconds to import.
        import torch

        from headstart.devices import resolve_device
        from headstart.probe import Binary, Softmax, fit_path

        self._watcher.stage(stage, total=len(lambdas), unit="lambdas")
        y = torch.from_numpy(examples.y)
        loss = Binary.of(y) if self._kind.loss == "binary" else Softmax.of(y, self._n_classes)
        tolerance, device = self._setting.tolerance, resolve_device(self._device)
        path = fit_path(examples.X, loss, lambdas, tolerance, device=device)
        for fit in path:
            if not fit.converged:
                self._watcher.note(
                    f"{stage}: lambda {number_label(fit.lam)} did not converge after {fit.passes} "
                    f"passes (relative gap {fit.relative_gap:.1e}, "
                    f"tolerance {self._setting.tolerance:.1e})"
                )
            self._watcher.advance()
            yield fit

    def _examples(self, first: int, last: int) -> Examples:
        """Give the rows first..last without broken images, as a view where none is broken."""
        if not self._features.broken:
            return Examples(self._features.values[first:last], self._fit_labels[first:last])
        rows = self._whole(first, last)
        return Examples(self._features.values[rows], self._fit_labels[rows])

    def _whole(self, first: int, last: int) -> npt.NDArray[np.int64]:
        rows = np.arange(first, last, dtype=np.int64)
        return rows[~np.isin(rows, list(self._features.broken))]


def _setting(trial: Trial) -> LinearSetting:
    if not isinstance(trial.setting, LinearSetting):
        raise TypeError(f"expected the linear setting, found {trial.setting.name}")
    return trial.setting


def _facts(fit: "Fit") -> dict[str, float]:
    """Say in numbers what a fit reached."""
    return {
        "lambda": fit.lam,
        "objective": fit.objective,
        "relative_gap": fit.relative_gap,
        "passes": fit.passes,
        "converged": float(fit.converged),
    }
