"""Names that mean one thing: datasets, settings, models, and families by architecture lines."""

import numpy as np
import pandas as pd
import pytest

import headstart as hs
from headstart.analysis.tables.canonical_names import (
    canonical,
    families_of,
    is_known_dataset,
    match_names,
    merge_spellings,
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


# Each row is a family as those who know the field would draw it.
RELATIVES = [
    ("EfficientNet-B0", "EfficientNetV2-S", "efficientnet_b7", "tf_efficientnet_l2.ns_jft_in1k"),
    ("convnext_tiny", "convnext_xlarge", "ConvNeXt-XXLarge", "convnext_pico_ols", "convnextv2_atto",
     "convnext_zepto_rms", "ConvNeXt V2-T", "timm:convnext_large.fb_in22k_ft_in1k_384"),
    ("resnet50", "ResNet-101", "RESNET 18", "resnet50.a1_in1k", "resnet33ts", "resnetv2_152x4_bit",
     "torchvision:resnet34", "hf:microsoft/resnet-50", "ResNet-50 (4x)", "gluon_resnet50_v1b"),
    ("res2net50", "res2net101_26w_4s"),
    ("vit_tiny_patch16_224", "ViT-B/16", "vit_so400m_patch14_siglip_378", "ViT-Ti/16",
     "vit_base_patch14_dinov2.lvd142m", "vit_base_patch16_224.augreg_in21k",
     "google/vit-base-patch16-224-in21k", "vit_pwee_patch16_reg1_gap_256"),
    ("facebook/dinov2-base", "facebook/dinov2-giant"),
    ("openai/clip-vit-base-patch32", "CLIP-ViT-L/14-336px", "laion/CLIP-ViT-bigG-14-laion2B-39B"),
    ("mobilenetv2_100", "mobilenetv3_small_050", "MobileNet v1", "mobilenet_v3_large"),
    ("swin_base_patch4_window7_224", "swinv2_cr_small_ns_224", "Swin-B (in22k)"),
    ("shufflenet_v2_x0_5", "shufflenet_v2_x1_0"),
    ("edgenext_x_small", "edgenext_xx_small", "edgenext_base"),
    ("DeiT-III-B", "deit3_large_patch16_384", "deit_tiny_patch16_224"),
    ("tiny_vit_5m_224", "tiny_vit_21m_512"),
    ("regnety_002", "RegNetY-16GF"),
    ("nasnetalarge",), ("pnasnet5large",), ("wide_resnet50_2", "Wide ResNet-101-2"),
    ("inception_v3", "inception_v4"), ("inception_resnet_v2", "Inception-ResNet v2"),
    ("BN-Inception",), ("I-JEPA-H",), ("m00",), ("m01",),
    ("Haon-Chen/e5-omni-3B", "Haon-Chen/e5-omni-7B"),
]  # fmt: skip


def test_families_that_the_field_would_draw():
    found = families_of([name for row in RELATIVES for name in row])
    for row in RELATIVES:
        assert len({found[name] for name in row}) == 1, {name: found[name] for name in row}
    assert len(set(found.values())) == len(RELATIVES)


def test_the_spelling_does_not_depend_on_the_order():
    names = ["resnet50", "ResNet-101", "resnet18", "ViT-B/16", "vit_large"]
    random = np.random.default_rng(0)
    for _ in range(5):
        found = families_of(random.permutation(names))
        assert {found[name] for name in names[:3]} == {"resnet"}
        # Of equals the one with capitals.
        assert {found[name] for name in names[3:]} == {"ViT"}


def test_a_column_of_families_is_the_users():
    assert merge_spellings(["DINOv2", "dinov2", "AugReg"]) == {
        "DINOv2": "DINOv2", "dinov2": "DINOv2", "AugReg": "AugReg",
    }  # fmt: skip
    models = ["vit_base.dino", "vit_large.dino", "vit_base.augreg", "resnet50"]
    frame = pd.DataFrame({"model": models, "dataset": "a", "setting": "linear",
                          "accuracy": [0.5, 0.6, 0.7, 0.8],
                          "family": ["DINOv2", "dinov2", "AugReg", None]})  # fmt: skip
    cells = hs.analyze(frame, resamples=200).cells
    assert cells.family.tolist() == ["DINOv2", "DINOv2", "AugReg", "resnet"]


def a_table(families, upstream=None) -> pd.DataFrame:
    n = len(families)
    random = np.random.default_rng(0)
    x = np.linspace(0.6, 0.8, n) if upstream is None else np.array(upstream)
    rows = {"model": [f"m{i}" for i in range(n)], "setting": "linear", "family": families,
            "upstream_accuracy": x}  # fmt: skip
    return pd.concat([
        pd.DataFrame(rows).assign(dataset=d, accuracy=0.7 + 0.2 * random.random(n)) for d in "ab"
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("families", "warned"),
    [
        (["a"] * 11 + ["b", "c", "d", "e"], "11 of 15"),
        (["a"] * 7 + ["b"] * 5 + ["c", "d", "e"], ""),
        # No interval over families, and no warning of it.
        (["a"] * 13 + ["b", "c"], ""),
    ],
)
def test_one_family_of_most_models_is_warned_of(families, warned):
    notes = hs.analyze(a_table(families), resamples=200).notes
    said = " ".join(notes.about + ": " + notes.note)
    assert ("intervals over families (Logistic regression) are unreliable" in said) == bool(warned)
    assert warned in said
    if warned:
        # (11 + 4)^2 / (121 + 4)
        assert "the 5 families count as 1.8" in said


def test_models_far_from_all_others_upstream_are_named():
    """Of nine models between 60 and 76 % one has 0.1 %: chance."""
    upstream = [*np.linspace(0.60, 0.76, 9), 0.001]
    notes = hs.analyze(a_table(list("abcdefghij"), upstream), resamples=200).notes
    assert "1 of 10 models" in notes.about[0]
    assert "m9 0.10 %" in notes.note[0]
    assert hs.analyze(a_table(list("abcdefghi"), upstream[:9]), resamples=200).notes.empty


@pytest.mark.parametrize("name", ["", " ", "50", "B0", "-", "((", "a/b/c", ":", "timm:"])
def test_a_name_without_a_family_is_its_own(name):
    assert families_of([name, "漢字50"]) == {name: name.strip(), "漢字50": "漢字"}
