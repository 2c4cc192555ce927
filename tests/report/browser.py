"""How a page is opened in a browser and printed, and what is counted on it."""

import base64
import json
import re
import shutil
import subprocess
from html import unescape
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import axe_core_python
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from conftest import require

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--window-size=1280,900"),
)


def visit(browser: webdriver.Chrome, page: Path, width: int = 1280, **media: str) -> None:
    """Open a page afresh and wait until its charts are drawn."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    emulate(browser, **media)
    browser.get(page.as_uri())
    WebDriverWait(browser, 30).until(
        lambda b: b.execute_script("return document.documentElement.dataset.ready") == "true"
    )


def emulate(browser: webdriver.Chrome, scheme: str = "light", medium: str = "") -> None:
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": medium, "features": features})


def count(browser: webdriver.Chrome, selector: str) -> int:
    """Count the elements that are laid out."""
    script = """return [...document.querySelectorAll(arguments[0])]
        .filter((e) => e.getClientRects().length).length"""
    return browser.execute_script(script, selector)


def requested(browser: webdriver.Chrome, page: Path) -> set[str]:
    """The addresses that a page asked for since the log was last read, but for those of data."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = {event["params"]["request"]["url"] for event in events
            if event["method"] == "Network.requestWillBeSent"
            and event["params"]["documentURL"] == page.as_uri()}  # fmt: skip
    return {url for url in urls if not url.startswith(("data:", "blob:"))}


def complaints(browser: webdriver.Chrome) -> list[tuple[str, str, str]]:
    """What axe-core finds wrong for those who cannot see the page, or use no mouse."""
    script = Path(axe_core_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
    # The protocol of the developer tools is not held to the page's policy.
    browser.execute_cdp_cmd("Runtime.evaluate", {"expression": script})
    found = browser.execute_async_script(
        "const done = arguments[0]; axe.run().then((r) => done(r.violations), (e) => done([e]))"
    )
    return [(one["id"], one["impact"], one["nodes"][0]["html"][:200]) for one in found]


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """The ratio of luminances of two colours, red, green and blue from 0 to 255 (WCAG 2)."""
    dim, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dim + 0.05)


def luminance(colour: tuple[float, ...]) -> float:
    parts = [part / 255 for part in colour]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def style(browser: webdriver.Chrome, selector: str, name: str) -> str:
    script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    return browser.execute_script(script, selector, name)


def colour(browser: webdriver.Chrome, selector: str, name: str) -> tuple[float, ...]:
    return tuple(map(float, re.findall(r"\d+", style(browser, selector, name))))


class Line(NamedTuple):
    """Words at one height of a sheet, from left to right, in points."""

    text: str
    left: float
    right: float
    bottom: float


class Sheet(NamedTuple):
    """A printed page, in points."""

    width: float
    height: float
    lines: list[Line]


def printed(browser: webdriver.Chrome, folder: Path, height: float = 11.69) -> list[Sheet]:
    """Print the open page on paper of so many inches, and read what stands where."""
    require(bool(shutil.which("pdftotext")), "pdftotext of the Debian package poppler-utils")
    paper = {"paperWidth": 8.27, "paperHeight": height, "preferCSSPageSize": True}
    content = browser.execute_cdp_cmd("Page.printToPDF", paper)["data"]
    (folder / "page.pdf").write_bytes(base64.b64decode(content))
    command = ["pdftotext", "-bbox", folder / "page.pdf", "-"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    pages = re.findall(r'<page width="([\d.]+)" height="([\d.]+)">(.*?)</page>', text, re.S)
    return [Sheet(float(w), float(h), lines_of(words)) for w, h, words in pages]


def lines_of(words: str) -> list[Line]:
    box = r'xMin="([\d.]+)" yMin="[\d.]+" xMax="([\d.]+)" yMax="([\d.]+)">(.*?)</word>'
    found = [(float(bottom), float(left), float(right), unescape(text))
             for left, right, bottom, text in re.findall(box, words)]  # fmt: skip
    lines = []
    for bottom, group in groupby(sorted(found), key=lambda word: round(word[0])):
        own = sorted(group, key=lambda word: word[1])
        text = " ".join(word[3] for word in own)
        lines.append(Line(text, own[0][1], max(word[2] for word in own), float(bottom)))
    return lines
