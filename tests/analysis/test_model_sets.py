"""Two sets of weights of the same networks: does upstream accuracy go as far with either?"""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy.special import expit, logit
from scipy.stats import pearsonr, t
from statsmodels.stats.proportion import confint_proportions_2indep

import headstart as hs
from headstart.report import answer_of
from headstart.stats import mcnemar
from refusals import ended, refused


def weights(noise, models=8, datasets=3, seed=0, setting="linear") -> pd.DataFrame:
    random = np.random.default_rng(seed)
    rows = [
        {"model": f"net{m}", "dataset": f"set{d}", "setting": setting, "family": f"family{m % 3}",
         "upstream_accuracy": expit(1 + 0.1 * m), "accuracy": expit(0.1 * m + 0.3 * d + own)}
        for m in range(models) for own in [noise * random.normal()] for d in range(datasets)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def compared(first, other, **options) -> pd.DataFrame:
    return hs.analyze(first, against=other, resamples=4000, **options).model_sets


def points(table: pd.DataFrame) -> np.ndarray:
    """(2, models): upstream log odds and mean log odds of transfer."""
    by = table.assign(odds=logit(table.accuracy)).groupby("model")
    return np.stack([logit(by.upstream_accuracy.first()), by.odds.mean()])


def test_both_correlations_and_their_difference_are_those_of_scipy():
    first, other = weights(0.05), weights(0.3, seed=1)
    (row,) = compared(first, other).to_dict("records")
    a, b = points(first), points(other)
    assert row["r"] == pytest.approx(pearsonr(*a).statistic)
    assert row["other_r"] == pytest.approx(pearsonr(*b).statistic)
    assert row["difference_r"] == pytest.approx(row["r"] - row["other_r"])
    assert (row["n_models"], row["n_datasets"]) == (8, 3)

    # Zou's interval, from Fisher's z and a jackknife written out.
    ends, moved = [], []
    for x, y in (a, b):
        z = [np.arctanh(pearsonr(np.delete(x, i), np.delete(y, i))[0]) for i in range(8)]
        half = t.ppf(0.975, 7) * np.sqrt(7 * np.var(z))
        r = pearsonr(x, y)[0]
        ends.append((np.tanh(np.arctanh(r) - half), r, np.tanh(np.arctanh(r) + half)))
        moved.append(z)
    c = pearsonr(*moved)[0]
    (l1, r1, u1), (l2, r2, u2) = ends
    low = r1 - r2 - np.sqrt((r1 - l1) ** 2 + (u2 - r2) ** 2 - 2 * c * (r1 - l1) * (u2 - r2))
    high = r1 - r2 + np.sqrt((u1 - r1) ** 2 + (r2 - l2) ** 2 - 2 * c * (u1 - r1) * (r2 - l2))
    assert (row["low"], row["high"]) == pytest.approx((l1, u1))
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((low, high))


def test_a_set_against_itself_does_not_differ():
    (row,) = compared(weights(0.2), weights(0.2)).to_dict("records")
    assert row["difference_r"] == 0
    # Nothing varies that an interval could be of.
    assert np.isnan(row["difference_low"])
    assert row["low"] < row["r"] < row["high"]


def test_only_cells_that_both_have_are_compared():
    first, other = weights(0.1), weights(0.2, models=6, seed=1)
    other = other[~((other.model == "net1") & (other.dataset == "set2"))]
    analysis = hs.analyze(first, against=other, resamples=200)
    (row,) = analysis.model_sets.to_dict("records")
    assert (row["n_models"], row["n_datasets"]) == (6, 3)
    shared = first[~((first.model == "net1") & (first.dataset == "set2"))]
    shared = shared[shared.model.isin(other.model)].assign(y=lambda t: logit(t.accuracy))
    # Least-squares means: the dummy-coded regression of statsmodels, averaged over datasets.
    fit = smf.ols("y ~ 0 + C(model) + C(dataset)", shared).fit()
    x = logit(shared.groupby("model").upstream_accuracy.first())
    means = [fit.params[f"C(model)[{name}]"] for name in x.index]
    assert row["r"] == pytest.approx(pearsonr(x, means).statistic)
    # All else is of the sources alone.
    alone = hs.analyze(first, resamples=200)
    assert analysis.correlations.equals(alone.correlations)
    assert len(analysis.cells) == 24


def test_four_models_have_no_interval():
    analysis = hs.analyze(weights(0.1, models=4), against=weights(0.1, models=4, seed=1))
    assert np.isnan(analysis.model_sets.difference_low).all()
    assert "intervals of the two model sets (linear)" in analysis.missing.what.tolist()


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ({"model": "my"}, "net0"),
        ({"dataset": "my"}, "set0"),
        ({"setting": "my"}, "linear"),
    ],
)  # fmt: skip
def test_two_sets_that_share_nothing(change, first):
    other = weights(0.1)
    for name, prefix in change.items():
        other[name] = prefix + other[name]
    (kind,) = change
    with refused("analysis.nothing_shared", kind=kind) as error:
        compared(weights(0.1), other)
    assert [names[0] for names in error.value.values["found"]] == [first, f"my{first}"]


def test_fewer_than_three_shared_models():
    other = weights(0.1)
    for few, n in ((weights(0.1, models=2), 2), (other.drop(columns="upstream_accuracy"), 0)):
        analysis = hs.analyze(weights(0.1), against=few, resamples=200)
        assert analysis.model_sets.empty
        (why,) = analysis.missing.why[analysis.missing.what.str.contains("two model sets")]
        assert why.startswith(f"{n} models with upstream accuracy")


