import json
import re

import pytest

from headstart.errors import StorageError
from headstart.report import page_html, write_page
from headstart.report.charts import percent_ticks
from headstart.report.data import chart_data
from headstart.report.palette import families_of, residual_labels, residual_steps, setting_colour
from headstart.report.significance import MOST_PAIRS
from headstart.report.subject import names_of
from report.results import SETTINGS, empty, made, with_studies, with_trials

HOSTILE = ("<script>alert(1)</script>", 'a"b', "</script>", "a&b'c", "x_{y}\\")


def payload_of(html: str) -> dict:
    text = re.search(r'<script type="application/json" id="payload">(.*?)</script>', html).group(1)
    return json.loads(text)


def test_a_page_is_one_file_that_names_no_address(tmp_path):
    out = write_page(made(), tmp_path / "report.html", title="A title")
    html = out.read_text()
    assert list(tmp_path.iterdir()) == [out]
    assert out.stat().st_size < 5e6
    assert "<title>A title</title>" in html
    outside = re.sub(r"<script>.*?</script>", "", html, flags=re.S)
    assert "http" not in outside.replace("http-equiv", "")
    assert not re.search(r"<(link|img|script|iframe)[^>]+(src|href)=\"(?!data:)", outside)
    assert "default-src &#39;none&#39;" in html
    assert "unsafe-eval" not in outside


def test_the_same_results_give_the_same_page():
    assert page_html(made()) == page_html(made())


def test_a_folder_that_is_not_there_is_an_error_in_words(tmp_path):
    with pytest.raises(StorageError, match="cannot use"):
        write_page(made(), tmp_path / "nowhere" / "report.html")


def test_hostile_names_are_text():
    html = page_html(made(models=HOSTILE, datasets=HOSTILE[:3], settings=("<b>", "linear")))
    outside = re.sub(r"<script>.*?</script>", "", html, flags=re.S)
    assert "<script>alert" not in html
    assert outside.count("<script") == 1  # the data
    assert "<b>linear" not in html
    assert payload_of(html)["names"]["models"] != []
    assert set(payload_of(html)["names"]["models"]) == set(HOSTILE)


@pytest.mark.parametrize("n_models", [1, 2, 3])
@pytest.mark.parametrize("upstream", [True, False])
def test_small_results_have_a_page(n_models, upstream):
    html = page_html(made(n_models, n_datasets=1, settings=("linear",), upstream=upstream))
    keys = {key.rsplit("-", 1)[0] for key in payload_of(html)["charts"]}
    assert ("correlation" in keys) == upstream
    assert "What was measured" in html


def test_nothing_has_a_page():
    html = page_html(empty())
    assert "There are no results in this table." in html
    assert payload_of(html)["charts"] == {}


def test_seventy_models_stay_under_five_megabytes():
    subject = with_trials(made(n_models=70, n_datasets=12, settings=SETTINGS))
    html = page_html(subject)
    assert len(html.encode()) < 5e6
    left = len(subject.pairwise) - MOST_PAIRS
    assert f"{left:,} further comparisons are in the analysis" in html


def test_alarms_and_omissions_are_shown():
    subject = with_trials(made())
    subject.missing.loc[0] = ["paired tests", "there are no predictions"]
    subject.dropped.loc[0] = ["linear", "model", "net_99", 4]
    subject.sources[0]["digitised"] = True
    html = page_html(subject)
    assert html.count("2 fits did not converge, in 1 trial.") == 2
    assert html.count("3 images skipped because they did not decode, in 1 trial.") == 2
    assert "there are no predictions" in html
    assert "net_99" in html
    assert "digitised" in html
    assert "c" * 64 in html
    assert "lambda 3.2" in html
    assert "kornblith2019" in html


def test_the_correction_is_named():
    subject = made()
    assert "No correction for the number of comparisons" in page_html(subject)
    subject.pairwise["correction"] = "holm"
    assert "Holm&#39;s method" in page_html(subject)


def test_studies_get_figures_and_their_numbers():
    html = page_html(with_studies(made()))
    keys = {key.rsplit("-", 1)[0] for key in payload_of(html)["charts"]}
    assert {"ablation", "convergence", "dataset-size"} <= keys
    assert 'id="convergence-table"' in html


def test_means_of_all_cells_are_the_means_of_the_analysis():
    """The page computes means from cells; of the whole table they have to be the estimates."""
    subject = made()
    subject.dropped.loc[0] = ["fine_tuned", "dataset", "set 2", 1]
    cells = chart_data(subject, names_of(subject))["cells"]
    averaged = [
        (cells["setting"]["levels"][s], cells["dataset"]["levels"][d])
        for s, d, used in zip(
            cells["setting"]["codes"], cells["dataset"]["codes"], cells["averaged"], strict=True
        )
        if used
    ]
    assert ("fine_tuned", "set 2") not in averaged
    assert ("logistic_regression", "set 2") in averaged
    assert len(averaged) == len(subject.cells) - 6


def test_each_setting_has_a_colour_of_its_own():
    settings = ["linear (a)", "linear (b)", "finetune", "scratch", "knn", "zero shot"]
    colours = [setting_colour(name, settings) for name in settings]
    assert len(set(colours)) == len(settings)
    assert colours[0] == "var(--blue)"


def test_many_families_share_the_last_look():
    looks = families_of([f"f{i}" for i in range(20)] + ["f19"])
    assert looks["f19"].name == "f19"  # the largest comes first
    assert len({look.shape for look in looks.values()}) == 8
    assert looks["f18"] == looks["f17"]


def test_residual_steps_are_symmetric_and_named():
    limits, colours = residual_steps(1.0)
    assert [-limit for limit in reversed(limits)] == limits
    assert residual_labels(limits, colours)[-1] == ("var(--step-6)", "above +0.70")


@pytest.mark.parametrize("reach", [(0.716, 0.808), (0.02, 0.99), (0.5, 0.95), (0.9971, 0.9989)])
def test_ticks_are_a_handful_within_reach(reach):
    ticks = percent_ticks(reach)
    assert 3 <= len(ticks) <= 9
    assert ticks == sorted(ticks)
