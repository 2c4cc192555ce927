import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision.transforms import RandomResizedCrop, v2
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from headstart.spec import TrainingConfig
from headstart.training.augmentation import (
    DRAWS,
    SMALL,
    InputSpec,
    by_kernel,
    by_products,
    central_boxes,
    derived_seed,
    evaluation_views,
    permutation,
    random_boxes,
    resample,
    rows_of_step,
    training_views,
    uniforms,
)
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


def test_the_draws_of_this_seed_stay_what_they_are():
    # Stored results depend on them; Philox's words are the same on every machine.
    assert derived_seed(3, "dropout", 7) == 2543324464360243171
    assert permutation(3, 1, 6).tolist() == [0, 5, 4, 1, 3, 2]
    np.testing.assert_allclose(uniforms(3, 1, "crop", (2,)), [0.7789398, 0.5836739], atol=1e-6)


def test_draws_repeat_and_differ_in_everything_that_they_are_for():
    first = uniforms(0, 0, "crop", (4, 3))
    np.testing.assert_array_equal(first, uniforms(0, 0, "crop", (4, 3)))
    for other in [(1, 0, "crop"), (0, 1, "crop"), (0, 0, "flip")]:
        assert not np.isin(uniforms(*other, (4, 3)), first).any()


@pytest.mark.parametrize("batch", [1, 2, 31, 256])
def test_a_place_has_its_draw_in_a_batch_of_any_size(batch):
    large = uniforms(5, 9, "crop", (300, 22))
    np.testing.assert_array_equal(uniforms(5, 9, "crop", (batch, 22)), large[:batch])


def test_draws_are_uniform_and_independent_from_place_to_place():
    drawn = np.concatenate([uniforms(0, step, "crop", (64, 22)) for step in range(40)])
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > 1e-3
    # Of independent columns, correlations are 0 +- 0.02.
    correlation = np.corrcoef(drawn.T) - np.eye(22)
    assert np.abs(correlation).max() < 0.1
    # The same place at successive steps.
    series = np.array([uniforms(0, step, "flip", (1,))[0] for step in range(2000)])
    assert stats.kstest(series, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(series[1:], series[:-1])[0, 1]) < 0.1


def test_every_epoch_is_a_permutation_of_its_own():
    orders = [permutation(seed, epoch, 50) for seed in (0, 1) for epoch in range(3)]
    for order in orders:
        assert order.dtype == np.int64
        np.testing.assert_array_equal(np.sort(order), np.arange(50))
    assert len({tuple(order) for order in orders}) == len(orders)


def test_every_image_is_as_often_at_every_place():
    places = np.array([permutation(0, epoch, 10) for epoch in range(2000)])
    counts = np.array([np.bincount(column, minlength=10) for column in places.T])
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3


def test_an_order_that_is_kept_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        permutation(0, 0, 5)[0] = 3


