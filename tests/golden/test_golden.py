"""What must never change by a refactoring: keys, and that what was stored is found and carried on.

``keys.json``, ``store`` and ``cache`` were written by the release before the modules were renamed
(commit ec09aaf). A key that changes makes every stored result of every user be measured again. A
number that had to change gets another key by its own implementation number, never all of them.
"""

import json
import shutil
import sys
from pathlib import Path

import pytest

from headstart import methods, models
from headstart.features.extract import features_content
from headstart.spec import (
    Candidate,
    Dataset,
    Decoding,
    Model,
    Recipe,
    Sizes,
    Trial,
    Weights,
    digest,
)
from headstart.study import Study

HERE = Path(__file__).parent
STUDY = {
    "models": ["small:resnet10_w4?weights=random&seed=1"],
    "datasets": ["digits"],
    "settings": ["linear", "finetune:quick", "scratch:quick"],
    "limit": 60,
}

MODELS = {
    # Names whose facts come from files of this project or from the name itself.
    name: name
    for name in (
        "efficientnet_lite0",
        "efficientnet_lite0?size=64",
        "efficientnet_lite1?interpolation=bilinear&mean=0,0,0.5&std=1,1,2",
        "resnet50",
        "resnet50?weights=random&seed=3",
        "resnet50?upstream=0.7&configuration=no label smoothing",
        "small:resnet10_w4?weights=random",
        "small:inception_w8?weights=random&seed=2",
    )
}
OWN = {
    "source": "timm",
    "architecture": "vit_small_patch16_224",
    "weights": Weights(locator="hf:timm/x", sha256="ab" * 32),
    "input_size": 224,
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.25, 0.25, 0.25),
    "feature_dim": 384,
}
DEPARTURES = {
    "head": {"head": "fc"},
    "pool": {"pool": "mean"},
    "no scale": {"bn_scale": False},
    "dropout": {"dropout": 0.2},
    "auxiliary": {"tags": {"auxiliary_head": "kept"}},
    "no digest": {"weights": Weights(locator="https://example.org/w.pth")},
    "random": {"weights": Weights(locator="random:7")},
}
PHOTOS = {
    "name": "photos",
    "source": "folder",
    "location": "/data/photos",
    "revision": "cd" * 32,
    "classes": ("cat", "dog", "fox"),
    "sizes": Sizes(train=120, validation=40, test=40),
}
DATASETS = {
    "plain": {},
    "limit": {"limit": 30},
    "few": {"examples_per_class": 4},
    "several labels": {"metric": "voc-map-11point"},
    "per class": {"metric": "mean-per-class"},
    "decoding": {"decoding": Decoding(like="torchvision", max_pixels=1_000_000)},
    "skip broken": {"skip_broken": True},
    "missing": {"allow_missing": True, "split_seed": 3, "options": {"a": "b"}},
}
SETTINGS = {
    "linear": {"name": "linear"},
    "linear, centre": {"name": "linear", "protocol": "simclr2020"},
    "linear, bf16": {"name": "linear", "precision": "bf16", "tolerance": 1e-5},
    "linear, lambdas": {"name": "linear", "lambdas": [1.0, 0.1]},
    "finetune": {"name": "finetune"},
    "finetune, simclr": {"name": "finetune", "protocol": "simclr2020"},
    "finetune, halving": {"name": "finetune", "protocol": "halving"},
    "finetune, short": {"name": "finetune", "protocol": "short"},
    "finetune, steps": {"name": "finetune", "protocol": "quick", "steps": 80, "batch_size": 16},
    "scratch": {"name": "scratch"},
    "scratch, quick": {"name": "scratch", "protocol": "quick"},
}
CANDIDATES = {
    "none": {},
    "trained": {"learning_rate": 0.01, "weight_decay": 1e-6, "steps": 20000.0},
    "words": {"crop": "central", "learning_rate": 0.1},
}


def keys() -> dict[str, str]:
    """Every key that something stored or cached is found by, by a name for a person."""
    named = {name: models.find(name) for name in MODELS}
    named |= {
        f"own, {name}": Model(**{**OWN, "name": "own", **departs})
        for name, departs in ({"plain": {}} | DEPARTURES).items()
    }
    data = {name: Dataset(**{**PHOTOS, **departs}) for name, departs in DATASETS.items()}
    ways = {name: methods.find(**fields) for name, fields in SETTINGS.items()}
    trials = {
        f"model {name}, {way}": Trial(model=model, dataset=data["plain"], setting=ways[way])
        for name, model in named.items()
        for way in ("linear", "finetune", "scratch")
    }
    trials |= {
        f"dataset {name}, seed {seed}": Trial(
            model=named["resnet50"], dataset=one, setting=ways["linear"], seed=seed
        )
        for name, one in data.items()
        for seed in (0, 5)
    }
    trials |= {
        f"setting {name}, seed {seed}": Trial(
            model=named["resnet50"], dataset=data["plain"], setting=way, seed=seed
        )
        for name, way in ways.items()
        for seed in (0, 5)
    }
    found = {f"trial: {name}": trial.key for name, trial in trials.items()}
    for name, model in named.items():
        for setting in ("linear", "linear, centre", "linear, bf16"):
            for runtime in ("torch", "openvino"):
                content = features_content(
                    model, "ef" * 32, ways[setting].resize, ways[setting].precision, runtime
                )
                found[f"features: {name}, {setting}, {runtime}"] = digest(content)
    for name, values in CANDIDATES.items():
        found[f"candidate: {name}"] = Candidate(values=values).key
        # As settings/training.py names checkpoints of a candidate's training.
        trial = trials["setting finetune, seed 5"]
        words = {"trial": trial.key, "what": "candidate", "values": values}
        found[f"checkpoint: {name}"] = digest(words)
    for name, one in data.items():
        found[f"images: {name}"] = one.images_revision
    for name, fields in {
        "plain": {},
        "seeded": {"seed": 3, "label_smoothing": 0.1},
        "switched": {"bn_scale": False, "dropout": 0.2},
    }.items():
        recipe = Recipe(model=named["resnet50?weights=random&seed=3"], dataset=data["plain"],
                        steps=100, **fields)  # fmt: skip
        found[f"recipe: {name}"] = recipe.key
    return found


def test_keys_are_what_they_were():
    expected = json.loads((HERE / "keys.json").read_text())
    assert len(expected) > 150
    assert keys() == expected


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Path:
    """A copy of what the release before left behind."""
    for name in ("store", "cache"):
        shutil.copytree(HERE / name, tmp_path / name)
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HEADSTART_RUNTIME", "torch")
    return tmp_path


def test_what_was_stored_is_found(kept):
    run = Study(**STUDY).run(kept / "store" / "results.db")
    assert (len(run.results), run.measured) == (3, 0)


def test_features_that_were_kept_are_not_computed_again(kept, monkeypatch):
    monkeypatch.setattr("headstart.features.extract.make_runtime", None)
    study = Study(**{**STUDY, "settings": ["linear"]})
    run = study.run(kept / "new.db")
    assert run.failures == ()
    (result,) = run.results
    # Written with the store: 17 of 60, where another processor may choose another lambda.
    assert abs(result.metrics["top-1"] - 17 / 60) < 0.1


if __name__ == "__main__":
    json.dump(keys(), sys.stdout, indent=1)
