import pytest

from headstart import methods
from headstart.methods.finetune import FinetuneSetting, ScratchSetting, next_candidates, select_best
from headstart.spec import Measurement
from refusals import refused


def measured(candidates, accuracy, diverged=()):
    """Give each candidate what a function says of (rate, decay, steps, crop)."""
    found = []
    for candidate in candidates:
        values = candidate.values
        rate, decay, steps = (values[k] for k in ("learning_rate", "weight_decay", "steps"))
        broken = (rate, decay) in diverged
        curve = [
            {**values, "crop": crop, "accuracy": accuracy(rate, decay, steps, crop)}
            for crop in ("full", "central")
        ]
        if broken:
            curve = [{**values, "accuracy": 0.0}]
        found.append(
            Measurement(
                candidate=candidate,
                examples="r",
                status="diverged" if broken else "complete",
                curve=tuple(curve),
            )
        )
    return found


def test_the_protocols_grid_is_7_by_8():
    setting = FinetuneSetting()
    training = setting.training
    assert (training.steps, training.batch_size, training.optimizer.momentum) == (20_000, 256, 0.9)
    assert len(setting.learning_rates) == 7
    assert (min(setting.learning_rates), max(setting.learning_rates)) == (1e-4, 1e-1)
    decays = setting.weight_decays
    assert decays[0] == 0
    assert (
        min(setting.weight_decays[1:]),
        max(setting.weight_decays),
        len(setting.weight_decays),
    ) == (1e-6, 1e-3, 8)
    candidates = next_candidates(setting, [])
    assert len({candidate.key for candidate in candidates}) == len(candidates) == 56
    assert {candidate.values["steps"] for candidate in candidates} == {20_000}
    assert (setting.grid.search_steps, setting.grid.final_steps) == (56 * 20_000, 20_000)


def test_scratch_has_higher_rates_and_no_use_for_weights():
    assert max(ScratchSetting().learning_rates) == 1
    assert not ScratchSetting.pretrained
    assert FinetuneSetting.pretrained


def test_what_is_measured_is_not_asked_for_again():
    setting = FinetuneSetting()
    candidates = next_candidates(setting, [])
    done = measured(candidates[:55], lambda *_: 0.5)
    assert next_candidates(setting, done) == candidates[55:]
    done = measured(candidates[::-1], lambda *_: 0.5)
    assert next_candidates(setting, done) == ()


def test_rungs_train_the_best_longer_each_time_anew():
    setting = FinetuneSetting(
        learning_rates=(0.1, 0.01),
        decays=(0.0, 1e-5),
        steps=40,
        search="rungs",
        rungs=((4, 10), (2, 20), (1, 40)),
    )
    assert setting.grid.search_steps == 4 * 10 + 2 * 20 + 40

    # The longer the training, the better the lower rate: the short runs prefer the higher one.
    def accuracy(rate, decay, steps, crop):
        return (rate if steps < 20 else 1 - rate) + decay + (0.001 if crop == "central" else 0)

    found = []
    sizes = []
    while wanted := next_candidates(setting, found):
        sizes.append((len(wanted), wanted[0].values["steps"]))
        found += measured(wanted, accuracy)
    assert sizes == [(4, 10), (2, 20), (1, 40)]
    selection = select_best(setting, found)
    # Only what came through to the last rung is chosen from.
    assert selection.chosen == {"learning_rate": 0.1, "weight_decay": 1e-5, "crop": "central"}
    assert len(selection.validation_curve) == 2 * 7
    assert selection.validation_curve[0]["steps"] == 40


def test_of_equals_the_strongest_decay_and_the_lowest_rate():
    setting = FinetuneSetting(learning_rates=(0.1, 0.01), decays=(0.0, 1e-5), steps=10)
    found = measured(next_candidates(setting, []), lambda *_: 0.7)
    chosen = select_best(setting, found).chosen
    assert (chosen["learning_rate"], chosen["weight_decay"]) == (0.01, 1e-5)


def test_what_diverged_is_never_chosen():
    setting = FinetuneSetting(learning_rates=(0.1, 0.01), decays=(0.0,), steps=10)
    candidates = next_candidates(setting, [])
    found = measured(candidates, lambda *_: 0.0, diverged={(0.1, 0.0)})
    assert select_best(setting, found).chosen["learning_rate"] == 0.01
    found = measured(candidates, lambda *_: 0.0, diverged={(0.1, 0.0), (0.01, 0.0)})
    with refused("training.all_diverged", n=2):
        select_best(setting, found)


def test_a_rung_without_a_survivor_ends_the_search():
    setting = FinetuneSetting(
        learning_rates=(0.1,), decays=(0.0,), steps=20, search="rungs", rungs=((1, 10), (1, 20))
    )
    found = measured(next_candidates(setting, []), lambda *_: 0.0, diverged={(0.1, 0.0)})
    assert next_candidates(setting, found) == ()
    with refused("training.all_diverged", n=1):
        select_best(setting, found)


@pytest.mark.parametrize("fields", [
    {"learning_rates": ()}, {"learning_rates": (0.0,)}, {"decays": ()}, {"rungs": ((56, 10),)},
    {"search": "rungs"}, {"search": "rungs", "rungs": ((55, 10),)},
    {"search": "rungs", "rungs": ((56, 10), (4, 20), (8, 40))},
])  # fmt: skip
def test_grids_that_cannot_be(fields):
    with refused("setting.value"):
        methods.find("finetune", **fields)


def test_a_rate_that_is_named_twice_is_one():
    assert FinetuneSetting(learning_rates=(0.1, 0.1, 0.01)).learning_rates == (0.1, 0.01)
