"""From a finished race to the answer: the table, the tied set, and which model to take."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any

from headstart.ranking.answer import Cost, NotTried, RankedModel
from headstart.ranking.elimination import against_others, difference, interval
from headstart.ranking.race import BUDGET, Race, Racer

__all__ = [
    "choose",
    "duration",
    "not_tried",
    "ranked_models",
    "recommendation_sentence",
    "rounded_up",
]

# A model is taken for its speed only if it takes at most this part of the best one's latency.
FASTER = 0.9
SECONDS_PER_MINUTE = 60


def ranked_models(
    race: Race, facts: Mapping[str, Mapping[str, Any]], costs: Mapping[str, Cost]
) -> tuple[RankedModel, ...]:
    """Return the measured models, those that may be the best first, each group by accuracy.

    Parameters
    ----------
    facts
        By name: ``prior``, ``parameters``, ``multiply_adds``, ``licence`` and ``why``.
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
        accuracy=one.steps[level].accuracy(race.levels[level]),
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

    Parameters
    ----------
    n_images
        All images that the choice may be made on.
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
