"""Files that are not what their names say, in the datasets where the creators have such."""

import numpy as np
import pytest
from PIL import Image

from headstart.datasets.archives import READERS
from headstart.errors import BrokenImageError, DatasetMissingError

SIZE = (24, 16)


def picture(mode: str) -> Image.Image:
    """Give an image of one colour that every mode can hold, opaque."""
    colour = Image.new("RGBA", SIZE, (255, 0, 0, 255))
    return colour.convert(mode)


@pytest.mark.parametrize(
    ("key", "name", "kind", "mode"),
    [
        # Abyssinian_34.jpg, Egyptian_Mau_191.jpg and others are GIF.
        ("oxford_pets", "images/Abyssinian_1.jpg", "GIF", "P"),
        ("oxford_pets", "images/Abyssinian_1.jpg", "PNG", "RGBA"),
        ("sun397", "a/abbey/sun_a.jpg", "PNG", "RGBA"),
        ("sun397", "a/abbey/sun_a.jpg", "PNG", "L"),
        ("sun397", "a/abbey/sun_a.jpg", "GIF", "P"),
        ("sun397", "a/abbey/sun_a.jpg", "BMP", "RGB"),
        ("caltech101", "101_ObjectCategories/BACKGROUND_Google/image_0001.jpg", "JPEG", "L"),
    ],
)
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


@pytest.mark.parametrize(
    ("key", "name"),
    [("oxford_pets", "images/Abyssinian_1.jpg"), ("sun397", "a/abbey/sun_a.jpg")],
)
def test_a_broken_image_is_an_error_that_names_it(key, name, write):
    folder = write(key)
    (folder / name).write_bytes((folder / name).read_bytes()[:-200])
    images = READERS[key](folder).parts["train"].images
    with pytest.raises(BrokenImageError, match=name):
        images.decode(0)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("food101", "images/apple_pie/100.jpg"),
        ("sun397", "a/abbey/sun_a.jpg"),
        ("stanford_cars", "cars_train/00001.jpg"),
        ("fgvc_aircraft", "data/images/0000000.jpg"),
        ("voc2007", "VOCdevkit/VOC2007/JPEGImages/000000.jpg"),
        ("dtd", "images/banded/banded_0001.jpg"),
        ("oxford_pets", "images/Abyssinian_1.jpg"),
        ("caltech101", "101_ObjectCategories/BACKGROUND_Google/image_0001.jpg"),
        ("flowers102", "jpg/image_00001.jpg"),
    ],
)
def test_an_empty_file_is_not_taken_for_an_image(key, name, write):
    folder = write(key)
    (folder / name).write_bytes(b"")
    message = rf"1 of the \d+ images that .* lists are missing or empty, first .*{name}: unpack"
    with pytest.raises(DatasetMissingError, match=message):
        READERS[key](folder)