def test_what_both_have_is_compared_cell_by_cell_and_over_datasets():
    first, other = weights(0.05, models=3, datasets=4), weights(0.3, models=4, datasets=4, seed=1)
    first = first.assign(n_test=500, accuracy=(500 * first.accuracy).round() / 500)
    other = other.assign(n_test=200, accuracy=(200 * other.accuracy).round() / 200)
    first = pd.concat([first, first.head(1).assign(dataset="own")])
    first = first[~((first.model == "net1") & (first.dataset == "set3"))]
    analysis = hs.analyze(first, against=other, resamples=200)
    cells = analysis.compared.set_index(["model", "dataset"])
    assert len(cells) == 11
    p = first.set_index(["model", "dataset"]).accuracy["net0", "set1"]
    q = other.set_index(["model", "dataset"]).accuracy["net0", "set1"]
    row = cells.loc["net0", "set1"]
    assert row[["difference", "log_odds"]].tolist() == pytest.approx([p - q, logit(p) - logit(q)])
    # Newcombe's interval of independent proportions, from statsmodels.
    ends = confint_proportions_2indep(500 * p, 500, 200 * q, 200, method="newcomb", compare="diff")
    assert row[["low", "high"]].tolist() == pytest.approx(ends)
    assert row.interval == "independent"
    means = analysis.compared_means.set_index("model")
    assert means.index.tolist() == ["all", "net0", "net1", "net2"]
    # Of one model over datasets: Student's interval, of three at once.
    difference = cells.loc["net0"].log_odds
    half = t.ppf(1 - 0.025 / 3, 3) * difference.std() / 2
    found = means.loc["net0", ["mean", "low", "high"]].tolist()
    assert found == pytest.approx([difference.mean() + end for end in (0, -half, half)])
    assert means.loc["all", ["n_models", "n_datasets"]].tolist() == [3, 4]
    assert means.loc["all", "wins"] == (cells.difference > 0).sum()
    assert list(analysis.unshared.itertuples(index=False, name=None)) == [
        ("the table", "dataset", "own"),
        ("the table", "model", "net3"),
    ]


def test_predictions_on_the_same_images_give_the_paired_interval(tmp_path):
    random = np.random.default_rng(0)
    files = []
    for name in ("a", "b"):
        hit = random.random(80) < 0.7
        frame = pd.DataFrame({"model": "net", "dataset": "set", "setting": "linear",
                              "example": range(80), "correct": hit.astype(int)})  # fmt: skip
        files.append(tmp_path / f"{name}.csv")
        frame.to_csv(files[-1], index=False)
    (row,) = hs.analyze(files[0], against=files[1]).compared.to_dict("records")
    one, two = (pd.read_csv(file).correct.astype(bool) for file in files)
    tested = mcnemar(one, two)
    assert (row["interval"], row["low"], row["high"]) == ("paired", tested.low, tested.high)


def test_a_comparison_on_the_screen_and_in_the_report(cli, tmp_path):
    files = []
    for name, one in (("a", weights(0.1, models=3)), ("b", weights(0.2, models=3, seed=1))):
        files.append(tmp_path / f"{name}.csv")
        one.assign(n_test=100).to_csv(files[-1], index=False)
    shown = " ".join(
        cli("analyze", files[0], "--against", files[1], "--resamples", 200).out.split()
    )
    assert "Mean difference in log odds: a.csv less b.csv" in shown
    assert "Difference in accuracy: a.csv less b.csv" in shown
    page = tmp_path / "r.html"
    assert cli("report", files[0], "--against", files[1], "--out", page).code == 0
    html = page.read_text()
    assert html.index('id="compared-means"') < html.index('id="leaderboard"')
    assert html.count('id="compared"') == 1
    headline = answer_of(hs.analyze(files[0], against=files[1], resamples=200)).headline
    (mean,) = hs.analyze(files[0], against=files[1], resamples=200).compared_means["mean"][:1]
    said = f"{mean:+.3f}".replace("-", "\N{MINUS SIGN}")
    assert f": {said} in mean log odds (95 % interval" in headline


def test_the_published_example_on_the_screen(cli):
    """The same transfer numbers; only the upstream accuracies are those of public weights."""
    first, other = (hs.analyze(name, resamples=200) for name in
                    ("kornblith2019", "kornblith2019-public"))  # fmt: skip
    assert first.cells.accuracy.tolist() == other.cells.accuracy.tolist()
    public = other.cells.drop_duplicates("model").set_index("model").upstream_accuracy
    # TF-slim's README.
    assert public["ResNet-50"] == pytest.approx(0.752)
    assert len(public) == 16
    assert other.predictor.label == "ImageNet top-1 accuracy of public weights"
    answer = answer_of(hs.analyze("kornblith2019", against="kornblith2019-public", resamples=200))
    assert answer.headline.startswith("All 576 accuracies of kornblith2019 and kornblith2019-pub")
    assert "r = 0.986, with that of kornblith2019-public by r = 0.898" in answer.supporting[0]
    assert "+0.088 (95 % interval 0.024 to 0.193)" in answer.supporting[0]
    shown = cli("analyze", "kornblith2019", "--against", "kornblith2019-public",
                "--resamples", 1000).out  # fmt: skip
    assert "how public weights transfer is not in it" in " ".join(shown.split())
    assert "models in both: kornblith2019 against kornblith2019-public" in " ".join(shown.split())
    line = next(line for line in shown.splitlines() if "+0.088" in line)
    assert line.split()[:3] == ["Logistic", "regression", "0.986"]
    assert "0.898" in line


def test_the_message_on_the_screen(cli):
    outcome = cli("analyze", "kornblith2019", "--against", "timm2026", "--resamples", 200)
    ended(outcome, "analysis.nothing_shared", kind="setting")
    assert outcome.err.startswith("error: kornblith2019 against timm2026: ")
