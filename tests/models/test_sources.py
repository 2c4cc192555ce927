"""One adapter a library: names become real networks, files become their weights."""

import importlib
import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from headstart import models
from headstart.models import weights
from headstart.models.model_source import SOURCES, Head
from headstart.models.network import Network
from headstart.models.sources.timm_networks import timm_upstream
from headstart.models.weight_files import read_weights
from networks import images, load, seeded
from refusals import refused

# Of each library a real network: a convolutional one, transformers, one with auxiliary heads.
REAL = {
    "timm:resnet18.tv_in1k": (512, 64),
    "timm:vit_tiny_patch16_224": (192, 224),
    "timm:vit_tiny_patch16_224?pool=mean": (192, 224),
    "timm:convnext_atto": (320, 64),
    "timm:swin_tiny_patch4_window7_224": (768, 224),
    "torchvision:resnet18/IMAGENET1K_V1": (512, 64),
    "torchvision:googlenet": (1024, 96),
    "torchvision:mobilenet_v3_small": (1024, 64),
    "torchvision:regnet_x_400mf": (400, 64),
    "pytorchcv:resnet10": (512, 224),
}


def random_name(name, seed=0):
    return f"{name}{'&' if '?' in name else '?'}weights=random&seed={seed}"


@pytest.mark.parametrize("name", REAL)
def test_a_name_becomes_a_network(name):
    dim, size = REAL[name]
    model = models.find(random_name(name))
    assert model.feature_dim == dim
    assert model.tags["weights"] == "random"
    assert model.upstream_accuracy is None
    network = models.load(model)
    assert sum(p.numel() for p in network.backbone.parameters()) == model.parameters
    with torch.inference_mode():
        features = network.penultimate(images(size))
        assert features.shape == (2, dim)
        torch.testing.assert_close(network.classifier(features), network(images(size)))
    assert network.with_head(5, 0).classifier.out_features == 5


def test_the_same_seed_gives_the_same_network_and_another_another():
    for name in ("timm:resnet10t", "torchvision:googlenet", "pytorchcv:resnet10"):
        model = models.find(random_name(name))
        network, again, other = (
            models.load(model).backbone.state_dict(), models.load(model).backbone.state_dict(),
            load(random_name(name, 1)).backbone.state_dict(),
        )  # fmt: skip
        assert all(torch.equal(tensor, again[n]) for n, tensor in network.items())
        assert not all(torch.equal(tensor, other[n]) for n, tensor in network.items())


def test_drawing_weights_leaves_the_callers_generator_alone():
    with seeded(5):
        expected = torch.rand(3)
    with seeded(5):
        load("timm:resnet18?weights=random").with_head(3, 0)
        assert torch.equal(torch.rand(3), expected)


def test_class_token_and_mean_differ_and_are_in_the_identity():
    token, mean = (
        models.find(f"timm:vit_tiny_patch16_224?weights=random&pool={pool}")
        for pool in ("token", "mean")
    )
    assert token.identity != mean.identity
    with torch.inference_mode():
        ours = [models.load(model).penultimate(images(224)) for model in (token, mean)]
        tokens = models.load(token).backbone.forward_features(images(224))
    torch.testing.assert_close(ours[0], tokens[:, 0])
    torch.testing.assert_close(ours[1], tokens[:, 1:].mean(1))


def test_the_facts_are_the_librarys():
    model = models.find("torchvision:resnet50/IMAGENET1K_V2")
    assert model.upstream_accuracy == pytest.approx(0.80858)
    assert model.weights.locator == "https://download.pytorch.org/models/resnet50-11ad3fa6.pth"
    model = models.find("timm:vit_small_patch16_224")
    assert (model.input_size, model.mean) == (224, (0.5, 0.5, 0.5))
    assert model.weights.locator == "hf:timm/vit_small_patch16_224.augreg_in21k_ft_in1k"


def test_facts_are_asked_once(own_cache, monkeypatch):
    first = models.find("timm:resnet18")
    monkeypatch.setattr(type(SOURCES["timm"]), "describe", lambda *_: pytest.fail("asked again"))
    assert models.find("timm:resnet18") == first
    # Another release of the library may say something else.
    monkeypatch.setattr(type(SOURCES["timm"]), "version", lambda _: "99")
    with pytest.raises(pytest.fail.Exception, match="asked again"):
        models.find("timm:resnet18")


