import json
import re
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest

import headstart as hs
from headstart.analysis.analysis import TABLES
from headstart.figures.encodings import mean_points
from headstart.figures.figure_data import FigureData
from headstart.figures.style import PRINT_COLOURS, marker_styles
from headstart.report import page_html, write_report
from headstart.report.model_tables import accuracy_table
from headstart.report.page_model import names_of
from headstart.report.page_templates import breakable, bundle, sha256_text, write_html
from headstart.report.result_tables import MOST_PAIRS, mixed_table
from headstart.spec.formatting import SmallPicture
from refusals import refused
from report.browser import contrast
from report.results import SETTINGS, empty, made, results, unpacked, with_studies, with_trials

HOSTILE = ("<script>alert(1)</script>", 'a"b', "</script>", "a&b'c", "x_{y}\\")


def payload_of(html: str) -> dict:
    text = re.search(r'<script type="application/json" id="payload">(.*?)</script>', html).group(1)
    return json.loads(text)


def test_a_page_is_one_file_that_names_no_address(tmp_path):
    out = write_html(page_html(made(), "A title"), tmp_path / "report.html")
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
    with refused("storage.unusable"):
        write_report(made(), tmp_path / "nowhere" / "report.html")


def test_marks_of_direction_do_not_turn_the_text_around_a_name():
    html = page_html(made(models=("\u202eabc", "d\u2067ef\u200f", "g"), settings=("linear",)))
    outside = re.sub(r"<script.*?</script>", "", html, flags=re.S)
    assert "abc" in outside
    assert not re.search("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", outside)
    # The filter compares with the names in the data, which stay as they are.
    assert "\u202eabc" in payload_of(html)["names"]["models"]


def test_test_images_are_shown_with_their_classes_and_folded_where_many():
    subject = with_trials(made(3, 2, settings=("linear",)))
    subject.trials["n_classes"] = 62

    def section(n: int) -> str:
        image = SmallPicture("<i>.png", "data:image/png;base64,AAAA", tiny=True)
        pictures = {"set 1": [(f"<{i}>", image) for i in range(n)], "not here": []}
        html = page_html(subject, pictures=pictures)
        assert html.count("data:image/png") == n
        return html.split('id="test-images"')[1].split("</section>")[0]

    few = section(2)
    assert 'alt="&lt;1&gt;, a test image of set 1"' in few
    assert "set 1 (2 of 62 classes)" in few
    assert "<details" in few
    assert "open>" in few
    assert "open>" not in section(61)
    assert 'id="test-images"' not in page_html(subject)


def test_hostile_names_are_text():
    html = page_html(made(models=HOSTILE, datasets=HOSTILE[:3], settings=("<b>", "linear")))
    outside = re.sub(r"<script>.*?</script>", "", html, flags=re.S)
    assert "<script>alert" not in html
    assert outside.count("<script") == 1  # the data
    assert "<b>linear" not in html
    assert payload_of(html)["names"]["models"] != []
    assert set(payload_of(html)["names"]["models"]) == set(HOSTILE)


@pytest.mark.parametrize("n_models", [1, 2, 4, 5])
@pytest.mark.parametrize("upstream", [True, False])
def test_small_results_have_a_page(n_models, upstream):
    html = page_html(made(n_models, n_datasets=1, settings=("linear",), upstream=upstream))
    keys = {key.rsplit("-", 1)[0] for key in payload_of(html)["charts"]}
    assert ("figure-correlation" in keys) == (upstream and n_models > 4)
    assert 'id="leaderboard-0"' in html
    # One model is the best of none.
    assert ("<b>Bold</b>: best" in html) == (n_models > 1)


def test_nothing_has_a_page():
    html = page_html(empty())
    assert "There are no results in this table." in html
    assert payload_of(html)["charts"] == {}


def test_seventy_models_stay_under_five_megabytes():
    subject = with_trials(made(n_models=70, n_datasets=12, settings=SETTINGS))
    html = page_html(subject)
    assert len(html.encode()) < 5e6
    left = len(subject.pairwise) - MOST_PAIRS
    assert f"Not shown: {left:,} more comparisons" in html


