"""Steps to 90 % of the largest odds, one setting against another, from tables and from stores."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

import headstart as hs
from headstart import datasets, methods
from headstart.analysis.cells import AnalysisOptions
from headstart.analysis.sweeps import speed_rows
from headstart.stats import steps_to_share
from headstart.store import ResultStore
from stores import N_TEST, add_result

STEPS = [10, 100, 1000]


def curves(shift: float, setting: str, models=("a1",), n_datasets=1, **others) -> pd.DataFrame:
    """Log odds that rise by 1 a factor of ten in steps, `shift` factors of ten late."""
    rows = [
        {"model": model, "dataset": f"set{d}", "setting": setting, "steps": steps,
         "accuracy": expit(min(np.log10(steps) - shift, 1.0) + d), "n_test": 1000, **others}
        for model in models for d in range(n_datasets) for steps in STEPS
    ]  # fmt: skip
    return pd.DataFrame(rows)


def analysed(*frames) -> hs.Analysis:
    return hs.analyze(pd.concat(frames), resamples=500)


def test_many_curves_at_once_are_each_as_if_alone():
    random = np.random.default_rng(0)
    steps, means = np.array([5, 10, 40, 80]), random.normal(size=(20, 4))
    for mean, found in zip(means, steps_to_share(steps, means), strict=True):
        target = mean.max() + np.log(0.9)
        first = int(np.argmax(mean >= target))
        rise = slice(first - 1, first + 1)
        expected = steps[0] if not first else np.exp(
            np.interp(target, mean[rise], np.log(steps[rise]))
        )  # fmt: skip
        assert found == pytest.approx(expected)
        # Of the first number of steps exactly: not one that lies between.
        assert (found == 5) == (first == 0)


def test_steps_epochs_and_how_many_times_as_many():
    counts = {"n_train": 400, "batch_size": 20}
    found = analysed(curves(0, "finetune", **counts), curves(1, "scratch", **counts))
    reached = found.reached.set_index("setting")
    # The largest log odds are 1, from 10 steps on for the one and from 100 on for the other.
    assert reached.loc["finetune", ["steps", "at_first", "at_last"]].tolist() == [10, True, False]
    expected = 10 ** (2 + np.log(0.9))
    assert reached.loc["scratch", "steps"] == pytest.approx(expected)
    assert not reached.loc["scratch", "at_first"]
    assert reached.loc["scratch", "epochs"] == pytest.approx(expected / 20)
    (row,) = found.speedup.to_dict("records")
    assert row["speedup"] == pytest.approx(expected / 10)
    assert (row["setting"], row["other"], row["cells"]) == ("finetune", "scratch", 1)
    assert row["other_epochs"] == pytest.approx(expected / 20)
    # Another test set of 1,000 images: some draws of the plateau reach it later.
    assert row["sampled"] == "test images"
    assert row["low"] < row["speedup"]


def test_five_datasets_are_a_sample_and_fewer_are_not():
    pair = [curves(shift, name, n_datasets=6) for shift, name in ((0, "finetune"), (1, "scratch"))]
    (row,) = analysed(*pair).speedup.to_dict("records")
    # All datasets say the same.
    assert row["sampled"] == "datasets"
    assert row["low"] == pytest.approx(row["speedup"]) == pytest.approx(row["high"])
    some = [frame.assign(metric="mean-per-class")[frame.dataset == "set0"] for frame in pair]
    (row,) = analysed(*some).speedup.to_dict("records")
    # How a mean over classes varies, the number of images does not say.
    assert row["sampled"] == ""
    assert np.isnan(row["low"])
    assert np.isnan(row["epochs"])


def noisy(setting, shift, n_datasets, random, n=500) -> pd.DataFrame:
    """Curves that come to a plateau slowly, measured with `n` test images a dataset."""
    steps = 76 * 2.0 ** np.arange(9)
    chance = expit(2 - 3 * np.exp(-np.log2(steps / 76) / shift))
    rows = [
        {"model": "a1", "dataset": f"set{d}", "setting": setting, "steps": step, "family": "a",
         "accuracy": random.binomial(n, p) / n, "n_test": n}
        for d in range(n_datasets) for step, p in zip(steps, chance, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_intervals_for_other_test_images_hold_what_a_large_test_set_says():
    """Noise has curves get to their plateau early, all of them: cells do not average it away."""
    pair = (("finetune", 1.0), ("scratch", 2.3))
    exact = [noisy(*one, 1, np.random.default_rng(0), n=10**9) for one in pair]
    true, held = analysed(*exact).speedup.speedup[0], 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        frames = [noisy(*one, 4, random) for one in pair]
        options = AnalysisOptions(resamples=200)
        (found,) = (r for table, r in speed_rows(pd.concat(frames), options) if table == "speedup")
        assert found["sampled"] == "test images"
        held += found["low"] <= true <= found["high"]
    assert held >= 17


def test_seeds_add_no_test_images():
    """Several seeds are tested on the same images."""
    pair = (("finetune", 1.0), ("scratch", 2.3))
    once = [noisy(*one, 1, np.random.default_rng(1)) for one in pair]
    thrice = [pd.concat(frame.assign(seed=seed) for seed in range(3)) for frame in once]
    rows = [analysed(*frames).speedup.iloc[0] for frames in (once, thrice)]
    assert rows[0].speedup == pytest.approx(rows[1].speedup)
    assert (rows[1].low, rows[1].high) == pytest.approx((rows[0].low, rows[0].high))


def shaped(setting, accuracies, dataset="cifar10", n_test=1000, **others) -> pd.DataFrame:
    """One curve of these accuracies."""
    rows = [{"model": "a", "dataset": dataset, "setting": setting, "steps": 10 ** (i + 1),
             "accuracy": p, "n_test": n_test, "metric": "top-1"}
            for i, p in enumerate(accuracies)]  # fmt: skip
    return pd.DataFrame(rows).assign(**others)


RISING = shaped("finetune", [0.2, 0.7, 0.8])


@pytest.mark.parametrize(
    ("scratch", "learned"),
    [
        # Ten classes, 1,000 images, three points: of chance alone 125 right have p = 0.0059 and
        # 127 p = 0.0035, held against 0.01 / 3 (scipy.stats.binomtest); 128 have 0.0026.
        (shaped("scratch", [0.10, 0.09, 0.127]), False),
        (shaped("scratch", [0.10, 0.09, 0.128]), True),
        (shaped("scratch", [0.128, 0.09, 0.10]), True),
        (shaped("scratch", [0.10, 0.11, 0.10]), False),
        # The number of classes may be given; two classes have another chance.
        (shaped("scratch", [0.48, 0.52, 0.52], dataset="x", n_classes=2), False),
        (shaped("scratch", [0.10, 0.13, 0.13], dataset="x", n_classes=10), True),
        (shaped("scratch", [0.13, 0.13, 0.13], dataset="x", n_classes=10), True),
        # Chance unknown: above the lowest accuracy on the dataset, or above 1/2.
        (shaped("scratch", [0.010, 0.011, 0.012], dataset="x"), False),
        (shaped("scratch", [0.010, 0.011, 0.100], dataset="x"), True),
        (shaped("scratch", [0.82, 0.82, 0.82], dataset="x"), True),
        (shaped("scratch", [0.10, 0.11, 0.12], n_test=np.nan), None),
        (shaped("scratch", [0.10, 0.10, 0.09], n_test=np.nan), False),
    ],
)
def test_a_curve_that_never_leaves_chance_takes_no_part(scratch, learned):
    fast = RISING.assign(dataset=scratch.dataset[0])
    if "n_classes" in scratch:
        fast = fast.assign(n_classes=scratch.n_classes[0])
    found = analysed(fast, scratch)
    row = found.reached.set_index("setting").loc["scratch"]
    assert row.learned is None if learned is None else bool(row.learned) is learned
    whats = " ".join(found.missing.what)
    if learned is False:
        assert np.isnan(row.steps)
        assert not row.at_last
        assert found.speedup.empty
        assert "convergence speed (scratch): a on" in whats
    else:
        assert row.steps > 0
        assert found.speedup.at_chance.tolist() == [0]
        assert ("test against chance for 1 of 2" in whats) == (learned is None)


def test_of_several_datasets_only_those_that_learn_are_averaged():
    second = [RISING.assign(dataset="x"), shaped("scratch", [0.1, 0.2, 0.8], dataset="x")]
    alone = analysed(*second).speedup.iloc[0]
    both = analysed(RISING, shaped("scratch", [0.1, 0.1, 0.1]), *second).speedup.iloc[0]
    assert both.speedup == alone.speedup
    assert (both.cells, both.at_chance) == (1, 1)


def test_flat_curves_of_unknown_chance_are_not_judged():
    """All may have converged at the first number of steps."""
    flat = [shaped(name, [0.30, 0.31, 0.30], dataset="x") for name in ("finetune", "scratch")]
    assert analysed(*flat).reached.learned.tolist() == [None, None]


def test_the_screen_tells_it(cli, tmp_path):
    file = tmp_path / "t.csv"
    counts = {"n_train": 400, "batch_size": 20}
    pd.concat([curves(0, "finetune", **counts), curves(1, "scratch", **counts)]).to_csv(file)
    out = " ".join(cli("analyze", file, "--resamples", 200).out.split())
    assert out.count("needs 7.8 times as many steps as fine-tuning to reach 90 % of its") == 1
    assert " against 10 steps; 3.9 against 0.5 epochs)" in out
    assert "inconclusive" not in out
    curves(2, "scratch").to_csv(file)
    out = " ".join(cli("analyze", file, "--resamples", 200).out.split())
    assert "times as many steps" not in out
    pd.concat([curves(0, "finetune"), curves(2, "scratch")]).to_csv(file)
    out = " ".join(cli("analyze", file, "--resamples", 200).out.split())
    assert "inconclusive. 1 of 2 curves have their largest odds at their largest number" in out


def test_settings_with_one_number_of_steps_each_are_no_sweep():
    frames = [curves(0, name).query(f"steps == {n}") for name, n in (("finetune", 10),
                                                                    ("scratch", 100))]  # fmt: skip
    found = analysed(*frames)
    assert found.convergence.empty
    assert found.reached.empty
    assert not found.missing.what.str.contains("levels").any()


def test_one_size_beside_the_main_result_is_not_averaged_with_it():
    main = curves(0, "linear").query("steps == 10").drop(columns="steps")
    few = main.assign(accuracy=0.1, examples_per_class=4)
    found = analysed(main, few)
    assert found.cells.accuracy.tolist() == main.accuracy.tolist()


def store_of(path, tables: list[dict], n_per_class=None) -> ResultStore:
    """Store a made-up result for each training setting."""
    store = ResultStore(path, create=True)
    for place, table in enumerate(tables):
        scrap = ResultStore(path.parent / f"{path.stem}{place}.db", create=True)
        made = add_result(scrap, "net", 0.4 + 0.1 * place)
        changes = {"setting": methods.find(**table)}
        if n_per_class:
            few = datasets.find("digits", examples_per_class=n_per_class[place])
            changes["dataset"] = few
        trial = made.trial.model_copy(update=changes)
        assert store.add(made.model_copy(update={"trial": trial}))
    return store


def test_a_store_has_steps_and_epochs(tmp_path):
    """The protocol's own number of steps, and others, are one setting."""
    tables = [
        {"name": name, "protocol": "quick", "steps": steps}
        for name in ("finetune", "scratch")
        for steps in (10, 20, 40)
    ]
    store_of(tmp_path / "r.db", tables)
    found = hs.analyze(tmp_path / "r.db", resamples=200)
    assert found.convergence[["setting", "steps"]].to_numpy().tolist() == [
        [name, steps] for name in ("finetune", "scratch") for steps in (10, 20, 40)
    ]
    # The final training had train and validation, in batches of 32.
    (row,) = found.speedup.to_dict("records")
    assert row["epochs"] == pytest.approx(row["steps"] * 32 / (2 * N_TEST))
    # Other departures from the protocol are other settings still.
    store_of(tmp_path / "s.db", [*tables, {**tables[0], "momentum": 0.5}])
    found = hs.analyze(tmp_path / "s.db", resamples=200)
    assert set(found.speedup.setting) == {"finetune (quick)"}
    assert "finetune (quick (momentum))" in set(found.cells.setting)
    # One number of steps is no curve.
    assert set(found.convergence.setting) == {"finetune (quick)", "scratch"}


def test_a_store_has_images_a_class(tmp_path):
    sizes = [1, 4, 16]
    store_of(tmp_path / "r.db", [{"name": "linear"}] * 3, sizes)
    found = hs.analyze(tmp_path / "r.db", resamples=200)
    assert found.dataset_size.examples_per_class.tolist() == sizes
    # The classifier was fitted to these images alone.
    assert found.trials.n_train.tolist() == [10, 40, 160]
    assert len(found.cells) == 1
