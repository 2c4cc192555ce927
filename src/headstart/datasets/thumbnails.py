"""Thumbnails that a page embeds."""

import base64
import io

from PIL import Image

__all__ = ["TINY", "thumbnail"]

# Pixels of a picture's longer side: screens have more than one dot per pixel.
SIDE = 72
# Images of no more pixels per side are enlarged with their pixels to be seen.
TINY = 32


def thumbnail(image: Image.Image) -> str:
    """Shrink an image, in place, and give its content as a data URI."""
    image.thumbnail((SIDE, SIDE))
    content = io.BytesIO()
    # Small images are shown as they are: JPEG would smear 8 x 8 pixels.
    small = max(image.size) < SIDE
    image.save(content, format="PNG" if small else "JPEG", quality=80)
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
