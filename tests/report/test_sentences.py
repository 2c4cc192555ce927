import numpy as np
import pandas as pd
import pytest

import headstart as hs
from headstart.report import answer_of
from headstart.report.analysis_answer import own_models, source_name
from headstart.report.model_tables import leaderboard
from headstart.report.page_model import names_of
from headstart.report.provenance import facts
from report.results import SETTINGS, empty, made, results, with_studies, with_trials


def headline(subject):
    return answer_of(subject).headline


def supporting(subject):
    return answer_of(subject).supporting


def whole(subject):
    """All that is said of it, in one line."""
    answer = answer_of(subject)
    return " ".join([answer.headline, *answer.supporting])


CAUSAL = ("because of", "causes", "leads to", "improves", "due to", "thanks to", "makes")


def test_the_headline_gives_r_its_interval_and_the_wins():
    subject = made(n_models=16, n_datasets=12)
    row = subject.correlations.iloc[0]
    subject.correlations.loc[:, ["estimate", "low", "high"]] = row.estimate, 0.96, 0.99
    subject.correlations["estimate"] = 0.986
    subject.settings.loc[subject.settings.setting == "fine_tuned", "wins"] = 178
    assert headline(subject) == (
        "Models with higher ImageNet accuracy transfer better by logistic regression: across "
        "16 models and 12 datasets, r = 0.986 (95 % interval 0.960 to 0.990); "
        "fine-tuning beats logistic regression in 178 of 192 model-dataset pairs."
    )


@pytest.mark.parametrize(("wins", "ties", "verb"), [
    (1, 0, "beats"), (0, 1, "ties with"), (0, 0, "does not beat"),
])  # fmt: skip
def test_one_pair_is_not_counted(wins, ties, verb):
    frame = results(("a",), ("x",), ("linear", "finetune"), False, 0)
    subject = hs.analyze(frame, resamples=100)
    subject.settings["wins"], subject.settings["ties"] = wins, ties
    assert headline(subject).startswith(f"Fine-tuning {verb} logistic regression; mean difference")


def test_three_models_get_no_correlation_without_an_interval():
    subject = made(n_models=3, settings=("linear",))
    answer = answer_of(subject)
    assert answer.case == "best"
    assert answer.headline.startswith("By logistic regression on 5 datasets, net_02 performs best")
    assert "transfer better" not in whole(subject)
    assert answer.supporting[0].startswith("Difference from the best in mean log odds (95 %")


def test_another_model_may_be_first_by_mean_accuracy():
    subject = made(settings=ONE)
    means = subject.model_means
    assert not any("By mean accuracy" in line for line in supporting(subject))
    means.loc[means.model == "net_00", "accuracy"] = 0.95
    assert "By mean accuracy net_00 is first (95.0 %)." in " ".join(supporting(subject))


ONE = ("linear",)


@pytest.mark.parametrize(
    ("subject", "table", "changes", "words"),
    [
        (lambda: made(8), "correlations", {"estimate": -0.1, "low": -0.2},
         "It is uncertain whether models with higher ImageNet accuracy transfer better"),
        (lambda: made(8), "correlations", {"estimate": -0.8, "low": -0.9, "high": -0.7},
         "Models with higher ImageNet accuracy transfer worse by logistic regression: across 8"),
        (lambda: made(8), "correlations", {"low": -0.2},
         "includes 0: the direction is uncertain"),
        (lambda: made(8), "correlations", {"estimate": 0.99981, "low": 0.9, "high": 0.99999},
         "r > 0.999 (95 % interval 0.900 to > 0.999)"),
        (lambda: made(8), "settings", {"ties": 2}, "(ties: 2)"),
        (made, "correlations", {"estimate": np.nan}, "By logistic regression on 5 datasets"),
        (lambda: made(2), "", {}, "By logistic regression on 5 datasets"),
        (lambda: made(6, 1, ONE, False), "", {}, "regression on set 0, net_05 performs best"),
        (lambda: made(6, 1, ONE, False), "", {}, "permutation test on the test images"),
        (lambda: made(1, settings=ONE), "", {},
         "is the only model measured (mean log odds 2.10, mean accuracy 87.3 %)."),
        (empty, "", {}, "There are no results in this table."),
    ],
)  # fmt: skip
def test_the_headline_says_what_the_estimates_allow(subject, table, changes, words):
    subject = subject()
    if changes:
        setattr(subject, table, getattr(subject, table).assign(**changes))
    assert words in headline(subject)


def test_without_upstream_accuracy_the_best_model_is_named():
    subject = made(upstream=False, settings=("linear",))
    means = subject.model_means
    means["not_different"] = means["not_different"].astype(object)
    means.loc[means.model != "net_05", "not_different"] = [False, False, False, True, True]
    assert headline(subject) == (
        "By logistic regression on 5 datasets, net_05 performs best (mean log odds 2.30, mean "
        "accuracy 89.2 %); net_02 and "
        "net_00 are not significantly different from it (95 % intervals of the difference over "
        "datasets)."
    )


