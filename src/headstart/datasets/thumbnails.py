"""Small copies of images, which a page embeds."""

import base64
import io
from pathlib import Path

from PIL import Image

from headstart.datasets.images import Images
from headstart.spec.formatting import SmallPicture

__all__ = ["small_picture"]

# Pixels of a picture's longer side: screens have more than one dot per pixel.
SIDE = 72
# Images of no more pixels per side are enlarged with their pixels to be seen.
TINY = 32


def small_picture(images: Images, place: int) -> SmallPicture:
    """Decode an image and shrink it.

    Raises
    ------
    BrokenImageError
        It cannot be decoded.
    """
    image = images.decode(place)
    tiny = max(image.size) <= TINY
    return SmallPicture(Path(images.where(place)).name, thumbnail(image), tiny)


def thumbnail(image: Image.Image) -> str:
    """Shrink an image, in place, and return its content as a data URI."""
    image.thumbnail((SIDE, SIDE))
    content = io.BytesIO()
    # Small images are shown as they are: JPEG would smear 8 x 8 pixels.
    small = max(image.size) < SIDE
    image.save(content, format="PNG" if small else "JPEG", quality=80)
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
