"""Checkpoints as programs write them: the network is found in them, or one line says why not."""

import argparse
import datetime
import pathlib
import pickle
import re
from collections import OrderedDict, defaultdict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune

from headstart import models
from headstart.errors import UnknownNameError
from headstart.models.checkpoint_search import Purpose
from headstart.models.model_source import SOURCES, Head
from headstart.models.state_dict import load_state, size_for
from headstart.models.weight_files import read_weights
from headstart.models.weight_formats import holds_average
from networks import seeded
from refusals import refused


class Net(nn.Module):
    """A network of a few parts that are called as a ResNet's are."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)))
        self.fc = nn.Linear(4, 5)


HEAD = Head.at("fc")
PURPOSE = Purpose(HEAD, "/x/weights.pth")


def tensors(seed=1, module=None):
    """Draw a state that no network begins with."""
    generator = torch.Generator().manual_seed(seed)
    state = (module or Net()).state_dict()
    return OrderedDict(
        (n, torch.rand(t.shape, generator=generator) if t.is_floating_point() else t)
        for n, t in state.items()
    )


STATE, OTHER = tensors(), tensors(2)
BODY = {n: t for n, t in STATE.items() if not n.startswith("fc.")}


# As the parts of ``nn.Sequential(*network.children())`` are called.
NUMBERS = {"conv1": "0", "bn1": "1", "layer1": "2"}
NUMBERED = {
    f"{NUMBERS[n.partition('.')[0]]}.{n.partition('.')[2]}": tensor for n, tensor in BODY.items()
}


def under(prefix, state=STATE):
    return {f"{prefix}{n}": t for n, t in state.items()}


def loaded(content, purpose=PURPOSE, module=None):
    """Load and return the network's state, whether its classifier came, and the notes."""
    module, notes = module or Net(), []
    trained = load_state(module, content, purpose, notes.append)
    return module.state_dict(), trained, notes


def assert_is(found, expected, *, classifier, ignored=("fc.",)):
    for name, tensor in found.items():
        if classifier or not any(part in name for part in ignored):
            torch.testing.assert_close(tensor, expected[name], msg=name)


PREFIXES = (
    "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "feature_extractor.",
    "trunk.", "ema_model.module.", "model.backbone.", "encoder.", "student.backbone.",
    "classy_state_dict.x._feature_blocks.", "whatever_it_is-called.0.",
)  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("wrapper", ["", "state_dict", "net", "params", "generator"])
def test_any_prefix_inside_any_wrapper(prefix, wrapper):
    content = under(prefix)
    content = {wrapper: content, "epoch": 3, "acc": 91.3} if wrapper else content
    found, trained, notes = loaded(content)
    assert_is(found, STATE, classifier=True)
    assert (trained, notes) == (True, [])


