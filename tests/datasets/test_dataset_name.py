"""Names of datasets with options."""

import pytest

from headstart.datasets.dataset_name import OPTIONS, DatasetName
from headstart.spec import Dataset, Decoding, Sizes
from refusals import refused


@pytest.mark.parametrize(("query", "options"), [
    ("train=train+extra&test=test", {"train": "train+extra", "test": "test"}),
    ("sep=+", {"sep": "+"}), ("path=a b", {"path": "a b"}), ("path=a%20b%2Bc", {"path": "a b+c"}),
])  # fmt: skip
def test_options_are_taken_as_they_are_typed(query, options):
    """A plus is a plus: it joins splits of a repository. The title means the same again."""
    asked = DatasetName.parse(f"x?{query}")
    assert asked.options == options
    assert DatasetName.parse(asked.titled("x")) == asked


def test_a_plain_name_has_no_options():
    asked = DatasetName.parse("digits")
    assert (asked.full, asked.stem, asked.options) == ("digits", "digits", {})
    assert (asked.metric, asked.split_seed, asked.allow_missing) == (None, 0, False)
    assert asked.decoding == Decoding()


def test_options_that_all_have_are_told_from_those_of_a_source():
    asked = DatasetName.parse(
        "my photos.csv?label=the%20species&metric=mean-per-class&split_seed=3&allow_missing=yes"
        "&decoding=torchvision&max_pixels=500&root="
    )
    assert asked.stem == "my photos.csv"
    # An empty value is a value.
    assert asked.options == {"label": "the species", "root": ""}
    assert (asked.metric, asked.split_seed, asked.allow_missing) == ("mean-per-class", 3, True)
    assert asked.decoding == Decoding(like="torchvision", max_pixels=500)


@pytest.mark.parametrize(("option", "value"), [
    ("split_seed", ""), ("split_seed", "-1"), ("split_seed", "²"), ("split_seed", "1.5"),
    ("metric", "top1"), ("allow_missing", "perhaps"), ("decoding", "pil"), ("max_pixels", "0"),
    ("max_pixels", "many"),
])  # fmt: skip
def test_options_that_cannot_be(option, value):
    with refused("dataset.option_invalid", option=option, found=value):
        DatasetName.parse(f"digits?{option}={value}")


def test_options_that_are_not_well_formed():
    with refused("dataset.option_invalid", option="split_seed", found=""):
        DatasetName.parse("digits?split_seed")
    with refused("dataset.option_form", found=""):
        DatasetName.parse("digits?")
    with refused("dataset.option_twice", found="label"):
        DatasetName.parse("a.csv?label=x&root=y&label=z")


def test_an_option_that_neither_all_sources_nor_this_one_has():
    options = {"label": "column"}
    kind = "option of dataset 'photos.csv'"
    for name, near in (("lable", ["label"]), ("zzz", [])):
        with refused("name.unknown", kind=kind, name=name, near=near) as raised:
            DatasetName.parse(f"photos.csv?{name}=species").check(options)
    assert all(option in str(raised.value) for option in (*OPTIONS, "label"))
    DatasetName.parse("photos.csv?label=x&split_seed=1").check(options)


@pytest.mark.parametrize(("name", "title"), [
    ("voc2007", "VOC"), ("voc2007?root=/data/voc", "VOC"),
    ("voc2007?root=/data/voc&split_seed=2", "VOC?split_seed=2"),
    ("a.csv?label=two words&sep=|", "VOC?label=two words&sep=|"),
])  # fmt: skip
def test_a_title_says_what_makes_it_another_dataset(name, title):
    assert DatasetName.parse(name).titled("VOC") == title


def test_a_dataset_that_was_found_is_asked_for_as_it_was():
    name = "/data/a.csv?label=b&metric=mean-per-class&split_seed=3&allow_missing=1&max_pixels=9"
    asked = DatasetName.parse(name)
    kept = ("options", "metric", "split_seed", "allow_missing", "decoding")
    dataset = Dataset(
        name="a.csv?label=b", source="table", location=asked.stem, revision="r",
        classes=("x", "y"), sizes=Sizes(train=2, validation=2, test=2),
        **{field: getattr(asked, field) for field in kept},
    )  # fmt: skip
    # The spelling does not count.
    assert DatasetName.of(dataset) == asked
    assert hash(DatasetName.of(dataset)) == hash(asked)


def test_a_path_is_a_name_and_what_is_no_text_is_refused(tmp_path):
    place = tmp_path / "my photos"
    assert DatasetName.parse(place) == DatasetName.parse(str(place))
    for wrong in (3, None, b"photos", [str(place)]):
        with refused("dataset.name_kind", found=type(wrong).__name__):
            DatasetName.parse(wrong)
