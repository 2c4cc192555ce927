"""How long trials are expected to take, and in which order they begin for it."""

import json
from threading import Barrier

import pytest

from headstart import methods, models
from headstart.context import RunContext
from headstart.executors import InProcess
from headstart.methods.on_features import ExtractionGroup
from headstart.spec import Trial
from headstart.store import ResultStore
from headstart.study import Throughput, keep_throughput, run
from headstart.study.status import Stragglers
from headstart.study.workload import expected_costs, expected_work, kept_throughput, throughput_key
from refusals import refused
from stores import make_result

LITE0, LITE2 = (models.find(f"efficientnet_lite{i}") for i in (0, 2))
CPU, GPU = ("this processor, 2 threads", False), ("H200", True)


def trial(setting: str, model=LITE0, seed: int = 0) -> Trial:
    made = make_result().trial
    return made.model_copy(update={"model": model, "setting": methods.find(setting), "seed": seed})


@pytest.fixture
def context(own_cache) -> RunContext:
    return RunContext(device="cpu")


def test_throughput_is_kept_by_device(own_cache):
    rates = {LITE0.name: Throughput(10.0, 40.0), LITE2.name: Throughput(None, 20.0)}
    keep_throughput(rates, [LITE0, LITE2], "fp32", CPU, own_cache)
    # A study without training leaves what was measured of training.
    keep_throughput({LITE0.name: Throughput(None, 50.0)}, [LITE0, LITE2], "fp32", CPU, own_cache)
    found = kept_throughput(own_cache, "cpu")
    assert found[throughput_key(LITE0, "fp32")] == Throughput(10.0, 50.0)
    assert found[throughput_key(LITE2, "fp32")] == Throughput(None, 20.0)
    assert throughput_key(LITE0, "bf16") not in found
    # Where a GPU was measured, it is meant, unless a processor is asked for.
    assert kept_throughput(own_cache, "auto") == found
    assert kept_throughput(own_cache, "cuda") == {}
    keep_throughput({LITE0.name: Throughput(900.0, 2e3)}, [LITE0], "fp32", GPU, own_cache)
    assert kept_throughput(own_cache, "cpu") == found
    assert list(kept_throughput(own_cache, "auto").values()) == [Throughput(900.0, 2e3)]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"networks": 3}', '{"networks": {"a": {"training": "x", "forward": 1}}}',
     '{"networks": {"a": {"training": -1, "forward": 1}}}', '{"networks": {"a": 5}}'],
)  # fmt: skip
def test_a_damaged_file_of_throughput_is_left_out(own_cache, text):
    (own_cache / "throughput").mkdir(parents=True)
    (own_cache / "throughput" / "cpu-1.json").write_text(text)
    assert kept_throughput(own_cache, "cpu") == {}


def test_what_is_stored_tells_how_long_its_like_takes(store, context):
    done = make_result().model_copy(update={"trial": trial("linear"), "seconds": {"select": 90.0}})
    assert store.add(done)
    pending = [trial("linear", seed=1), trial("linear", LITE2)]
    # Of another model: as its setting took.
    expected = {one.key: 90.0 for one in pending}
    assert expected_costs(pending, [done.trial], store, context) == (expected, True)
    work = expected_work([done.trial, *pending], store, context)
    assert (work.minutes, work.longest) == (3.0, 1.5)
    # Its own rate is better than another model's time.
    keep_throughput({LITE2.name: Throughput(None, 10.0)}, [LITE2], "fp32", CPU, context.cache)
    costs, _ = expected_costs(pending, [done.trial], store, context)
    n_images = sum(n for _, n in pending[1].dataset.used_sizes)
    assert costs[pending[1].key] == pytest.approx(n_images / 10)
    assert costs[pending[0].key] == 90


def test_features_that_trials_share_count_once(store, context):
    keep_throughput({LITE0.name: Throughput(None, 10.0)}, [LITE0], "fp32", CPU, context.cache)
    pending = [trial("linear"), trial("linear")]
    pending[1] = pending[1].model_copy(update={"setting": methods.find("linear", ties="log_loss")})
    costs, in_seconds = expected_costs(pending, [], store, context)
    assert in_seconds
    assert costs[pending[0].key] > 0
    assert costs[pending[1].key] == 0


