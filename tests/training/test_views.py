import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from headstart.spec import TrainingConfig
from headstart.training.augmentation import (
    DRAWS,
    InputSpec,
    evaluation_views,
    random_boxes,
    training_views,
    uniforms,
)  # fmt: skip
from headstart.training.pixels import Batch

INPUT = InputSpec(16, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic")
CONFIG = TrainingConfig(steps=10, learning_rate=0.1, seed=4)


def a_batch(n=8, channels=3, height=24, width=30):
    """Smooth images of different sizes, in a tensor with zeros beside them."""
    random = np.random.RandomState(0)
    sizes = np.stack([random.randint(9, height + 1, n), random.randint(9, width + 1, n)], axis=1)
    pixels = torch.zeros(n, channels, height, width, dtype=torch.uint8)
    for image, (h, w) in zip(pixels, sizes.tolist(), strict=True):
        drawn = torch.from_numpy(random.randint(0, 256, (channels, 5, 5))).float()
        grown = torch.nn.functional.interpolate(drawn[None], (h, w), mode="bilinear")
        image[:, :h, :w] = grown[0].to(torch.uint8)
    return Batch(pixels.contiguous(memory_format=torch.channels_last), sizes)


def part(batch, places):
    return Batch(batch.pixels[places], batch.sizes[places])


def composed(image, box, flip, input_spec):
    """The view of one image without its padding, by torchvision."""
    image = v2.functional.to_dtype(image, torch.float32, scale=True)
    image = v2.functional.resized_crop(
        image,
        *(int(edge) for edge in box),
        [input_spec.side, input_spec.side],
        v2.InterpolationMode(input_spec.interpolation),
        antialias=True,
    ).clamp(0, 1)
    image = v2.functional.horizontal_flip(image) if flip else image
    image = image.expand(3, -1, -1)
    return v2.functional.normalize(image, list(input_spec.mean), list(input_spec.std))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
# The larger are not resampled by products.
@pytest.mark.parametrize("height", [24, 150])
def test_views_of_training_are_torchvisions(channels, interpolation, height):
    input_spec = InputSpec(16, INPUT.mean, INPUT.std, interpolation)
    batch = a_batch(channels=channels, height=height)
    found = training_views(batch, input_spec, CONFIG, 3)
    assert found.shape == (8, 3, 16, 16)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    draws = uniforms(4, 3, "crop", (8, DRAWS))
    boxes = random_boxes(batch.sizes, draws, CONFIG.crop_area, CONFIG.crop_aspect)
    flips = uniforms(4, 3, "flip", (8,)) < 0.5
    assert 0 < flips.sum() < 8
    for i, (h, w) in enumerate(batch.sizes.tolist()):
        expected = composed(batch.pixels[i, :, :h, :w], boxes[i], flips[i], input_spec)
        torch.testing.assert_close(found[i], expected, rtol=0, atol=3e-4)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("crop", "kept"), [("full", 1.0), ("central", 0.875)])
def test_views_of_evaluation_are_torchvisions(channels, crop, kept):
    batch = a_batch(channels=channels)
    found = evaluation_views(batch, INPUT, crop)
    assert found.is_contiguous(memory_format=torch.channels_last)
    for i, (h, w) in enumerate(batch.sizes.tolist()):
        top, left = int((h - h * kept) / 2), int((w - w * kept) / 2)
        box = top, left, h - 2 * top, w - 2 * left
        expected = composed(batch.pixels[i, :, :h, :w], box, False, INPUT)
        torch.testing.assert_close(found[i], expected, rtol=0, atol=3e-4)


def test_views_repeat_with_seed_and_step_and_differ_otherwise():
    batch = a_batch()
    first = training_views(batch, INPUT, CONFIG, 3)
    torch.testing.assert_close(training_views(batch, INPUT, CONFIG, 3), first, rtol=0, atol=0)
    for config, step in [(CONFIG, 4), (CONFIG.replace(seed=5), 3)]:
        other = training_views(batch, INPUT, config, step)
        # Each image, not only some: a draw for each.
        assert ((other - first).abs().amax(dim=(1, 2, 3)) > 0.01).all()


def test_images_that_are_equal_are_seen_differently():
    batch = part(a_batch(), [0, 0, 0, 0])
    views = training_views(batch, INPUT, CONFIG, 0)
    assert all((views[i] - views[0]).abs().max() > 0.01 for i in range(1, 4))


def test_a_batch_in_parts_gives_the_views_of_the_whole():
    batch = a_batch()
    whole = training_views(batch, INPUT, CONFIG, 3)
    for places in (range(3), range(3, 8)):
        some = training_views(part(batch, list(places)), INPUT, CONFIG, 3, first=places.start)
        torch.testing.assert_close(some, whole[list(places)], rtol=0, atol=1e-4)


@pytest.mark.parametrize("crop", ["full", "central"])
def test_evaluation_does_not_depend_on_the_batch(crop):
    batch = a_batch()
    whole = evaluation_views(batch, INPUT, crop)
    for i, (h, w) in enumerate(batch.sizes.tolist()):
        alone = Batch(batch.pixels[i : i + 1, :, :h, :w], batch.sizes[i : i + 1])
        found = evaluation_views(alone, INPUT, crop)[0]
        torch.testing.assert_close(found, whole[i], rtol=0, atol=1e-4)


def test_without_crop_and_flip_training_sees_what_evaluation_does():
    config = TrainingConfig(steps=1, learning_rate=0.1, crop_area=(1, 1), flip=False)
    batch = a_batch()
    expected = evaluation_views(batch, INPUT, "full")
    torch.testing.assert_close(training_views(batch, INPUT, config, 0), expected)


def test_half_of_the_images_are_mirrored():
    config = TrainingConfig(steps=1, learning_rate=0.1, crop_area=(1, 1))
    batch = part(a_batch(1), [0] * 400)
    straight = evaluation_views(part(batch, [0]), INPUT, "full")[0]
    views = training_views(batch, INPUT, config, 0)
    mirrored = [(view - straight).abs().max() > 0.01 for view in views]
    assert 160 < sum(mirrored) < 240
    torch.testing.assert_close(views[mirrored.index(True)].flip(-1), straight, rtol=0, atol=1e-4)


@pytest.mark.gpu
def test_a_gpu_sees_what_the_processor_does():
    batch = a_batch()
    on_gpu = Batch(batch.pixels.cuda(), batch.sizes)
    found = training_views(on_gpu, INPUT, CONFIG, 0)
    assert found.is_cuda
    torch.testing.assert_close(
        found.cpu(), training_views(batch, INPUT, CONFIG, 0), rtol=0, atol=1e-3
    )
