"""How a page is opened in a browser, and what is counted on it."""

from pathlib import Path

import axe_core_python
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
