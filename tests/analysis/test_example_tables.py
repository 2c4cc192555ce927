"""Predictions of anyone: the same tests as of a store's, against statsmodels."""

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

import headstart as hs
from headstart.analysis.tables.results_sources import read_sources
from refusals import refused

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
