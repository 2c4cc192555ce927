"""Which source a name goes to."""

import pytest

from headstart import datasets
from headstart.datasets import names
from headstart.datasets.dataset_name import OPTIONS
from headstart.datasets.sources import SOURCES, is_packaged, resolve_name
from refusals import refused


def test_sources_are_asked_from_the_most_certain_to_the_least():
    order = ["embedded", "study", "hf", "torchvision", "function", "table", "folder", "synthetic"]
    assert list(SOURCES) == [source.name for source in SOURCES.values()] == order
    packaged = [name for name in names() if is_packaged(name)]
    drawn = ["glyphs", "characters", "shapes", "textures", "charts", "patches"]
    assert packaged == ["digits", "fashion_mnist", *drawn]
    assert len(names()) == len(set(names())) == 20


@pytest.mark.parametrize(("name", "source", "metric"), [
    ("digits", "embedded", "top-1"), ("glyphs", "synthetic", "top-1"),
    ("food101", "study", "top-1"), ("voc2007", "study", "voc-map-11point"),
    ("oxford_pets?metric=top-1", "study", "top-1"), ("hf:user/name", "hf", "top-1"),
    ("torchvision:DTD", "torchvision", "top-1"), ("./a/photos.csv", "table", "top-1"),
    ("photos.parquet", "table", "top-1"), ("./photos", "folder", "top-1"),
    ("a/photos", "folder", "top-1"),
])  # fmt: skip
def test_a_name_has_one_source(name, source, metric, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, asked = resolve_name(name)
    assert (found.name, asked.metric) == (source, metric)


def test_a_folder_of_a_catalogues_name_is_the_catalogues(tmp_path, monkeypatch):
    for name in ("digits", "glyphs"):
        (tmp_path / name).mkdir()
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve_name("digits")[0].name == "embedded"
    assert resolve_name("glyphs")[0].name == "synthetic"
    assert resolve_name("./digits")[0].name == "folder"
    found, asked = resolve_name("mine")
    # Found again from any folder.
    assert (found.name, asked.stem) == ("folder", str(tmp_path / "mine"))


def test_a_name_of_no_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refused("name.unknown", kind="dataset", name="flower102", near=["flowers102"]):
        resolve_name("flower102")
    with refused("name.unknown", kind="dataset", name="zzz", near=[]):
        resolve_name("zzz")


@pytest.mark.parametrize("name", ["digits", "dtd", "hf:a/b", "torchvision:DTD", "a.csv", "./a"])
def test_an_unknown_option_lists_those_that_there_are(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source, _ = resolve_name(name)
    with refused("name.unknown", name="zzz", near=[]) as told:
        resolve_name(f"{name}?zzz=1")
    for option in (*OPTIONS, *source.options):
        assert option in str(told.value)
    with refused("dataset.option_invalid", option="split_seed", found="x"):
        resolve_name(f"{name}?split_seed=x")


@pytest.mark.parametrize(("name", "title"), [
    ("./food101", "./food101"), ("./Flowers", "./Flowers"), ("./digits", "./digits"),
    ("./photos", "photos"), ("hf:user/pets", "user/pets"), ("hf:user/beans", "beans"),
    ("hf:./cars", "./cars"), ("cars.csv", "cars.csv"),
])  # fmt: skip
def test_what_is_the_users_own_has_no_title_of_the_catalogue(name, title, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cars").mkdir()
    (tmp_path / "cars.csv").write_text("path,label\n")
    assert datasets.describe(name).title == title
