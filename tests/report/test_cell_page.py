"""The page of a single result, in a browser."""

from pathlib import Path

import pytest

from headstart.deploy.result_details import Surface, details_of
from headstart.metrics import CalibrationBin
from headstart.report.image_pages import (
    MistakePicture,
    calibration_figure,
    cell_html,
    curve_figure,
    only_candidate,
)
from headstart.spec.formatting import SmallPicture
from report.browser import complaints, count, visit
from stores import add_result, make_store


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cell")
    result = add_result(make_store(folder / "r.db", {}), "<i>network</i>", 0.7)
    curve = [
        {
            "learning_rate": rate,
            "weight_decay": decay,
            "steps": 40.0,
            "crop": "full",
            "accuracy": 0.5,
        }
        for rate in (0.01, 0.1)
        for decay in (0.0, 1e-5)
    ]
    chosen = {"learning_rate": 0.1, "weight_decay": 0.0, "crop": "full"}
    selection = result.selection.model_copy(
        update={"validation_curve": tuple(curve), "chosen": chosen}
    )
    result = result.model_copy(update={"selection": selection})
    details = details_of(result, result.predictions)
    pictures = [MistakePicture(one, SmallPicture(f"{one.example}.png")) for one in details.mistakes]
    place = folder / "page.html"
    place.write_text(cell_html(details, pictures), encoding="utf-8")
    return place


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_complain_of(browser, page, scheme):
    visit(browser, page, scheme=scheme)
    assert complaints(browser) == []


@pytest.mark.parametrize("width", [1280, 400])
def test_a_page_has_every_part_and_fits(browser, page, width):
    visit(browser, page, width)
    assert browser.find_element("tag name", "h1").text.startswith("<i>network</i>")
    assert count(browser, "#confusion .heat tbody tr") == 10
    assert count(browser, "#validation .heat td.chosen") == 1
    assert count(browser, "#figure-calibration .mark-symbol path") >= 1
    assert count(browser, "#classes tbody tr") == 10
    assert count(browser, ".mistakes li") == 24
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_single_candidate_is_a_sentence():
    surface = Surface(
        "after 40 steps", "learning_rate", "weight_decay", (0.1,), (0.0,), ((0.5,),), (0, 0)
    )
    said = (
        "One candidate after 40 steps (learning rate 0.1, weight decay 0): validation score 50.0 %."
    )
    assert only_candidate(surface) == said


@pytest.mark.parametrize(
    ("values", "scale", "kind"),
    [([1e-6, 1e-4, 1e-1], "log", "quantitative"), ([10.0, 20.0], None, "ordinal"),
     (["full", "none"], None, "ordinal")],
)  # fmt: skip
def test_a_path_over_several_magnitudes_has_a_logarithmic_axis(values, scale, kind):
    scores = tuple((0.5 + i / 10,) for i in range(len(values)))
    path = Surface("", "weight_decay", "", tuple(values), ("",), scores, (1, 0))
    (spec,) = curve_figure(path, 0).specs()
    line, points, ring = spec["layer"]
    assert line["encoding"]["x"]["type"] == kind
    assert line["encoding"]["x"].get("scale", {}).get("type") == scale
    (rows,) = spec["datasets"].values() if "datasets" in spec else (points["data"]["values"],)
    assert [row["chosen"] for row in rows] == [i == 1 for i in range(len(values))]
    assert ring["transform"] == [{"filter": "datum.chosen"}]


def test_axes_write_percents_as_texts_do():
    figure = calibration_figure([CalibrationBin(0.6, 0.8, 10, 0.7, 0.6)])
    encoding = figure.specs()[0]["layer"][-1]["encoding"]
    for side in "xy":
        assert encoding[side]["axis"]["labelExpr"].endswith("'\u00a0%'")
        assert "%" not in encoding[side]["title"]
