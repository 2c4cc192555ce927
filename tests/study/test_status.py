"""How far a study is, from its store alone."""

import socket
import time
from datetime import UTC, datetime, timedelta

import pytest

from headstart import methods
from headstart.cli.run_command import status_lines
from headstart.errors import DatasetError
from headstart.spec import Candidate, Failure, Measurement
from headstart.store import ResultStore
from headstart.study import Study, estimate_study, study_status
from headstart.study.run import failure_of
from headstart.study.status import rate_of, seconds_left
from stores import make_result

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def trials(n: int, setting: str = "linear"):
    """Results of n trials that differ in their seeds; they took 10 s each."""
    chosen = methods.find(setting)
    results = []
    for seed in range(n):
        result = make_result()
        trial = result.trial.model_copy(update={"seed": seed, "setting": chosen})
        results.append(result.model_copy(update={"trial": trial, "seconds": {"select": 10.0}}))
    return results


def test_each_trial_is_done_running_failed_or_waiting(tmp_path):
    store = ResultStore(tmp_path / "r.db", create=True)
    found = trials(6)
    for result in found[:2]:
        store.add(result)
    failed = found[2].trial
    store.add_failure(failed, Failure(error="first"))
    store.add_failure(failed, Failure(error="no such image", code="dataset.missing", host="a"))
    # It failed once and was measured after.
    store.add_failure(found[0].trial, Failure(error="out of memory"))
    # Of another study.
    store.add_failure(trials(9)[8].trial, Failure(error="not ours"))
    running = found[3].trial
    with store.claim(running.key, wait=False):
        status = study_status([result.trial for result in found], ResultStore(tmp_path / "r.db"))
    assert (status.n_trials, status.n_done, status.n_waiting) == (6, 2, 2)
    ((trial, failure),) = status.failed
    assert (trial, failure.error, failure.host) == (failed, "no such image", "a")
    (one,) = status.running
    assert (one.trial, one.measured, one.planned) == (running, 0, 1)
    # Three are to be done, one at a time.
    assert status.seconds_left == pytest.approx(30)
    assert status.seconds_spent == pytest.approx(20)


def test_what_an_interrupted_run_computed_counts(tmp_path):
    store = ResultStore(tmp_path / "r.db", create=True)
    done, begun, _ = trials(3)
    store.add(done)
    store.begin(begun.trial)
    curve = ({"accuracy": 0.5},)
    one = Measurement(candidate=Candidate(), examples="r", curve=curve, seconds={"select": 4.0})
    store.add_measurement(begun.trial.key, one)
    status = study_status([result.trial for result in trials(3)], store)
    assert (status.running, status.n_waiting, status.seconds_spent) == ((), 2, 14)
    assert status.seconds_left == pytest.approx(6 + 10)


def test_nothing_is_known_of_a_study_that_was_not_begun(tmp_path):
    status = study_status(
        [result.trial for result in trials(3)], ResultStore(tmp_path / "r.db", create=True)
    )
    assert (status.n_done, status.running, status.failed, status.n_waiting) == (0, (), (), 3)
    assert (status.per_hour, status.seconds_left, status.seconds_spent) == (None, None, 0)


def test_the_rate_is_that_of_the_last_results():
    assert rate_of([]) is None
    assert rate_of([NOW]) is None
    assert rate_of([NOW, NOW]) is None
    slow = [NOW + timedelta(hours=hours) for hours in range(10)]
    fast = [slow[-1] + timedelta(minutes=minutes) for minutes in range(1, 51)]
    assert rate_of(reversed(slow)) == pytest.approx(1)
    assert rate_of(slow + fast) == pytest.approx(60)


def test_the_time_left_is_of_trials_alike_and_without_what_was_measured():
    linear, scratch = trials(3), trials(3, "scratch")
    done = [(linear[0].trial, 10.0), (scratch[0].trial, 100.0)]
    left = [linear[1].trial, scratch[1].trial, scratch[2].trial]
    assert seconds_left(left, done, {}) == pytest.approx(210)
    curve = ({"accuracy": 0.5},)
    measured = Measurement(
        candidate=Candidate(), examples="r", curve=curve, seconds={"select": 30.0}
    )
    running = {scratch[1].trial.key: [measured], linear[1].trial.key: []}
    assert seconds_left(left, done, running, 2) == pytest.approx(180 / 2)
    assert seconds_left(left, done[:1], {}) is None


