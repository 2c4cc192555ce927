"""Preprocessing as repositories write it: the library's own tensor, or the field is refused."""

import json
import warnings

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.models import save_for_hf

from headstart import models
from headstart.errors import ModelError
from headstart.features.preprocess import fit_image
from headstart.methods.training_images import input_of
from headstart.models.model_source import IMAGENET_MEAN, IMAGENET_STD
from headstart.models.sources.hf_preprocessing import of_timm, of_transformers
from networks import save_vit, seeded
from refusals import refused

transformers = pytest.importorskip("transformers")

from transformers.models.auto import image_processing_auto as auto  # noqa: E402

ALL = auto.IMAGE_PROCESSOR_MAPPING_NAMES.values()
PROCESSORS = sorted({kind["torchvision"] for kind in ALL if kind.get("torchvision")})
# Those of image classifiers and backbones: none of them may be refused.
NEEDED = (
    "Beit", "Bit", "Blip", "ChineseCLIP", "CLIP", "ConvNext", "DPT", "DINOv3ViT", "DeiT",
    "EfficientNet", "Flava", "Levit", "MobileNetV1", "MobileNetV2", "MobileViT", "OwlViT",
    "PPLCNet", "Perceiver", "PoolFormer", "Pvt", "Sam", "Segformer", "Siglip", "TextNet", "Tipsv2",
    "ViT", "Yolos",
)  # fmt: skip
HALF = {"image_processor_type": "ViTImageProcessor", "size": 32}
IMAGENET = {"image_mean": list(IMAGENET_MEAN), "image_std": list(IMAGENET_STD)}