@pytest.mark.parametrize(("tested", "words"), [
    (True, "significantly better than every other model (95 % intervals of the difference"),
    (False, "net_05 ranks first (mean log odds 2.30, mean accuracy 89.2 %); differences from the "
     "other models were not tested."),
])  # fmt: skip
def test_a_best_model_ahead_of_all_or_untested(tested, words):
    subject = made(upstream=False, settings=("linear",))
    best = subject.model_means["best"].astype(object)
    subject.model_means["not_different"] = best if tested else None
    assert words in headline(subject)


def test_means_over_too_few_datasets_to_be_tested_say_so():
    subject = made(3, 3, settings=("linear",), upstream=False)
    assert "ranks first" in headline(subject)
    assert headline(subject).endswith("not tested (at least 5 datasets are needed).")
    (board,) = leaderboard(subject, names_of(subject))
    assert "Means were not tested (at least 5 datasets are needed)." in board.marker_legend


def test_settings_of_any_name_have_whole_sentences_and_are_all_compared():
    names = ("as trained", "zero_shot", "adapter (v2)", "my own")
    frame = results(("a", "b", "c", "d", "e", "f"), ("x", "y", "z"), names, True, 0)
    subject = hs.analyze(frame, resamples=200)
    text = whole(subject)
    assert "better in the setting \N{LEFT DOUBLE QUOTATION MARK}as trained" in text
    assert "by zero-shot classification" in text.lower()
    assert "by as trained" not in text
    assert "by adapter" not in text
    # Six pairs of four settings: one in the headline, three beside it, two in the table.
    assert text.count(" beats ") == 4
    assert "(2 more comparisons in the table of settings)" in text
    quoted = "\N{LEFT DOUBLE QUOTATION MARK}my own\N{RIGHT DOUBLE QUOTATION MARK}"
    rows = subject.settings.set_index(["setting", "other"])
    won = rows.loc[("my own", "as trained")]
    assert won.wins > won.cells / 2
    assert f"{quoted} beats" in text


def test_the_further_studies_of_a_setting_of_any_name():
    frame = results(("a", "b", "c"), ("x", "y"), ("as trained",), True, 0)
    steps = [frame.assign(steps=n, accuracy=frame.accuracy - 1 / n) for n in (10, 100)]
    answer = answer_of(hs.analyze(pd.concat(steps), resamples=200))
    text = " ".join([answer.headline, *answer.supporting])
    assert answer.case == "sweep"
    assert "in the setting \N{LEFT DOUBLE QUOTATION MARK}as trained" in text
    assert "In the setting \N{LEFT DOUBLE QUOTATION MARK}as trained" in text
    assert "by \N{LEFT DOUBLE QUOTATION MARK}" not in text.lower()


def test_supporting_sentences_say_the_other_settings_families_and_slope():
    subject = made(n_models=8)
    subject.correlations[["low_family", "high_family"]] = 0.5, 0.9
    tuned = subject.correlations.setting == "fine_tuned"
    subject.correlations.loc[tuned, "low_family"] = -0.5
    subject.mixed = subject.mixed.reindex([0])
    subject.mixed["setting"] = "logistic_regression"
    subject.mixed[["slope", "low", "high"]] = 0.9, -0.1, 1.9
    text = " ".join(supporting(subject))
    assert "Correlation in the other setting: r = " in text
    assert "with 3 families rather than single models" in text
    assert "the 95 % intervals of r are 0.500 to 0.900 for logistic regression; " in text
    open_sign = ", which includes 0: the direction is uncertain."
    assert f"\N{MINUS SIGN}0.500 to 0.900 for fine-tuning{open_sign}" in text
    assert "+0.900 in the log odds of transfer by logistic regression" in text
    assert f"(95 % interval \N{MINUS SIGN}0.100 to 1.900{open_sign[:-1]})" in text


@pytest.mark.parametrize("models", [1, 2, 3, 6])
@pytest.mark.parametrize("upstream", [True, False])
def test_no_sentence_claims_a_cause(models, upstream):
    subject = made(n_models=models, upstream=upstream)
    text = whole(subject).lower()
    assert not [word for word in CAUSAL if word in text]
    assert "nan" not in text


def test_families_of_one_model_each_are_no_second_interval():
    subject = made()
    subject.correlations[["low_family", "high_family"]] = 0.5, 0.9
    subject.correlations["n_families"] = subject.correlations["n_models"]
    assert "family" not in " ".join(supporting(subject))


