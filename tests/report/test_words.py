import numpy as np
import pytest

from headstart.report import headline, supporting
from report.results import empty, made

CAUSAL = ("because of", "causes", "leads to", "improves", "due to", "thanks to", "makes")


def test_the_headline_gives_r_its_interval_and_the_wins():
    subject = made(n_models=16, n_datasets=12)
    row = subject.correlations.iloc[0]
    subject.correlations.loc[:, ["estimate", "low", "high"]] = row.estimate, 0.96, 0.99
    subject.correlations["estimate"] = 0.986
    subject.settings.loc[subject.settings.setting == "fine_tuned", "wins"] = 178
    assert headline(subject) == (
        "Across 16 models and 12 datasets, ImageNet accuracy and transfer by logistic regression "
        "correlate at r = 0.986 (95 % interval 0.96 to 0.99); "
        "fine-tuning beats logistic regression in 178 of 192 cells."
    )


def test_three_models_have_no_interval_and_the_headline_says_so():
    sentence = headline(made(n_models=3, settings=("linear",)))
    assert sentence.startswith("Across 3 models and 3 datasets, ImageNet accuracy")
    assert sentence.endswith("with no interval because 3 models are too few for one.")
    assert "95 %" not in sentence


def test_an_interval_over_0_leaves_the_sign_open():
    subject = made()
    subject.correlations["low"] = -0.2
    assert "includes 0 and so leaves the sign open" in headline(subject)


def test_two_models_have_no_correlation():
    subject = made(n_models=2)
    assert "correlate" not in headline(subject)
    assert "By logistic regression over 3 datasets" in headline(subject)
    assert any("2 models with an upstream accuracy cannot" in line for line in supporting(subject))


def test_without_upstream_accuracy_the_best_model_is_told():
    subject = made(upstream=False, settings=("linear",))
    means = subject.model_means
    means["not_different"] = means["not_different"].astype(object)
    means.loc[means.model != "net_05", "not_different"] = [False, False, False, True, True]
    assert headline(subject) == (
        "By logistic regression over 3 datasets, net_05 does best; "
        "net_03 and net_04 cannot be told from it (paired t-test over datasets, p > 0.05)."
    )
    assert "the table gives no upstream accuracies" in " ".join(supporting(subject))


def test_a_best_model_ahead_of_all():
    subject = made(upstream=False, settings=("linear",))
    subject.model_means["not_different"] = subject.model_means["best"].astype(object)
    assert "ahead of every other model (paired t-test" in headline(subject)


def test_untested_differences_are_said_to_be_untested():
    subject = made(upstream=False, settings=("linear",))
    subject.model_means["not_different"] = None
    assert headline(subject).endswith("no test of whether the others differ from it.")


def test_one_dataset_is_read_off_its_cells():
    subject = made(n_datasets=1, upstream=False, settings=("linear",))
    assert headline(subject).startswith("By logistic regression over set 0, net_05 does best")
    assert "paired test on the test images" in headline(subject)


def test_one_model_is_the_only_one():
    subject = made(n_models=1, settings=("linear",))
    assert headline(subject).endswith("net_00 is the only model measured.")


def test_nothing_gives_a_sentence_too():
    assert headline(empty()) == "There are no results in this table."


def test_ties_are_told():
    subject = made()
    subject.settings["ties"] = 2
    assert "and ties in 2" in headline(subject)


def test_supporting_sentences_say_the_other_settings_families_and_slope():
    subject = made()
    subject.correlations[["low_family", "high_family"]] = 0.5, 0.9
    subject.mixed = subject.mixed.reindex([0])
    subject.mixed["setting"] = "logistic_regression"
    subject.mixed[["slope", "low", "high"]] = 0.9, -0.1, 1.9
    said = " ".join(supporting(subject))
    assert "by fine-tuning r = " in said
    assert "resampling the 3 families instead of single models" in said
    assert "the interval for logistic regression is 0.50 to 0.90" in said
    assert "+0.90 in the log odds of transfer by logistic regression" in said
    assert "(95 % interval \N{MINUS SIGN}0.10 to 1.90), which leaves the sign open" in said
    assert 2 <= len(supporting(subject)) <= 4


@pytest.mark.parametrize("models", [1, 2, 3, 6])
@pytest.mark.parametrize("upstream", [True, False])
def test_no_sentence_claims_a_cause(models, upstream):
    subject = made(n_models=models, upstream=upstream)
    said = " ".join([headline(subject), *supporting(subject)]).lower()
    assert not [word for word in CAUSAL if word in said]
    assert "nan" not in said


def test_unknown_correlations_are_left_out():
    subject = made()
    subject.correlations["estimate"] = np.nan
    assert "correlate" not in headline(subject)