def random_image(size=32, seed=0):
    shape = (size, size, 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def ours(image, found):
    """The tensor that a network is given, from the facts alone: (3, size, size)."""
    pixels = fit_image(image, found.input_size, found.interpolation, "whole") / 255
    values = ((pixels - found.mean) / found.std).transpose(2, 0, 1)
    return values[::-1] if found.bgr else values


def librarys(said, image, **options):
    name = said["image_processor_type"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        processor = auto.get_image_processor_class_from_name(name).from_dict(said)
        return processor(images=image, return_tensors="pt", **options)["pixel_values"][0].numpy()


def written(name):
    """The fields of a processor with all its defaults, as the library writes them."""
    kind = auto.get_image_processor_class_from_name(name)
    said = {**kind().to_dict(), "image_processor_type": name}
    return json.loads(json.dumps(said, default=lambda v: getattr(v, "value", None) or dict(v)))


def described(said):
    """What is read of a file, or the code of the error."""
    try:
        return of_transformers(said, {})
    except ModelError as error:
        return error.code


@pytest.mark.parametrize("name", PROCESSORS)
def test_colours_are_the_librarys(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        said = written(name)
    needed = name.removesuffix("ImageProcessor") in NEEDED
    found = described(said)
    if isinstance(found, str):
        assert not needed
        assert found.startswith(("model.preprocessing_", "model.processor_"))
        return
    # How an image meets the input is the protocol's own choice (whole, or the centre): the others
    # are compared on one colour.
    side = found.input_size
    image = random_image(side) if needed else Image.new("RGB", (side, side), (10, 100, 220))
    as_it_is = {"do_resize": False, "do_center_crop": False, "do_pad": False}
    expected = librarys(said, image, **(as_it_is if needed else {}))
    middle = [values[:, side // 2, side // 2] for values in (ours(image, found), expected)]
    np.testing.assert_allclose(*middle, rtol=0, atol=1e-4)
    if needed:
        np.testing.assert_allclose(ours(image, found), expected, rtol=0, atol=1e-4)


# What files hold, and input size, interpolation, mean, std, whether blue comes first.
FIELDS = {
    "half": ({**HALF, **IMAGENET}, 32, "bilinear", IMAGENET_MEAN, IMAGENET_STD, False),
    "means of 0 to 255": (
        {**HALF, "do_rescale": False, "image_mean": [123.675, 116.28, 103.53],
         "image_std": [58.395, 57.12, 57.375]},
        32, "bilinear", IMAGENET_MEAN, IMAGENET_STD, False),
    "rescaled to -1 to 1": (
        {**HALF, "do_normalize": False, "rescale_factor": 2 / 255},
        32, "bilinear", (0, 0, 0), (0.5,) * 3, False),
    "an offset": (
        {"image_processor_type": "EfficientNetImageProcessor", "size": 32, "rescale_offset": True,
         "rescale_factor": 1 / 127.5, "do_normalize": False, "include_top": False},
        32, "bicubic", (0.5,) * 3, (0.5,) * 3, False),
    "normalised twice": (
        {"image_processor_type": "EfficientNetImageProcessor", "size": 32, "include_top": True,
         "image_mean": 0, "image_std": 0.5},
        32, "bicubic", (0,) * 3, (0.25,) * 3, False),
    "not normalised": ({**HALF, "do_normalize": False}, 32, "bilinear", (0,) * 3, (1,) * 3, False),
    "neither": (
        {**HALF, "do_normalize": False, "do_rescale": False},
        32, "bilinear", (0,) * 3, (1 / 255,) * 3, False),
    "one number": ({**HALF, "image_mean": 0.4, "image_std": [0.2]}, 32, "bilinear", (0.4,) * 3,
                   (0.2,) * 3, False),
    "blue first": (
        {"feature_extractor_type": "MobileViTFeatureExtractor", "size": 72, "crop_size": 64,
         "do_center_crop": True, "do_flip_channel_order": True, "resample": 2},
        64, "bilinear", (0,) * 3, (1,) * 3, True),
    "a crop that is not done": ({**HALF, "crop_size": 224, "do_center_crop": False}, 32, "bilinear",
                                (0.5,) * 3, (0.5,) * 3, False),
    "a crop": ({"image_processor_type": "CLIPImageProcessor", "size": 40, "crop_size": 32}, 32,
               "bicubic", (0.48145466, 0.4578275, 0.40821073),
               (0.26862954, 0.26130258, 0.27577711), False),
    "a fraction": ({"image_processor_type": "ConvNextImageProcessor", "size": 224, "crop_pct": 0.9},
                   224, "bicubic", (0.5,) * 3, (0.5,) * 3, False),
    "the old names": ({"feature_extractor_type": "ViTFeatureExtractor", "size": 32, "resample": 3},
                      32, "bicubic", (0.5,) * 3, (0.5,) * 3, False),
    "the fast one": ({"image_processor_type": "ViTImageProcessorFast", "size": [32, 32]}, 32,
                     "bilinear", (0.5,) * 3, (0.5,) * 3, False),
    "sides": ({**HALF, "size": {"height": 48, "width": 48}}, 48, "bilinear", (0.5,) * 3, (0.5,) * 3,
              False),
    "the shorter side": ({**HALF, "size": {"shortest_edge": 48}}, 48, "bilinear", (0.5,) * 3,
                         (0.5,) * 3, False),
    "both sides": ({"image_processor_type": "YolosImageProcessor",
                    "size": {"shortest_edge": 48, "longest_edge": 80}}, 48, "bilinear",
                   IMAGENET_MEAN, IMAGENET_STD, False),
    "the longer side": ({"image_processor_type": "SamImageProcessor", "size": {"longest_edge": 64},
                         "pad_size": {"height": 64, "width": 64}}, 64, "bilinear", IMAGENET_MEAN,
                        IMAGENET_STD, False),
    "no size": ({"image_processor_type": "ViTImageProcessor"}, 96, "bilinear", (0.5,) * 3,
                (0.5,) * 3, False),
    "not resized": ({**HALF, "do_resize": False}, 96, "bilinear", (0.5,) * 3, (0.5,) * 3, False),
    "of the kind": ({"size": 32}, 32, "bilinear", (0.5,) * 3, (0.5,) * 3, False),
}  # fmt: skip


@pytest.mark.parametrize("case", FIELDS)
def test_fields_in_all_their_forms(case):
    said, size, interpolation, mean, std, bgr = FIELDS[case]
    found = of_transformers(said, {"model_type": "vit", "image_size": 96})
    assert (found.input_size, found.interpolation, found.bgr) == (size, interpolation, bgr)
    np.testing.assert_allclose([found.mean, found.std], [mean, std], rtol=1e-6)


def test_without_a_file_what_is_assumed_is_said():
    found = of_transformers(None, {"image_size": [48, 48]})
    assert (found.input_size, found.mean, found.std) == (48, IMAGENET_MEAN, IMAGENET_STD)
    assert "preprocessor_config.json" in found.note
    assert not of_transformers({}, {}).note


@pytest.mark.parametrize("resample", range(6))
def test_filters_are_pillows(resample):
    said = {**HALF, "resample": resample}
    found = of_transformers(said, {})
    image = random_image(50, seed=1)
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    expected = ViTImageProcessorPil.from_dict(said)(images=image, return_tensors="np")
    np.testing.assert_allclose(ours(image, found), expected["pixel_values"][0], rtol=0, atol=1e-5)


REFUSED = {
    "size": [0, -3, 10**9, "large", {}, {"height": 32, "width": 64}, {"side": 32}, [1, 2, 3], True],
    "image_mean": ["0.5", [0.5, 0.5]], "image_std": [0, [1, 1, -1]], "rescale_factor": [0, "1/255"],
    "resample": [6, "bicubic", [3]], "do_rescale": ["no"], "do_flip_channel_order": [True],
    "rescale_offset": [True],
}  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in REFUSED.items() for value in values]
)
def test_fields_that_are_refused_by_name(field, value):
    with refused("model.preprocessing_unsupported", field=field) as error:
        of_transformers({**HALF, field: value}, {})
    assert field in str(error.value)


@pytest.mark.parametrize(("kind", "code"), [
    ("NobodysImageProcessor", "model.processor_unknown"),
    ("VideoMAEImageProcessor", "model.processor_unsupported"),
    ("Siglip2ImageProcessor", "model.processor_unsupported"),
])  # fmt: skip
def test_processors_that_are_refused_by_name(kind, code):
    with refused(code, processor=kind):
        of_transformers({"image_processor_type": kind}, {})


@pytest.mark.parametrize(("said", "expected"), [
    ({}, (224, "bicubic", IMAGENET_MEAN, IMAGENET_STD)),
    ({"input_size": [1, 28, 28], "mean": [0.5], "std": 0.25, "interpolation": "bilinear"},
     (28, "bilinear", (0.5,) * 3, (0.25,) * 3)),
    ({"input_size": [3, 64, 64], "interpolation": "lanczos"},
     (64, "lanczos", IMAGENET_MEAN, IMAGENET_STD)),
])  # fmt: skip
def test_what_timm_writes(said, expected):
    found = of_timm({"pretrained_cfg": said})
    assert (found.input_size, found.interpolation, found.mean, found.std) == expected


@pytest.mark.parametrize(("said", "field"), [
    ({"input_size": [3, 32, 64]}, "size"),
    ({"input_size": 224}, "input_size"),
    ({"interpolation": "random"}, "interpolation"),
    ({"mean": [0.1, 0.2]}, "mean"),
    ({"std": [0, 0, 0]}, "std"),
])  # fmt: skip
def test_what_timm_does_not_write(said, field):
    with refused("model.preprocessing_unsupported", field=field):
        of_timm({"pretrained_cfg": said})


def saved(folder, said=None, **changes):
    network = save_vit(folder, **changes)
    if said is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return network


def normalised(image, model):
    """A batch of one as the program normalises it: in RGB, three channels."""
    pixels = fit_image(image, model.input_size, model.interpolation, "whole") / 255
    values = (pixels - model.mean) / model.std
    return torch.from_numpy(values.transpose(2, 0, 1)[None].astype(np.float32))


def test_a_network_that_takes_blue_first(own_cache, tmp_path):
    said = {"image_processor_type": "MobileViTImageProcessor", "size": 32, "crop_size": 32}
    network = saved(tmp_path, said)
    model = models.find(f"hf:{tmp_path}")
    assert model.tags["channels"] == "BGR"
    assert any("BGR" in line for line in models.remarks(model))
    image = random_image()
    with torch.inference_mode():
        expected = network(torch.from_numpy(librarys(said, image)[None])).logits
        found = models.load(model)(normalised(image, model))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    # The same folder without the flip is another network.
    plain = saved(tmp_path, {**said, "do_flip_channel_order": False})
    other = models.find(f"hf:{tmp_path}")
    assert other.identity != model.identity
    with torch.inference_mode():
        straight = plain(normalised(image, other)).logits
        torch.testing.assert_close(models.load(other)(normalised(image, other)), straight)


@pytest.mark.parametrize("library", ["transformers", "timm"])
def test_a_network_of_grey_images(library, own_cache, tmp_path, capfd):
    if library == "transformers":
        said = {"size": 32, "image_mean": [0.5], "image_std": [0.5]}
        network, mean, std = saved(tmp_path, said, num_channels=1), 0.5, 0.5
    else:
        with seeded(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = timm.create_model("resnet10t", num_classes=7, in_chans=1).eval()
        save_for_hf(network, tmp_path, model_args={"in_chans": 1})
        mean, std = sum(IMAGENET_MEAN) / 3, sum(IMAGENET_STD) / 3
    capfd.readouterr()
    model = models.find(f"hf:{tmp_path}")
    assert model.mean == pytest.approx((mean,) * 3)
    assert model.std == pytest.approx((std,) * 3)
    with torch.inference_mode():
        given = normalised(random_image(model.input_size), model)
        mixed = (given * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
        answer = network(mixed)
        expected = getattr(answer, "logits", answer)
        torch.testing.assert_close(models.load(model)(given), expected, rtol=1e-4, atol=1e-4)
    # The library's own words about it stay off the screen.
    assert capfd.readouterr() == ("", "")


def test_other_numbers_of_channels_are_refused(own_cache, tmp_path):
    saved(tmp_path, {"size": 32}, num_channels=4)
    with refused("model.channels_unsupported", found=4):
        models.find(f"hf:{tmp_path}")


def test_another_size_resamples_position_embeddings(own_cache, tmp_path):
    network = saved(tmp_path, {"size": 32})
    model = models.find(f"hf:{tmp_path}?size=48")
    images = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(images, interpolate_pos_encoding=True).logits
        torch.testing.assert_close(models.load(model)(images), expected)


def test_training_resizes_by_two_filters_alone(own_cache, tmp_path):
    saved(tmp_path, {"size": 32, "resample": 1})
    model = models.find(f"hf:{tmp_path}")
    assert model.interpolation == "lanczos"
    with refused("training.interpolation_unsupported"):
        input_of(model)
