"""Files that are not what their names say, in the datasets where the creators have such."""

import numpy as np
import pytest
from PIL import Image

from headstart.datasets.archives import READERS
from refusals import refused

SIZE = (24, 16)


def picture(mode: str) -> Image.Image:
    """Give an image of one colour that every mode can hold, opaque."""
    colour = Image.new("RGBA", SIZE, (255, 0, 0, 255))
    return colour.convert(mode)


@pytest.mark.parametrize(("key", "name", "kind", "mode"), [
    # Abyssinian_34.jpg, Egyptian_Mau_191.jpg and others are GIF.
    ("oxford_pets", "images/Abyssinian_1.jpg", "GIF", "P"),
    ("oxford_pets", "images/Abyssinian_1.jpg", "PNG", "RGBA"),
    ("sun397", "a/abbey/sun_a.jpg", "PNG", "RGBA"),
    ("sun397", "a/abbey/sun_a.jpg", "PNG", "L"),
    ("sun397", "a/abbey/sun_a.jpg", "GIF", "P"),
    ("sun397", "a/abbey/sun_a.jpg", "BMP", "RGB"),
    ("caltech101", "101_ObjectCategories/BACKGROUND_Google/image_0001.jpg", "JPEG", "L"),
])  # fmt: skip
def test_another_kind_of_image_under_the_name(key, name, kind, mode, write):
    folder = write(key)
    picture(mode).save(folder / name, kind)
    images = next(iter(READERS[key](folder).parts.values())).images
    assert images.where(0) == str(folder / name)
    decoded = images.decode(0)
    assert decoded.size == SIZE
    assert decoded.mode in ("L", "RGB")
    expected = np.asarray(picture(mode).convert("RGB"))
    np.testing.assert_array_equal(np.asarray(decoded.convert("RGB")), expected)


@pytest.mark.parametrize(("key", "name"), [
    ("oxford_pets", "images/Abyssinian_1.jpg"), ("sun397", "a/abbey/sun_a.jpg"),
])  # fmt: skip
def test_a_broken_image_is_an_error_that_names_it(key, name, write):
    folder = write(key)
    (folder / name).write_bytes((folder / name).read_bytes()[:-200])
    images = READERS[key](folder).parts["train"].images
    with refused("image.broken", where=str(folder / name)):
        images.decode(0)
