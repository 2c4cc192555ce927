import hashlib
import io
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps
from torchvision.datasets.folder import pil_loader

import awkward
from headstart.datasets.decode import decode, inspect_image, open_image
from headstart.errors import BrokenImageError
from headstart.spec import Decoding
from refusals import refused

VIEWER, TORCHVISION = Decoding(), Decoding(like="torchvision")
WHOLE, BROKEN = awkward.whole_files(), awkward.broken_files()


def pixels(content: bytes, decoding: Decoding = VIEWER) -> np.ndarray:
    return np.asarray(decode(io.BytesIO(content), "x", decoding)).astype(int)


@pytest.mark.parametrize("name", WHOLE)
def test_as_torchvision_decodes(name, tmp_path):
    (tmp_path / name).write_bytes(WHOLE[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of transparent palettes
        expected = np.asarray(pil_loader(tmp_path / name))
    np.testing.assert_array_equal(pixels(WHOLE[name], TORCHVISION), expected)


@pytest.mark.parametrize("name", WHOLE)
def test_a_viewer_gives_grey_or_rgb(name):
    image = decode(io.BytesIO(WHOLE[name]), "x", VIEWER)
    grey = name.startswith(("one bit", "deep")) or name in ("grey.png", "grey.jpg")
    assert image.mode == ("L" if grey else "RGB")


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("decoding", [VIEWER, TORCHVISION])
def test_a_broken_file_says_what_is_wrong(name, decoding):
    content, words = BROKEN[name]
    with refused("image.broken", where="a/b.png") as error:
        decode(io.BytesIO(content), "a/b.png", decoding)
    assert words in error.value.reason
    assert "BytesIO" not in error.value.reason
    if decoding == VIEWER:
        assert inspect_image(content).problem == error.value.reason


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("value", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(kind, value):
    content = awkward.with_orientation(value, kind)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(pixels(content), np.asarray(expected))
    assert pixels(content).shape == ((32, 24, 3) if value > 4 else (24, 32, 3))
    assert pixels(content, TORCHVISION).shape == (24, 32, 3)


@pytest.mark.parametrize("decoding", [VIEWER, TORCHVISION])
@pytest.mark.parametrize("value", range(1, 9))
def test_a_tiff_is_turned_once(decoding, value):
    """Pillow's decoder turns it, whoever asks."""
    found = pixels(awkward.with_orientation(value, "TIFF"), decoding)
    np.testing.assert_array_equal(found, pixels(awkward.with_orientation(value, "PNG")))


def test_metadata_behind_the_pixels_turn_too():
    noise = awkward.noise()
    np.testing.assert_array_equal(pixels(WHOLE["late exif.png"]), np.rot90(noise, -1))
    np.testing.assert_array_equal(pixels(WHOLE["xmp.png"]), np.rot90(noise, 1))


def test_damaged_metadata_do_not_matter():
    """Every byte of an EXIF block set to other values: an image that opens is decoded."""
    exif = Image.Exif()
    exif[awkward.ORIENTATION], exif[0x010F], exif[0x011A] = 6, "Maker", 72.0
    exif[0x8769] = {36867: "2020"}
    content = awkward.encoded(Image.fromarray(awkward.noise()), "JPEG", exif=exif)
    start = content.index(b"Exif\0\0")
    length = int.from_bytes(content[start - 2 : start], "big")
    failed = 0
    for place in range(start + 6, start - 2 + length):
        for value in (0, 1, 255):
            damaged = bytearray(content)
            damaged[place] = value
            try:
                open_image(io.BytesIO(damaged))
            except Exception:
                failed += 1  # nor can torchvision open these
                continue
            assert sorted(pixels(bytes(damaged)).shape) == [3, 24, 32]
    assert failed < 5


def test_transparency_is_white():
    rgba = awkward.noise(channels=4).astype(float)
    opacity = rgba[..., 3:] / 255
    expected = rgba[..., :3] * opacity + 255 * (1 - opacity)
    assert np.abs(pixels(WHOLE["alpha.png"]) - expected).max() <= 1
    np.testing.assert_array_equal(pixels(WHOLE["alpha.webp"]), pixels(WHOLE["alpha.png"]))


@pytest.mark.parametrize("name", ["palette alpha.png", "one colour.png"])
def test_a_transparent_colour_is_white(name):
    found = pixels(WHOLE[name])
    assert (found[:, 4:] == 255).all()
    np.testing.assert_array_equal(found[:, :4], np.broadcast_to([10, 20, 30], (6, 4, 3)))


def test_16_bits_are_scaled_by_a_viewer_and_clipped_by_torchvision():
    values = awkward.deep_grey().astype(int)
    for name in ("deep.png", "deep.tif"):
        np.testing.assert_array_equal(pixels(WHOLE[name]), values // 257)
        clipped = np.minimum(values, 255)
        np.testing.assert_array_equal(pixels(WHOLE[name], TORCHVISION)[..., 0], clipped)


def test_a_transparent_grey_of_16_bits_is_white():
    image = Image.fromarray(awkward.deep_grey())
    found = pixels(awkward.encoded(image, transparency=int(awkward.deep_grey()[2, 3])))
    expected = awkward.deep_grey().astype(int) // 257
    assert expected[2, 3] != 255
    expected[2, 3] = 255
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("decoding", [VIEWER, TORCHVISION])
def test_inks_become_the_colours_they_print(decoding):
    # Cyan takes red away, and so on; Adobe's programs, and Pillow, store inks of a JPEG inverted.
    inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    content = awkward.encoded(inks, "JPEG", quality=95)
    assert b"Adobe" in content
    for file in (content, awkward.encoded(inks, "TIFF")):
        assert np.abs(pixels(file, decoding) - [255, 0, 0]).max() <= 4


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
@pytest.mark.parametrize("decoding", [VIEWER, TORCHVISION])
def test_the_first_frame_is_taken(kind, decoding):
    found = pixels(awkward.animation(kind), decoding)
    np.testing.assert_array_equal(found, np.broadcast_to([255, 0, 0], (6, 8, 3)))


@pytest.mark.parametrize("decoding", [VIEWER, TORCHVISION])
def test_the_limit_on_pixels_is_ours(decoding):
    content = WHOLE["rgb.png"]
    limited = decoding.model_copy(update={"max_pixels": 767})
    with refused("image.broken", where="x"):
        pixels(content, limited)
    raised = decoding.model_copy(update={"max_pixels": 768})
    np.testing.assert_array_equal(pixels(content, raised), awkward.noise())


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000", "MPO", "TIFF"])
def test_formats_of_cameras_and_archives(kind):
    """The second picture of an MPO is a preview, of a TIFF a page: the first is taken."""
    smooth = np.linspace(0, 255, 24 * 32).reshape(24, 32).astype(np.uint8)
    shown = np.stack([smooth, smooth[::-1], smooth], axis=2)
    several = {"save_all": True, "append_images": [Image.new("RGB", (32, 24))]}
    options = several if kind in ("MPO", "TIFF") else {}
    content = awkward.encoded(Image.fromarray(shown), kind, **options)
    assert np.abs(pixels(content) - shown).mean() < 5


def test_a_file_over_the_limit_is_not_decoded():
    # 168 million pixels: to decode them takes a second, and none of the file is there.
    content = awkward.huge_png(12960, 12960)[:60]
    with refused("image.broken"):
        pixels(content)


@pytest.mark.parametrize("limit", [500, 300])
@pytest.mark.parametrize("decoding", [VIEWER, TORCHVISION])
def test_pillows_limit_holds_for_others_alone(monkeypatch, limit, decoding):
    """Pillow warns of an image over its limit, and refuses one of twice that."""
    content = WHOLE["rgb.png"]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    np.testing.assert_array_equal(pixels(content, decoding), awkward.noise())
    refused = Image.DecompressionBombWarning if limit == 500 else Image.DecompressionBombError
    with pytest.raises(refused):
        Image.open(io.BytesIO(content))
    assert limit == Image.MAX_IMAGE_PIXELS


def test_memory_that_is_lacking_is_no_fault_of_the_image(monkeypatch):
    def fail(self):
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(MemoryError):
        pixels(WHOLE["rgb.png"])


def test_all_formats_are_known_from_the_start(tmp_path):
    """Pillow learns some only when asked: by the first image, in a process of its own."""
    (tmp_path / "x.webp").write_bytes(WHOLE["alpha.webp"])
    program = (
        "import sys; from headstart.datasets.decode import open_image; "
        "print(open_image(open(sys.argv[1], 'rb')).format)"
    )
    command = [sys.executable, "-c", program, tmp_path / "x.webp"]
    assert subprocess.run(command, capture_output=True, check=True).stdout.split() == [b"WEBP"]


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
