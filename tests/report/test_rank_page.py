"""The page of a rank run: the answer first, in a browser, and for those who cannot see it."""

import json
from dataclasses import replace

import pytest

from headstart.ranking.answer import (
    ClassAccuracy,
    Confusion,
    FineTuned,
    HeldOut,
    NotTried,
    RankAnswer,
)
from headstart.report.page_templates import write_html
from headstart.report.rank_page import (
    front_figure,
    front_rows,
    not_tried_table,
    rank_html,
    rank_table,
)
from headstart.spec.formatting import UNKNOWN, SmallPicture
from ranking.answers import ranked_model as model
from report.browser import complaints, count, visit

BEST, FAST, FAR = model("best", 0.9, 0.02), model("fast", 0.897, 0.01), model("far", 0.88, 0.001)


def made_answer() -> RankAnswer:
    picture = SmallPicture("<i>.png", "data:image/png;base64,AAAA", True)
    held_out = HeldOut(
        "ab" * 32, "r.db", None, "headstart export abababababab --to onnx", 40, "top-1",
        0.85, 0.7, 0.93, 0.05, 0.4,
        (ClassAccuracy("a", 20, 0.9, 0.7, 0.97), ClassAccuracy("<b>", 20, 0.8, 0.6, 0.9)),
        (Confusion("<b>", "a", 4, 20, (picture,)),),
    )  # fmt: skip
    return RankAnswer(
        dataset="<i>photos</i>", classes=2, images=400, test_images=40, metric="top-1",
        split_rule="drawn", seed=0, folds=5, repeats=2, error=0.05, tolerance=0.005, budget=60.0,
        spent=50.0, complete=False, device="this processor", models=(BEST, FAST, FAR),
        not_tried=(NotTried("huge", "over 30 M", "raise --max-params"),), recommended="fast",
        sentence="Take fast: it is.", held_out=held_out,
        finetuned=(
            FineTuned("fast", "c" * 64, "finetune:quick", 0.85, 0.9, 0.05, 0.01, 0.09, 30.0),
        ),
    )  # fmt: skip


def test_the_page_leads_with_the_answer_and_escapes_names():
    html = rank_html(made_answer())
    assert html.index("Take fast: it is.") < html.index('id="ranking"')
    assert "<i>photos</i>" not in html
    assert "<b>" not in html.replace("<b>Bold</b>", "").replace("<b>90.0</b>", "")
    assert "<dt>by cross-validation on 400 images</dt>" in html
    assert "<dt>on 40 test images, fitted to 400</dt>" in html
    assert "<li>far is not significantly different from the best." in html
    for part in (
        "raise --max-params",
        "pays",
        "huge",
        "<span>headstart</span> <span>export</span>",
    ):
        assert part in html


def test_an_answer_is_shown_in_python_by_its_sentence_and_in_a_notebook_by_a_table():
    answer = made_answer()
    assert repr(answer) == "RankAnswer(<i>photos</i>, 3 models): Take fast: it is."
    assert "base64" not in repr(answer.held_out)
    html = answer._repr_html_()
    assert html.count("<tr>") == 1 + len(answer.models)
    assert "Take fast: it is." in html


def test_the_chart_names_the_front_the_recommended_and_the_most_accurate_model():
    rows = {row["model"]: row for row in front_rows(made_answer())}
    assert [name for name, row in rows.items() if row["named"]] == ["best", "fast", "far"]
    behind = replace(BEST, pareto=False), replace(FAR, pareto=False), FAST
    rows = front_rows(replace(made_answer(), models=behind))
    assert [row["model"] for row in rows if row["named"]] == ["best", "fast"]


def test_names_in_the_chart_stand_where_the_line_is_not():
    # It comes to a point from below and leaves it to the right.
    texts = [layer["mark"] for layer in front_figure(made_answer()).specs()[0]["layer"]
             if layer["mark"]["type"] == "text"]  # fmt: skip
    assert texts
    for mark in texts:
        assert mark["align"] == {"expr": "datum.fast ? 'left' : 'right'"}
        assert mark["dx"] == {"expr": "datum.fast ? 8 : -8"}
        assert mark["dy"] == {"expr": "datum.fast || datum.partial ? 5 : -5"}
    fast = {row["model"]: row["fast"] for row in front_rows(made_answer())}
    assert fast == {"best": False, "fast": False, "far": True}


def test_names_in_the_chart_differ():
    sizes = [model(f"vit_base_patch{n}_224.augreg_in21k_ft_in1k", 0.9, 0.01) for n in (16, 32)]
    others = [model("resnet18", 0.8, 0.01)]
    rows = front_rows(replace(made_answer(), models=(*sizes, *others)))
    assert len({row["label"] for row in rows}) == 3


def test_columns_of_which_nothing_is_known_are_left_out():
    table = rank_table(made_answer())
    labels = [column.label for column in table.columns]
    assert "Prior" not in labels and "Multiply-adds" not in labels  # noqa: PT018
    assert [row.cells[0].text for row in table.rows] == ["best", "fast", "far"]
    markers = [row.cells[1].marker for row in table.rows]
    assert markers == ["best", "same", "same"]
    alone = rank_table(replace(made_answer(), models=(FAST,)))
    assert (alone.marker_legend, alone.rows[0].cells[1].marker) == ("", "")
    place = labels.index("Difference")
    assert [row.cells[place].text for row in table.rows] == [UNKNOWN, "0.0", "0.0"]


def test_what_was_not_tried_is_grouped_by_reason():
    whys = {"a": ("large", "x"), "b": ("absent", "y"), "c": ("large", "x")}
    reasons = tuple(NotTried(name, *why) for name, why in whys.items())
    table = not_tried_table(replace(made_answer(), not_tried=reasons))
    assert [[cell.text for cell in row.cells] for row in table.rows] == [
        ["large", "2", "a, c", "x"], ["absent", "1", "b", "y"],
    ]  # fmt: skip


def test_a_model_on_fewer_images_is_hollow_and_says_so():
    few = model("few", 0.8, 0.005, images=159, pareto=False)
    answer = replace(made_answer(), models=(BEST, FAST, few))
    spec = json.dumps(front_figure(answer).specs()[0])
    assert "159 images" in spec
    (row,) = [row for row in front_rows(answer) if row["partial"]]
    assert (row["model"], row["fill"]) == ("few", "var(--paper)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser(browser, tmp_path, scheme):
    visit(browser, write_html(rank_html(made_answer()), tmp_path / "rank.html"), scheme=scheme)
    assert browser.get_log("browser") == []
    assert count(browser, "#figure-front-0 svg") == 1
    assert count(browser, "#ranking tbody tr") == 3
    latency = browser.find_element("xpath", "//section[@id='ranking']//th[8]/button")
    names = "return [...document.querySelectorAll('#ranking tbody th')].map((e) => e.innerText)"
    latency.click()
    assert browser.execute_script(names) == ["best", "fast", "far"]
    latency.click()
    assert browser.execute_script(names) == ["far", "fast", "best"]
    assert complaints(browser) == []


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_is_no_wider_than_the_screen(browser, tmp_path, width):
    visit(browser, write_html(rank_html(made_answer()), tmp_path / "rank.html"), width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
