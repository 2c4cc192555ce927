"""Every kind of image network in transformers: the library's own feature, or one line."""

import json
import warnings
from contextlib import contextmanager

import pytest
import torch

from headstart import models
from headstart.models.sources import hf_backbone
from hf_families import CLASSIFIERS, FAMILIES, NO_PACKAGE, OF_TIMM, REFUSED
from refusals import refused

transformers = pytest.importorskip("transformers")

from transformers.models.auto import modeling_auto as auto  # noqa: E402
from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # noqa: E402

# What the library itself says is an image network.
KINDS = sorted(
    {
        *auto.MODEL_FOR_IMAGE_MAPPING_NAMES,
        *auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
        *auto.MODEL_FOR_BACKBONE_MAPPING_NAMES,
    }
)


@contextmanager
def as_authors():
    """Build and run as the authors of a repository do, whom the library may warn."""
    logging = transformers.utils.logging
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            yield
    finally:
        logging.set_verbosity(before)
        logging.enable_progress_bar()


def config_of(kind, **changes):
    return CONFIG_MAPPING[kind](**{**FAMILIES[kind][0], **changes})


def drawn(network):
    """Draw all parameters anew: norms of ones and biases of zeros would show nothing."""
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer += 0.1 * torch.randn(buffer.shape, generator=generator)
    return network.eval()


def built(kind):
    config = config_of(kind)
    made = transformers.AutoModel if kind in auto.MODEL_MAPPING_NAMES else transformers.AutoBackbone
    return drawn(made.from_config(config))


def expected(network, how, images):
    """What the documentation says the feature is, from the library's own call."""
    if how == "embedding":
        return network.get_image_features(pixel_values=images).pooler_output
    answer = network(pixel_values=images)
    if how == "pooler":
        return answer.pooler_output.flatten(1)
    if how == "map":
        return answer.feature_maps[-1].mean((2, 3))
    if how == "cls_token_value":
        return answer.cls_token_value.squeeze(1)
    states = answer.last_hidden_state
    if how == "token":
        return states[:, 0]
    if how == "channels last":
        return states.mean((1, 2))
    return states.mean((2, 3)) if states.ndim == 4 else states.mean(1)


def images(model):
    size = (2, 3, model.input_size, model.input_size)
    return torch.randn(size, generator=torch.Generator().manual_seed(0))


def found(network, folder):
    """Save a network as its authors do; return its model, and the network loaded from there."""
    with as_authors():
        network.save_pretrained(folder)
    processor = {"image_processor_type": "ViTImageProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    model = models.find(f"hf:{folder}")
    return model, models.load(model)


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_feature_is_the_librarys(kind, own_cache, tmp_path):
    with as_authors():
        network = built(kind)
    model, ours = found(network, tmp_path)
    with as_authors():
        features = ours.penultimate(images(model))
        wanted = expected(network, FAMILIES[kind][1], images(model))
    assert features.shape == (2, model.feature_dim)
    torch.testing.assert_close(features, wanted, rtol=1e-4, atol=1e-5)
    assert not ours.trained_classifier


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_is_the_librarys(name, own_cache, tmp_path):
    with as_authors():
        network = drawn(getattr(transformers, name)(config_of(CLASSIFIERS[name], num_labels=5)))
    model, ours = found(network, tmp_path)
    with as_authors():
        answer = network(images(model))
        wanted = getattr(answer, "logits", answer.last_hidden_state if "LCNet" in name else None)
        torch.testing.assert_close(ours(images(model)), wanted, rtol=1e-4, atol=1e-4)
        features = ours.penultimate(images(model))
        torch.testing.assert_close(ours.classifier(features), wanted, rtol=1e-4, atol=1e-4)
    assert features.shape == (2, model.feature_dim)
    assert ours.trained_classifier


def test_all_supported_families_are_compared():
    assert set(hf_backbone.FAMILIES) == set(FAMILIES) | set(NO_PACKAGE)


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in FAMILIES and k not in OF_TIMM])
def test_other_kinds_are_refused_in_one_line(kind, own_cache, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with refused({**REFUSED, **NO_PACKAGE}.get(kind, "model.backbone_unsupported")):
        models.find(f"hf:{tmp_path}")
