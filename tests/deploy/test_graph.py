"""The graph that is exported: its pixels are Pillow's, or those that training evaluates."""

import numpy as np
import pytest
import torch
from PIL import Image

from headstart.datasets.image_cache import fit_side
from headstart.deploy.final_network import ImageInput
from headstart.deploy.graph import FILTERS, PreprocessingGraph
from headstart.features.preprocess import fit_image
from headstart.training import InputSpec
from headstart.training.augmentation import evaluation_views
from headstart.training.pixels import Batch

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
SIZE, SIDE = 48, 64
# Pillow resizes those by columns first that lose over twice as much height as width.
SHAPES = [(48, 48), (28, 28), (20, 50), (64, 90), (150, 211), (90, 40), (300, 80), (1, 7)]


def photograph(height: int, width: int) -> np.ndarray:
    """Draw a smooth image, as most photographs are."""
    coarse = (max(2, height // 8), max(2, width // 8), 3)
    pixels = np.random.RandomState(height).randint(0, 256, coarse).astype(np.uint8)
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def graph(view: str, interpolation: str, side: int | None = None) -> PreprocessingGraph:
    return PreprocessingGraph(
        ImageInput(size=SIZE, interpolation=interpolation, mean=MEAN, std=STD, view=view, side=side)
    )


def levels(images: torch.Tensor) -> torch.Tensor:
    """Undo the normalization: (n, 3, size, size) in [0, 255]."""
    return 255 * (images * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1))


@pytest.mark.parametrize("interpolation", ["nearest", *FILTERS])
@pytest.mark.parametrize("view", ["whole", "center-crop"])
def test_features_see_pillows_pixels(view, interpolation):
    run, off, all_pixels = graph(view, interpolation), 0, 0
    for shape in SHAPES:
        if interpolation == "nearest" and (view, shape) != ("whole", (150, 211)):
            # Of a centre that lies between two pixels, rounding decides.
            continue
        pixels = photograph(*shape)
        found = levels(run(torch.from_numpy(pixels)[None]))[0].permute(1, 2, 0).numpy()
        expected = fit_image(Image.fromarray(pixels), SIZE, interpolation, view)
        difference = np.abs(found - expected)
        assert difference.max() <= 1 + 1e-3
        off += (difference > 0.5).sum()
        all_pixels += difference.size
    # Pillow's sums of fixed-point numbers break ties.
    assert off <= 1e-2 * all_pixels


@pytest.mark.parametrize("shape", [(90, 40), (48, 300), (211, 150), (150, 98), (152, 99)])
@pytest.mark.parametrize("view", ["whole", "center-crop"])
def test_drawings_in_black_and_white_are_resized_in_pillows_order(view, shape):
    """Both steps cut off what is beyond black and white: the other order is many levels off."""
    pixels = 255 * np.random.RandomState(0).randint(0, 2, (*shape, 3)).astype(np.uint8)
    found = levels(graph(view, "bicubic")(torch.from_numpy(pixels)[None]))[0].permute(1, 2, 0)
    expected = fit_image(Image.fromarray(pixels), SIZE, "bicubic", view)
    assert np.abs(found.numpy() - expected).max() <= 1 + 1e-3


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("view", ["full", "central"])
def test_training_sees_the_same_pixels(view, interpolation):
    """Larger images are reduced first (Lanczos), then the part is cut out and resized."""
    run = graph(view, interpolation, SIDE)
    for shape in SHAPES:
        pixels = photograph(*shape)
        found = run(torch.from_numpy(pixels)[None])
        reduced = torch.from_numpy(fit_side(Image.fromarray(pixels), SIDE).copy())
        batch = Batch(reduced[None].permute(0, 3, 1, 2), np.array([reduced.shape[:2]]))
        expected = evaluation_views(batch, InputSpec(SIZE, MEAN, STD, interpolation), view)
        assert (levels(found) - levels(expected)).abs().max() < 1


@pytest.mark.parametrize(("view", "side"), [("whole", None), ("center-crop", None), ("full", 32)])
def test_one_program_takes_images_of_any_size_and_number(view, side):
    run = graph(view, "bicubic", side)
    some = torch.export.Dim.DYNAMIC
    example = torch.zeros((2, 30, 41, 3), dtype=torch.uint8)
    program = torch.export.export(
        run, (example,), dynamic_shapes={"pixels": {0: some, 1: some, 2: some}}
    ).module()
    # Torch takes a side of one pixel for a constant.
    for shape in SHAPES[:-1]:
        pixels = torch.from_numpy(photograph(*shape))[None]
        torch.testing.assert_close(program(pixels), run(pixels))
        both = pixels.expand(3, -1, -1, -1).contiguous()
        torch.testing.assert_close(program(both)[1:2], run(pixels))
