"""The page in a browser: what a reader sees, does, and what never leaves the page."""

import base64
import csv
import io
import urllib.parse
from pathlib import Path

import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from headstart.figures.figure_data import OBJECT_PROPERTIES
from headstart.report import page_html, write_report
from headstart.report.page_templates import write_html
from report.browser import (
    colour,
    complaints,
    contrast,
    count,
    emulate,
    luminance,
    requested,
    style,
    visit,
)
from report.results import SETTINGS, made, with_studies, with_trials

HOSTILE = ("<script>window.ran=1</script>", 'a"b', "</script><img src=x onerror=window.ran=1>")
N_MODELS, N_DATASETS = 6, 3


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    subject = with_studies(made(N_MODELS, N_DATASETS, settings=SETTINGS))
    # As if models had been told apart: ranks without a test have no figure.
    subject.ranks["low"] = subject.ranks["rank"]
    return write_report(subject, tmp_path_factory.mktemp("page") / "report.html")


def points(browser: webdriver.Chrome, chart: str) -> int:
    # Rings are no marks of their own.
    return count(browser, f"#{chart} .mark-symbol:not([aria-hidden]) path")


def toggle(browser: webdriver.Chrome, kind: str, index: int) -> None:
    """Take a name out of what is shown, or put it back, and wait for the charts."""
    browser.execute_script("document.getElementById('choices').open = true")
    box = f'#choices input[data-kind="{kind}"][data-i="{index}"]'
    browser.find_element("css selector", box).click()
    browser.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 150))")


def column(browser: webdriver.Chrome, table: str, index: int) -> list[str]:
    script = """return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)]
        .map((row) => row.cells[arguments[1]].textContent)"""
    return browser.execute_script(script, table, index)


def test_the_page_asks_for_nothing_and_complains_of_nothing(browser, report):
    browser.get_log("performance"), browser.get_log("browser")
    visit(browser, report)
    for kind, index in (("models", 0), ("datasets", 0), ("settings", 1)):
        toggle(browser, kind, index)
    browser.execute_script("document.querySelector('[data-none=models]').click()")
    assert requested(browser, report) == {report.as_uri()}
    assert browser.get_log("browser") == []


def test_every_chart_is_drawn_with_its_marks(browser, report):
    visit(browser, report)
    charts = browser.execute_script("return document.querySelectorAll('.chart').length")
    assert count(browser, ".chart svg") == charts > 10
    assert points(browser, "figure-correlation-0") == N_MODELS
    assert count(browser, "#figure-correlation-0 .mark-area path") == 1
    assert count(browser, "#figure-correlation-0 .mark-rule.role-mark line") == N_MODELS
    assert points(browser, "figure-datasets-0") == N_MODELS * len(SETTINGS)
    assert points(browser, "figure-finetune-vs-scratch-0") == N_MODELS * N_DATASETS
    assert count(browser, "#figure-heatmap-0 .mark-rect path") == N_MODELS * N_DATASETS
    assert count(browser, "#figure-ranks-0 .mark-symbol path") == N_MODELS


def test_hovering_tells_model_accuracy_and_interval(browser, report):
    visit(browser, report)
    marks = "#figure-datasets-0 .mark-symbol:not([aria-hidden]) path"
    mark = browser.find_elements("css selector", marks)[0]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    ActionChains(browser).move_to_element(mark).perform()
    tip = WebDriverWait(browser, 5).until(
        lambda b: b.find_element("css selector", "#vg-tooltip-element.visible")
    )
    words = tip.text
    assert "net_" in words
    assert "set 0" in words
    assert "accuracy" in words
    assert " to " in words.split("95 % interval")[1]


def test_a_model_taken_out_leaves_charts_and_tables(browser, report):
    visit(browser, report)
    rows = count(browser, "#leaderboard-0 tbody tr")
    toggle(browser, "models", 0)
    assert points(browser, "figure-correlation-0") == N_MODELS - 1
    assert points(browser, "figure-datasets-0") == (N_MODELS - 1) * len(SETTINGS)
    assert count(browser, "#leaderboard-0 tbody tr") == rows - 1
    assert "5 of 6 models" in browser.find_element("id", "shown").text