def test_without_any_time_multiply_adds_order_trials(store, context):
    pending = [trial("linear"), trial("linear", LITE2), trial("scratch")]
    costs, in_seconds = expected_costs(pending, [], store, context)
    assert not in_seconds
    one, two, three = (costs[each.key] for each in pending)
    assert two / one == pytest.approx(LITE2.multiply_adds / LITE0.multiply_adds)
    assert three > 100 * two
    assert expected_work(pending, store, context) is None
    # Of an unknown network: as usual.
    strange = LITE2.model_copy(update={"multiply_adds": None, "architecture": "strange"})
    odd = trial("linear", strange)
    costs, _ = expected_costs([*pending[:1], odd], [], store, context)
    assert costs[odd.key] == one


def test_the_longest_begin_first_and_a_group_is_as_long_as_all_of_it():
    trials = [trial("linear", seed=seed) for seed in range(5)]
    costs = {one.key: cost for one, cost in zip(trials, (1, 5, 3, 3, 4), strict=True)}
    numbered = list(enumerate(trials, start=1))
    ordered = run.longest_first(numbered, costs, [ExtractionGroup((trials[0], trials[4]))])
    assert [number for number, _ in ordered] == [1, 2, 5, 3, 4]
    assert [number for number, _ in run.longest_first(numbered, costs, [])] == [2, 5, 3, 4, 1]


class TwoInTurn(InProcess):
    """Two workers by name."""

    workers = 2


def test_a_run_with_workers_begins_with_the_longest(store, own_cache, monkeypatch):
    trials = [trial("linear", seed=seed) for seed in range(4)]
    costs = {one.key: float(number) for number, one in enumerate(trials)}
    monkeypatch.setattr(run, "expected_costs", lambda *_: (costs, True))
    monkeypatch.setattr(run, "check_early", lambda *_, **__: None)
    monkeypatch.setattr(run, "plan_extractions", lambda *_: [])
    begun, all_three = [], Barrier(3)

    def run_trial(one, _, __, executor):
        begun.append(one.seed)
        if executor and len(begun) < 4:
            all_three.wait(60)
        return make_result().model_copy(update={"trial": one})

    monkeypatch.setattr(run, "run_trial", run_trial)
    context = RunContext(device="cpu")
    done = run.run_study(trials, store, context, TwoInTurn())
    # Three lanes begin with the three longest.
    assert sorted(begun[:3]) == [1, 2, 3]
    # What comes of it is in the study's order.
    assert [one.trial for one in done.results] == trials
    begun.clear()
    again = ResultStore(store.path.with_name("other.db"), create=True)
    run.run_study(trials, again, context)
    assert begun == [0, 1, 2, 3]


def test_the_plan_keeps_its_throughput_and_names_the_longest_trial(cli, own_cache, monkeypatch):
    from headstart.cli import plan_tables

    measured = {LITE0.name: Throughput(10.0, 100.0)}
    monkeypatch.setattr(plan_tables, "measure_throughput", lambda *_, **__: measured)
    asked = ("--models", "efficientnet_lite0", "--datasets", "digits", "--limit", 100)
    outcome = cli("plan", *asked, "--settings", "linear,finetune:quick", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    minutes = (280 * 32 / 10 + 1300 / 100) / 60
    (line,) = [one for one in outcome.out.splitlines() if one.startswith("longest trial")]
    assert (
        line
        == f"longest trial: about {minutes:.3g} minutes: efficientnet_lite0, digits, "
        + (line.rpartition("digits, ")[2])
    )
    assert "finetune" in line
    (file,) = (own_cache / "throughput").iterdir()
    assert json.loads(file.read_text())["device"].startswith("this processor")
    assert kept_throughput(own_cache, "cpu") == {
        throughput_key(LITE0, "fp32"): Throughput(10.0, 100.0)
    }


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
