"""The linear setting: logistic regression on penultimate features (Kornblith et al., section 3).

It fits features of unaugmented images, one regression per lambda, selects the lambda on validation,
and refits on train + validation. With several labels per image, a regression is one binary problem
per class, all with the same lambda.
"""

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, FiniteFloat, field_validator

from headstart import metrics
from headstart.context import Clock
from headstart.devices import resolve_device
from headstart.methods import TestScores, setting_of
from headstart.methods.on_features import (
    FeatureSetting,
    LabelledFeatures,
    OnFeatures,
    PreparedOnFeatures,
)
from headstart.spec import Measurement, Selection
from headstart.spec.formatting import number_label

if TYPE_CHECKING:
    from headstart.models.network import Network
    from headstart.probe import Fit

__all__ = ["KORNBLITH_LAMBDAS", "LINEAR", "LinearProbe", "LinearSetting", "PreparedProbe"]

# 45 values, log-spaced from 1e5 down to 1e-6 (Kornblith et al. 2019). In decreasing order each
# solution is a good starting point for the next.
KORNBLITH_LAMBDAS = tuple(float(f"{10 ** (5 - 11 * i / 44):.12g}") for i in range(45))


class LinearSetting(FeatureSetting):
    """Multinomial logistic regression on penultimate features.

    It minimizes ``sum_i loss_i + (lambda/2) ||W||^2`` with an unpenalized bias for each of
    `lambdas`, selects one on validation, and refits on train + validation. `tolerance` is the
    relative duality gap at which a fit counts as converged. `lambdas` are sorted in decreasing
    order, without duplicates.

    `ties` is which of the lambdas with the best validation score is selected: the ``"strongest"``
    (the protocol's), or that with the smallest ``"log_loss"`` on validation, whose probabilities
    mean more where many reach the same accuracy.
    """

    chosen: ClassVar[tuple[str, ...]] = ("lambda",)

    name: Literal["linear"] = "linear"
    protocol: str = "kornblith2019"
    lambdas: Annotated[tuple[Annotated[FiniteFloat, Field(gt=0)], ...], Field(min_length=1)] = (
        KORNBLITH_LAMBDAS
    )
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    ties: Literal["strongest", "log_loss"] = "strongest"
    # Increase it when a change of the code may change results of the same fields.
    implementation: int = 3

    @property
    def identity(self) -> dict[str, Any]:
        found = super().identity
        # Results of releases without this option keep their keys.
        if self.ties == "strongest":
            del found["ties"]
        return found

    @field_validator("lambdas")
    @classmethod
    def _decreasing(cls, lambdas: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(set(lambdas), reverse=True))


class PreparedProbe(PreparedOnFeatures):
    """A linear trial: its candidate is the whole path of lambdas."""

    def select(self, measured: Sequence[Measurement]) -> Selection:
        """Select the lambda with the best validation score; of equal ones as `ties` says."""
        (path,) = measured
        # Where ties go to the strongest, the curve has no log loss.
        best = max(
            path.curve,
            key=lambda row: (row["accuracy"], -float(row.get("log_loss", 0)), row["lambda"]),
        )
        return Selection(
            examples=path.examples, chosen={"lambda": best["lambda"]}, validation_curve=path.curve
        )

    def test(self, selection: Selection) -> TestScores:
        clock = Clock()
        features = self.features
        with clock("refit"):
            lam = float(selection.chosen["lambda"])
            (fit,) = self._fits(features.fit, [lam], "fitting the choice")
        places, X = features.test
        facts = {**features.provenance(), "refit": _facts(fit)}
        return TestScores(places, fit.scores(X), facts, clock.seconds, lambda: self._network(fit))

    def curve(self) -> tuple[dict[str, float], ...]:
        """Fit the path on train; return validation scores by decreasing lambda."""
        validation, metric = self.features.validation, self.features.dataset.metric
        setting, curve = setting_of(self.trial, LinearSetting), []
        for fit in self._fits(self.features.train, setting.lambdas, "selecting lambda"):
            scores = fit.scores(validation.X)
            row = {**_facts(fit), "accuracy": metrics.score(metric, validation.y, scores)}
            if setting.ties == "log_loss":
                row["log_loss"] = metrics.log_loss(validation.y, scores)
            curve.append(row)
        return tuple(sorted(curve, key=lambda row: row["lambda"], reverse=True))

    def _network(self, fit: "Fit") -> "Network":
        """Build the network whose classifier is the regression."""
        import torch

        from headstart import models

        where = self._context
        network = models.load(
            self.trial.model, where.cache, trust=where.trust, note=where.reporter.note
        )
        network = network.with_head(len(fit.coef), 0)
        for own, part in zip(network.classifier.parameters(), (fit.coef, fit.bias), strict=True):
            own.data.copy_(torch.from_numpy(part))
        network.trained_classifier = True
        return network

    def _fits(self, examples: LabelledFeatures, lambdas: Any, stage: str) -> Any:
        # Imported here: torch takes seconds to import, and listing results does not need it.
        import torch

        from headstart.probe import Binary, Softmax, fit_path

        reporter = self._context.reporter
        reporter.stage(stage, total=len(lambdas), unit="lambdas")
        y = torch.from_numpy(examples.y)
        binary = self.features.kind.loss == "binary"
        loss = Binary.of(y) if binary else Softmax.of(y, self.features.n_classes)
        tolerance = setting_of(self.trial, LinearSetting).tolerance
        device = resolve_device(self._context.device)
        for fit in fit_path(examples.X, loss, lambdas, tolerance, device=device):
            if not fit.converged:
                reporter.note(
                    f"{stage}: lambda {number_label(fit.lam)} did not converge after {fit.passes} "
                    f"passes (relative gap {fit.relative_gap:.1e}, tolerance {tolerance:.1e})"
                )
            reporter.advance()
            yield fit


class LinearProbe(OnFeatures):
    """The linear method."""

    name = "linear"
    setting = LinearSetting
    prepared = PreparedProbe
    protocols = MappingProxyType({"kornblith2019": {}, "simclr2020": {"resize": "center-crop"}})


LINEAR = LinearProbe()


def _facts(fit: "Fit") -> dict[str, float]:
    """Return the numbers of a fit to store."""
    return {
        "lambda": fit.lam,
        "objective": fit.objective,
        "relative_gap": fit.relative_gap,
        "passes": fit.passes,
        "converged": float(fit.converged),
    }