def test_alarms_and_omissions_are_shown():
    subject = with_trials(made())
    subject.missing.loc[0] = ["paired tests", "there are no predictions"]
    row = {"setting": "linear", "kind": "model", "name": "net_99", "missing": 4}
    subject.dropped = pd.DataFrame([row])
    subject.sources[0]["digitised"] = True
    html = page_html(subject)
    assert html.count("2 fits did not converge (in 1 trial).") == 2
    assert html.count("3 images could not be decoded (in 2 trials).") == 2
    warned = re.findall(
        r"<dt>([^<]*)</dt><dd><ul><li>1 image is in two splits &lt;leakage&gt;", html
    )
    assert set(warned) == set(subject.trials.dataset[:2])
    assert "there are no predictions" in html
    assert "net_99" in html
    assert "digitised" in html
    assert "c" * 64 in html
    assert "lambda 3.2" in html
    assert "kornblith2019" in html


def test_the_correction_is_named():
    subject = made()
    assert "corrected for multiple comparisons" in page_html(subject)
    for table in (subject.pairwise, subject.model_means):
        table["correction"] = "none"
    assert "No correction for multiple comparisons" in page_html(subject)


def test_studies_get_figures_and_their_numbers():
    html = page_html(with_studies(made()))
    keys = {key.rsplit("-", 1)[0] for key in payload_of(html)["charts"]}
    assert {"figure-ablation", "figure-convergence", "figure-dataset-size"} <= keys
    assert 'id="convergence-table"' in html


def averages(subject) -> dict:
    """Average what the page averages, as it does."""
    data = FigureData(vars(subject), interactive=True)
    cells = data.page_tables([mean_points(data).mark_point().to_dict()])["cells"]
    frame = unpacked(cells)
    frame = frame[frame.averaged.astype(bool)]
    return frame.groupby(["setting", "model"]).adjusted.mean().to_dict()


def test_means_of_all_cells_are_the_means_of_the_analysis():
    """The page computes means from cells; of the whole table they have to be the estimates."""
    subject = made()
    means = subject.model_means.set_index(["setting", "model"])["mean"].to_dict()
    assert averages(subject) == pytest.approx(means, abs=1e-5)


def test_means_of_a_table_with_gaps_are_the_means_of_the_analysis():
    frame = results(("a", "b", "c", "d"), ("x", "y", "z"), SETTINGS[:2], True, 0)
    gap = (frame.setting == "fine_tuned") & (frame.dataset == "z") & (frame.model != "a")
    subject = hs.analyze(frame[~gap], resamples=200)
    assert subject.counts.n_missing.tolist() == [0, 3]
    means = subject.model_means.set_index(["setting", "model"])["mean"].to_dict()
    assert averages(subject) == pytest.approx(means, abs=1e-5)


def test_every_colour_stands_out_from_its_paper():
    """WCAG 2, 1.4.11: 3:1 for what is needed to understand a figure."""
    css = files("headstart.report").joinpath("templates/page.css").read_text()
    for theme in css.split("color-scheme: dark")[:2]:
        colours = dict(re.findall(r"(--[\w]+): (#[0-9a-f]{6})", theme))
        for name in {style.colour[4:-1] for style in marker_styles("abcdefgh").values()}:
            assert contrast(rgb(colours["--paper"]), rgb(colours[name])) >= 3, name


def rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def test_print_has_the_light_colours_of_the_page():
    css = files("headstart.report").joinpath("templates/page.css").read_text()
    light = dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6})", css.split("@media")[0]))
    assert light.items() >= PRINT_COLOURS.items()


def test_the_legend_of_underlining_names_what_was_tested():
    subject = made(settings=("linear",))
    subject.cells["not_different"] = subject.cells["best"].map({True: True, False: None})
    words = accuracy_table(subject, names_of(subject), "linear").marker_legend
    assert words == (
        "Bold: best. Underlined: not significantly different from the best (95 % intervals of the "
        "difference over datasets). Single datasets were not tested."
    )
    subject.model_means["not_different"] = subject.model_means["best"].map(
        {True: True, False: None}
    )
    html = page_html(subject)
    assert "Differences from the best were not tested." in html
    assert "Underlined" not in html.split("</style>")[1].split('id="payload"')[0]


def test_captions_name_only_what_is_drawn():
    subject = made(5, 1, settings=("linear",))
    subject.cells[["low", "high"]] = np.nan
    subject.lines = subject.lines.iloc[:0]
    html = page_html(subject)
    captions = " ".join(re.findall(r"<figcaption>(.*?)</figcaption>", html, re.S))
    assert "band" not in captions
    assert "with 95" not in captions
    assert "No intervals: test-set sizes missing (add a column n_test)" in captions
    whole = " ".join(re.findall(r"<figcaption>(.*?)</figcaption>", page_html(made()), re.S))
    assert re.search("Error bars: 95.% confidence intervals.*band: 95.% bootstrap interval", whole)


