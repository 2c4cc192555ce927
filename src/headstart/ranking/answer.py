"""What `headstart rank` answers: plain records, for the terminal, files and the page."""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from headstart.spec.formatting import SmallPicture, count, html_table, percent

__all__ = [
    "ClassAccuracy",
    "Confusion",
    "Cost",
    "FineTuned",
    "HeldOut",
    "NotTried",
    "RankAnswer",
    "RankedModel",
]

# Of the recommended model, as CSV has it.
TESTED = ("accuracy", "low", "high", "n", "left_out", "calibration_error", "log_loss", "key")


@dataclass(frozen=True)
class Cost:
    """What a network costs on this device.

    Parameters
    ----------
    latency, latency_95
        Median and 95th percentile of the seconds per image, one image at a time.
    throughput
        Images per second in batches.
    memory
        Bytes at the peak for one image, weights included.
    runtime
        What computes it: ``torch`` or ``openvino``.
    load
        Seconds to load the network.
    """

    latency: float
    latency_95: float
    throughput: float
    memory: int
    runtime: str
    load: float = 0.0

    @property
    def seconds_per_image(self) -> float:
        """Seconds per image in batches."""
        return 1 / self.throughput


@dataclass(frozen=True)
class RankedModel:
    """What is known of a model that was measured.

    Accuracies are proportions, by cross-validation; `images` is the number of images they are
    measured on.

    Parameters
    ----------
    low, high
        95 % confidence interval of the accuracy.
    difference
        Accuracy less that of the best model, on `compared` images that both were measured on.
    difference_low, difference_high
        Simultaneous interval of the accuracy less that of the best other model, over all looks
        of the race and all models. The upper end is 0 for a model that is significantly worse.
    tied
        Whether the model is not significantly different from the best.
    reason
        Why it was measured no further; "" for a model on all images.
    prior
        Accuracy that public tables let expect on an average dataset; it orders the race only.
    pareto
        Whether it was measured on as many images as the best, and no other of these is at least as
        fast and more accurate.
    seconds
        Time spent on it.
    """

    name: str
    accuracy: float
    low: float
    high: float
    images: int
    difference: float
    difference_low: float
    difference_high: float
    compared: int
    tied: bool
    pareto: bool
    reason: str
    prior: float | None
    parameters: int | None
    multiply_adds: int | None
    licence: str | None
    why: str
    cost: Cost
    seconds: float


@dataclass(frozen=True)
class NotTried:
    """A candidate that was not measured, why, and what to do about it."""

    name: str
    reason: str
    remedy: str = ""


@dataclass(frozen=True)
class ClassAccuracy:
    """Accuracy on the test images of one class, with its 95 % Wilson interval."""

    name: str
    n: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Confusion:
    """Test images of one class that were taken for another."""

    label: str
    predicted: str
    n: int
    of: int
    pictures: tuple[SmallPicture, ...] = ()


@dataclass(frozen=True)
class HeldOut:
    """The recommended model on the test images, which played no part in the choice.

    Parameters
    ----------
    key
        Key of its trial in `store`; `folder` has the network, if it was kept.
    deploy
        The command that makes a file to deploy of it.
    accuracy, low, high
        In the dataset's metric, with its 95 % interval; the interval is of top-1 accuracy, None for
        another metric.
    calibration_error, log_loss
        Expected calibration error (15 bins), and mean log loss in nats.
    left_out
        Test images that cannot be decoded; `n` are the others.
    """

    key: str
    store: str
    folder: str | None
    deploy: str
    n: int
    metric: str
    accuracy: float
    low: float | None
    high: float | None
    calibration_error: float
    log_loss: float
    classes: tuple[ClassAccuracy, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    left_out: int = 0


@dataclass(frozen=True)
class FineTuned:
    """A leader fine-tuned by a short search, against its linear probe on the same test images.

    Parameters
    ----------
    setting
        What fine-tuned it: ``finetune:quick``. A longer search may reach more.
    linear, accuracy
        Top-1 accuracy of both on the test images.
    difference, low, high
        Fine-tuned less linear, with its interval, simultaneous over all that were fine-tuned.
    deploy
        The command that exports the fine-tuned network.
    """

    name: str
    key: str
    setting: str
    linear: float
    accuracy: float
    difference: float
    low: float
    high: float
    seconds: float
    deploy: str = ""

    @property
    def verdict(self) -> str:
        """Return whether fine-tuning pays."""
        if self.low > 0:
            return "pays"
        return "hurts" if self.high < 0 else "not significantly different"


@dataclass(frozen=True, repr=False)
class RankAnswer:
    """Which model to take, and all that it rests on.

    Parameters
    ----------
    images, test_images
        Number of images that the choice was made on, and that were set aside.
    models
        The models that were measured, the recommended one marked by its name, most accurate first.
    not_tried
        Candidates that were not measured.
    recommended, sentence
        The model to take, and why.
    complete
        Whether the race ended with all its models measured on all images or dropped; else the
        budget ended it.
    error
        Probability, at most, that the best candidate was dropped.
    device
        What latency and throughput were measured on.
    """

    dataset: str
    classes: int
    images: int
    test_images: int
    metric: str
    split_rule: str
    seed: int
    folds: int
    repeats: int
    error: float
    tolerance: float
    budget: float
    spent: float
    complete: bool
    device: str
    models: tuple[RankedModel, ...]
    not_tried: tuple[NotTried, ...]
    recommended: str
    sentence: str
    held_out: HeldOut | None = None
    finetuned: tuple[FineTuned, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def __repr__(self) -> str:
        """Return which model to take, and why."""
        return f"RankAnswer({self.dataset}, {count(len(self.models), 'model')}): {self.sentence}"

    def _repr_html_(self) -> str:
        """Return a row per measured model, for a notebook."""
        rows = [
            (model.name, percent(model.accuracy, 1), f"{percent(model.low, 1)} to "
             f"{percent(model.high, 1)}", f"{model.images:,}", f"{model.cost.latency * 1e3:.1f}",
             "tied" if model.tied else "worse")
            for model in self.models
        ]  # fmt: skip
        headings = ("Model", "Accuracy %", "95 % interval", "Images", "Latency ms", "Verdict")
        return html_table(self.sentence, headings, rows)

    @property
    def winner(self) -> RankedModel:
        """The model to take."""
        return next(model for model in self.models if model.name == self.recommended)

    @property
    def tied(self) -> tuple[RankedModel, ...]:
        """The models that are not significantly different from the best."""
        return tuple(model for model in self.models if model.tied)

    def choice(self) -> dict[str, Any]:
        """Return how the recommended model was chosen, for the card of what is made of it."""
        return {
            "by": "headstart rank",
            "date": datetime.now(UTC).date().isoformat(),
            "models": len(self.models),
            "images": self.winner.images,
            "folds": self.folds,
            "repeats": self.repeats,
            "complete": self.complete,
            "tied": [model.name for model in self.tied if model is not self.winner],
        }

    def to_record(self) -> dict[str, Any]:
        """Return the answer as JSON has it: images by their names alone."""
        record = asdict(self)
        for one in record["held_out"]["confusions"] if self.held_out else ():
            one["pictures"] = [each["where"] for each in one["pictures"]]
        return record

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat row per measured model, as CSV has it; the test is of one of them."""
        found = []
        for model in self.models:
            row = asdict(model)
            cost, taken = row.pop("cost"), model.name == self.recommended
            tested = self.held_out if taken else None
            test = {f"test_{name}": getattr(tested, name, None) for name in TESTED}
            found.append({**row, **cost, "recommended": taken, **test})
        return found
