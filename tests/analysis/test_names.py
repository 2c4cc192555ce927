"""Names that mean one thing, and results of several sources that meet under them."""

import numpy as np
import pandas as pd
import pytest

import headstart as hs
from headstart.analysis.tables.canonical_names import (
    canonical,
    is_known_dataset,
    match_names,
    nearest,
)
from headstart.analysis.tables.results_sources import read_sources
from stores import make_store


@pytest.mark.parametrize(("kind", "names"), [
    ("dataset", ["Food-101", "food101", "FOOD 101", "food", "Food101Classification"]),
    ("dataset", ["Oxford-IIIT Pets", "pets", "OxfordPets", "oxford_iiit_pet"]),
    ("dataset", ["102 Flowers", "flowers", "OxfordFlowersClassification", "flowers-102"]),
    ("dataset", ["PASCAL VOC 2007 Cls.", "VOC2007", "voc"]),
    ("dataset", ["ImageNet", "imagenet-1k", "ILSVRC2012", "IN1k"]),
    ("dataset", ["PatchCamelyon", "pcam", "patch_camelyon"]),
    ("setting", ["linear", "logistic_regression", "Linear probe", "LinearEval"]),
    ("setting", ["finetune", "fine-tuned", "Fine tuning", "ft", "full fine-tuning"]),
    ("setting", ["scratch", "random_init", "from scratch", "Random initialization"]),
    ("model", ["timm:resnet50.a1_in1k", "resnet50.a1_in1k", "timm/resnet50.a1_in1k"]),
    ("model", ["ResNet-50", "resnet50", "resnet_50", "ResNet 50"]),
])  # fmt: skip
def test_names_of_one_thing(kind, names):
    assert len({canonical(kind, name) for name in names}) == 1


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("dataset", ["cifar10", "cifar100", "./food101", "food101", "imagenet", "imagenet-v2"]),
        ("setting", ["linear", "linear (simclr2020)", "zero-shot", "knn"]),
        ("model", ["vit_patch16_224", "vit_patch1_6224", "resnet50.a1_in1k", "resnet50.a2_in1k",
                   "resnet50", "mobilenet 1.4", "mobilenet 14"]),
    ],
)  # fmt: skip
def test_names_of_several_things(kind, names):
    assert len({canonical(kind, name) for name in names}) == len(names)


def test_matching_leaves_out_what_is_not_plain():
    assert match_names("model", ["resnet50", "vgg16"], ["ResNet-50"]) == {"resnet50": "ResNet-50"}
    assert match_names("model", ["resnet50", "ResNet 50"], ["ResNet-50"]) == {}
    assert nearest("dataset", "Fodo-101", ["Food-101", "CIFAR-10"]) == "Food-101"
    assert nearest("dataset", "EuroSAT", ["Food-101", "CIFAR-10"]) is None
    assert is_known_dataset("Stanford Cars")
    assert not is_known_dataset("resnet50")


def one(model, dataset, setting, accuracy, **more):
    return {"model": model, "dataset": dataset, "setting": setting, "accuracy": accuracy, **more}


def test_own_results_line_up_with_a_published_table(tmp_path):
    store = make_store(tmp_path / "results.db", {"mine": 0.9})
    frame = hs.results(store.path)
    name = frame["dataset"].iloc[0]
    published = pd.DataFrame(
        [
            one("x", name.upper(), "logistic_regression", 0.8),
            one("x", "EuroSAT", "ft", 0.7),
        ]
    ).assign(limit=frame["limit"].iloc[0])
    source = read_sources([published, store.path])
    same = source.frame[source.frame.dataset == name.upper()]
    assert set(same.model) == {"mine", "x"}
    assert set(same.setting) == {"logistic_regression"}
    fact = source.facts[1]
    assert fact["renamed"] == {"linear": "logistic_regression", name: name.upper()}
    assert fact["unmatched"] == [("model", "mine", None)]


def test_what_disagrees_is_kept_apart():
    """The same names, other networks: numbers that contradict each other are not joined."""
    first = pd.DataFrame([one("ResNet-50", "pets", "linear", 0.9)])
    second = pd.DataFrame([one("timm:resnet50", "Pets", "linear", 0.7)])
    source = read_sources([first, second])
    assert set(source.frame.model) == {"ResNet-50", "timm:resnet50"}
    assert set(source.frame.dataset) == {"pets"}
    assert source.facts[1]["kept_apart"] == [("timm:resnet50", "ResNet-50")]
    third = second.assign(model="ResNet-50", setting="linear probe")
    apart = read_sources([first, third])
    assert set(apart.frame.setting) == {"linear", "linear probe"}
    upstream = [frame.assign(upstream_accuracy=value) for frame, value in
                ((first, 0.76), (second.assign(dataset="cars"), 0.8))]  # fmt: skip
    assert read_sources(upstream).facts[1]["kept_apart"] == [("timm:resnet50", "ResNet-50")]


def test_published_tables_of_the_same_datasets_meet():
    source = read_sources(["kornblith2019", "mieb2026"])
    assert source.frame.dataset.nunique() == 21
    shared = source.frame.groupby("dataset").setting.nunique()
    assert (shared == 4).sum() == 12


def test_other_weights_are_matched_whatever_their_names(table):
    table = table.assign(dataset=table.dataset.replace({"set0": "food101"}))
    other = table.assign(
        dataset=table.dataset.replace({"food101": "Food-101"}),
        setting=table.setting.replace({"linear": "logistic_regression"}),
        upstream_accuracy=np.clip(table.upstream_accuracy + 0.02, 0, 0.99),
    )
    sets = hs.analyze(table, against=other, resamples=200).model_sets
    assert sets.set_index("setting").n_datasets.to_dict() == {"linear": 4, "finetune": 4}