@pytest.mark.parametrize(("batch_size", "n"), [(4, 12), (5, 12), (12, 12), (7, 3), (1, 1)])
def test_steps_go_through_epoch_after_epoch(batch_size, n):
    steps = 3 * n
    rows = np.concatenate([rows_of_step(2, step, batch_size, n) for step in range(steps)])
    assert len(rows) == steps * batch_size
    assert rows.dtype == np.int64
    for epoch, order in enumerate(np.split(rows, len(rows) // n)):
        np.testing.assert_array_equal(order, permutation(2, epoch, n))


def test_a_seed_for_a_purpose_is_one_that_torch_takes():
    seeds = {derived_seed(seed, *what) for seed in range(20) for what in [(), ("a",), ("a", 1)]}
    assert len(seeds) == 60
    assert all(0 <= seed < 2**63 for seed in seeds)
    # Words are not run together.
    assert derived_seed(0, "a", "b") != derived_seed(0, "ab")
    assert derived_seed(0, 1) != derived_seed(0, "1")


ASPECT = (3 / 4, 4 / 3)


def ours(height, width, area, aspect, n):
    sizes = np.tile(np.array([[height, width]], np.int64), (n, 1))
    return random_boxes(sizes, uniforms(0, 0, "crop", (n, DRAWS)), area, aspect)


def torchvisions(height, width, area, aspect, n):
    image = torch.empty(1, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        boxes = [RandomResizedCrop.get_params(image, area, aspect) for _ in range(n)]
    return np.array(boxes, np.float64)


@pytest.mark.parametrize(("height", "width", "area", "aspect"), [
    (256, 341, (0.08, 1.0), ASPECT),
    (500, 256, (0.5, 1.0), ASPECT),  # many tries do not fit
    (32, 32, (0.2, 0.4), (0.5, 2.0)),
    (60, 300, (0.3, 1.0), ASPECT),  # most boxes are the fallback
])  # fmt: skip
def test_boxes_are_distributed_as_torchvisions(height, width, area, aspect):
    a, b = ours(height, width, area, aspect, 4000), torchvisions(height, width, area, aspect, 4000)
    for what in (
        lambda box: box[:, 2] * box[:, 3],
        lambda box: box[:, 3] / box[:, 2],
        lambda box: box[:, 0],
        lambda box: box[:, 1],
    ):
        assert stats.ks_2samp(what(a), what(b)).pvalue > 1e-3


@pytest.mark.parametrize("shape", [(10, 1000), (1000, 10), (7, 100), (1, 1)])
def test_what_never_fits_is_torchvisions_largest_centred_box(shape):
    # So narrow a range of areas that every try is larger than the image lets it be.
    area = (0.9, 0.95)
    expected = torchvisions(*shape, area, ASPECT, 1)
    np.testing.assert_array_equal(ours(*shape, area, ASPECT, 5), np.tile(expected, (5, 1)))


def test_boxes_are_whole_and_within_images_of_different_sizes():
    random = np.random.RandomState(0)
    sizes, draws = random.randint(1, 40, (3000, 2)), random.rand(3000, DRAWS)
    # Extreme draws too.
    draws[0], draws[1] = 0.0, 1 - 2**-53
    sizes[:2] = 33, 47
    boxes = random_boxes(sizes, draws, (0.08, 1.0), ASPECT)
    assert boxes.shape == (3000, 4)
    assert boxes.dtype == np.float64
    np.testing.assert_array_equal(boxes, np.rint(boxes))
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] >= 1).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= sizes).all()


def test_a_box_depends_on_its_own_image_alone():
    sizes = np.array([[30, 40], [500, 20], [64, 64]])
    draws = uniforms(1, 1, "crop", (3, DRAWS))
    together = random_boxes(sizes, draws, (0.08, 1.0), ASPECT)
    for i in range(3):
        alone = random_boxes(sizes[i : i + 1], draws[i : i + 1], (0.08, 1.0), ASPECT)
        np.testing.assert_array_equal(alone[0], together[i])


def test_central_boxes_are_tensorflows():
    # tf.image.central_crop(image, 0.875) of these sizes: offset and size of each axis.
    sizes = np.array([[256, 341], [32, 28], [8, 15], [1, 299]])
    expected = [[16, 21, 224, 299], [2, 1, 28, 26], [0, 0, 8, 15], [0, 18, 1, 263]]
    np.testing.assert_array_equal(central_boxes(sizes), expected)


MODES = ["bicubic", "bilinear"]
WAYS = pytest.mark.parametrize("way", [by_products, by_kernel])
# Height, width, side: down, up, one axis each way, odd, as it is, tiny.
SHAPES = [(256, 341, 224), (37, 53, 16), (9, 11, 32), (20, 90, 41), (8, 8, 8), (5, 7, 1), (1, 1, 3)]


