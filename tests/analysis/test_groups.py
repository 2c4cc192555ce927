"""Which datasets are small and which large, where the table does not say."""

import pandas as pd
import pytest

import headstart as hs
from headstart import datasets
from headstart.analysis import published
from headstart.analysis.correlations import LARGE, SMALL, groups_by_size
from headstart.datasets.archives import published_facts
from headstart.spec import plain_name

TWELVE = (
    "food101", "cifar10", "cifar100", "birdsnap", "sun397", "stanford_cars", "fgvc_aircraft",
    "voc2007", "dtd", "oxford_pets", "caltech101", "flowers102",
)  # fmt: skip

NAMES = {
    75750: ("food", "Food-101", "food101", "FOOD 101"),
    47386: ("birdsnap", "BirdSnap"),
    19850: ("sun", "SUN397", "sun-397"),
    8144: ("cars", "stanford-cars", "Stanford Cars", "StanfordCars"),
    6667: ("aircraft", "fgvc-aircraft", "FGVCAircraft"),
    5011: ("voc", "VOC 2007", "pascal voc 2007", "Pascal_VOC"),
    3760: ("dtd", "textures", "Describable Textures (DTD)"),
    3680: ("pets", "oxford-pets", "oxford_iiit_pet", "Oxford-IIIT Pets", "OxfordIIITPet"),
    3060: ("caltech101", "Caltech-101"),
    2040: ("flowers", "flowers102", "Flowers-102", "oxford_flowers102", "Oxford 102 Flowers"),
}


@pytest.mark.parametrize(
    ("n_train", "name"), [(n, one) for n, names in NAMES.items() for one in names]
)
def test_names_that_the_field_has_for_the_studys_datasets(n_train, name):
    assert published.published_sizes(name).n_train == n_train


# More than one may be meant: CIFAR-10 or 100, Caltech-101 or 256, flowers or pets of Oxford.
@pytest.mark.parametrize(
    "name", ["cifar", "caltech", "oxford", "birds", "imagenet", "voc2012", "food11", "102", "", "."]
)
def test_what_may_be_another_dataset_is_not_guessed(name):
    assert published.published_sizes(name) is None


def test_the_catalogues_names_and_titles_are_known_with_their_sizes():
    for name in TWELVE:
        described = datasets.describe(name)
        total = described.sizes.train + described.sizes.validation
        for spelling in (name, described.title):
            assert published.published_sizes(spelling) == (total, described.sizes.test), spelling


def test_no_name_is_of_two_datasets():
    names = [
        name
        for facts in published_facts().values()
        for name in {plain_name(one) for one in (facts.key, facts.title, *facts.aliases)}
    ]
    assert len(names) == len(set(names))


def test_a_folder_of_the_name_is_another_dataset():
    assert published.published_sizes("./food101") is None
    frame = pd.DataFrame({"dataset": ["./food101", "pets", "sun"]})
    assert groups_by_size(frame) == {"pets": SMALL, "sun": LARGE}


def test_groups_by_the_fields_names():
    frame = pd.DataFrame({"dataset": ["flowers", "food", "my photos", "pets", "sun"]})
    assert groups_by_size(frame) == {"flowers": SMALL, "pets": SMALL, "food": LARGE, "sun": LARGE}
    # The table's own sizes count more than the name.
    assert groups_by_size(frame.assign(n_train=[20_000, None, 50, None, None])) == {
        "my photos": SMALL, "pets": SMALL, "flowers": LARGE, "food": LARGE, "sun": LARGE,
    }  # fmt: skip


PARTS = (
    "zero-shot", "zero_shot", "Zero Shot CLIP", "5-shot", "few-shot", "linear (16shot)", "VTAB-1k",
    "vtab1k_finetune", "finetune 10%", "linear_1pct", "1000 examples", "finetune-1k",
    "finetune (5 per class)", "semi-supervised",
)  # fmt: skip
WHOLE = (
    "linear", "finetune", "linear_probe_lbfgs", "finetune (224)", "linear in1k", "scratch",
    "finetune 20000 steps", "knn_20", "as trained", "LoRA r=16", "ft-2x",
)  # fmt: skip


@pytest.mark.parametrize("setting", [*PARTS, *WHOLE])
def test_a_setting_with_another_training_size_has_no_published_groups(setting):
    frame = pd.DataFrame({"dataset": ["flowers", "food"], "setting": setting})
    both = {"flowers": SMALL, "food": LARGE}
    assert groups_by_size(frame) == ({} if setting in PARTS else both)
    # Its own sizes count.
    assert groups_by_size(frame.assign(n_train=[1000, 20_000])) == both


def test_subsets_have_no_published_groups():
    frame = pd.DataFrame({"dataset": ["flowers", "food"], "setting": "linear"})
    for column in ("examples_per_class", "limit"):
        assert groups_by_size(frame.assign(**{column: 5})) == {}


def test_each_setting_has_its_own_groups():
    rows = [(m, d, s) for m in range(5) for d in ("flowers", "food") for s in ("linear", "5-shot")]
    frame = pd.DataFrame(rows, columns=["model", "dataset", "setting"])
    frame["upstream_accuracy"] = 0.6 + 0.02 * frame["model"]
    frame["accuracy"] = 0.5 + 0.03 * frame["model"] + 0.1 * (frame["dataset"] == "food")
    frame["model"] = "m" + frame["model"].astype(str)
    found = hs.analyze(frame, resamples=200).correlations
    groups = found.groupby("setting")["group"].unique().map(set).to_dict()
    assert groups["5-shot"] == {"all", "flowers", "food"}
    assert groups["linear"] == {"all", SMALL, LARGE, "flowers", "food"}
    one = hs.analyze(frame, resamples=200, groups={"food": "meals"}).correlations
    assert set(one.query("setting == '5-shot'").group) == {"all", "meals", "flowers", "food"}
