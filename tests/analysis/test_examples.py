"""Models on the same images, from stores and from tables of anyone, against statsmodels."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

import headstart as hs
from headstart.analysis.tables.results_sources import read_sources
from refusals import ended, refused
from stores import add_result, make_store

SHARES = {"good": 0.9, "alike": 0.89, "poor": 0.6}


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "results.db", SHARES)


def pair(analysis, test, model="good", other="poor"):
    rows = analysis.pairwise.query("dataset != 'all' and test == @test")
    return rows.query("model == @model and other == @other").iloc[0]


def test_tests_on_examples_are_made_of_the_stored_predictions(store):
    analysis = hs.analyze(store.path, resamples=20_000)
    by_name = {r.trial.model.name: store.predictions(r.trial.key) for r in store.results()}
    right = {name: p.predicted == p.label for name, p in by_name.items()}
    a, b = right["good"], right["poor"]
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    exact = statsmodels_mcnemar(table, exact=True).pvalue
    assert pair(analysis, "mcnemar").p_value == pytest.approx(exact)
    assert pair(analysis, "mcnemar").difference == pytest.approx(a.mean() - b.mean())
    error = np.sqrt(exact / 20_000) + 1e-4
    assert pair(analysis, "permutation").p_value == pytest.approx(exact, abs=4 * error)
    assert pair(analysis, "mcnemar").n == 200


def test_the_best_and_what_is_not_different_from_it(store):
    cells = hs.analyze(store.path, resamples=2000).cells.set_index("model")
    assert cells.best.to_dict() == {"good": True, "alike": False, "poor": False}
    assert cells.not_different.to_dict() == {"good": True, "alike": True, "poor": False}


def test_mean_per_class_has_a_permutation_test_alone(tmp_path):
    store = make_store(tmp_path / "r.db", SHARES, metric="mean-per-class")
    analysis = hs.analyze(store.path, resamples=2000)
    tests = set(analysis.pairwise.query("dataset != 'all'").test)
    assert tests == {"permutation"}
    by_name = {r.trial.model.name: r.metrics["mean-per-class"] for r in store.results()}
    expected = by_name["good"] - by_name["poor"]
    assert pair(analysis, "permutation").difference == pytest.approx(expected)


def test_several_seeds_are_swapped_together(tmp_path):
    store = make_store(tmp_path / "r.db", SHARES)
    for name, right in SHARES.items():
        add_result(store, name, right - 0.02, seed=1)
    analysis = hs.analyze(store.path, resamples=2000)
    assert "mcnemar" not in set(analysis.pairwise.test)
    cells = analysis.cells.set_index("model")
    assert (cells.n_seeds == 2).all()
    accuracy = {}
    for result in store.results():
        accuracy.setdefault(result.trial.model.name, []).append(result.accuracy)
    expected = np.mean(accuracy["good"]) - np.mean(accuracy["poor"])
    assert pair(analysis, "permutation").difference == pytest.approx(expected)
    assert pair(analysis, "permutation").n == 200


def test_models_with_other_seeds_are_not_compared(tmp_path):
    store = make_store(tmp_path / "r.db", {"good": 0.9})
    add_result(store, "poor", 0.6, seed=1)
    analysis = hs.analyze(store.path, resamples=200)
    assert analysis.pairwise.query("dataset != 'all'").empty
    assert "no two models were tested on the same images" in " ".join(analysis.missing.why)


def test_protocols_in_one_store_are_settings_of_their_own(tmp_path):
    store = make_store(tmp_path / "r.db", SHARES)
    table = hs.results(store.path)
    other = table.assign(protocol="mine", accuracy=table.accuracy - 0.05, key="")
    analysis = hs.analyze(store.path, other, resamples=200)
    assert set(analysis.cells.setting) == {"linear (kornblith2019)", "linear (mine)"}
    assert analysis.settings.wins.tolist() in ([3, 0], [0, 3])


def test_how_numbers_were_made_comes_along(store):
    trials = hs.analyze(store.path, resamples=200).trials
    assert trials.model.tolist() == list(SHARES)
    assert trials.chosen.tolist() == ["lambda 1"] * 3
    assert trials.versions[0] == "python 3.11, numpy 2"
    # 200 of 1,079 for training and 200 of 359 for validation.
    assert trials.n_train.tolist() == [400] * 3
    assert trials.key.str.len().eq(64).all()


def test_a_store_without_results(cli, tmp_path):
    from headstart.store import ResultStore

    ResultStore(tmp_path / "empty.db", create=True).make()
    outcome = cli("analyze", tmp_path / "empty.db")
    ended(outcome, "table.empty")


def test_predictions_that_were_damaged(store, cli):
    next(store.path.with_name("results.db.predictions").glob("*.parquet")).write_bytes(b"no")
    ended(cli("analyze", store.path), "store.predictions_damaged")


def counted(accuracies, **more):
    """One top-1 accuracy per model on one dataset, without predictions."""
    return pd.DataFrame({"model": list(accuracies), "dataset": "pets",
                         "accuracy": list(accuracies.values()), **more})  # fmt: skip


def test_without_predictions_models_are_tested_by_the_sizes_of_their_test_sets():
    table = counted({"a": 56 / 70, "b": 48 / 80}, n_test=[70, 80])
    cells = hs.analyze(table).cells.set_index("model")
    # Newcombe 1998, table II (a), method 10.
    ends = cells.loc["b", ["difference", "difference_low", "difference_high"]]
    assert list(ends) == pytest.approx([-0.2, -0.3339, -0.0524], abs=5e-5)
    assert cells.not_different.to_dict() == {"a": True, "b": False}
    assert cells.test.to_dict() == {"a": None, "b": "independent"}


@pytest.mark.parametrize(("correction", "tests"), [("simultaneous", 3), ("none", 1)])
def test_these_tests_are_corrected_for_the_other_models(correction, tests):
    shares = {"best": 0.93, "near": 0.91, "far": 0.904, "last": 0.8}
    table = counted(shares, n_test=1000)
    cells = hs.analyze(table, correction=correction).cells.set_index("model")
    z = norm.ppf(1 - 0.025 / tests)

    def wilson(p, n=1000):
        middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
        return (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)

    top = wilson(0.93)
    for name in ("near", "far", "last"):
        p, (low, high) = shares[name], wilson(shares[name])
        ends = (p - 0.93 - np.hypot(p - low, top[1] - 0.93),
                p - 0.93 + np.hypot(high - p, 0.93 - top[0]))  # fmt: skip
        found = cells.loc[name]
        assert (found.difference_low, found.difference_high) == pytest.approx(ends)
        assert found.not_different == (ends[0] <= 0 <= ends[1])
    # Corrected, what is 2.6 points worse is not told from the best.
    assert cells.not_different["far"] == (tests == 3)


@pytest.mark.parametrize("more", [
    {}, {"n_test": [np.nan, 80]}, {"n_test": 80, "metric": "mean-per-class"},
], ids=["no size", "size of the best unknown", "another metric"])  # fmt: skip
def test_what_is_not_counted_is_not_tested(more):
    cells = hs.analyze(counted({"a": 0.9, "b": 0.5}, **more)).cells
    assert len(cells) == 2
    assert cells[["not_different", "difference"]].isna().all(axis=None)


def test_means_over_seeds_are_not_tested_by_sizes():
    table = pd.concat([counted({"a": 0.9, "b": 0.5}, n_test=80, seed=seed) for seed in (0, 1)])
    cells = hs.analyze(table).cells
    assert (len(cells), cells.not_different.count()) == (2, 0)


def test_a_part_of_a_store_is_analysed(tmp_path):
    store = make_store(tmp_path / "r.db", {"net_a": 0.9, "net_b": 0.7, "other": 0.5})
    table = read_sources([f"{store.path}?model=net_*+other,setting=linear"])
    assert sorted(table.frame["model"]) == ["net_a", "net_b", "other"]
    table = read_sources([f"{store.path}?model=net_*"])
    assert sorted(table.frame["model"]) == ["net_a", "net_b"]
    assert len(table.predictions) == 2
    with refused("table.store_option", option="metric"):
        read_sources([f"{store.path}?metric=top-1"])


N = 120
RIGHT = {"good": 0.9, "poor": 0.7}


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(3)
    label = random.integers(0, 3, N)
    frames = []
    for model, share in RIGHT.items():
        right = random.random(N) < share
        frames.append(pd.DataFrame({
            "model": model, "dataset": "pets", "example": [f"im{i:03}.jpg" for i in range(N)],
            "label": label, "prediction": np.where(right, label, (label + 1) % 3),
            "correct": right.astype(int),
        }))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def scores(rows):
    made = rows[["model", "dataset", "example", "label"]].copy()
    for c in range(3):
        made[f"score_{c}"] = np.where(rows.prediction == c, 0.8, 0.1)
    return made


FORMS = {
    "correct": lambda rows: rows.drop(columns=["label", "prediction"]),
    "true and false": lambda rows: rows.drop(columns=["label", "prediction"]).assign(
        correct=rows.correct.map({1: "True", 0: "false"})
    ),
    "prediction": lambda rows: rows.drop(columns="correct"),
    "names": lambda rows: rows.drop(columns="correct").assign(
        label=rows.label.map("c{}".format), prediction=rows.prediction.map("c{}".format)
    ),
    "scores": scores,
    "lists": lambda rows: scores(rows).assign(
        scores=[[0.8 if c == p else 0.1 for c in range(3)] for p in rows.prediction]
    ).drop(columns=["score_0", "score_1", "score_2"]),
    "other order": lambda rows: rows.sample(frac=1, random_state=0),
    "other names": lambda rows: rows.rename(columns={"model": "Backbone", "example": "Image ID"}),
    "one dataset": lambda rows: rows.drop(columns="dataset"),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_exact_tests_without_a_store(tmp_path, rows, form):
    FORMS[form](rows).to_json(tmp_path / "pets.json", orient="records")
    analysis = hs.analyze(tmp_path / "pets.json", resamples=200)
    wide = rows.pivot(index="example", columns="model", values="correct")
    expected = statsmodels_mcnemar(pd.crosstab(wide["good"], wide["poor"]), exact=True)
    pair = analysis.pairwise.query("test == 'mcnemar'").iloc[0]
    sign = 1 if pair.model == "good" else -1
    assert pair.p_value == pytest.approx(expected.pvalue)
    assert sign * pair.difference == pytest.approx(wide["good"].mean() - wide["poor"].mean())
    cells = analysis.cells.set_index("model")
    assert cells.accuracy.to_dict() == pytest.approx(wide.mean().to_dict())
    assert (cells.n_test == N).all()
    assert set(cells.dataset) == {"pets"}


def test_predictions_beside_a_rounded_table(tmp_path, rows, cli):
    rows.to_csv(tmp_path / "p.csv", index=False)
    wide = rows.pivot(index="example", columns="model", values="correct").mean()
    table = pd.DataFrame({"model": list(RIGHT), "dataset": "Pets", "setting": "transfer",
                          "accuracy": [round(100 * wide[m], 1) for m in RIGHT]})  # fmt: skip
    source = read_sources([table], predictions=[tmp_path / "p.csv"])
    assert len(source.frame) == 2
    assert source.frame.set_index("model").accuracy.to_dict() == pytest.approx(wide.to_dict())
    assert source.frame.key.notna().all()
    with refused("table.rows_disagree"):
        read_sources([table.assign(accuracy=50)], predictions=[tmp_path / "p.csv"])
    outcome = cli("analyze", "--predictions", tmp_path / "p.csv", "--resamples", "200")
    assert outcome.code == 0, outcome.err
    assert "predictions on single examples: 240 rows" in outcome.out


def test_mean_per_class(rows):
    source = read_sources([rows.assign(metric="mean-per-class")])
    expected = rows.groupby(["model", "label"]).correct.mean().groupby("model").mean()
    found = source.frame.set_index("model").accuracy
    assert found.to_dict() == pytest.approx(expected.to_dict())


@pytest.mark.parametrize(("change", "code"), [
    (lambda t: t.drop(columns="model"), "table.column_missing"),
    (lambda t: t.assign(correct=["maybe", *t.correct[1:]]), "table.cells"),
    (lambda t: t.assign(correct=None), "table.cells"),
    (lambda t: pd.concat([t, t[:1]]), "table.example_twice"),
    (lambda t: t.assign(label=[9, *t.label[1:]]), "table.labels_differ"),
    (lambda t: t.assign(example=["", *t.example[1:]]), "table.name_missing"),
    (lambda t: t.assign(metric="F1"), "table.metric"),
    (lambda t: t[["model", "example", "prediction"]], "table.column_missing"),
    (lambda t: t[["model", "example", "label"]].assign(scores="[1, x]"), "table.cells"),
])  # fmt: skip
def test_what_cannot_be(rows, change, code):
    with refused(code):
        read_sources([], predictions=[change(rows)])