def test_own_models_are_named_in_the_chart_and_flagged_in_the_leaderboard():
    subject = made()
    row = ("fine_tuned", "net_03", 1.0, 0.9, 0.1, -0.1, 0.3, 5, 5)
    subject.above_line = pd.DataFrame([row], columns=list(TABLES["above_line"]))
    html = page_html(subject)
    assert html.count('<span class="name">net_<wbr>03 <span class="flag">own</span></span>') == 2
    charts = payload_of(html)["charts"]
    layers = charts["figure-correlation-0"]["layer"]
    (names,) = [one for one in layers if one["encoding"].get("text", {}).get("field") == "model"]
    assert {"filter": {"field": "model", "oneOf": ["net_03"]}} in names["transform"]
    assert 'class="flag">own' not in page_html(made())


def test_ranks_have_whole_numbers_for_ticks():
    for n in (2, 3, 16):
        charts = payload_of(page_html(made(n, settings=("linear",))))["charts"]
        values = charts["figure-ranks-0"]["layer"][1]["encoding"]["x"]["axis"]["values"]
        assert values[0] == 1
        assert values == sorted(set(values))
        assert all(value in range(1, n + 1) for value in values)


def test_every_table_leaves_out_what_all_names_begin_and_end_with():
    models = tuple(f"timm/vit_{i}.in1k" for i in range(4))
    html = page_html(with_trials(made(models=models)))
    tables = re.findall(r'<section class="table" id="([\w-]+)"(.*?)</section>', html, re.S)
    bodies = {key: body for key, body in tables if "timm/vit_" in body}
    assert {"leaderboard-0", "means", "pairs", "residual-table", "trials"} <= set(bodies)
    for body in bodies.values():
        assert "All model names begin with timm/vit_ and end with .in1k." in body
        names = re.findall(r'title="timm/vit_(\d).in1k">(\d)</span>', body)
        assert len(names) == body.count('"timm/vit_')
        assert all(whole == shown for whole, shown in names)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("timm/vit_base.laion2b?size=96", "timm/-vit_-base.-laion2b?-size=-96"),
        ("ResNet-50, v2.5, 0.05 to 1e-3", "ResNet-50, v2.5, 0.05 to 1e-\u20603"),
        ("abcdefghijklmnopqrstuvwxyz012345", "abcdefghijklmn-opqrstuvwxyz01-2345"),
        ("a<b>_c __x__ :=", "a&lt;b&gt;_c __x__ :="),
        ("S2: -BN scale, 60 % train", "S2: -\u2060BN scale, 60\u00a0% train"),
        ("\u202eabc_d", "abc_-d"),
    ],
)
def test_names_in_tables_break_behind_their_signs(text, shown):
    assert str(breakable(text)).replace("<wbr>", "-") == shown


def test_a_mixed_model_that_did_not_converge_is_marked():
    subject = made()
    subject.mixed["converged"] = [False, True]
    table = mixed_table(subject, names_of(subject))
    assert [row.cells[-1].text for row in table.rows] == ["did not converge", "converged"]
    assert "did not converge" in table.note


def test_seeds_and_inferred_families_are_shown():
    frame = results(("a", "b", "c"), ("x", "y"), ("linear",), True, 0)
    frame = pd.concat([frame.assign(seed=s, accuracy=frame.accuracy - 0.01 * s) for s in range(3)])
    subject = hs.analyze(frame, resamples=200)
    html = page_html(subject)
    assert "3 seeds per cell, averaged in log odds" in html
    assert "3 seeds, SD 0.0" in html
    assert "18</dd>" in html  # accuracies, not cells
    guessed = made()
    guessed.sources[0]["families"] = "guessed"
    assert "inferred from model names" in page_html(guessed)
    guessed.sources[0]["families"] = "given"
    assert "inferred" not in page_html(guessed)


def test_the_script_of_charts_is_kept_and_made_again_if_damaged(own_cache, monkeypatch, request):
    monkeypatch.setattr("vl_convert.javascript_bundle", lambda snippet: f"made();{snippet}")
    request.addfinalizer(bundle.cache_clear)
    bundle.cache_clear()
    script = bundle()
    assert "made();window.vegaEmbed" in script
    (kept,) = (own_cache / "page").iterdir()
    for damaged in (kept.read_text()[:-1], "", "\ud800"):
        kept.write_bytes(damaged.encode("utf-8", "surrogatepass"))
        bundle.cache_clear()
        assert bundle() == script
    kept.write_text(kept.read_text().replace(sha256_text(script), sha256_text("x")) + "x")
    bundle.cache_clear()
    assert bundle() == script