def test_timms_deprecated_names(own_cache, monkeypatch):
    """Each of them is the network that timm maps it to, and says its name."""
    import timm
    from timm.models import get_deprecated_models

    # Widths are not the subject here: building 209 networks takes minutes.
    monkeypatch.setattr(
        "headstart.models.sources.timm_networks.counted", lambda *_: {"feature_dim": 8}
    )
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: Classified())
    deprecated = get_deprecated_models()
    assert len(deprecated) > 200
    known = set(timm.list_pretrained()) | set(timm.list_models())
    for old, new in deprecated.items():
        model = SOURCES["timm"].describe(old)
        architecture, _, tag = new.partition(".")
        assert model.architecture == architecture
        assert model.tags["current_name"] == f"timm:{new}" or new not in known
        assert model.tags.get("weights_tag", "").startswith(tag)
        config = timm.get_pretrained_cfg(model.tags["current_name"].removeprefix("timm:"))
        assert model.weights.locator in (f"hf:{config.hf_hub_id}", config.url)
    found = models.find("timm:tf_efficientnet_b0_ns")
    assert models.remarks(found) == [
        "'timm:tf_efficientnet_b0_ns': an old name of timm:tf_efficientnet_b0.ns_jft_in1k"
    ]


class Classified(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 3)

    def get_classifier(self):
        return self.fc


@pytest.mark.parametrize(("name", "same"), [
    ("torchvision:resnet50/ResNet50_Weights.IMAGENET1K_V1", "torchvision:resnet50/IMAGENET1K_V1"),
    ("torchvision:resnet50/DEFAULT", "torchvision:resnet50"),
    ("torchvision:resnet50/ResNet50_Weights.DEFAULT", "torchvision:resnet50/IMAGENET1K_V2"),
    ("torchvision:ResNet50_Weights.IMAGENET1K_V1", "torchvision:resnet50/IMAGENET1K_V1"),
    ("torchvision:ResNet50", "torchvision:resnet50"),
    ("torchvision:resnet50/imagenet1k_v1", "torchvision:resnet50/IMAGENET1K_V1"),
    ("pytorchcv:ResNet10", "pytorchcv:resnet10"),
])  # fmt: skip
def test_names_as_their_library_writes_them(name, same):
    assert models.find(name).identity == models.find(same).identity


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.left, self.right = nn.Linear(3, 4), nn.Linear(4, 2), nn.Conv1d(4, 2, 1)


@pytest.mark.parametrize("head", ["right", "nowhere", ""])
def test_a_head_that_cannot_be_found_says_how_to_name_it(head):
    with refused("model.no_classifier", head=head, known=["stem", "left"]):
        Network(TwoHeads(), Head.at(head))


def test_auxiliary_heads_are_removed_or_kept_as_the_tags_say():
    model = models.find("torchvision:googlenet?weights=random")
    assert models.load(model).auxiliary == ()
    kept = model.model_copy(update={"tags": {"auxiliary_head": "kept"}})
    network = models.load(kept)
    assert network.auxiliary == ("aux1", "aux2")
    # In training it answers with three logits; the classifier's own are what counts.
    assert network.train()(images(96)).shape == (2, 1000)


@pytest.fixture(scope="module")
def trained():
    import timm

    with seeded(99):
        return timm.create_model("resnet18").eval()


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Hubs that refuse, and none of the user's downloads."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize(("name", "file"), [
    ("timm:resnet18", "model.safetensors of timm/resnet18"),
    ("resnet50", "model.safetensors of timm/resnet50.tv_in1k"),
])  # fmt: skip
def test_a_hub_that_cannot_be_reached(no_network, own_cache, name, file):
    model = models.find(name)
    assert models.presence(model)[0] is False
    with refused("weights.unreachable", model=name, host="127.0.0.1:9") as error:
        models.fetch(model)
    # What to fetch by hand, and how to name it then.
    assert all(part in str(error.value) for part in (file, f"{name}?weights=FILE"))


def test_a_download_is_whole_or_not_there(own_cache, no_network, monkeypatch, tmp_path):
    import io
    import zipfile

    content = io.BytesIO()
    torch.save({"a": torch.ones(2)}, content)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("bninception-0774-d79ba5f5.pth", content.getvalue())
    answers = {"zip": packed.getvalue(), "pth": content.getvalue()}
    monkeypatch.setattr(
        "urllib.request.urlopen", lambda url, timeout: io.BytesIO(answers[url[-3:]])
    )
    model = models.find("bn_inception")
    models.fetch(model)
    place = weights.locate(model, own_cache)
    assert torch.equal(read_weights(place)["a"], torch.ones(2))
    # torchvision's names hold the start of the digest: what does not fit it is not kept.
    with refused("weights.damaged"):
        models.fetch(models.find("inception_v1"))
    assert weights.locate(models.find("inception_v1"), own_cache) is None


