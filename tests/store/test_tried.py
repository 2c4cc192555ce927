"""Trials with and without a result, and the names that find one."""

from headstart import datasets, methods, models
from headstart.spec import Candidate, Measurement, Trial
from headstart.store import ResultStore, tried, under_way
from refusals import refused
from stores import add_result


def measure(store: ResultStore, key: str, *rates: float) -> None:
    for rate in rates:
        values = {"learning_rate": rate}
        # Two rows of the curve for each candidate.
        curve = tuple({**values, "steps": steps, "accuracy": 0.5} for steps in (10, 20))
        store.add_measurement(
            key, Measurement(candidate=Candidate(values=values), examples="r", curve=curve)
        )


def test_a_trial_without_a_result_has_all_its_measurements(store):
    done = add_result(store, "net_a", 0.8)
    trial = Trial(
        model=models.find("efficientnet_lite0"),
        dataset=datasets.find("digits", limit=60),
        setting=methods.find("linear"),
    )
    store.begin(trial)
    assert under_way(store) == []
    measure(store, trial.key, 0.1, 0.01, 0.001)
    (found,) = under_way(store)
    assert (found.key, found.trial, found.result) == (trial.key, trial, None)
    assert (found.n_measured, len(found.curve)) == (3, 6)
    assert (found.chosen, found.on_edge) == ({}, ())
    assert not any(found.is_chosen(row) for row in found.curve)
    # Those without a result come last; one with a result is no longer under way.
    assert [one.key for one in tried(store)] == [done.trial.key, trial.key]
    measure(store, done.trial.key, 0.1)
    assert [one.key for one in under_way(store)] == [trial.key]


def test_a_trial_is_found_by_the_beginning_of_its_key_or_by_words(store):
    a, b, ab = (add_result(store, name, 0.8).trial for name in ("net_a", "net_b", "net_ab"))
    for trial in (a, b, ab):
        (found,) = tried(store, [trial.key[:12].upper()])
        assert found.trial == trial
    # A whole word goes before a part of one.
    (found,) = tried(store, ["Net_A,", "digits"])
    assert found.trial == a
    (found,) = tried(store, ["ab"])
    assert found.trial == ab
    with refused("store.trial_unknown", name="net_c"):
        tried(store, ["net_c"])
    keys = {trial.key for trial in (a, b, ab)}
    with refused("store.trial_ambiguous", name="net_ digits") as error:
        tried(store, ["net_", "digits"])
    assert set(error.value.values["found"]) == keys


def test_of_several_runs_of_what_was_chosen_the_longest_counts(store):
    result = add_result(store, "net_a", 0.8, lam=2.0)
    (found,) = tried(store)
    short, long = ({"lambda": 2.0, "steps": steps} for steps in (10, 20))
    several = type(found)(found.key, result.trial, result, (short, long, {"lambda": 1.0}))
    assert [several.is_chosen(row) for row in several.curve] == [False, True, False]