def test_a_slope_that_did_not_converge_is_not_stated():
    subject = made()
    subject.mixed["converged"] = False
    assert "1-unit increase" not in " ".join(supporting(subject))
    subject.mixed.loc[1, "converged"] = True
    assert "transfer by fine-tuning" in " ".join(supporting(subject))


def test_other_correlations_say_over_what_they_are():
    frame = results(tuple("abcdefgh"), ("x", "y", "z"), SETTINGS[:2], True, 0)
    subject = hs.analyze(frame.query("setting != 'fine_tuned' or dataset != 'z'"), resamples=200)
    text = " ".join(supporting(subject))
    assert "Correlation in the other setting: r " in text
    assert "over 8 models and 2 datasets" in text
    other = frame[frame.dataset != np.where(frame.setting == "fine_tuned", "x", "z")]
    text = " ".join(supporting(hs.analyze(other, resamples=200)))
    assert "over 8 models and 2 datasets, not all of them the same" in text


def test_a_constant_upstream_accuracy_is_given_as_the_reason():
    frame = results(tuple("abcdefgh"), ("x", "y"), SETTINGS[:2], True, 0)
    subject = hs.analyze(frame.assign(upstream_accuracy=0.75), resamples=200)
    text = " ".join(supporting(subject))
    assert "ImageNet accuracy is the same for all models" in text
    assert "complete part" not in text


def test_of_two_protocols_the_headline_stays_with_its_own():
    settings = ("linear (a)", "linear (b)", "finetune (b)", "finetune (a)")
    frame = results(tuple("abcdefgh"), ("x", "y"), settings, True, 0)
    frame = frame.sample(frac=1, random_state=1)
    subject = hs.analyze(frame, resamples=200)
    first, rest = headline(subject), " ".join(supporting(subject))
    own, other = ("a", "b") if "regression (a): across" in first else ("b", "a")
    assert f"fine-tuning ({own}) beats logistic regression ({own})" in first
    assert f"Fine-tuning ({other}) beats logistic regression ({other})" in rest


def test_a_sweep_says_which_level_the_headline_is_of_and_what_it_found():
    frame = results(("a", "b", "c"), ("x", "y"), ("linear",), True, 0)
    steps = [frame.assign(steps=n, accuracy=frame.accuracy - 1 / n) for n in (10, 100)]
    subject = hs.analyze(pd.concat(steps), resamples=200)
    assert "The other results have each model at its usual number of steps." in supporting(subject)
    low, high = (
        subject.convergence[subject.convergence.steps == n]["mean"].mean() for n in (10, 100)
    )
    assert f"change from {low:.3f} to {high:.3f} by logistic regression" in headline(subject)


def test_each_study_has_a_sentence():
    answer = answer_of(with_studies(made(settings=("linear",))))
    assert answer.case == "configurations"
    text = " ".join([answer.headline, *answer.supporting])
    assert "From 10 to 1,000 steps, the log odds change from 1.000 to 3.000" in text
    assert "From 1 to 8 examples per class" in text
    assert (
        "Of 2 training configurations, with 1 transfers best and with 0 worst by logistic" in text
    )


def test_of_several_metrics_each_is_listed_with_its_datasets():
    subject = with_trials(made(n_datasets=3))
    assert dict(facts(subject))["Metric"] == "top-1"
    subject.trials.loc[subject.trials.dataset == "set 1", "metric"] = "voc-map-11point"
    assert dict(facts(subject))["Metric"] == "top-1: set 0 and set 2; voc-map-11point: set 1"


def test_the_speed_up_comes_with_its_interval():
    frame = results(("a", "b", "c"), ("x", "y"), ("finetune", "scratch"), True, 0)
    late = (frame.setting == "scratch").astype(float)
    steps = [
        frame.assign(steps=n, accuracy=0.3 + 0.1 * np.minimum(i - late, 1))
        for i, n in enumerate((10, 100, 1000), start=1)
    ]
    text = headline(hs.analyze(pd.concat(steps), resamples=200))
    assert "Training from random initialization needs " in text
    assert (
        " times as many steps as fine-tuning to reach 90 % of its largest odds (95 % interval "
        in text
    )
    assert "for other test images; " in text
    assert "inconclusive" not in text


def test_curves_that_may_still_rise_settle_no_speed_up():
    frame = results(("a", "b", "c"), ("x", "y"), ("finetune", "scratch"), True, 0)
    steps = [
        frame.assign(steps=n, accuracy=np.where(frame.setting == "scratch", 0.3 + 0.1 * i, 0.5))
        for i, n in enumerate((10, 100, 1000))
    ]
    subject = hs.analyze(pd.concat(steps), resamples=200)
    text = headline(subject)
    assert text.startswith(
        "Convergence speed of fine-tuning and training from random initialization: inconclusive. "
        "6 of 12 curves have their largest odds at their largest number of steps and may still "
        "rise; so far, training from random initialization needs "
    )
    assert not any(line.startswith("Training from random") for line in supporting(subject))