# Layouts of programs; each holds BODY or STATE once, and what is beside it is ignored.
LAYOUTS = {
    "lightning": {"state_dict": under("model."), "epoch": 3, "callbacks": {}, "loops": {"a": []}},
    "parallel": {
        "model": under("module."), "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}},
    },
    "fsdp optimizer": {
        "model": STATE,
        "optim": {"state": {n: {"exp_avg": torch.zeros_like(t)} for n, t in STATE.items()}},
    },
    "states by name in the optimizer": {"optimizer": {"exp_avg": dict(OTHER)}, "model": STATE},
    "nested": {"a": {"b": {"c": [{"d": under("x.y.")}]}}},
    "by module": {n: {"weight": STATE[f"{n}.weight"], "bias": STATE[f"{n}.bias"]} for n in (
        "conv1", "fc")} | {"bn1": {n.removeprefix("bn1."): t for n, t in STATE.items()
        if n.startswith("bn1.")}, "layer1": {"0": {str(i): {
        k: STATE[f"layer1.0.{i}.{k}"] for k in ("weight", "bias")} for i in (0, 1)}}},
    "moco": {
        "arch": "resnet50",
        "state_dict": {
            **under("module.encoder_q.", {**BODY, "fc.0.weight": torch.ones(4, 4)}),
            **under("module.encoder_k.", OTHER),
            "module.queue": torch.ones(4, 9),
            "module.queue_ptr": torch.zeros(1, dtype=torch.long),
        },
    },
    "moco v3": {"state_dict": {
        **under("module.base_encoder.", BODY), **under("module.momentum_encoder.", OTHER),
        "module.predictor.0.weight": torch.ones(2, 2),
    }},
    "byol": {"online_network_state_dict": BODY, "target_network_state_dict": OTHER},
    "byol, both called encoder": {
        "online_network_state_dict": under("encoder.", BODY),
        "target_network_state_dict": under("encoder.", OTHER),
    },
    "keys of python 2": {n.encode(): t for n, t in STATE.items()},
    "parts compiled": {n.replace("layer1.", "layer1._orig_mod."): t for n, t in STATE.items()},
    "parts in parallel": {"state_dict": under("model.", {
        n.replace("layer1.", "layer1.module."): t for n, t in BODY.items()})},
    "parts sharded and recomputed": under("_fsdp_wrapped_module.", {
        n.replace("layer1.0.", "layer1._fsdp_wrapped_module.0._checkpoint_wrapped_module."): t
        for n, t in STATE.items()}),
    "profiled": {**STATE, "total_ops": torch.zeros(1), "layer1.0.total_params": torch.zeros(1)},
    "sparse": {**STATE, "layer1.0.1.weight": STATE["layer1.0.1.weight"].to_sparse()},
    "byol of lightly": {"state_dict": {
        **under("backbone.", BODY), **under("backbone_momentum.", OTHER),
        "projection_head.layers.0.weight": torch.ones(3, 4),
    }},
    "solo-learn": {"state_dict": {
        **under("backbone.", BODY), **under("momentum_backbone.", OTHER),
        "projector.0.weight": torch.ones(3, 4), "classifier.weight": torch.ones(3, 4),
    }},
    "dino": {
        "student": under("module.backbone.", OTHER),
        "teacher": {**under("backbone.", BODY), "head.mlp.0.weight": torch.ones(3, 4)},
        "dino_loss": {"center": torch.ones(1, 3)},
    },
    "ibot of mmpretrain": {"state_dict": {
        **under("student.backbone.", OTHER), **under("teacher.backbone.", BODY),
    }},
    "i-jepa": {
        "encoder": under("module.", OTHER),
        "target_encoder": under("module.", BODY),
        "predictor": {"module.mask_token": torch.ones(1, 1, 3)},
    },
    "swav": {**under("module.", BODY), "module.projection_head.0.weight": torch.ones(8, 4),
             "module.prototypes.weight": torch.ones(3, 8)},
    "mae": {"model": {**BODY, "mask_token": torch.ones(1, 1, 4), "decoder_embed.weight":
            torch.ones(2, 4), "decoder_blocks.0.norm1.weight": torch.ones(2)}},
    "simmim": {"model": {**under("encoder.", BODY), "encoder.mask_token": torch.ones(1, 1, 4),
               "decoder.0.weight": torch.ones(2, 4)}},
    "mmpretrain": {"meta": {"epoch": 3}, "state_dict": {
        **under("backbone.", BODY), "head.fc.weight": torch.ones(9, 4),
        "data_preprocessor.mean": torch.ones(3),
    }},
    "vissl": {"classy_state_dict": {"base_model": {"model": {
        "trunk": under("_feature_blocks.", BODY), "heads": {"0.clf.weight": torch.ones(9, 4)}}}}},
    "average of timm": {"state_dict": OTHER, "state_dict_ema": STATE, "args": {"lr": 0.1}},
    "average beside a model": {"model": OTHER, "ema": {"module": STATE, "updates": 3}},
    "lightning average": {"state_dict": {**under("ema_model."), **under("model.", OTHER)}},
    "swa": {"n_averaged": torch.tensor(3), **under("module.")},
    "supervised contrastive": {"model": {**under("encoder.", BODY), "head.0.weight":
                               torch.ones(3, 4), "head.2.bias": torch.ones(3)}},
    "children by number": under("backbone.", NUMBERED),
    "fastai": {"model": {**under("0.", NUMBERED), "1.2.weight": torch.ones(4)}, "opt": {"s": []}},
    "without counters": {n: t for n, t in STATE.items() if "num_batches" not in n},
    "other classes": {**BODY, "fc.weight": torch.zeros(10, 4), "fc.bias": torch.zeros(10)},
    "double precision": {n: t.double() if t.is_floating_point() else t for n, t in STATE.items()},
    "parameters": {n: nn.Parameter(t) if t.is_floating_point() else t for n, t in STATE.items()},
    "arrays": {"model": {n: t.numpy() for n, t in STATE.items()}, "__author__": "x"},
    "two names of one network": {"state_dict": STATE, "model": STATE},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_programs(layout, tmp_path):
    torch.save(LAYOUTS[layout], tmp_path / "x.pth")
    found, _, _ = loaded(read_weights(tmp_path / "x.pth"))
    assert_is(found, STATE, classifier=False)


def kept_as(function, *arguments, **options):
    """The state of a trained network whose weights torch computes at each pass, and its weights."""
    module = Net()
    module.load_state_dict(STATE)
    with seeded():
        for part in (module.conv1, module.layer1[0][1]):
            function(part, *arguments, **options)
        for part in (module.conv1, module.layer1[0][1]):
            # An optimizer moves what is kept, not the weight.
            with torch.no_grad():
                for parameter in part.parameters():
                    parameter.mul_(1.5)
        module.eval()
        module.conv1(torch.zeros(1, 3, 8, 8)), module.layer1[0][1](torch.zeros(1, 4))
    weights = {
        f"{name}.weight": part.weight.detach().clone()
        for name, part in (("conv1", module.conv1), ("layer1.0.1", module.layer1[0][1]))
    }
    return {n: t.clone() for n, t in module.state_dict().items()}, weights


@pytest.mark.parametrize(("kind", "function", "options"), [
    ("pruning", prune.l1_unstructured, {"name": "weight", "amount": 0.5}),
    ("weight norm", nn.utils.weight_norm, {}),
    ("weight norm", nn.utils.parametrizations.weight_norm, {}),
    ("spectral norm", nn.utils.spectral_norm, {}),
    ("spectral norm", nn.utils.parametrizations.spectral_norm, {}),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_weights_that_are_computed_from_others(kind, function, options):
    state, weights = kept_as(function, **options)
    assert not weights.keys() & state.keys()
    found, _, notes = loaded({"state_dict": under("module.", state)})
    for name, weight in weights.items():
        torch.testing.assert_close(found[name], weight, msg=name)
    assert [kind in note for note in notes] == [True]


@pytest.mark.parametrize("name", [
    "layer1.0.0.lora_A.default.weight", "layer1.0.0.lora_B",
    "base_model.model.conv1.base_layer.weight",
])  # fmt: skip
def test_adapters_are_to_be_merged(name):
    with refused("weights.adapter", name=name):
        loaded({**STATE, name: torch.ones(4, 4)})


def test_what_is_taken_and_ignored_is_said():
    _, _, notes = loaded(LAYOUTS["dino"])
    assert len(notes) == 2
    assert "'teacher.backbone'" in notes[0]
    assert "?part=student.module.backbone" in notes[0]
    assert notes[1].endswith("1 tensors that are not of the network: head")
    assert loaded(LAYOUTS["swav"])[2][0].endswith("projection_head, prototypes")
    # What no other network could be meant by needs no words.
    assert loaded(LAYOUTS["lightning"])[2] == []


@pytest.mark.parametrize("part", ["state_dict.model", "model"])
def test_the_other_network_can_be_chosen(part):
    purpose = Purpose(HEAD, "x.pth", part=part)
    assert_is(loaded(LAYOUTS["lightning average"], purpose)[0], OTHER, classifier=True)
    with pytest.raises(UnknownNameError) as error:
        loaded(LAYOUTS["lightning average"], Purpose(HEAD, "x.pth", part="generator"))
    assert error.value.name == "generator"


def test_two_networks_without_a_rule_are_refused():
    with refused("weights.ambiguous") as error:
        loaded({"generator": STATE, "discriminator": OTHER})
    assert sorted(error.value.values["found"]) == ["discriminator", "generator"]


def test_detectron2s_resnet():
    from torchvision import models as library

    module = library.resnet18()
    state = tensors(3, module)
    # detectron2's ResNet: stem, res2 to res5, norms inside their convolutions.
    stem = {"conv1.": "stem.conv1.", "bn1.": "stem.conv1.norm."}
    block = {
        "bn1.": "conv1.norm.", "bn2.": "conv2.norm.", "downsample.0.": "shortcut.",
        "downsample.1.": "shortcut.norm.",
    }  # fmt: skip
    theirs = {}
    for name, tensor in state.items():
        if name.startswith("fc.") or "num_batches" in name:
            continue
        new = name
        for ours, its in (block if name.startswith("layer") else stem).items():
            new = new.replace(ours, its)
        new = re.sub(r"^layer(\d)", lambda found: f"res{int(found[1]) + 1}", new)
        theirs[f"backbone.bottom_up.{new}"] = tensor.numpy()
    theirs["proposal_generator.rpn_head.conv.weight"] = np.ones((2, 2), np.float32)
    content = {"model": theirs, "matching_heuristics": True}
    found, _, notes = loaded(content, module=module)
    assert_is(found, state, classifier=False, ignored=("fc.", "num_batches"))
    assert notes[0].endswith("proposal_generator")


# From torchvision's own `_load_state_dict` of DenseNets: their published files have old names.
def test_torchvisions_published_densenets():
    from torchvision import models as library

    module = library.DenseNet(4, (2, 2), 8)
    state = tensors(3, module)
    old = {n.replace("norm1", "norm.1").replace("norm2", "norm.2").replace("conv1", "conv.1")
           .replace("conv2", "conv.2"): t for n, t in state.items()}  # fmt: skip
    assert old.keys() != state.keys()
    found, trained, _ = loaded(old, Purpose(Head.at("classifier"), "x"), module)
    assert trained
    assert all(torch.equal(t, state[n]) for n, t in found.items())


@pytest.mark.parametrize(("change", "code", "values"), [
    ({"layer1.0.0.weight": None}, "weights.misfit", {"missing": ["layer1.0.0.weight"]}),
    ({"layer9.weight": torch.ones(1)}, "weights.misfit", {"unexpected": ["layer9.weight"]}),
    ({"layer1.3.weight": torch.ones(1)}, "weights.misfit", {"unexpected": ["layer1.3.weight"]}),
    ({"se.weight": torch.ones(1)}, "weights.misfit", {"unexpected": ["se.weight"]}),
    ({"conv1.weight": torch.ones(4, 1, 3, 3)}, "weights.misfit", {"reshaped": ["conv1.weight"]}),
    ({"reg_token": torch.ones(1, 4, 8)}, "weights.registers", {"n": 4}),
    ({"conv1.weight": torch.full((4, 3, 3, 3), float("nan"))}, "weights.not_finite",
     {"name": "conv1.weight", "n": 108}),
    ({"bn1.running_var": torch.full((4,), float("inf"))}, "weights.not_finite", {"n": 4}),
    ({"conv1.weight": torch.ones(4, 3, 3, 3, dtype=torch.int8)}, "weights.quantised",
     {"name": "conv1.weight is int8"}),
    ({"conv1.weight": torch.ones(4, 3, 3, 3, dtype=torch.complex64)}, "weights.dtype",
     {"name": "conv1.weight"}),
    ({"conv1.weight": torch.ones(4, 3, 3, 3, device="meta")}, "weights.dtype", {}),
    ({"conv1.weight": None, "conv1.qweight": torch.ones(2)}, "weights.quantised", {}),
    ({"conv1.weight": None, "conv1.weight_scale_inv": torch.ones(2)}, "weights.quantised", {}),
])  # fmt: skip
@pytest.mark.parametrize("prefix", ["", "model.module."])
def test_what_does_not_fit(change, code, values, prefix):
    state = {n: t for n, t in {**STATE, **change}.items() if t is not None}
    with refused(code) as error:
        loaded(under(prefix, state))
    assert {n: error.value.values[n] for n in values} == values
    assert "--trust" not in str(error.value)


@pytest.mark.parametrize("content", [{"epoch": 3}, {}, [], 3, None, {"a": {"b": []}}])
def test_content_without_tensors(content):
    with refused("weights.empty"):
        loaded(content)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_lower_precisions_are_widened(dtype, tmp_path):
    lower = {n: t.to(dtype) if t.is_floating_point() else t for n, t in STATE.items()}
    torch.save(lower, tmp_path / "x.pth")
    save_file(lower, tmp_path / "x.safetensors")
    for file in ("x.pth", "x.safetensors"):
        found, _, _ = loaded(read_weights(tmp_path / file))
        assert found["conv1.weight"].dtype == torch.float32
        assert_is(found, {n: t.to(STATE[n].dtype) for n, t in lower.items()}, classifier=True)


def test_cycles_and_depth_end():
    content = {"state_dict": under("module.")}
    content["self"] = content
    deep = content
    for _ in range(50):
        deep["deeper"] = {"x": torch.ones(1)}
        deep = deep["deeper"]
    assert_is(loaded(content)[0], STATE, classifier=True)


class Mischief:
    """Unpickling it calls what its author chose."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return (pathlib.Path.touch, (self.place,))


@pytest.mark.parametrize("plain", [False, True])
def test_a_pickle_that_would_execute_is_refused(tmp_path, plain):
    file, proof = tmp_path / "weights.pth", tmp_path / "executed"
    content = {"state_dict": {"a": torch.zeros(1)}, "extra": Mischief(proof)}
    if plain:
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file)
    with refused("weights.unsafe") as error:
        read_weights(file)
    assert "pass --trust" in str(error.value)
    assert not proof.exists()
    if not plain:
        assert list(read_weights(file, trust=True)["state_dict"]) == ["a"]
        assert proof.exists()


def test_a_whole_network_needs_trust(tmp_path):
    module = nn.Sequential(OrderedDict(conv1=nn.Linear(2, 3)))
    torch.save({"model": module, "epoch": 3}, tmp_path / "x.pt")
    with refused("weights.unsafe"):
        read_weights(tmp_path / "x.pt")
    fresh = nn.Sequential(OrderedDict(conv1=nn.Linear(2, 3)))
    content = read_weights(tmp_path / "x.pt", trust=True)
    load_state(fresh, content, Purpose(Head(), "x.pt"))
    assert torch.equal(fresh.conv1.weight, module.conv1.weight)


class Settings(argparse.Namespace):
    """Of a library that is not installed where the file is read."""


Settings.__module__, Settings.__qualname__ = "omegaconf.dictconfig", "DictConfig"


def test_harmless_values_beside_the_tensors(tmp_path, monkeypatch):
    import sys
    import types

    library = types.ModuleType("omegaconf.dictconfig")
    library.DictConfig = Settings
    beside = {
        "args": argparse.Namespace(lr=0.1, path=pathlib.Path("x")),
        "accuracy": np.float64(0.7),
        "history": np.arange(3),
        "day": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
        "default": defaultdict(list, a=[1]),
        "settings": Settings(a=1),
        "device": torch.device("cpu"),
    }
    for name in ("omegaconf", "omegaconf.dictconfig"):
        monkeypatch.setitem(sys.modules, name, library)
    torch.save({"state_dict": STATE, **beside}, tmp_path / "x.pth")
    torch.save({"state_dict": STATE, **beside}, tmp_path / "y.pth",
               _use_new_zipfile_serialization=False)  # fmt: skip
    for name in ("omegaconf", "omegaconf.dictconfig"):
        monkeypatch.delitem(sys.modules, name)
    for file in ("x.pth", "y.pth"):
        found, _, notes = loaded(read_weights(tmp_path / file))
        assert_is(found, STATE, classifier=True)
        assert notes == []


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_plain_pickles_of_arrays_and_of_tensors(tmp_path, protocol):
    arrays = {"model": {n: t.numpy() for n, t in STATE.items()}}
    for content in (arrays, {"model": STATE}):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
        assert_is(loaded(read_weights(tmp_path / "x.pkl"))[0], STATE, classifier=True)


VIT, SWIN, BEIT = "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "beit_base_patch16_224"
SMALL = {
    VIT: {"depth": 1, "embed_dim": 24, "num_heads": 3},
    SWIN: {"depths": (1, 1, 1, 1), "embed_dim": 12, "num_heads": (1, 2, 3, 4)},
    BEIT: {"depth": 1, "embed_dim": 24, "num_heads": 3, "use_shared_rel_pos_bias": True},
}


def small(architecture, **options):
    import timm

    return timm.create_model(architecture, **SMALL.get(architecture, {}), **options)


def timms(head, **options):
    return Purpose(Head.at(head), "x", translate=SOURCES["timm"].translate, **options)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("architecture", [VIT, SWIN])
def test_position_embeddings_of_another_size(architecture, prefix):
    window, head = ({"window_size": 12}, "head.fc") if architecture == SWIN else ({}, "head")
    state = under(prefix, small(architecture, img_size=384, **window).state_dict())
    with refused("weights.size", size=384) as error:
        load_state(small(architecture), state, timms(head))
    assert "?size=384" in str(error.value)
    # Built for it, it fits; and where the user chose the size, it is resampled, which is said.
    assert load_state(small(architecture, img_size=384, **window), state, timms(head))
    notes = []
    load_state(small(architecture), state, timms(head, resample=True), notes.append)
    assert len(notes) == 1


def test_torchvisions_position_embeddings():
    from torchvision.models import VisionTransformer
    from torchvision.models.vision_transformer import interpolate_embeddings

    def build(size):
        return VisionTransformer(size, 16, 1, 2, 8, 16, num_classes=5)

    def purpose(**options):
        translate = SOURCES["torchvision"].translate
        return Purpose(Head.at("heads.head"), "x", translate=translate, **options)

    state, module = tensors(4, build(64)), build(32)
    with refused("weights.size", size=64):
        load_state(build(32), state, purpose(size=32))
    load_state(module, under("module.", state), purpose(resample=True))
    expected = interpolate_embeddings(32, 16, OrderedDict(state))["encoder.pos_embedding"]
    torch.testing.assert_close(module.state_dict()["encoder.pos_embedding"], expected)


@pytest.mark.parametrize(("name", "theirs", "ours", "size"), [
    ("pos_embed", (1, 577, 8), (1, 197, 8), 384),
    ("pos_embed", (1, 576, 8), (1, 196, 8), 384),
    ("pos_embed", (1, 580, 8), (1, 200, 8), 384),
    ("x.pos_embed", (1, 32, 32, 8), (1, 14, 14, 8), 512),
    ("encoder.pos_embedding", (1, 1025, 8), (1, 197, 8), 512),
    ("a.relative_position_bias_table", (23 * 23, 3), (13 * 13, 3), 384),
    ("a.relative_position_bias_table", (47 * 47 + 3, 12), (27 * 27 + 3, 12), 384),
    ("pos_embed", (1, 300, 8), (1, 197, 8), None),
])  # fmt: skip
def test_the_size_that_position_embeddings_are_for(name, theirs, ours, size):
    found = size_for({name: torch.empty(theirs)}, {name: torch.empty(ours)}, 224)
    assert found == size


def test_register_tokens():
    purpose = timms("head")
    for theirs, ours, n in [(4, 0, 4), (0, 4, 0)]:
        state = small(VIT, reg_tokens=theirs).state_dict()
        with refused("weights.registers", n=n):
            load_state(small(VIT, reg_tokens=ours), under("teacher.backbone.", state), purpose)


def test_patches_of_another_size_are_another_network():
    """timm would resample them, and 2 x 32 pixels give as many patches as 16 of half the size."""
    purpose = timms("head", resample=True)
    with refused("weights.misfit") as error:
        load_state(small(VIT), under("module.", small(VIT, patch_size=32).state_dict()), purpose)
    assert "patch_embed.proj.weight" in error.value.values["reshaped"]


def test_official_dinov2_with_registers():
    """Its position embeddings have one for the class token, timm's do not."""
    name = "vit_small_patch14_reg4_dinov2"
    options = {"depth": 1, "embed_dim": 24, "num_heads": 3, "img_size": 56}
    import timm

    module = timm.create_model(name, **options, num_classes=5)
    state = tensors(6, module)
    official = {n.replace("reg_token", "register_tokens"): t for n, t in state.items()}
    official |= {"pos_embed": torch.randn(1, 17, 24), "mask_token": torch.zeros(1, 24)}
    purpose = timms("head", size=56)
    load_state(module, under("teacher.backbone.", official), purpose)
    torch.testing.assert_close(module.reg_token.data, state["reg_token"])
    # timm adds the class token's own to the token.
    torch.testing.assert_close(
        module.cls_token.data, state["cls_token"] + official["pos_embed"][:, :1]
    )
    torch.testing.assert_close(module.pos_embed.data, official["pos_embed"][:, 1:])


def test_official_swin():
    """Its stages end with the step that timm's begin with; its index buffers are left out."""
    purpose = timms("head.fc")
    module = small(SWIN)
    state = tensors(7, module)
    before = re.compile(r"layers\.(\d)\.downsample")
    official = {
        before.sub(lambda m: f"layers.{int(m[1]) - 1}.downsample", n).replace("head.fc", "head"): t
        for n, t in state.items()
    } | {"layers.0.blocks.0.attn.relative_position_index": torch.zeros(49, 49, dtype=torch.long)}
    found, _, _ = loaded({"model": official, "optimizer": {}}, purpose, module)
    assert_is(found, state, classifier=False, ignored=("head.fc",))


def test_a_distilled_token_is_no_other_size():
    name, options = "deit_tiny_distilled_patch16_224", {"depth": 1}
    import timm

    state = timm.create_model(name, **options).state_dict()
    purpose = timms("head")
    with refused("weights.misfit") as error:
        load_state(timm.create_model("deit_tiny_patch16_224", **options), state, purpose)
    assert "dist_token" in error.value.values["unexpected"]


def official_convnext(name):
    """Name a tensor as the paper's release does, from timm's name."""
    name = name.replace("stem.", "downsample_layers.0.").replace("head.norm.", "norm.")
    name = name.replace("head.fc.", "head.").replace("conv_dw", "dwconv")
    name = name.replace("mlp.fc1", "pwconv1").replace("mlp.fc2", "pwconv2")
    for stage in range(4):
        name = name.replace(f"stages.{stage}.downsample.", f"downsample_layers.{stage}.")
        name = name.replace(f"stages.{stage}.blocks.", f"stages.{stage}.")
    return name


@pytest.mark.parametrize("prefix", ["", "model.", "state_dict.module.backbone."])
def test_official_names_behind_a_prefix(prefix):
    import timm

    module = timm.create_model("convnext_atto", depths=(1, 1, 1, 1), dims=(8, 16, 24, 32))
    state = tensors(5, module)
    official = {official_convnext(n): t for n, t in state.items()}
    assert not official.keys() & {"stem.0.weight", "stages.1.blocks.0.conv_dw.weight"}
    purpose = timms("head.fc")
    load_state(module, under(prefix, official), purpose)
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(tensor.flatten(), state[name].flatten(), msg=name)


def test_an_average_makes_another_model(tmp_path):
    plain, averaged = tmp_path / "plain.pth", tmp_path / "averaged.pth"
    torch.save({"state_dict": under("model.")}, plain)
    torch.save(LAYOUTS["lightning average"], averaged)
    assert [holds_average(file) for file in (plain, averaged)] == [False, True]
    # What was right before is the same model as before.
    torch.save(LAYOUTS["average of timm"], plain)
    assert not holds_average(plain)
    torch.save({"model": STATE, "config": {"ema": True, "note": "ema"}}, plain)
    assert not holds_average(plain)
    torch.save(LAYOUTS["average beside a model"], averaged)
    assert holds_average(averaged)
    table = tmp_path / "x.safetensors"
    save_file(under("ema_model."), table)
    assert holds_average(table)
    # Values are no names.
    values = torch.frombuffer(bytearray(b' "ema_model.conv1.weight"'), dtype=torch.uint8)
    save_file({"conv1.weight": values}, table)
    assert not holds_average(table)


def test_the_part_is_in_the_identity(tmp_path):
    state = models.load(models.find("timm:resnet18?weights=random")).state_as_built()
    zeros = {n: torch.zeros_like(t) for n, t in state.items()}
    file = tmp_path / "x.ckpt"
    torch.save({"state_dict": {**under("ema_model.", state), **under("model.", zeros)}}, file)
    name = f"checkpoint:{file}?arch=timm:resnet18"
    average, last = models.find(name), models.find(f"{name}&part=model")
    assert average.identity != last.identity
    assert average.weights == last.weights
    notes = []
    network = models.load(average, note=notes.append)
    assert network.backbone.conv1.weight.any()
    assert len(notes) == 1
    assert not models.load(last).backbone.conv1.weight.any()
    # Said once per process: fine-tuning loads a network for each candidate.
    models.load(average, note=notes.append)
    assert len(notes) == 1
