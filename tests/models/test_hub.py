"""Repositories of the hub, in a folder or in the hub's cache: transformers' and timm's networks."""

import hashlib
import io
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from headstart import models
from headstart.models.model_source import SOURCES
from networks import images, load, seeded
from refusals import refused

transformers = pytest.importorskip("transformers")

TINY = {"image_size": 32, "patch_size": 8, "num_labels": 5}
TOKENS = {**TINY, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
SWIN = {**TINY, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2],
        "window_size": 4}  # fmt: skip
MAPS = {"num_labels": 5, "hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}
KINDS = {
    "ViT": ({**TOKENS, "intermediate_size": 32}, 16),
    "Dinov2": (TOKENS, 16),
    "Swin": (SWIN, 16),
    "ConvNext": (MAPS, 16),
    "ResNet": ({"num_labels": 5, "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1],
                "layer_type": "basic"}, 16),
}  # fmt: skip
SIZE = {"height": 32, "width": 32}
COMMIT = "0" * 40


def saved(folder, kind, task, seed=0):
    """Save a real network of random weights as its authors would; give it too."""
    from importlib import import_module

    module = import_module(f"transformers.models.{kind.lower()}")
    config = getattr(module, f"{kind}Config")(**KINDS[kind][0])
    with seeded(seed):
        network = getattr(module, f"{kind}{task}")(config).eval()
    network.save_pretrained(folder)
    said = {"size": SIZE, "image_mean": [0.4] * 3, "image_std": [0.3] * 3, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return network


def in_hub_cache(folder, hub, repository):
    """Lay a folder out as the hub's library does in its cache."""
    place = hub / f"models--{repository.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    shutil.copytree(folder, place / "snapshots" / COMMIT)


@pytest.fixture
def hub(monkeypatch, tmp_path, own_cache):
    """A hub that refuses, and a cache of downloads of our own."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize("where", ["folder", "cache"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_gives_transformers_own_logits(kind, where, hub, tmp_path):
    network = saved(tmp_path / "net", kind, "ForImageClassification")
    name = f"hf:{tmp_path / 'net'}"
    if where == "cache":
        in_hub_cache(tmp_path / "net", hub, "user/net")
        name = "hf:user/net"
    model = models.find(name)
    # DINOv2 classifies by its class token beside the mean of its patches.
    assert model.feature_dim == KINDS[kind][1] * (2 if kind == "Dinov2" else 1)
    assert (model.input_size, model.interpolation) == (32, "bicubic")
    assert (model.mean, model.std) == ((0.4,) * 3, (0.3,) * 3)
    ours = models.load(model)
    assert sum(p.numel() for p in ours.backbone.parameters()) == model.parameters
    with torch.inference_mode():
        torch.testing.assert_close(ours(images(32)), network(images(32)).logits)
        features = ours.penultimate(images(32))
        assert features.shape == (2, model.feature_dim)
        torch.testing.assert_close(ours.classifier(features), ours(images(32)))
    assert ours.with_head(3, 0)(images(32)).shape == (2, 3)


def expected_features(network, kind, pool):
    answer = network(images(32))
    if kind in ("ViT", "Dinov2") and pool is not None:
        tokens = answer.last_hidden_state
        return tokens[:, 1:].mean(1) if pool == "mean" else tokens[:, 0]
    return answer.pooler_output.flatten(1)


@pytest.mark.parametrize("pool", [None, "token", "mean"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_backbone_gives_a_token_or_the_mean(kind, pool, hub, tmp_path):
    network = saved(tmp_path / "net", kind, "Model")
    asked = f"hf:{tmp_path / 'net'}" + (f"?pool={pool}" if pool else "")
    if pool == "token" and kind not in ("ViT", "Dinov2"):
        with refused("model.pool_unsupported"):
            load(asked)
        return
    model = models.find(asked)
    ours = models.load(model)
    assert ours.feature_dim == model.feature_dim == KINDS[kind][1]
    with torch.inference_mode():
        features = ours.penultimate(images(32))
        # ConvNext norms after pooling, which a mean that is asked for leaves out.
        if not (kind == "ConvNext" and pool == "mean"):
            torch.testing.assert_close(features, expected_features(network, kind, pool))
        torch.testing.assert_close(ours.classifier(features), ours(images(32)))


def test_the_backbone_inside_a_classifiers_checkpoint(hub, tmp_path):
    network = saved(tmp_path / "whole", "ViT", "ForImageClassification")
    saved(tmp_path / "body", "ViT", "Model", seed=1)
    file = tmp_path / "whole" / "model.safetensors"
    ours = load(f"checkpoint:{file}?arch=hf:{tmp_path / 'body'}")
    with torch.inference_mode():
        tokens = network.vit(images(32)).last_hidden_state
        torch.testing.assert_close(ours.penultimate(images(32)), tokens[:, 0])


def test_random_weights_and_weights_that_do_not_fit(hub, tmp_path):
    saved(tmp_path / "vit", "ViT", "ForImageClassification")
    saved(tmp_path / "swin", "Swin", "ForImageClassification")
    random = models.find(f"hf:{tmp_path / 'vit'}?weights=random&seed=2")
    first, second = (models.load(random).penultimate(images(32)) for _ in range(2))
    assert torch.equal(first, second)
    file = tmp_path / "swin" / "model.safetensors"
    with refused("weights.misfit"):
        load(f"hf:{tmp_path / 'vit'}?weights={file}")
    (tmp_path / "vit" / "model.safetensors").unlink()
    with refused("weights.missing", remedy=f"expected them in {tmp_path}/vit/model.safetensors"):
        load(f"hf:{tmp_path / 'vit'}")


def test_the_same_network_elsewhere_is_the_same(hub, tmp_path):
    saved(tmp_path / "a", "ViT", "ForImageClassification")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    one, other = (models.find(f"hf:{tmp_path / name}") for name in "ab")
    assert one.identity == other.identity
    config = tmp_path / "b" / "config.json"
    config.write_text(config.read_text().replace('"gelu"', '"relu"'))
    assert models.find(f"hf:{tmp_path / 'b'}").identity != one.identity
    with refused("model.config_changed"):
        models.load(other)


def test_a_repository_of_timm(hub, tmp_path):
    import timm

    with seeded(3):
        network = timm.create_model("resnet18", num_classes=7).eval()
    folder = tmp_path / "net"
    folder.mkdir()
    said = {"input_size": [3, 64, 64], "interpolation": "bilinear", "mean": [0.1] * 3,
            "std": [0.2] * 3}  # fmt: skip
    config = {"architecture": "resnet18", "num_classes": 7, "pretrained_cfg": said}
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    in_hub_cache(folder, hub, "user/net")
    model = models.find("hf:user/net")
    assert (model.input_size, model.interpolation, model.mean) == (64, "bilinear", (0.1,) * 3)
    with torch.inference_mode():
        torch.testing.assert_close(models.load(model)(images(64)), network(images(64)))


def test_facts_of_a_repository_are_asked_once(hub, tmp_path, monkeypatch):
    saved(tmp_path / "net", "ViT", "ForImageClassification")
    model = models.find(f"hf:{tmp_path / 'net'}")
    monkeypatch.setattr(type(SOURCES["hf"]), "describe", lambda *_: pytest.fail("asked again"))
    assert models.find(f"hf:{tmp_path / 'net'}") == model


def test_names_that_lead_nowhere(hub, tmp_path, monkeypatch):
    with refused("model.repository_unreachable", repository="user/net"):
        models.find("hf:user/net")
    saved(tmp_path / "net", "ViT", "ForImageClassification")
    with refused("model.pool_unsupported"):
        load(f"hf:{tmp_path / 'net'}?pool=mean")
    monkeypatch.setattr("headstart.models.sources.hf_networks.installed", lambda _: False)
    with refused("model.package_missing"):
        models.find(f"hf:{tmp_path / 'net'}")


@pytest.fixture
def downloads(hub, tmp_path, monkeypatch):
    """A hub that serves a folder; (name, revision) of what is fetched, and where it lies then."""
    asked, snapshot = [], hub / "models--user--net" / "snapshots" / COMMIT

    def download(repository, name, *, revision=None, **_):
        asked.append((name, revision))
        snapshot.mkdir(parents=True, exist_ok=True)
        return str(shutil.copy(tmp_path / "net" / name, snapshot / name))

    def names(_):
        return [
            file.name for file in (tmp_path / "net").iterdir() if "preprocessor" not in file.name
        ]

    (snapshot.parents[1] / "refs").mkdir(parents=True)
    (snapshot.parents[1] / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO())
    monkeypatch.setattr("huggingface_hub.list_repo_files", names)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return asked, snapshot


def test_a_repository_is_fetched_file_by_file(downloads, tmp_path):
    saved(tmp_path / "net", "ViT", "ForImageClassification")
    asked, _ = downloads
    model = models.find("hf:user/net")
    # It has no preprocessor: ImageNet's mean, and the size that the network is made for.
    assert (model.input_size, model.mean[0]) == (32, 0.485)
    assert {name for name, _ in asked} == {"config.json"}
    models.fetch(model)
    assert asked[-1][0] == "model.safetensors"


def in_shards(folder, n=3):
    """Divide the weights of a folder as the hub does with large ones; give the index."""
    file = folder / "model.safetensors"
    state = load_file(file)
    file.unlink()
    weight_map = {}
    for i in range(n):
        shard = f"model-{i + 1:05}-of-{n:05}.safetensors"
        some = {name: state[name] for name in sorted(state)[i::n]}
        save_file(some, folder / shard)
        weight_map |= dict.fromkeys(some, shard)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index


@pytest.mark.parametrize("where", ["folder", "cache", "file"])
def test_weights_in_shards(where, hub, own_cache, tmp_path):
    network = saved(tmp_path / "net", "ViT", "ForImageClassification")
    index = in_shards(tmp_path / "net")
    names = {"folder": f"hf:{tmp_path / 'net'}", "cache": "hf:user/net",
             "file": f"checkpoint:{index}?arch=hf:{tmp_path / 'net'}"}  # fmt: skip
    if where == "cache":
        in_hub_cache(tmp_path / "net", hub, "user/net")
    model = models.find(names[where])
    with torch.inference_mode():
        torch.testing.assert_close(models.load(model)(images(32)), network(images(32)).logits)
    facts = models.model_details(model)
    assert facts["present"]
    shards = sorted(index.parent.glob("model-*.safetensors"))
    assert facts["weights_bytes"] == sum(shard.stat().st_size for shard in shards)
    listed = "".join(
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        for file in (*shards, index)
    )
    assert facts["digest"] == hashlib.sha256(listed.encode()).hexdigest()


def test_the_ledger_knows_each_shard(hub, own_cache, tmp_path):
    saved(tmp_path / "net", "ViT", "ForImageClassification")
    in_shards(tmp_path / "net")
    in_hub_cache(tmp_path / "net", hub, "user/net")
    load("hf:user/net")
    known = json.loads((own_cache / "models" / "ledger.json").read_text())
    second = "model-00002-of-00003.safetensors"
    shard = next(hub.glob(f"*/snapshots/*/{second}"))
    assert known[f"hf:user/net/{second}"] == hashlib.sha256(shard.read_bytes()).hexdigest()
    assert len(known) == 5
    save_file({name: t + 1 for name, t in load_file(shard).items()}, shard)
    with refused("weights.changed", changed=[second]):
        load("hf:user/net")


def test_shards_are_fetched_with_their_index(downloads, tmp_path):
    network = saved(tmp_path / "net", "ViT", "ForImageClassification")
    in_shards(tmp_path / "net")
    asked, snapshot = downloads
    model = models.find("hf:user/net")
    assert not models.presence(model)[0]
    models.fetch(model)
    shards = sorted(file.name for file in (tmp_path / "net").glob("model-*"))
    # All of the commit that the index is of.
    assert sorted(asked)[1:4] == [(name, COMMIT) for name in shards]
    assert models.presence(model)[0]
    with torch.inference_mode():
        torch.testing.assert_close(models.load(model)(images(32)), network(images(32)).logits)
    # Of a download that was interrupted nothing is taken for the whole.
    (snapshot / shards[0]).unlink()
    assert not models.presence(model)[0]


FIRST = "model-00001-of-00003.safetensors"


@pytest.mark.parametrize(("change", "code", "values"), [
    (lambda m: m.update(x="../a.safetensors"), "weights.index", {"shard": "../a.safetensors"}),
    (lambda m: m.update(x="weights.exe"), "weights.index", {"shard": "weights.exe"}),
    (lambda m: m.clear(), "weights.index", {}),
    (lambda m: m.update(x=FIRST), "weights.damaged", {"names": ["x"]}),
    (lambda m: m.pop("classifier.bias"), "weights.damaged", {"names": ["classifier.bias"]}),
    (lambda m: m.update(x="m-9.safetensors"), "weights.shard_missing",
     {"missing": ["m-9.safetensors"]}),
])  # fmt: skip
def test_an_index_that_is_not_true(hub, tmp_path, change, code, values):
    saved(tmp_path / "net", "ViT", "ForImageClassification")
    index = in_shards(tmp_path / "net")
    said = json.loads(index.read_text())
    change(said["weight_map"])
    index.write_text(json.dumps(said))
    with refused(code, **values):
        load(f"hf:{tmp_path / 'net'}")


@pytest.mark.parametrize("text", ["{", "[1]", '{"weight_map": 3}'])
def test_what_is_no_index(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with refused("weights.index"):
        models.find(f"timm:resnet18?weights={tmp_path}/model.safetensors.index.json")
