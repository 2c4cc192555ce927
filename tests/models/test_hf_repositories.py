"""Repositories as people have them: read as the libraries write them, or refused in one line."""

import json
import shutil
import warnings

import pytest
import timm
import torch

from headstart import models
from headstart.errors import ModelError, WeightsMissingError
from networks import VIT, images, load, save_vit, seeded
from refusals import refused

transformers = pytest.importorskip("transformers")

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12\n"


def changed(folder, **fields):
    """Change fields of a configuration; None takes one out."""
    file = folder / "config.json"
    config = {**json.loads(file.read_text()), **fields}
    file.write_text(json.dumps({name: v for name, v in config.items() if v is not None}))


def features_of(name):
    with torch.inference_mode():
        return load(name).penultimate(images(32))


@pytest.fixture
def vit(own_cache, tmp_path):
    save_vit(tmp_path / "net")
    return tmp_path / "net"


# Fields of config.json -> code, and a value that the message is about.
CONFIGS = {
    "no type": ({"model_type": None}, "model.type_missing", {}),
    "unknown type": ({"model_type": "vitt"}, "model.type_unknown", {"near": ["vit"]}),
    "another kind of architecture": ({"architectures": ["ResNetForImageClassification"]},
                                     "model.config_contradictory", {"model_type": "vit"}),
    "a number for a type": ({"model_type": 3}, "model.config_invalid", {"field": "model_type"}),
    "code of its own": ({"model_type": "own", "auto_map": {"AutoConfig": "own.C"}},
                        "model.remote_code", {"found": "own"}),
    "text": ({"model_type": "bert", "architectures": ["BertModel"]}, "model.input_unsupported",
             {"found": "input_ids"}),
    "one architecture": ({"architectures": "ViTModel"}, "model.config_invalid",
                         {"field": "architectures"}),
    "text for a number": ({"hidden_size": "16"}, "model.config_invalid", {}),
    "negative": ({"hidden_size": -16}, "model.config_invalid", {"field": "hidden_size"}),
    "huge": ({"hidden_size": 10**9}, "model.config_invalid", {"field": "hidden_size"}),
    "larger than memory": ({"hidden_size": 10**6, "num_attention_heads": 1}, "model.too_large", {}),
    "a million layers": ({"num_hidden_layers": 10**6}, "model.config_invalid",
                         {"field": "num_hidden_layers"}),
    "no patches": ({"patch_size": 0}, "model.config_invalid", {}),
    "unknown activation": ({"hidden_act": "nonsense"}, "model.config_invalid", {}),
    "two channels": ({"num_channels": 2}, "model.channels_unsupported", {"found": 2}),
    "quantised": ({"quantization_config": {"quant_method": "bnb"}}, "model.quantised", {}),
    "timm's unknown": ({"architecture": "resnet999"}, "name.unknown", {"name": "resnet999"}),
    "timm's files": ({"architecture": "resnet10t", "model_args": {"checkpoint_path": "/x"}},
                     "model.config_invalid", {"found": ["checkpoint_path"]}),
    "timm's arguments": ({"architecture": "resnet10t", "model_args": {"nope": 1}},
                         "model.config_invalid", {}),
    "timm's channels": ({"architecture": "resnet10t", "model_args": {"in_chans": 5}},
                        "model.channels_unsupported", {"found": 5}),
}  # fmt: skip


@pytest.mark.parametrize("case", CONFIGS)
def test_configurations_that_are_refused(case, vit):
    fields, code, values = CONFIGS[case]
    changed(vit, **fields)
    (vit / "own.py").write_text("raise SystemExit('executed')")
    with refused(code) as error:
        load(f"hf:{vit}")
    assert values.items() <= error.value.values.items()


@pytest.mark.parametrize(("text", "word"), [
    (b'{"a":', "JSON"), (b"[1]", "object"), (b"", "JSON"), (LFS, "LFS"), (b"[" * 100_000, "JSON"),
    (b"<!DOCTYPE html><html></html>", "HTML"), (b'{"a": NaN}', "JSON"), (b'{"a": "\xe9"}', "JSON"),
])  # fmt: skip
@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_files_that_are_no_configuration(text, word, file, vit):
    (vit / file).write_bytes(text)
    with refused("model.config_not_json") as error:
        models.find(f"hf:{vit}")
    assert word in str(error.value)
    assert file in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_other_encodings_of_json_are_read(encoding, vit):
    before, file = models.find(f"hf:{vit}").identity, vit / "config.json"
    file.write_bytes(file.read_text().encode(encoding))
    assert models.find(f"hf:{vit}").identity == before


