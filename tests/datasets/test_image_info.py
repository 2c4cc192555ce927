import hashlib
import io

import numpy as np
import pytest
from PIL import Image

import awkward
from headstart.datasets.decode import decode, inspect_image
from headstart.errors import BrokenImageError
from headstart.spec import Decoding

WHOLE = awkward.whole_files()
TRANSPARENT = {
    "alpha.png", "grey alpha.png", "alpha.webp", "palette alpha.png", "palette alpha.gif",
    "one colour.png",
}  # fmt: skip
# No TIFF: Pillow turns it in any decoding.
TURNED = {f"turned {value}.{kind}" for value in range(2, 9) for kind in ("jpg", "png")}
TURNED |= {"late exif.png", "xmp.png"}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_file(name):
    seen = inspect_image(WHOLE[name])
    image = Image.open(io.BytesIO(WHOLE[name]))
    assert (seen.width, seen.height) == image.size
    assert (seen.mode, seen.format) == (image.mode, image.format)
    assert seen.sha256 == hashlib.sha256(WHOLE[name]).hexdigest()
    assert seen.n_bytes == len(WHOLE[name])
    assert seen.problem == ""
    assert seen.transparent == (name in TRANSPARENT)
    assert seen.turned == (name in TURNED)
    assert seen.deep == name.startswith("deep")
    assert seen.frames == (3 if name.startswith("moving") else 1)


@pytest.mark.parametrize("content", [b"x", b"x\n", b"no\n"])
def test_a_file_of_few_bytes_is_told_in_words(content):
    """Decoders that look for more than there is fail with words of their own."""
    assert inspect_image(content).problem == "not an image, or damaged at its beginning"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_a_file_cut_anywhere_is_broken_when_it_does_not_decode(kind):
    content = awkward.encoded(Image.fromarray(awkward.noise()), kind)
    found = set()
    for end in [*range(0, len(content), 61), *range(len(content) - 16, len(content) + 1)]:
        try:
            decode(io.BytesIO(content[:end]), "x", Decoding())
            broken = ""
        except BrokenImageError as error:
            broken = error.reason
        assert inspect_image(content[:end]).problem == broken
        found.add(bool(broken))
    assert found == {True, False}


def test_what_is_over_the_usual_limit_is_not_decoded(monkeypatch):
    """The header of 168 million pixels is read in no time, whatever Pillow thinks of the number."""
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    content = awkward.huge_png(12960, 12960)
    seen = inspect_image(content[:-12])
    assert (seen.width, seen.height, seen.mode, seen.problem) == (12960, 12960, "1", "")


def test_a_damaged_later_frame_does_not_matter():
    noise = [Image.fromarray(np.roll(awkward.noise(), k, axis=0)) for k in range(3)]
    content = awkward.encoded(noise[0], "GIF", save_all=True, append_images=noise[1:])
    seen = inspect_image(content[: len(content) * 2 // 3])
    assert seen.problem == ""
    assert seen.frames >= 1
    decode(io.BytesIO(content[: len(content) * 2 // 3]), "x", Decoding())
