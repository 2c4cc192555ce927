"""How a page is opened in a browser, and what is counted on it."""

from pathlib import Path

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

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
