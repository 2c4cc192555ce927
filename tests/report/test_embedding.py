"""The page of embeddings: what it carries, what it shows, what never leaves it."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.ui import WebDriverWait

from headstart.datasets.images import thumbnail
from headstart.report.image_pages import embedding_html
from headstart.report.page_templates import write_html
from report.browser import complaints, count, emulate, requested, visit
from report.results import unpacked

NETWORKS, CLASSES, N = ("net a", "net b"), ("cat", "dog", "eel"), 12
HOSTILE = ("<script>window.ran=1</script>", "</script><img src=x onerror=window.ran=1>", 'a"b')
TIP = "#vg-tooltip-element.visible"


def made(networks=NETWORKS, classes=CLASSES):
    """Tables of an embedding: points on a circle, far enough apart to be pointed at."""
    labels = [classes[i % len(classes)] for i in range(N)]
    random = np.random.RandomState(0)
    pictures = [
        thumbnail(Image.fromarray(random.randint(0, 255, (8, 8)).astype(np.uint8)))
        for _ in range(N)
    ]
    images = pd.DataFrame(
        {"image": range(N), "class": labels, "where": [f"{i}.png" for i in range(N)],
         "tiny": True, "picture": pictures}
    )  # fmt: skip
    turns = 2 * np.pi * np.arange(N) / N
    points = [
        pd.DataFrame(
            {"model": name, "position": i, "image": range(N), "class": labels,
             "x": np.cos(turns + i), "y": np.sin(turns + i)}
        )
        for i, name in enumerate(networks)
    ]  # fmt: skip
    separation = pd.DataFrame(
        {"model": name, "position": i, "features": 1280, "neighbours": 5, "silhouette": -0.1234,
         "neighbour_accuracy": 0.876, "variance_ratio": np.inf}
        for i, name in enumerate(networks)
    )  # fmt: skip
    pairs = [{"model": networks[0], "other": n, "cka": 0.81, "unbiased_cka": -0.04}
             for n in networks[1:]]  # fmt: skip
    similarity = pd.DataFrame(pairs, columns=["model", "other", "cka", "unbiased_cka"])
    return {"images": images, "embedding": pd.concat(points, ignore_index=True),
            "separation": separation, "similarity": similarity}  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "embedding.html"
    return write_html(embedding_html(made(), "How networks see pets", "12 test images."), out)


def points_of(page):
    text = page.read_text(encoding="utf-8")
    table = json.loads(re.search(r'id="payload">(.*?)</script>', text)[1])["tables"]["points"]
    return unpacked(table).to_dict("records")


def point_at(browser, chart, image):
    mark = browser.find_elements("css selector", f"#{chart} .mark-symbol path[aria-label]")[image]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    ActionChains(browser).move_to_element(mark).perform()


def rings(browser):
    """How many marks are ringed in each chart: those of which no screen reader speaks."""
    marks = ".mark-symbol path:not([aria-label])"
    return [count(browser, f"#figure-embedding-{i} {marks}") for i in range(len(NETWORKS))]


def test_points_are_those_of_the_table_once_for_all_networks(page):
    content, points = points_of(page), made()["embedding"]
    assert len(content) == N
    for i in range(len(NETWORKS)):
        own = points[points["position"] == i]
        np.testing.assert_allclose([row[f"x{i}"] for row in content], own["x"], atol=6e-4)
        np.testing.assert_allclose([row[f"y{i}"] for row in content], own["y"], atol=6e-4)
    assert content[1]["class"] == "dog"
    assert content[1]["picture"].startswith("data:image/png;base64,")


def test_numbers_are_written_once_and_unknown_ones_too(page):
    text = page.read_text(encoding="utf-8")
    cells = re.findall(r'<td class="n">([^<]*)</td>', text)
    assert cells[:4] == ["1,280", "\N{MINUS SIGN}0.123", "87.6", "\N{INFINITY}"]
    assert cells[-2:] == ["0.810", "\N{MINUS SIGN}0.040"]


def test_one_network_is_like_no_other(tmp_path):
    page = write_html(embedding_html(made(networks=("net",)), "t", "s"), tmp_path / "e.html")
    assert "Similarity of representations" not in page.read_text(encoding="utf-8")


def test_it_asks_for_nothing_and_complains_of_nothing(browser, page):
    browser.get_log("performance"), browser.get_log("browser")
    visit(browser, page)
    point_at(browser, "figure-embedding-0", 3)
    WebDriverWait(browser, 5).until(lambda b: b.find_elements("css selector", f"{TIP} img"))
    assert requested(browser, page) == {page.as_uri()}
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pointing_at_an_image_shows_it_and_rings_it_for_every_network(browser, page, scheme):
    visit(browser, page, scheme=scheme)
    assert count(browser, ".chart .mark-symbol path[aria-label]") == N * len(NETWORKS)
    assert rings(browser) == [0, 0]
    point_at(browser, "figure-embedding-1", 4)
    tip = WebDriverWait(browser, 5).until(lambda b: b.find_element("css selector", TIP))
    assert tip.text.split() == ["dog", "name", "4.png"]
    picture = tip.find_element("tag name", "img")
    assert picture.get_attribute("src") == points_of(page)[4]["picture"]
    assert browser.execute_script("return arguments[0].naturalWidth", picture) == 8
    WebDriverWait(browser, 5).until(lambda b: rings(b) == [1, 1])
    ActionChains(browser).move_to_element(browser.find_element("tag name", "h1")).perform()
    WebDriverWait(browser, 5).until(lambda b: rings(b) == [0, 0])
    emulate(browser)


def test_a_class_can_be_seen_alone(browser, page):
    visit(browser, page)

    def faint(b):
        marks = "[...document.querySelectorAll('.chart .mark-symbol path[aria-label]')]"
        script = f"return {marks}.filter((e) => Number(e.getAttribute('opacity')) < 0.5).length"
        return b.execute_script(script)

    assert faint(browser) == 0
    button = browser.find_element("css selector", "[data-class=eel]")
    button.click()
    ActionChains(browser).move_to_element(browser.find_element("tag name", "h1")).perform()
    assert button.get_attribute("aria-pressed") == "true"
    WebDriverWait(browser, 5).until(lambda b: faint(b) == len(NETWORKS) * N * 2 // 3)
    button.click()
    ActionChains(browser).move_to_element(browser.find_element("tag name", "h1")).perform()
    WebDriverWait(browser, 5).until(lambda b: faint(b) == 0)


def test_a_class_may_be_named_as_what_all_objects_have(browser, tmp_path):
    tables = made(classes=("constructor", "dog", "eel"))
    visit(browser, write_html(embedding_html(tables, "t", "s"), tmp_path / "e.html"))
    button = browser.find_elements("css selector", "[data-class]")[0]
    assert button.text == "constructor"
    button.click()
    ActionChains(browser).move_to_element(browser.find_element("tag name", "h1")).perform()
    lit = """return [...document.querySelectorAll('.chart path[aria-label^="constructor"]')]
        .map((e) => Number(e.getAttribute('opacity')))"""
    assert browser.execute_script(lit) == [0.9] * (N // 3 * len(NETWORKS))


@pytest.mark.parametrize("width", [360, 1200])
def test_charts_are_square_and_no_width_scrolls_sideways(browser, page, width):
    visit(browser, page, width=width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    box = "return document.querySelector('#figure-embedding-0 svg').getBoundingClientRect()"
    drawn = browser.execute_script(box)
    assert 250 < drawn["width"] <= width
    assert drawn["height"] == pytest.approx(drawn["width"], abs=3)
    assert complaints(browser) == []


def test_hostile_names_run_nothing(browser, tmp_path):
    tables = made(networks=HOSTILE, classes=HOSTILE)
    page = write_html(embedding_html(tables, HOSTILE[0], HOSTILE[1]), tmp_path / "e.html")
    browser.get_log("browser")
    visit(browser, page)
    point_at(browser, "figure-embedding-0", 1)
    tip = WebDriverWait(browser, 5).until(lambda b: b.find_element("css selector", TIP))
    assert HOSTILE[1] in tip.text
    assert browser.execute_script("return window.ran") is None
    assert browser.get_log("browser") == []
    assert browser.find_element("tag name", "h1").text == HOSTILE[0]