def test_a_dataset_taken_out_changes_means_and_says_so(browser, report):
    visit(browser, report)
    assert not browser.find_element("id", "partial").is_displayed()
    before, headings = means(browser), count(browser, "#leaderboard-0 thead th")
    assert before == pytest.approx(computed(), abs=6e-4)
    toggle(browser, "datasets", 0)
    assert browser.find_element("id", "partial").is_displayed()
    # In the bar that stays in sight.
    assert "all results" in browser.find_element("css selector", "#choices summary").text
    assert means(browser) == pytest.approx(computed(without="set 0"), abs=6e-4)
    # The intervals are of the whole table: a part shows none.
    assert count(browser, "#figure-correlation-0 .mark-rule.role-mark line") == 0
    assert count(browser, "#figure-correlation-0 .mark-area path[d]:not([d=''])") == 0
    assert count(browser, "#figure-datasets-0") == 0
    assert count(browser, "#figure-datasets-1 svg") == 1
    assert count(browser, "#leaderboard-0 thead th") == headings - 1
    toggle(browser, "datasets", 0)
    assert means(browser) == before
    assert not browser.find_element("id", "whole").is_displayed()
    assert points(browser, "figure-datasets-0") == N_MODELS * len(SETTINGS)


def means(browser) -> dict[str, float]:
    """What the points of the first chart say of themselves: the model and its mean."""
    script = """return [...document.querySelectorAll(arguments[0])]
        .map((e) => e.getAttribute('aria-label'))"""
    marks = "#figure-correlation-0 .mark-symbol:not([aria-hidden]) path"
    labels = [label.split(", ") for label in browser.execute_script(script, marks)]
    return {model: float(mean) for model, mean in labels}


def computed(without: str = "") -> dict[str, float]:
    """The same means from the cells, by pandas."""
    cells = made(N_MODELS, N_DATASETS, settings=SETTINGS).cells
    cells = cells[(cells.setting == SETTINGS[0]) & (cells.dataset != without)]
    return cells.groupby("model").log_odds.mean().to_dict()


def test_a_setting_taken_out_leaves_charts_and_tables(browser, report):
    visit(browser, report)
    toggle(browser, "settings", 1)
    assert count(browser, "#figure-correlation-1") == 0
    assert count(browser, "#leaderboard-1") == 0
    assert points(browser, "figure-datasets-0") == N_MODELS * (len(SETTINGS) - 1)
    assert points(browser, "figure-finetune-vs-scratch-0") == 0
    assert "Fine-tuned" not in "".join(
        row.text for row in browser.find_elements("css selector", "#means tbody tr")
    )


def test_none_and_all(browser, report):
    visit(browser, report)
    browser.execute_script("document.getElementById('choices').open = true")
    browser.find_element("css selector", '[data-none="models"]').click()
    assert "0 of 6 models" in browser.find_element("id", "shown").text
    assert count(browser, ".chart svg .mark-symbol path") == 0
    assert count(browser, "#leaderboard-0 tbody tr") == 0
    assert browser.find_element("id", "nothing").is_displayed()
    assert browser.find_element("id", "none").is_displayed()
    browser.find_element("css selector", '[data-all="models"]').click()
    assert "6 of 6 models" in browser.find_element("id", "shown").text
    browser.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 300))")
    assert points(browser, "figure-correlation-0") == N_MODELS
    assert count(browser, "#leaderboard-0 tbody tr") == N_MODELS
    assert not browser.find_element("id", "nothing").is_displayed()


