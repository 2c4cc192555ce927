"""Names of models that are refused: each by its code, with what to type in its values."""

import pytest

from headstart import models
from headstart.errors import ModelError, StudyError, WeightsMissingError
from refusals import refused

# Names that nothing has -> the first of the names that are suggested.
UNKNOWN = {
    "timm:resnet19": "resnet18",
    "timm:resnet18.nobodys": None,
    "timm:resnet18.": "resnet18.tv_in1k",
    "timm:resnet18/IMAGENET1K_V1": None,
    "timm:ResNet18": "resnet18",
    "timm:resnet18?wieghts=random": "weights",
    "torchvision:resnet19": "resnet18",
    "torchvision:resnet18/IMAGENET1K_V9": None,
    "pytorchcv:resnet10000": None,
    "tensorflow:resnet50": None,
    "efficientnet_lite": "efficientnet_lite0",
    "resnet": None,
    # Without its library.
    "resnet18": "timm:resnet18",
    "resnet18.a1_in1k": "timm:resnet18",
    "ResNet-50": "resnet50",
    "vit_b_16": "torchvision:vit_b_16",
    # A file, a repository of the hub, or its address.
    "google/vit-base-patch16-224": "hf:google/vit-base-patch16-224",
    "timm/resnet18.a1_in1k": "hf:timm/resnet18.a1_in1k",
    "https://huggingface.co/google/vit": "hf:google/vit",
    "hf:https://huggingface.co/google/vit/tree/main": "hf:google/vit",
    "runs/best.pth": "checkpoint:runs/best.pth?arch=NAME",
    "w.safetensors?arch=timm:resnet18": "checkpoint:w.safetensors?arch=NAME",
    "nets.py": "nets.py:FUNCTION",
}
# Options -> values that they may not have.
OPTIONS = {
    "size": ["0", "99999999"], "std": ["0,0,0", "1,1,-1", "1,1"], "name": ["", "%20", "a%0Ab"],
    "mean": ["nan,0,0", "0.5", "a,b,c"], "family": [""], "configuration": [""], "upstream": ["76"],
    "pool": ["max"],
}  # fmt: skip
REFUSED = [
    *((f"resnet50?{option}={value}", StudyError, "model.option_invalid", {"option": option})
      for option, values in OPTIONS.items() for value in values),
    ("resnet50?weights=random&seed=x", StudyError, "model.option_invalid", {"option": "seed"}),
    ("resnet50?weights=random&seed=99999999999999999999", StudyError, "model.option_invalid",
     {"option": "seed"}),
    ("resnet50?seed=1", StudyError, "model.option_conflict", {"option": "seed"}),
    ("resnet50?arch=timm:resnet18", StudyError, "model.option_conflict", {"option": "arch"}),
    ("torchvision:vit_b_16?pool=mean", StudyError, "model.option_conflict", {"option": "pool"}),
    ("checkpoint:x.pth?arch=timm:resnet18&weights=random", StudyError, "model.option_conflict",
     {"option": "weights"}),
    ("resnet50?", StudyError, "model.name_invalid", {"name": "resnet50?"}),
    ("timm:resnet18\n", StudyError, "model.name_invalid", {}),
    ("timm:resnet18\x00", StudyError, "model.name_invalid", {}),
    ("res\tnet50", StudyError, "model.name_invalid", {}),
    ("resnet50?weights=", StudyError, "model.no_file", {}),
    ("checkpoint:?arch=timm:resnet18", StudyError, "model.no_file", {}),
    ("checkpoint:x.pth", StudyError, "model.arch_missing", {"name": "checkpoint:x.pth"}),
    ("timm:resnet18?weights=/no/such.pth", WeightsMissingError, "weights.missing",
     {"file": "/no/such.pth"}),
    ("timm:qwen3_vit_88m_enc", ModelError, "model.not_classifier", {"model": "qwen3_vit_88m_enc"}),
    ("hf:/no/such/folder", ModelError, "model.repository_missing", {}),
    # Repositories, as timm itself and its documentation write them.
    *((f"timm:{name}", StudyError, "model.hub_name", {"use": use}) for name, use in [
        ("hf_hub:timm/resnet18.a1_in1k", "hf:timm/resnet18.a1_in1k"),
        ("hf-hub:timm/resnet18.a1_in1k", "hf:timm/resnet18.a1_in1k"),
        ("hf-hub:someone/net", "hf:someone/net"),
        ("hf-hub:net", "hf:net"),
        ("timm/resnet18.a1_in1k", "hf:timm/resnet18.a1_in1k"),
        ("local-dir:/a/folder", "hf:/a/folder"),
    ]),
]  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_names_suggest_the_nearest(name):
    with refused("name.unknown") as error:
        models.find(name)
    near = UNKNOWN[name]
    assert near is None or near in error.value.near
    assert near is None or ":" not in near or error.value.near[0] == near


@pytest.mark.parametrize(("name", "kind", "code", "values"), REFUSED)
def test_names_that_are_refused(name, kind, code, values):
    with refused(code, **values) as error:
        models.find(name)
    assert isinstance(error.value, kind)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 300


def test_a_library_that_is_not_installed(monkeypatch):
    monkeypatch.setattr("headstart.models.model_source.installed", lambda _: False)
    with refused("model.package_missing", package="pytorchcv"):
        models.find("pytorchcv:resnet10")


@pytest.mark.parametrize(("name", "code"), [
    ("torchvision:maxvit_t?weights=random&size=96", "model.size"),
    ("timm:maxvit_tiny_tf_224?weights=random&size=100", "model.forward"),
    ("timm:vgg11?weights=random&size=1", "model.forward"),
    ("timm:resnet18?weights=random&pool=mean", "model.pool_unsupported"),
    ("torchvision:resnet18?weights=random&head=layer4.1.conv2", "model.no_classifier"),
])  # fmt: skip
def test_networks_that_cannot_be_built_so(name, code):
    with refused(code):
        models.load(models.find(name))
