"""What `headstart rank` answers, as plain records, and how a finished race gives it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from math import ceil
from typing import Any

from headstart.ranking.elimination import against_others, difference, interval
from headstart.ranking.race import BUDGET, Race, Racer
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
    "choose",
    "duration",
    "not_tried",
    "ranked_models",
    "recommendation_sentence",
    "rounded_up",
]

# Of the recommended model, as CSV has it.
TESTED = ("accuracy", "low", "high", "n", "left_out", "calibration_error", "log_loss", "key")
# A model is taken for its speed only if it takes at most this part of the best one's latency.
FASTER = 0.9
SECONDS_PER_MINUTE = 60


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
    notes: tuple[str, ...] = ()

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


def ranked_models(
    race: Race, facts: Mapping[str, Mapping[str, Any]], costs: Mapping[str, Cost]
) -> tuple[RankedModel, ...]:
    """Return the measured models, those that may be the best first, each group by accuracy.

    `facts` are, by name, ``prior``, ``parameters``, ``multiply_adds``, ``licence`` and ``why``.
    """
    leaders = race.leaders()
    best = leaders[0]
    dropped = [one for one in race.racers if one.steps and one not in leaders]
    found = [_ranked(one, best, race, facts[one.name], costs[one.name])
             for one in [*leaders, *dropped]]  # fmt: skip
    # Accuracies on fewer images are lower: they are not compared.
    whole = [one for one in found if one.images == race.sizes[best.level]]
    found = [replace(one, pareto=one in whole and _on_front(one, whole)) for one in found]
    tied = sorted((one for one in found if one.tied), key=lambda one: -one.accuracy)
    others = sorted((one for one in found if not one.tied), key=lambda one: -one.accuracy)
    # What was measured on all images leads.
    tied.sort(key=lambda one: -one.images)
    return (*tied, *others)


def _ranked(
    one: Racer, best: Racer, race: Race, facts: Mapping[str, Any], cost: Cost
) -> RankedModel:
    level, shared = one.level, min(one.level, best.level)
    low, high = interval(one.steps[level], race.levels[level])
    others = [
        other.steps[level] for other in race.racers if other.level >= level and other is not one
    ]
    apart = difference(one.steps[shared], best.steps[shared], race.levels[shared]).mean
    below, above = against_others(one.steps[level], others, race.levels[level])
    reason = one.reason
    if reason == BUDGET:
        reason = "the budget ended before more images"
    return RankedModel(
        name=one.name,
        accuracy=race.levels[level].accuracy(one.steps[level]),
        low=low,
        high=high,
        images=race.sizes[level],
        difference=apart,
        difference_low=below,
        difference_high=above,
        compared=race.sizes[shared],
        tied=one.status == "racing",
        pareto=False,
        reason=reason,
        cost=cost,
        seconds=one.seconds,
        **facts,
    )


def _on_front(one: RankedModel, models: Sequence[RankedModel]) -> bool:
    """Whether no other model is at least as fast and as accurate, and better in one of them."""
    return not any(
        other.cost.latency <= one.cost.latency
        and other.accuracy >= one.accuracy
        and (other.cost.latency, other.accuracy) != (one.cost.latency, one.accuracy)
        for other in models
    )


def choose(models: Sequence[RankedModel], tolerance: float) -> RankedModel:
    """Return the model to take.

    It is the fastest of those that are not significantly different from the best, were measured on
    as many images, and are at most `tolerance` less accurate. Where it saves less than a tenth of
    the best one's latency, it is the best.
    """
    best = models[0]
    near = [
        one
        for one in models
        if one.tied and one.images == best.images and best.accuracy - one.accuracy <= tolerance
    ]
    fastest = min(near, key=lambda one: (one.cost.latency, -one.accuracy))
    return fastest if fastest.cost.latency <= FASTER * best.cost.latency else best


def recommendation_sentence(
    models: Sequence[RankedModel], taken: RankedModel, n_images: int
) -> str:
    """Return which model to take, and why, in one sentence.

    `n_images` are all that the choice may be made on.
    """
    best = models[0]
    accuracy = f"{100 * taken.accuracy:.1f} % ({100 * taken.low:.1f} to {100 * taken.high:.1f})"
    on = f"{'all ' if taken.images == n_images else ''}{taken.images:,} images"
    start = f"Take {taken.name}: {accuracy} by cross-validation on {taken.images:,} images"
    if taken is not best:
        ratio = best.cost.latency / taken.cost.latency
        return (
            f"{start}, not significantly different from the most accurate, {best.name} "
            f"({100 * best.accuracy:.1f} %), and {ratio:.1f} times as fast "
            f"({_ms(taken.cost.latency)} against {_ms(best.cost.latency)} per image)."
        )
    tied = [one for one in models if one.tied and one is not taken]
    if len(models) == 1:
        return f"{start}, the only candidate that was measured."
    if not tied:
        n = len(models) - 1
        others = f"all {n} others" if n > 1 else f"the other one, {models[1].name}"
        return f"{start}, significantly more accurate than {others}."
    as_many = [one for one in models if one.images == taken.images]
    if len(as_many) == 1:
        start = f"Take {taken.name}: {accuracy} by cross-validation, the only one measured on {on}"
    elif any(one.images < taken.images for one in tied):
        start = (
            f"Take {taken.name}: {accuracy} by cross-validation, the most accurate of the "
            f"{len(as_many)} measured on {on}"
        )
    else:
        start += f", the most accurate of {len(models)}"
    limit = FASTER * best.cost.latency
    fast = [one for one in as_many if one.tied and one.cost.latency <= limit]
    if fast:
        # They come by accuracy.
        one = fast[0]
        return (
            f"{start}; {one.name} is {best.cost.latency / one.cost.latency:.1f} times as fast "
            f"({_ms(one.cost.latency)}) and {100 * (best.accuracy - one.accuracy):.1f} points "
            "lower, within the error."
        )
    others = "1 other is" if len(tied) == 1 else f"{len(tied)} others are"
    if any(one.cost.latency <= limit for one in tied):
        return f"{start}; {others} not significantly different on fewer images."
    none = "it is not" if len(tied) == 1 else "none of them is"
    return f"{start}; {others} not significantly different, and {none} clearly faster."


def not_tried(race: Race) -> tuple[NotTried, ...]:
    """Return the models that were to race and were not measured."""
    found = []
    for one in race.racers:
        if one.steps:
            continue
        if one.status == "left out":
            found.append(NotTried(one.name, one.reason))
        else:
            needs = f": its first {race.sizes[0]:,} images take about {duration(one.needed or 0)}"
            reason = f"it did not fit the budget{needs if one.needed else ''}"
            found.append(NotTried(one.name, reason, "raise --budget"))
    return tuple(found)


def duration(seconds: float) -> str:
    """Return seconds as text.

    Examples
    --------
    >>> duration(8.2), duration(100), duration(7300)
    ('8 s', '1.7 min', '2.0 h')
    """
    if seconds < SECONDS_PER_MINUTE:
        return f"{seconds:.0f} s"
    minutes = seconds / SECONDS_PER_MINUTE
    return f"{minutes:.1f} min" if minutes < SECONDS_PER_MINUTE else f"{minutes / 60:.1f} h"


def rounded_up(seconds: float) -> float:
    """Return at least so many seconds: whole ones, or multiples of 10, from 10 min on of 60.

    Examples
    --------
    >>> rounded_up(8.2), rounded_up(61), rounded_up(601)
    (9.0, 70.0, 660.0)
    """
    if seconds < SECONDS_PER_MINUTE:
        return float(ceil(seconds))
    step = 10 if seconds < 10 * SECONDS_PER_MINUTE else SECONDS_PER_MINUTE
    return float(step * ceil(seconds / step))


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"
