import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from headstart.training.augmentation import SMALL, by_kernel, by_products, resample

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


def torchvisions(pixels, boxes, flips, side, mode):
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
    expected = torchvisions(pixels / 255, boxes, flips, shape[2], mode).clamp(0, 1)
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