def test_two_models_have_no_line(browser, report):
    visit(browser, report)
    drawn = "#figure-correlation-0 .mark-line path[d]:not([d=''])"
    assert count(browser, drawn) == 1
    for index in range(N_MODELS - 3):
        toggle(browser, "models", index)
    assert count(browser, drawn) == 1
    toggle(browser, "models", N_MODELS - 3)
    assert points(browser, "figure-correlation-0") == 2
    assert count(browser, drawn) == 0
    assert count(browser, "#figure-datasets-0 .mark-line path[d]:not([d=''])") == 0


def test_tables_sort_by_click_and_by_key(browser, report):
    visit(browser, report)
    button = browser.find_elements("css selector", "#leaderboard-0 .sort")[2]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    heading = button.find_element("xpath", "..")
    assert heading.get_attribute("aria-sort") == "descending"
    values = [float(text[:4]) for text in column(browser, "leaderboard-0", 2)]
    assert values == sorted(values, reverse=True)
    button.send_keys(Keys.ENTER)
    assert heading.get_attribute("aria-sort") == "ascending"
    assert [float(text[:4]) for text in column(browser, "leaderboard-0", 2)] == sorted(values)
    name = browser.find_elements("css selector", "#leaderboard-0 .sort")[0]
    name.send_keys(Keys.SPACE)
    assert column(browser, "leaderboard-0", 0) == [f"net_{i:02d}" for i in range(N_MODELS)]
    assert heading.get_attribute("aria-sort") is None


def unfold(browser: webdriver.Chrome, key: str) -> None:
    browser.execute_script(
        "document.getElementById(arguments[0]).closest('details').open = true", key
    )


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    models = tuple(f"timm/vit_{i:03d}.in1k" for i in range(130))
    subject = made(datasets=("x", "y", "z", "w", "v"), models=models, settings=SETTINGS[:2])
    return write_report(subject, tmp_path_factory.mktemp("page") / "report.html")


def test_the_leaderboard_has_pages_a_search_and_short_names(browser, many):
    visit(browser, many)
    # The best first, without what all names have in common.
    rows = "#leaderboard-0 tbody tr"
    assert count(browser, rows) == 50
    assert column(browser, "leaderboard-0", 1)[0].startswith("1 ")
    first = browser.find_element("css selector", f"{rows} .name")
    assert first.get_attribute("title") == f"timm/vit_{first.text}.in1k"
    note = browser.find_element("css selector", "#leaderboard-0 .note").text
    assert note.startswith("All model names begin with timm/vit_ and end with .in1k.")
    browser.find_element("css selector", "#leaderboard-0 [data-more]").click()
    assert count(browser, rows) == 130
    assert count(browser, "#leaderboard-0 [data-more]") == 0
    browser.find_element("css selector", "#leaderboard-0 [data-search]").send_keys("vit_01")
    assert count(browser, rows) == 10
    found = browser.find_element("css selector", "#leaderboard-0 [data-count]").text
    assert found == "10 of 130 models"
    # Rows that the script draws have short names in every column, and the whole at the pointer.
    unfold(browser, "means")
    browser.find_element("css selector", "#means [data-search]").send_keys("vit_012")
    assert column(browser, "means", 1) == ["012"] * 2
    name = browser.find_element("css selector", "#means tbody td span")
    assert name.get_attribute("title") == "timm/vit_012.in1k"


def test_the_switch_changes_the_setting_and_keeps_the_search(browser, many):
    visit(browser, many)
    assert count(browser, "#leaderboard-1") == 0
    browser.find_element("css selector", "#leaderboard-0 [data-search]").send_keys("vit_129")
    chosen = browser.find_element("css selector", ".switch input:checked")
    chosen.send_keys(Keys.ARROW_RIGHT)
    assert count(browser, "#leaderboard-0") == 0
    assert column(browser, "leaderboard-1", 0) == ["129"]
    # A setting that the filter hides is no choice.
    toggle(browser, "settings", 1)
    assert count(browser, "#leaderboard-1") == 0
    assert count(browser, "#leaderboard-0") == count(browser, ".switch label") == 1


