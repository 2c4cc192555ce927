import pytest

from headstart.study.workload import Stragglers
from refusals import refused
from stores import make_result


def test_a_trial_that_takes_far_longer_than_its_like_is_named_once():
    clock, notes = [0.0], []
    places = {"node7, process 99": True}
    stragglers = Stragglers(notes.append, lambda _: list(places), lambda: clock[0])
    base = make_result().trial
    trials = [base.model_copy(update={"seed": seed}) for seed in range(5)]
    stragglers.began(trials[4])
    for trial in trials[:3]:
        # Two are not enough to know by.
        stragglers.look()
        stragglers.began(trial)
        clock[0] += 100
        stragglers.ended(trial)
    assert notes == []
    stragglers.look()
    # Under way for 300 s, of which 200 are allowed.
    (note,) = notes
    assert trials[4].title in note
    for part in ("for 5.0 minutes", "UTC, on node7, process 99;", "3 trials", "took 1.7 at most"):
        assert part in note
    places.clear()
    stragglers.began(trials[3])
    clock[0] += 199
    stragglers.look()
    stragglers.ended(trials[4])
    assert len(notes) == 1
    clock[0] += 2
    stragglers.look()
    assert len(notes) == 2
    assert "no worker" in notes[1]


def test_short_trials_are_given_time():
    clock, notes = [0.0], []
    stragglers = Stragglers(notes.append, now=lambda: clock[0])
    trials = [make_result().trial.model_copy(update={"seed": seed}) for seed in range(4)]
    for trial in trials[:3]:
        stragglers.began(trial)
        clock[0] += 0.1
        stragglers.ended(trial)
    stragglers.began(trials[3])
    for seconds, n in ((59, 0), (2, 1)):
        clock[0] += seconds
        stragglers.look()
        assert len(notes) == n


@pytest.mark.parametrize("seconds", ["x", "-1", "nan"])
def test_an_invalid_time_that_any_trial_may_take(monkeypatch, seconds):
    monkeypatch.setenv("HEADSTART_SLOW_SECONDS", seconds)
    with refused("study.slow_seconds", found=seconds):
        Stragglers(print)