def some(height, width, channels, seed=0, n=4):
    """Noise, smooth parts and hard edges, with boxes and flips of every kind."""
    random = np.random.RandomState(seed)
    pixels = random.randint(0, 256, (n, channels, height, width))
    pixels[1] = np.linspace(0, 255, width)
    pixels[2, :, : height // 2] = 255
    pixels[2, :, height // 2 :] = 0
    top, left = random.randint(0, height, n), random.randint(0, width, n)
    boxes = np.stack(
        [top, left, random.randint(top, height) + 1 - top, random.randint(left, width) + 1 - left],
        axis=1,
    ).astype(np.float64)
    boxes[0] = 0, 0, height, width
    flips = np.arange(n) % 2 == 1
    return torch.from_numpy(pixels.astype(np.uint8)), boxes, flips


def resampled(pixels, boxes, flips, side, mode):
    out = []
    for image, box, flip in zip(pixels, boxes.astype(int).tolist(), flips, strict=True):
        part = transforms.resized_crop(
            image, *box, [side, side], InterpolationMode(mode), antialias=True
        )
        out.append(transforms.horizontal_flip(part) if flip else part)
    return torch.stack(out).float()


@WAYS
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_both_ways_are_torchvisions_crop_and_resize(shape, channels, mode, way):
    pixels, boxes, flips = some(*shape[:2], channels)
    expected = resampled(pixels / 255, boxes, flips, shape[2], mode).clamp(0, 1)
    found = way(pixels, boxes, flips, shape[2], mode) / 255
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-5)


@WAYS
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES)
def test_both_ways_are_near_pillow(shape, mode, way):
    pixels, boxes, flips = some(*shape[:2], 3)
    # Pillow cuts off overshoot after either axis, we do at the end: there is none here.
    pixels = 60 + pixels // 2
    side = shape[2]
    found = way(pixels, boxes, flips, side, mode).permute(0, 2, 3, 1).numpy()
    for i, (top, left, h, w) in enumerate(boxes.astype(int).tolist()):
        image = Image.fromarray(pixels[i].permute(1, 2, 0).numpy())
        part = image.crop((left, top, left + w, top + h))
        part = part.resize((side, side), Image.Resampling[mode.upper()])
        if flips[i]:
            part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        difference = np.abs(found[i] - np.asarray(part))
        # Pillow rounds after either axis, and a filter may enlarge the error of the first.
        assert difference.max() <= 2
        assert (difference <= 1).mean() > 0.99


@pytest.mark.parametrize("width", [SMALL // 24, SMALL // 24 + 1])
def test_small_and_large_images_come_out_alike(width):
    pixels, boxes, flips = some(30, width, 3)
    found = resample(pixels, boxes, flips, 24, "bicubic")
    assert found.dtype == torch.float32
    assert found.shape == (4, 3, 24, 24)
    assert found.is_contiguous(memory_format=torch.channels_last)
    products = by_products(pixels, boxes, flips, 24, "bicubic")
    torch.testing.assert_close(found, products, rtol=0, atol=0.01)


@WAYS
def test_what_lies_outside_the_box_does_not_matter(way):
    pixels, boxes, flips = some(30, 40, 3)
    boxes[:] = 3, 4, 20, 25
    other = torch.full((4, 3, 50, 60), 255, dtype=torch.uint8)
    other[:, :, 3:23, 4:29] = pixels[:, :, 3:23, 4:29]
    a, b = (way(each, boxes, flips, 16, "bicubic") for each in (pixels, other))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-3)


@WAYS
def test_the_layout_of_the_images_does_not_matter(way):
    pixels, boxes, flips = some(60, 45, 3)
    last = pixels.contiguous(memory_format=torch.channels_last)
    a, b = (way(each, boxes, flips, 32, "bilinear") for each in (pixels, last))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-3)


def test_products_stay_in_float32_under_autocast():
    pixels, boxes, flips = some(20, 30, 3)
    expected = by_products(pixels, boxes, flips, 16, "bicubic")
    with torch.autocast("cpu", torch.bfloat16):
        found = by_products(pixels, boxes, flips, 16, "bicubic")
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@WAYS
def test_overshoot_is_cut_off_as_in_pixels(way):
    pixels = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    pixels[..., 4:] = 255
    found = way(pixels, np.array([[0.0, 0, 8, 8]]), np.array([False]), 32, "bicubic")
    assert found.min() == 0
    assert found.max() == 255