def test_columns_beyond_the_frame_have_a_cue(browser, report):
    visit(browser, report, width=400)
    framed = browser.find_element("css selector", "#leaderboard-0 .frame")
    assert "on-right" in framed.get_attribute("class")
    browser.execute_script("arguments[0].firstElementChild.scrollLeft = 1e6", framed)
    WebDriverWait(browser, 5).until(lambda _: "on-right" not in framed.get_attribute("class"))
    name = browser.find_element("css selector", "#leaderboard-0 tbody th")
    assert name.rect["x"] == pytest.approx(framed.rect["x"], abs=1)


def test_a_table_is_saved_whole_as_csv(browser, many):
    visit(browser, many)
    text = saved(browser, '[data-csv="leaderboard-0"]').partition(",")[2]
    lines = list(csv.reader(io.StringIO(urllib.parse.unquote(text))))
    assert len(lines) == 131
    assert lines[0][:3] == ["Model", "Rank", "95 % interval of the rank"]
    table = made(models=tuple(f"timm/vit_{i:03d}.in1k" for i in range(130)),
                 datasets=("x", "y", "z", "w", "v"), settings=SETTINGS[:2])  # fmt: skip
    means = table.model_means[table.model_means.setting == SETTINGS[0]].set_index("model")
    assert lines[1][0] == means["mean"].idxmax()
    at = lines[0].index("Mean %")
    assert {line[0]: line[at] for line in lines[1:]} == {
        model: f"{100 * value:.1f}" for model, value in means.accuracy.items()
    }


def test_no_name_is_a_formula_in_a_saved_csv(browser, tmp_path):
    names = ("=1+1", "a;@SUM(1)", "\uff0d1", "-1+1")
    visit(browser, write_report(made(models=names, datasets=names), tmp_path / "report.html"))
    text = saved(browser, '[data-csv="leaderboard-0"]').partition(",")[2]
    lines = list(csv.reader(io.StringIO(urllib.parse.unquote(text))))
    safe = {"'=1+1", "a;'@SUM(1)", "'\uff0d1", "'-1+1"}
    assert {line[0] for line in lines[1:]} == safe
    assert safe <= set(lines[0])
    # Numbers stay numbers.
    at = lines[0].index("Mean %")
    assert all(float(line[at]) for line in lines[1:])


def test_without_its_script_a_page_has_the_first_rows(browser, many):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(many.as_uri())
        rows = browser.find_elements("css selector", "#leaderboard-0 tbody tr")
        assert len(rows) == 50
        assert rows[0].is_displayed()
        assert not browser.find_element("id", "choices").is_displayed()
        assert "The first 50 of 130 models" in browser.find_element("tag name", "main").text
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", ["report", "few"])
def test_axe_finds_nothing_to_complain_of(browser, tmp_path, request, page, scheme):
    if page == "report":
        place = request.getfixturevalue("report")
    else:
        subject = with_trials(made(3, 1, settings=SETTINGS[:1]))
        place = write_report(subject, tmp_path / "report.html")
    visit(browser, place, scheme=scheme)
    browser.execute_script("document.querySelectorAll('details').forEach((d) => d.open = true)")
    assert complaints(browser) == []


def test_a_warning_leads_to_its_trials_and_its_lines(browser, tmp_path):
    subject = with_trials(made(3, 2, settings=SETTINGS[:1]))
    visit(browser, write_report(subject, tmp_path / "report.html"))
    assert not browser.find_element("id", "trials").is_displayed()
    browser.find_element("link text", "Show trials").click()
    assert browser.find_element("id", "trials").is_displayed()
    assert count(browser, "#trials tbody tr") == len(subject.trials)
    assert browser.find_element("link text", "Show warnings").is_displayed()
    assert count(browser, "#data-warnings") == 1


