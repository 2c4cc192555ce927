"""Which candidates of a grid to train, for how long, and which is the best: pure functions."""

from collections.abc import Sequence
from itertools import product

from headstart.errors import TrainingError
from headstart.spec import Candidate, Measurement, Selection, TrainingSetting, Value

__all__ = ["choose_best", "next_candidates"]

STEPS, RATE, DECAY, CROP = "steps", "learning_rate", "weight_decay", "crop"
ACCURACY = "accuracy"


def next_candidates(
    setting: TrainingSetting, measured: Sequence[Measurement]
) -> tuple[Candidate, ...]:
    """Say which candidates to train next; none when the search is at its end.

    Parameters
    ----------
    setting
        Its grid, and its search.
    measured
        What was measured so far, in any order.
    """
    known = {measurement.candidate.key: measurement for measurement in measured}
    rungs = setting.rungs or ((setting.n_candidates, setting.steps),)
    wanted = [
        Candidate(values={RATE: rate, DECAY: decay, STEPS: rungs[0][1]})
        for rate, decay in product(setting.learning_rates, setting.decays)
    ]
    for place, (n, steps) in enumerate(rungs):
        if place:
            # All of the rung below are measured here.
            below = [known[candidate.key] for candidate in wanted]
            wanted = [
                Candidate(values={**measurement.candidate.values, STEPS: steps})
                for measurement in _best_first(below)[:n]
            ]
        if left := tuple(candidate for candidate in wanted if candidate.key not in known):
            return left
    return ()


def choose_best(setting: TrainingSetting, measured: Sequence[Measurement]) -> Selection:
    """Choose learning rate, decay and crop: the best on validation of those trained the longest.

    Of equals, that with the strongest decay and then the lowest learning rate is taken.

    Raises
    ------
    TrainingError
        Every candidate diverged.
    """
    # Longest first, so that a table of the curve shows the last rung on top.
    ordered = sorted(
        measured, key=lambda m: (-_number(m, STEPS), _number(m, RATE), _number(m, DECAY))
    )
    steps = setting.rungs[-1][1] if setting.rungs else setting.steps
    last = [m for m in ordered if _number(m, STEPS) == steps and m.status == "complete"]
    if not last:
        raise TrainingError(
            f"all {len(measured)} candidates diverged, learning rates "
            f"{min(setting.learning_rates):g} to {max(setting.learning_rates):g}: try lower ones"
        )
    rows = [row for measurement in last for row in measurement.curve]
    best = max(rows, key=lambda row: (row[ACCURACY], row[DECAY], -float(row[RATE])))
    return Selection(
        examples=last[0].examples,
        chosen={name: best[name] for name in (RATE, DECAY, CROP)},
        validation_curve=tuple(row for measurement in ordered for row in measurement.curve),
    )


def _best_first(measured: Sequence[Measurement]) -> list[Measurement]:
    """Sort by the best accuracy of each; diverged ones are left out."""
    complete = [measurement for measurement in measured if measurement.status == "complete"]
    return sorted(complete, key=lambda m: (-_accuracy(m), -_number(m, DECAY), _number(m, RATE)))


def _accuracy(measurement: Measurement) -> float:
    return max(float(row[ACCURACY]) for row in measurement.curve)


def _number(measurement: Measurement, name: str) -> float:
    value: Value = measurement.candidate.values[name]
    return float(value)