# What lies in the place of weights -> a word of the remedy.
ELSE = {
    "adapter_model.safetensors": "PEFT", "model.onnx": "ONNX", "model-Q4.gguf": "GGUF",
    "tf_model.h5": "TensorFlow", "flax_model.msgpack": "Flax",
    "pytorch_model.bin.index.json": "shards", "model.fp16.safetensors": "?weights=FILE",
}  # fmt: skip


@pytest.mark.parametrize("file", ELSE)
@pytest.mark.parametrize("configured", [True, False])
def test_repositories_without_weights_that_can_be_read(file, configured, vit):
    (vit / "model.safetensors").unlink()
    (vit / file).write_bytes(b"x")
    (vit / "training_args.bin").write_bytes(b"x")
    if not configured:
        (vit / "config.json").unlink()
    with pytest.raises(ModelError) as error:
        load(f"hf:{vit}")
    assert isinstance(error.value, WeightsMissingError) == configured
    assert file in str(error.value)
    assert ELSE[file] in str(error.value)
    assert "\n" not in str(error.value)


def test_a_pooler_is_taken_if_the_weights_have_it(own_cache, tmp_path):
    with_one = save_vit(tmp_path / "with", "ViTModel")
    without = save_vit(tmp_path / "without", "ViTModel", options={"add_pooling_layer": False})
    with torch.inference_mode():
        pooled, tokens = with_one(images(32)).pooler_output, without(images(32)).last_hidden_state
    torch.testing.assert_close(features_of(f"hf:{tmp_path / 'with'}"), pooled)
    torch.testing.assert_close(features_of(f"hf:{tmp_path / 'without'}"), tokens[:, 0])
    one, other = (models.find(f"hf:{tmp_path / name}") for name in ("with", "without"))
    # What was right before keeps its key: its architecture is called as ever.
    assert other.architecture.startswith("ViTModel@")
    assert one.architecture.startswith("ViTModel+")
    assert one.tags["feature"] != other.tags["feature"]
    # A file of weights without one decides as well.
    file = tmp_path / "without" / "model.safetensors"
    mixed = f"checkpoint:{file}?arch=hf:{tmp_path / 'with'}"
    torch.testing.assert_close(features_of(mixed), tokens[:, 0])


def test_a_classifiers_checkpoint_as_a_backbone(vit):
    changed(vit, architectures=["ViTModel"])
    network = transformers.ViTForImageClassification.from_pretrained(vit).eval()
    with torch.inference_mode():
        expected = network.vit(images(32)).last_hidden_state[:, 0]
    torch.testing.assert_close(features_of(f"hf:{vit}"), expected)


@pytest.mark.parametrize("n_layers", [1, 3])
def test_the_file_has_as_many_layers_as_the_configuration(own_cache, tmp_path, n_layers):
    save_vit(tmp_path / "net", num_hidden_layers=2)
    changed(tmp_path / "net", num_hidden_layers=n_layers)
    with refused("weights.misfit", reshaped=[]) as error:
        load(f"hf:{tmp_path / 'net'}")
    odd = error.value.values["missing" if n_layers == 3 else "unexpected"]
    number = "2" if n_layers == 3 else "1"
    assert {name.partition("layers.")[2][0] for name in odd} == {number}


def test_an_embedding_has_no_tokens_to_choose(own_cache, tmp_path):
    text = {**VIT, "vocab_size": 32, "max_position_embeddings": 8, "eos_token_id": 1}
    config = transformers.CLIPConfig(vision_config=VIT, text_config=text, projection_dim=8)
    transformers.CLIPModel(config).save_pretrained(tmp_path)
    with refused("model.pool_unsupported"):
        load(f"hf:{tmp_path}?pool=token")
    model = models.find(f"hf:{tmp_path}")
    text = sum(p.numel() for p in transformers.CLIPTextModel(config.text_config).parameters())
    network = transformers.CLIPModel(config)
    # Text is no part of what is measured.
    assert model.parameters < sum(p.numel() for p in network.parameters()) - text


