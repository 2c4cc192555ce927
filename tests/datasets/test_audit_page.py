"""The page that shows what is in a dataset."""

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import awkward
from conftest import write_folder
from headstart.context import ProgressReporter
from headstart.datasets import verify
from headstart.datasets.audit_page import dataset_page

EACH = {"dark": 3, "light": 3}


class Page(HTMLParser):
    """What a page says, the images that it shows, and where its attributes point."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.words, self.images, self.elements = "", [], set()
        self.feed(content)
        self.words = " ".join(self.words.split())

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.words += " " * (tag in ("td", "th"))
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data):
        self.words += data

    def shown(self, alt: str) -> list[str]:
        return [image["title"] for image in self.images if image["alt"] == alt]


def page_of(name: object, cache: Path) -> Page:
    return Page(dataset_page(verify(str(name), cache, ProgressReporter())))


def test_every_class_of_every_split_is_shown(tmp_path):
    counts = {"train": {"dark": 13, "light": 4}, "validation": EACH, "test": EACH}
    root = write_folder(tmp_path / "photos", counts)
    checked, steps = verify(str(root), tmp_path / "cache", ProgressReporter()), []
    page = Page(dataset_page(checked, lambda: steps.append(1)))
    assert len(steps) == 2
    assert "29 images of 2 classes, scored by top-1" in page.words
    assert checked.loaded.manifest.revision[:12] in page.words
    # Images, fewest of a class, median, most.
    assert "train 17 4 8 13 validation 6 3 3 3 test 6 3 3 3" in page.words
    assert "dark train 13" in page.words
    assert "None: every image looks whole, and none is in two splits" in page.words
    assert len(page.shown("dark, train")) == 10
    assert sorted(page.shown("light, train")) == ["0.png", "1.png", "2.png", "3.png"]
    assert sorted(page.shown("light, test")) == ["0.png", "1.png", "2.png"]


def test_the_images_are_those_of_the_dataset_and_nothing_is_asked_elsewhere(photos, tmp_path):
    content = dataset_page(verify(str(photos), tmp_path / "cache", ProgressReporter()))
    assert not [text for text in ("http:", "https:", "url(") if text in content]
    assert "default-src 'none'; img-src data:" in content
    page = Page(content)
    assert not page.elements & {"script", "link", "iframe", "object", "form"}
    assert all(image["src"].startswith("data:image/") for image in page.images)
    first = next(image for image in page.images if image["alt"] == "dark, train")
    kind, _, content = first["src"].partition(";base64,")
    assert kind == "data:image/png"
    shown = Image.open(io.BytesIO(base64.b64decode(content)))
    with Image.open(photos / "train" / "dark" / first["title"]) as image:
        np.testing.assert_array_equal(np.asarray(shown), np.asarray(image))


def test_large_images_are_made_small(photos, tmp_path):
    for path in photos.rglob("*.png"):
        Image.fromarray(awkward.noise(300, 400)).save(path)
    page = page_of(photos, tmp_path / "cache")
    content = page.images[0]["src"].removeprefix("data:image/jpeg;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (72, 54)
    assert len(content) < 6000


def test_names_are_text_whatever_is_in_them(tmp_path):
    names = {"<b>bold": 2, "\"quoted\" & 'odd'": 2, "a_long_name": 2}
    root = write_folder(tmp_path / "<i>", dict.fromkeys(("train", "validation", "test"), names))
    (root / "train" / "<b>bold" / "<script>.png").write_bytes(b"")
    page = page_of(root, tmp_path / "cache")
    assert not page.elements & {"b", "i", "script"}
    assert page.words.startswith("<i>: what is in it")
    assert all(name in page.words for name in names)
    assert "<b>bold/<script>.png: empty file" in page.words
    assert len(page.shown("\"quoted\" & 'odd', test")) == 2


def test_a_broken_image_is_left_out_and_listed(photos, tmp_path):
    folder = photos / "train" / "dark"
    whole = awkward.encoded(Image.fromarray(awkward.noise()), "JPEG")
    (folder / "-cut.jpg").write_bytes(whole[: len(whole) // 2])
    # What only decoding finds: its header and its end are whole, and no image is between them.
    whole = awkward.encoded(Image.fromarray(awkward.noise()))
    (folder / "-odd.png").write_bytes(whole[:60] + bytes(len(whole) - 72) + whole[-12:])
    page = page_of(photos, tmp_path / "cache")
    assert page.shown("dark, train") == ["0.png", "1.png", "2.png"]
    assert "1 image cannot be used train train/dark/-cut.jpg: truncated" in page.words
    assert "train 5, 1 cannot be used" in page.words


def test_long_lists_say_how_many_more(photos, tmp_path):
    for number in range(103):
        (photos / "train" / "dark" / f"empty{number:03d}.png").write_bytes(b"")
    page = page_of(photos, tmp_path / "cache")
    assert "103 images cannot be used" in page.words
    assert page.words.count("empty file") == 100
    assert "empty099.png: empty file and 3 more" in page.words


def test_identical_files_and_what_decoding_does(photos, tmp_path):
    train, test = photos / "train", photos / "test"
    (test / "light" / "same.png").write_bytes((train / "dark" / "0.png").read_bytes())
    (train / "light" / "same.png").write_bytes((train / "dark" / "0.png").read_bytes())
    Image.new("RGBA", (8, 8)).save(train / "dark" / "clear.png")
    page = page_of(photos, tmp_path / "cache")
    assert (
        "1 image is in two splits (leakage) train train/dark/0.png = test test/light/same.p"
        in page.words
    )
    assert "1 duplicate image has conflicting labels." in page.words
    assert "1 transparent and composited on white (?decoding=torchvision" in page.words
    other = page_of(f"{photos}?decoding=torchvision", tmp_path / "cache")
    assert "not converted, since torchvision does not: 1 transparent" in other.words


def test_an_image_of_several_classes_is_shown_with_each(tmp_path):
    rows = ["path,label,split"]
    for part in ("train", "validation", "test"):
        for name, label in (("a", "cat"), ("b", "cat|dog"), ("c", "dog"), ("d", "")):
            Image.fromarray(awkward.noise()).save(tmp_path / f"{part}-{name}.png")
            rows.append(f"{part}-{name}.png,{label},{part}")
    (tmp_path / "own.csv").write_text("\n".join(rows))
    page = page_of(f"{tmp_path / 'own.csv'}?sep=|", tmp_path / "cache")
    assert "of 2 classes, of which an image may show several, scored by voc-map" in page.words
    assert page.shown("cat, train") == ["train-a.png", "train-b.png"]
    assert page.shown("dog, train") == ["train-b.png", "train-c.png"]
    assert "train 4 2 2 2" in page.words


@pytest.mark.parametrize(("n_classes", "each"), [(100, 10), (101, 5), (201, 2)])
def test_a_page_of_many_classes_shows_fewer_of_each(tmp_path, n_classes, each):
    code = f"""
import numpy as np
def own():
    labels = np.arange({n_classes} * 11) % {n_classes}
    part = (np.arange(labels.size * 4, dtype=np.uint8).reshape(-1, 2, 2), labels)
    return {{"train": part, "validation": part, "test": part}}
"""
    (tmp_path / "own.py").write_text(code)
    page = page_of(f"{tmp_path / 'own.py'}:own", tmp_path / "cache")
    assert len(page.images) == 3 * n_classes * each


def test_images_that_are_listed_and_gone_are_told(photos, tmp_path):
    rows = [
        f"{path.relative_to(tmp_path)},{path.parent.name},{path.parent.parent.name}"
        for path in sorted(photos.rglob("*.png"))
    ]
    (tmp_path / "own.csv").write_text("\n".join(["path,label,split", *rows]))
    (photos / "test" / "dark" / "0.png").unlink()
    page = page_of(f"{tmp_path / 'own.csv'}?allow_missing=yes", tmp_path / "cache")
    assert "Listed and not there: 1 of test." in page.words
