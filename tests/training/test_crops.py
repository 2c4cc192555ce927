import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import RandomResizedCrop

from headstart.training.augmentation import DRAWS, central_boxes, full_boxes, random_boxes, uniforms

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


def test_an_area_of_one_is_the_whole_image_of_any_shape():
    sizes = np.array([[30, 300], [8, 8]])
    boxes = random_boxes(sizes, uniforms(0, 0, "crop", (2, DRAWS)), (1, 1), ASPECT)
    np.testing.assert_array_equal(boxes, [[0, 0, 30, 300], [0, 0, 8, 8]])
    np.testing.assert_array_equal(boxes, full_boxes(sizes))


def test_central_boxes_are_tensorflows():
    # tf.image.central_crop(image, 0.875) of these sizes: offset and size of each axis.
    sizes = np.array([[256, 341], [32, 28], [8, 15], [1, 299]])
    expected = [[16, 21, 224, 299], [2, 1, 28, 26], [0, 0, 8, 15], [0, 18, 1, 263]]
    np.testing.assert_array_equal(central_boxes(sizes), expected)