OWN = pd.DataFrame({"model": "mine", "dataset": ["Food-101", "DTD"], "upstream_accuracy": 0.8})
OWN = OWN.assign(setting="linear_probe_lbfgs", accuracy=[0.95, 0.85])


@pytest.mark.parametrize(("subject", "case", "title"), [
    (empty, "nothing", "No results"), (lambda: made(3, 1), "best", "made up: 3 models on set 0"),
    (lambda: made(1, 3), "settings", "made up: fine-tuning against logistic regression"),
    (lambda: made(9, 3, upstream=False), "settings", "made up: fine-tuning against"),
    (lambda: made(9, 3), "correlation", "made up: does ImageNet accuracy predict transfer?"),
    (lambda: with_studies(made()), "configurations", "made up: which training transfers"),
    (
        lambda: hs.analyze("clip2021", OWN, resamples=200),
        "own models",
        "clip2021: mine among 66 published models",
    ),
])  # fmt: skip
def test_what_was_measured_decides_the_question(subject, case, title):
    answer = answer_of(subject())
    assert answer.case == case
    assert answer.title.startswith(title)
    assert answer.headline.endswith(".")


def test_an_own_model_is_held_against_the_line_with_an_interval():
    answer = answer_of(hs.analyze("clip2021", OWN, resamples=200))
    assert "mine transfers " in answer.headline
    assert "its ImageNet linear-probe accuracy predicts: " in answer.headline
    assert "in mean log odds above the line through 66 published models" in answer.headline
    assert "(95 % prediction interval of the difference " in answer.headline


def test_further_own_models_are_stated_in_the_terms_of_the_first():
    others = pd.concat([OWN, OWN.assign(model="yours", accuracy=OWN.accuracy * 0.9)])
    first, *more = own_models(hs.analyze("clip2021", others, resamples=200))[1][:2]
    assert "66 published models" in first
    assert "line (" in more[0]
    assert "published" not in more[0]


@pytest.mark.parametrize(("name", "kind", "found"), [
    ("runs/pets/results.db", "store", "pets"),
    ("postgresql://me:secret@host/pets", "store", "pets"), ("results.db", "store", "results"),
    ("/a/b/table.v2.csv?unit=percent", "csv", "b"), ("my.csv", "csv", "my"),
    ("clip2021", "published", "clip2021"), ("the table", "frame", ""),
])  # fmt: skip
def test_a_source_has_a_short_name_without_secrets(name, kind, found):
    assert source_name({"name": name, "kind": kind}) == found


def test_configurations_have_short_names_and_say_over_which_models():
    answer = answer_of(hs.analyze("kornblith2019-regularizers", resamples=200))
    assert answer.headline.startswith(
        "Of 5 training configurations, S5 transfers best and S1 worst by logistic regression (mean "
        "log odds 1.499 and 1.028, over the 3 of 5 models that have every configuration)."
    )
    assert [("S5: +BN scale" in line) for line in answer.supporting[:2]] == [True, False]
    assert answer.supporting[1].startswith("S3 transfers best and S1 worst by fine-tuning")


def test_one_dataset_names_what_is_worse_by_how_much_and_the_test():
    table = pd.DataFrame({"model": ["convnext_tiny", "vit_small", "resnet50"], "dataset": "pets",
                          "accuracy": [0.931, 0.924, 0.912], "n_test": 3669})  # fmt: skip
    answer = answer_of(hs.analyze(table))
    assert answer.headline.endswith(
        "vit_small is not significantly different from it (conservative test from the test-set "
        "sizes)."
    )
    assert "resnet50 \N{MINUS SIGN}1.9 pp (" in answer.supporting[0]


def test_models_of_different_trainings_are_told_apart_in_the_leaderboard():
    subject = hs.analyze("kornblith2019-regularizers", resamples=200)
    table = leaderboard(subject, names_of(subject))[0]
    place = [column.label for column in table.columns].index("Training")
    assert {row.cells[0].text: row.cells[place].text[:2] for row in table.rows} == {
        "Inception-ResNet v2": "S5", "Inception v4": "S5", "Inception v3": "S5",
        "BN-Inception": "S4", "Inception v1": "S4",
    }  # fmt: skip
    assert "not the same for all" in table.marker_legend


def test_equal_models_count_as_compared():
    table = pd.DataFrame({"model": ["a", "b"], "dataset": "pets", "accuracy": 0.79, "n_test": 200})
    subject = hs.analyze(table)
    (board,) = leaderboard(subject, names_of(subject))
    assert [row.cells[2].marker for row in board.rows] == ["best", "best"]
    assert "not tested" not in board.marker_legend