def test_a_projected_tower_gives_its_image_embeddings(own_cache, tmp_path):
    config = transformers.CLIPVisionConfig(**VIT, projection_dim=8)
    with seeded():
        network = transformers.CLIPVisionModelWithProjection(config).eval()
    network.save_pretrained(tmp_path)
    with torch.inference_mode():
        expected = network(images(32)).image_embeds
    torch.testing.assert_close(features_of(f"hf:{tmp_path}"), expected)


def test_tokens_that_are_no_patches_stay_out_of_the_mean(own_cache, tmp_path):
    kinds = {
        "Dinov2WithRegisters": ({"num_register_tokens": 3}, slice(4, None)),
        "Pixio": ({"n_cls_tokens": 8}, slice(8, None)),
        "DeiT": ({}, slice(2, None)),
        "Yolos": ({"num_detection_tokens": 5, "image_size": [32, 32]}, slice(1, -5)),
    }
    for kind, (fields, patches) in kinds.items():
        config = getattr(transformers, f"{kind}Config")(**{**VIT, **fields})
        with seeded():
            network = getattr(transformers, f"{kind}Model")(config).eval()
        network.save_pretrained(tmp_path / kind)
        with torch.inference_mode():
            tokens = network(images(32)).last_hidden_state[:, patches]
        assert tokens.shape[1] == 16
        found = features_of(f"hf:{tmp_path / kind}?pool=mean")
        torch.testing.assert_close(found, tokens.mean(1))


def test_timms_wrapper_is_timms_network(own_cache, tmp_path):
    with warnings.catch_warnings(), seeded():
        warnings.simplefilter("ignore")
        config = transformers.TimmWrapperConfig(architecture="resnet10t", num_labels=3)
        network = transformers.TimmWrapperForImageClassification(config).eval()
        network.save_pretrained(tmp_path)
    ours = load(f"hf:{tmp_path}")
    assert ours.trained_classifier
    with torch.inference_mode():
        torch.testing.assert_close(ours(images(64)), network(images(64)).logits)


@pytest.mark.parametrize(("model_args", "asked", "side"), [
    ({}, "", 224), ({"img_size": 32}, "", 32), ({"img_size": 32}, "?size=48", 48),
])  # fmt: skip
def test_sizes_of_timms_transformers(model_args, asked, side, own_cache, tmp_path):
    name = "vit_tiny_patch16_224"
    with seeded():
        network = timm.create_model(name, num_classes=3, depth=1, **model_args).eval()
    made_for = model_args.get("img_size", 224)
    cfg = {"input_size": [3, made_for, made_for]}
    config = {"architecture": name, "num_classes": 3, "model_args": {"depth": 1, **model_args},
              "pretrained_cfg": cfg}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")
    model = models.find(f"hf:{tmp_path}{asked}")
    assert model.input_size == side
    ours = models.load(model)
    if asked:
        network.set_input_size(img_size=(side, side))
    with torch.inference_mode():
        torch.testing.assert_close(ours(images(side)), network(images(side)), rtol=1e-4, atol=1e-4)


def test_preprocessing_inside_a_processor_of_text_and_images(vit):
    said = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32},
            "image_mean": [0.1, 0.2, 0.3]}  # fmt: skip
    whole = {"processor_class": "CLIPProcessor", "image_processor": said}
    (vit / "processor_config.json").write_text(json.dumps(whole))
    model = models.find(f"hf:{vit}")
    assert model.mean == (0.1, 0.2, 0.3)
    assert "assumed" not in model.tags
    (vit / "processor_config.json").write_text(json.dumps({"image_processor": [1]}))
    with refused("model.preprocessing_invalid"):
        models.find(f"hf:{vit}")


def test_what_is_understood_is_said(vit):
    assert any(
        "preprocessor_config.json" in line for line in models.remarks(models.find(f"hf:{vit}"))
    )
    (vit / "preprocessor_config.json").write_text(json.dumps({"size": 64}))
    lines = models.remarks(models.find(f"hf:{vit}"))
    assert len(lines) == 1
    assert "from 32 to 64 pixels" in lines[0]
    shutil.rmtree(vit)
    assert not models.remarks(models.find("timm:resnet18?weights=random"))