def test_pairs_begin_with_the_best_and_can_be_searched(browser, tmp_path):
    subject = made(N_MODELS, 8, settings=SETTINGS[:1])
    visit(browser, write_report(subject, tmp_path / "report.html"))
    pairs = subject.pairwise
    unfold(browser, "pairs")
    shown = count(browser, "#pairs tbody tr")
    assert 0 < shown < len(pairs)
    browser.find_element("css selector", "#pairs [data-only]").click()
    assert count(browser, "#pairs tbody tr") == len(pairs)
    browser.find_element("css selector", "#pairs [data-search]").send_keys("net_03")
    own = int(((pairs.model == "net_03") | (pairs.other == "net_03")).sum())
    assert count(browser, "#pairs tbody tr") == own >= N_MODELS - 1
    found = browser.find_element("css selector", "#pairs [data-count]").text
    assert found == f"{own} of {len(pairs)} comparisons"


def test_dark_and_light_follow_the_reader(browser, report):
    visit(browser, report)
    where = ("#figure-correlation-0 .role-axis-label text", "fill")
    light = colour(browser, "body", "backgroundColor"), colour(browser, *where)
    emulate(browser, scheme="dark")
    dark = colour(browser, "body", "backgroundColor"), colour(browser, *where)
    assert luminance(light[0]) > 0.9 > 0.1 > luminance(dark[0])
    assert luminance(light[1]) < 0.2 < luminance(dark[1])
    assert min(contrast(*light), contrast(*dark)) >= 4.5


@pytest.mark.parametrize("width", [360, 768])
def test_no_width_scrolls_the_page_sideways(browser, report, width):
    visit(browser, report, width=width)
    browser.execute_script("document.querySelectorAll('details').forEach((d) => d.open = true)")
    script = "return document.documentElement.scrollWidth"
    assert browser.execute_script(script) <= width
    assert style(browser, "#leaderboard-0 .scroll", "overflowX") == "auto"


def test_a_long_name_leaves_room_for_numbers(browser, tmp_path):
    models = tuple(f"{'a_name_without_an_end_' * 6}{i}" for i in range(3))
    subject = made(models=models, datasets=("x" * 80, "set 1"), settings=("linear",))
    visit(browser, write_report(subject, tmp_path / "report.html"))
    script = "return document.querySelector(arguments[0]).getBoundingClientRect().width"
    assert browser.execute_script(script, "#leaderboard-0 tbody th") < 320
    assert browser.execute_script(script, "#leaderboard-0 table") < 720


def test_charts_and_tables_can_be_reached_without_a_mouse(browser, report):
    visit(browser, report)
    unnamed = browser.execute_script(
        "return [...document.querySelectorAll('.chart')]"
        ".filter((e) => !e.getAttribute('aria-label')).length"
    )
    assert unnamed == 0
    assert browser.find_elements("css selector", ".scroll:not([tabindex='0'])") == []
    browser.find_element("tag name", "body").send_keys(Keys.TAB)
    assert browser.switch_to.active_element.get_attribute("class") == "skip"


def test_a_saved_chart_has_colours_of_its_own(browser, report):
    visit(browser, report, scheme="dark")
    svg = saved(browser, '[data-save="figure-correlation-0"]')
    assert svg.startswith("data:image/svg+xml")
    assert "var(" not in svg
    assert "%230072b2" in svg
    png = base64.b64decode(saved(browser, '[data-png="figure-correlation-0"]').partition(",")[2])
    image = Image.open(io.BytesIO(png)).convert("RGB")
    box = browser.find_element("css selector", "#figure-correlation-0 svg").size
    assert image.width == pytest.approx(3 * box["width"], abs=3)
    assert image.getpixel((1, 1)) == (255, 255, 255)
    assert len(image.getcolors(1 << 20)) > 10


def saved(browser: webdriver.Chrome, button: str) -> str:
    """Return the address of what a button saves."""
    browser.execute_script(
        "HTMLAnchorElement.prototype.click = function () { window.saved = this.href; };"
        "window.saved = null; document.querySelector(arguments[0]).click()",
        button,
    )
    return WebDriverWait(browser, 5).until(lambda b: b.execute_script("return window.saved"))