def test_a_failure_has_its_code_or_its_place():
    known = failure_of(DatasetError("no images", code="dataset.empty"))
    assert (known.error, known.code) == ("no images", "dataset.empty")
    try:
        raise MemoryError("too\nmuch")
    except MemoryError as error:
        found = failure_of(error)
    assert found.error.startswith("unexpected MemoryError at ")
    assert found.error.endswith(": too")
    assert "too\nmuch" in found.log
    # Libraries quote URLs.
    quoted = failure_of(
        DatasetError("no answer of postgresql://me:secret@host/db?sslpassword=secret", code="x.y")
    )
    assert "postgresql://me:***@host/db" in quoted.error
    assert "secret" not in quoted.error + quoted.log
    assert found.pid


def test_a_trial_that_takes_far_longer_than_its_like_is_shown_as_slow(cli, tmp_path, monkeypatch):
    store = ResultStore(tmp_path / "r.db", create=True)
    found = trials(5)
    for result in found[:3]:
        store.add(result.model_copy(update={"seconds": {"select": 0.001}}))
    slow, key = found[3].trial, found[3].trial.key
    asked = [result.trial for result in found]
    with store.claim(key, wait=False), store.claim(found[4].trial.key, wait=False):
        # A minute is given to any.
        assert not any(one.is_late for one in study_status(asked, store).running)
        monkeypatch.setenv("HEADSTART_SLOW_SECONDS", "0")
        time.sleep(0.05)
        status = study_status(asked, store)
    assert [one.is_late for one in status.running] == [True, True]
    (one, _) = status.running
    assert (one.trial, one.n_alike, one.longest) == (slow, 3, 0.001)
    assert 0.04 < one.elapsed < 60
    said = status_lines(status)
    assert "2 running (2 slow)" in said[0]
    assert said[-2].startswith(f"slow     {slow.title}: {socket.gethostname()}, process ")
    assert said[-2].endswith("; 3 trials of setting linear took 0:00:00 at most)")


def test_the_command(cli, tmp_path):
    where = ("--store", tmp_path / "r.db", "--models", "efficientnet_lite0", "--datasets", "digits")
    outcome = cli("status", *where, "--limit", 100, "--settings", "linear,knn")
    assert outcome.out.splitlines() == [
        "0 of 2 trials done, 0 running, 0 failed, 2 waiting",
        f"no store at {tmp_path / 'r.db'} yet: run the study to begin",
        "0.00 device-hours so far",
    ]
    assert not (tmp_path / "r.db").exists()
    assert '"n_waiting": 2' in cli("status", *where, "--settings", "linear,knn", "--json").out


def test_a_machine_without_the_datasets_sees_how_far_a_study_is(cli, tmp_path, own_cache):
    """It knows the trials on those that were measured, or begun, as the store has them."""
    store = ResultStore(tmp_path / "r.db", create=True)
    (done,) = trials(1)
    for number, name in enumerate(("dtd", "folder")):
        dataset = done.trial.dataset.model_copy(
            update={"name": name, "source": "study", "revision": str(number)}
        )
        trial = done.trial.model_copy(update={"dataset": dataset, "seed": 0})
        if name == "dtd":
            assert store.add(done.model_copy(update={"trial": trial}))
        else:
            store.begin(trial)
            store.add_failure(trial, Failure(error="disk full"))
    where = ("--store", store.path, "--models", "efficientnet_lite0,efficientnet_lite2")
    where += ("--datasets", "dtd,./folder,./another,food101", "--settings", "linear")
    outcome = cli("status", *where, "--limit", 100)
    lines = outcome.out.splitlines()
    assert lines[0] == "1 of 8 trials done, 0 running, 1 failed, 6 waiting", outcome.err
    assert lines[-1].endswith("disk full")
    # With another limit they are other trials.
    assert cli("status", *where, "--limit", 50).out.startswith("0 of 8 trials done")
    ended = cli("status", "--store", store.path, "--models", "lite", "--datasets", "dtd")
    assert ended.error.code == "name.unknown"


def test_the_plan_counts_what_is_stored_of_datasets_that_are_elsewhere(tmp_path, own_cache):
    store = ResultStore(tmp_path / "r.db", create=True)
    (done,) = trials(1)
    dataset = done.trial.dataset.model_copy(update={"name": "dtd", "source": "study"})
    store.add(done.model_copy(update={"trial": done.trial.model_copy(update={"dataset": dataset})}))
    study = Study(models=["efficientnet_lite0"], datasets=["dtd"], limit=100, settings=["linear"])
    found = estimate_study(study, store, own_cache)
    assert (found.n_trials, found.n_stored, found.n_ready, found.workloads) == (1, 1, 0, ())
