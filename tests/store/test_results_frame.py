"""What stored results say of their data; trials with and without one, and names that find them."""

from headstart import datasets, methods, models
from headstart.spec import Candidate, Measurement, Trial
from headstart.store import ResultStore, data_warnings, left_out, result_row, tried, under_way
from refusals import refused
from stores import add_result


def test_a_file_that_several_trials_left_out_counts_once(file_store):
    results = [add_result(file_store, model, 0.8) for model in ("net_a", "net_b", "net_c")]
    skipped = {"skipped_images": {f"{n}.png": "empty file" for n in range(3)}}
    broken = [result.model_copy(update={"provenance": skipped}) for result in results]
    assert len(left_out(broken)) == 3
    other = broken[0].trial.dataset.model_copy(update={"revision": "9" * 64})
    trial = broken[0].trial.model_copy(update={"dataset": other})
    assert len(left_out([*broken, broken[0].model_copy(update={"trial": trial})])) == 6


def test_warnings_come_once_and_older_results_have_none(file_store):
    results = [add_result(file_store, model, 0.8) for model in ("net_a", "net_b")]
    assert data_warnings(file_store.results()) == {}
    assert left_out(file_store.results()) == set()
    kept = {"data_warnings": [{"code": "leakage", "text": "1 image is in two splits"}]}
    warned = [result.model_copy(update={"provenance": kept}) for result in results]
    assert data_warnings(warned) == {"digits": {"1 image is in two splits": "leakage"}}


def test_the_content_is_the_beginning_of_the_revision(file_store):
    result = add_result(file_store, "net_a", 0.8)
    revision = result.trial.dataset.revision
    assert result_row(result)["content"] == revision[:8]
    assert len(revision) == 64


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