def test_hostile_names_run_nothing(browser, tmp_path):
    models = (*HOSTILE, "c", "d")
    subject = made(models=models, datasets=HOSTILE, settings=("<b>x</b>", "linear"))
    browser.get_log("browser")
    visit(browser, write_html(page_html(subject, HOSTILE[0]), tmp_path / "report.html"))
    assert browser.execute_script("return window.ran") is None
    assert browser.get_log("browser") == []
    assert browser.find_element("tag name", "h1").text == HOSTILE[0]
    toggle(browser, "models", 1)
    assert points(browser, "figure-correlation-0") == len(models) - 1
    marks = "#figure-datasets-0 .mark-symbol:not([aria-hidden]) path"
    mark = browser.find_elements("css selector", marks)[0]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    ActionChains(browser).move_to_element(mark).perform()
    WebDriverWait(browser, 5).until(
        lambda b: b.find_elements("css selector", "#vg-tooltip-element.visible")
    )
    assert browser.execute_script("return window.ran") is None
    assert browser.find_elements("css selector", "#vg-tooltip-element img") == []


def test_names_that_all_objects_have_are_names(browser, tmp_path):
    properties = browser.execute_script("return Object.getOwnPropertyNames(Object.prototype)")
    assert set(properties) == OBJECT_PROPERTIES
    names = sorted(properties)
    subject = with_studies(made(models=tuple(names), datasets=tuple(names[:4]),
                                settings=(*SETTINGS[1:], "constructor")))  # fmt: skip
    subject.ranks["low"] = subject.ranks["rank"]
    subject.ablation["configuration"] = [names[i] for i in subject.ablation["position"]]
    browser.get_log("browser")
    visit(browser, write_report(subject, tmp_path / "report.html"))
    assert browser.get_log("browser") == []
    charts = browser.execute_script("return document.querySelectorAll('.chart').length")
    assert count(browser, ".chart svg") == charts > 10
    assert points(browser, "figure-correlation-0") == len(names)
    labels = "return [...document.querySelectorAll('#figure-ranks-0 .role-axis-label text')]"
    drawn = browser.execute_script(f"{labels}.map((one) => one.textContent.trim())")
    assert set(names) <= set(drawn)
    listed = "return [...document.querySelectorAll('[data-list=models] li')]"
    shown = browser.execute_script(f"{listed}.map((one) => one.textContent.trim())")
    assert sorted(shown) == names
    for kind in ("models", "datasets", "settings"):
        toggle(browser, kind, 0)
    assert points(browser, "figure-correlation-1") == len(names) - 1
    assert count(browser, "#figure-heatmap-1 .mark-rect path") == (len(names) - 1) * 3


def test_a_chart_that_fails_leaves_the_others(browser, report, tmp_path):
    html = report.read_text(encoding="utf-8")
    broken = html.replace('"figure-correlation-0":{', '"figure-correlation-0":{"mark":"none",', 1)
    visit(
        browser,
        write_html(
            broken.replace('"mark":"none","layer"', '"mark":"none","l"'), tmp_path / "broken.html"
        ),
    )
    charts = browser.execute_script("return document.querySelectorAll('.chart').length")
    assert count(browser, ".chart svg") == charts - 1
    assert "could not be drawn" in browser.find_element("id", "figure-correlation-0").text
    assert browser.get_log("browser") != []


def test_rows_of_many_models_are_shown_on_demand(browser, many):
    visit(browser, many)
    labels = "#figure-ranks-0 .role-axis-label text"
    before = count(browser, labels)
    browser.find_element("css selector", '[data-rows="figure-ranks"]').click()
    WebDriverWait(browser, 10).until(lambda b: count(b, labels) > before + 20)
    toggle(browser, "models", 0)
    browser.find_element("css selector", '[data-rows="figure-ranks"]').click()
    WebDriverWait(browser, 10).until(lambda b: points(b, "figure-ranks-0") < 41)