@pytest.mark.parametrize(("name", "content", "kind"), [
    ("bn_inception", b"<html>Please log in</html>", "not an archive of one file"),
    ("torchvision:vit_b_16", b"<!doctype html><html>Please log in</html>", None),
    ("resnet18d", b"<html>Please log in</html>", "html"),
])  # fmt: skip
def test_a_page_in_place_of_a_download(name, content, kind, own_cache, no_network, monkeypatch):
    import io

    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: io.BytesIO(content))
    model = models.find("torchvision:resnet18" if name == "resnet18d" else name)
    if name == "resnet18d":
        # Of a server that writes no digest into its files' names.
        elsewhere = model.weights.model_copy(update={"locator": "https://example.org/weights.pth"})
        model = model.model_copy(update={"weights": elsewhere})
    with refused("weights.download" if kind else "weights.damaged") as error:
        models.fetch(model)
    assert error.value.values.get("kind") == kind
    assert weights.locate(model, own_cache) is None


@pytest.mark.parametrize("text", ["[]", "{", "3"])
def test_a_damaged_ledger(text, own_cache, trained, tmp_path, monkeypatch):
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(weights, "locate", lambda *_: tmp_path / "model.safetensors")
    (own_cache / "models").mkdir(parents=True, exist_ok=True)
    (own_cache / "models" / "ledger.json").write_text(text)
    with refused("weights.ledger"):
        load("timm:resnet18")


def test_the_ledger_knows_what_was_used_before(own_cache, trained, tmp_path, monkeypatch):
    file = tmp_path / "model.safetensors"
    save_file(trained.state_dict(), file)
    monkeypatch.setattr(weights, "locate", lambda *_: file)
    model = models.find("timm:resnet18")
    models.load(model)
    known = json.loads((own_cache / "models" / "ledger.json").read_text())
    assert known == {model.weights.locator: weights.recorded_digest(model, own_cache)}
    models.load(model)
    changed = trained.state_dict()
    changed["fc.bias"] = changed["fc.bias"] + 1
    save_file(changed, file)
    with refused("weights.changed", file=str(file)):
        models.load(model)


def test_search_finds_names_of_all_libraries():
    found = models.search("resnet18")
    assert "timm:resnet18.tv_in1k" in found
    assert {"torchvision:resnet18", "pytorchcv:resnet18"} <= set(found)
    assert "resnet50" in models.search("resnet50")


def test_a_weight_has_its_accuracy_at_its_size():
    # timm's results-imagenet.csv: resnet50.a1_in1k, 80.382 % at 224 pixels, 81.24 % at 288.
    at_224, at_288 = (timm_upstream("resnet50.a1_in1k", size)[0] for size in (224, 288))
    assert (at_224.value, at_288.value) == (0.80382, 0.8124)
    assert "224 px" in at_224.source
    assert timm_upstream("resnet50.a1_in1k", 225) == timm_upstream("no_such_network", 224) == ()


@pytest.mark.parametrize(("name", "value"), [
    ("timm:resnet50.a1_in1k", 0.80382), ("timm:resnet50", 0.80382),
    ("timm:resnet50.a1_in1k?size=288", 0.8124), ("timm:resnet50.a1_in1k?weights=random", None),
    # Trained on ImageNet-21k alone: no ImageNet-1k accuracy is known.
    ("timm:vit_tiny_patch16_224.augreg_in21k", None), ("resnet50?upstream=0.7613", 0.7613),
])  # fmt: skip
def test_models_have_it(name, value):
    assert models.find(name).upstream_accuracy == value


def test_the_former_module_of_these_names():
    """Scripts of users import it; the function of the same name stays one."""
    former = importlib.import_module("headstart.models.catalogue")
    assert (former.find, former.load) == (models.find, models.load)
    assert callable(models.catalogue)


def test_random_weights_are_asked_for_where_none_are_published():
    """Else a network that nobody trained is measured as if it were pretrained."""
    model = models.find("timm:nf_resnet26")
    assert model.weights.random_seed == 0
    assert not models.presence(model)[0]
    for use in (models.fetch, models.require):
        with refused("weights.missing", model="timm:nf_resnet26"):
            use(model)
    asked = models.find("timm:nf_resnet26?weights=random")
    assert models.presence(asked) == (True, "random weights")
    models.fetch(asked)


def test_networks_to_be_trained_here_have_random_weights():
    model = models.find("small:vgg6_w8")
    assert models.presence(model) == (True, "random weights")
    models.fetch(model)
