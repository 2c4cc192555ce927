"""Images of other samples than 8 bits, written by tifffile: scaled, or refused by name."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

import awkward
from headstart import datasets
from headstart.context import ProgressReporter
from headstart.datasets.audit import audit_images, check_audit, check_images
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.decode import decode, inspect_image
from headstart.datasets.file_index import FileIndex, Fingerprint
from headstart.datasets.image_cache import PreparedForm
from headstart.datasets.images import FileImages, IndexedImages
from headstart.datasets.splits import Split
from headstart.errors import BrokenImageError, StudyError
from headstart.spec import Decoding
from own_datasets import write_split
from refusals import refused

RANDOM = np.random.RandomState(0)
# 0 and 1 are in it: what is scaled reaches black and white.
UNIT = np.linspace(0, 1, 64).reshape(8, 8)
VIEWER = Decoding()
MINIMUM, MAXIMUM, S_MINIMUM, S_MAXIMUM = 280, 281, 340, 341


def tiff(values, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def tagged(values, low, high, kind="H", tags=(MINIMUM, MAXIMUM)) -> bytes:
    pairs = zip(tags, (low, high), strict=True)
    return tiff(values, extratags=[(tag, kind, 1, value, True) for tag, value in pairs])


def of_type(name: str, largest: float = 1.0) -> np.ndarray:
    return (UNIT * largest).astype(name)


def twelve_bits(values) -> bytes:
    """A TIFF of 12 bits per sample, two samples in three bytes: tifffile writes none."""
    pairs = values.reshape(-1, 2).astype(int)
    packed = np.stack(
        [pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1
    ).astype(np.uint8)
    whole = bytearray(tiff(np.zeros((8, 12), np.uint8)))
    with tifffile.TiffFile(io.BytesIO(bytes(whole))) as file:
        tags, start = file.pages[0].tags, file.pages[0].dataoffsets[0]
        places = {name: (tags[name].valueoffset, tags[name].dtype.name) for name in
                  ("ImageWidth", "BitsPerSample")}  # fmt: skip
    sizes = {"SHORT": 2, "LONG": 4}
    for name, value in (("ImageWidth", 8), ("BitsPerSample", 12)):
        place, kind = places[name]
        whole[place : place + sizes[kind]] = value.to_bytes(sizes[kind], "little")
    whole[start : start + packed.size] = packed.tobytes()
    return bytes(whole)


def grey(content: bytes, decoding=VIEWER) -> np.ndarray:
    image = decode(io.BytesIO(content), "x", decoding)
    assert image.mode == "L"
    return np.asarray(image)


# What a file holds -> the value in it that is white.
SCALED = {
    "float 0..1": (tiff(of_type("f4")), UNIT),
    "float 0..255": (tiff(of_type("f4", 255)), UNIT),
    "float, big endian": (tiff(of_type("f4"), byteorder=">"), UNIT),
    "float, BigTIFF": (tiff(of_type("f4"), bigtiff=True), UNIT),
    "float, deflate": (tiff(of_type("f4"), compression="zlib"), UNIT),
    "float, white is zero": (tiff(of_type("f4"), photometric="miniswhite"), 1 - UNIT),
    "float, declared": (tagged(of_type("f4", 3000), -1000.0, 3000.0, "f", (S_MINIMUM, S_MAXIMUM)),
                        (UNIT * 3000 + 1000) / 4000),
    "12 bits": (twelve_bits(np.rint(UNIT * 4095)), UNIT),
    "16 bits": (tiff(of_type("u2", 65535)), UNIT),
    "16 bits, big endian": (tiff(of_type("u2", 65535), byteorder=">"), UNIT),
    "16 bits, white is zero": (tiff(of_type("u2", 65535), photometric="miniswhite"), 1 - UNIT),
    "16 bits, 12 declared": (tagged(of_type("u2", 4095), 0, 4095), UNIT),
    # What the smallest and the largest of this image are is no depth.
    "16 bits, statistics": (tagged(of_type("u2", 3000), 0, 3000), UNIT * 3000 / 65535),
    "int16, 12 bits": (tagged(of_type("i2", 4095), 0, 4095, "h", (S_MINIMUM, S_MAXIMUM)), UNIT),
    "int16, declared": (tagged(of_type("i2", 2000), -1000, 3000, "h", (S_MINIMUM, S_MAXIMUM)),
                        (of_type("i2", 2000) + 1000.0) / 4000),
    "uint32, 16 declared": (tagged(of_type("u4", 60000), 0, 65535, "I", (S_MINIMUM, S_MAXIMUM)),
                            UNIT * 60000 / 65535),
    "PNG of 16 bits": (awkward.encoded(Image.fromarray(of_type("u2", 65535))), UNIT),
    "PGM up to 65535": (b"P5 8 8 65535\n" + of_type(">u2", 65535).tobytes(), UNIT),
    "PGM up to 1000": (b"P5 8 8 1000\n" + of_type(">u2", 1000).tobytes(),
                       of_type("u2", 1000) / 1000),
    "PGM up to 100": (b"P5 8 8 100\n" + of_type("u1", 100).tobytes(), of_type("u1", 100) / 100),
    "PFM": (b"Pf\n8 8\n-1\n" + of_type("<f4")[::-1].tobytes(), UNIT),
    "JPEG 2000 of 16 bits": (awkward.encoded(Image.fromarray(of_type("u2", 65535)), "JPEG2000"),
                             UNIT),
    "one bit": (tiff(UNIT > 0.5, photometric="minisblack"), UNIT > 0.5),
    "8 bits, white is zero": (tiff(of_type("u1", 255), photometric="miniswhite"), 1 - UNIT),
}  # fmt: skip


@pytest.mark.parametrize("name", SCALED)
def test_values_are_scaled_by_what_the_file_says(name):
    content, shown = SCALED[name]
    np.testing.assert_allclose(grey(content), shown * 255.0, atol=1.01)
    assert inspect_image(content).problem == ""


@pytest.mark.parametrize(("values", "span"), [
    (of_type("f4", 65535), (0, 65535)), (of_type("f4", 4000) - 1000, (-1000, 3000)),
    (of_type("i2", 4000) - np.int16(1000), (-1000, 3000)), (of_type("i4", 100000), (0, 100000)),
    (of_type("u4", 4e9), (0, 4e9)),
])  # fmt: skip
def test_an_uncertain_range_is_refused_and_can_be_passed(values, span):
    content = tiff(values)
    assert inspect_image(content).problem == ""  # it depends on what is asked for
    with refused("image.broken") as error:
        grey(content)
    assert f"range={span[0]:g}..{span[1]:g}" in error.value.reason
    shown = (values.astype(float) - span[0]) / (span[1] - span[0])
    np.testing.assert_allclose(grey(content, Decoding(range=span)), shown * 255, atol=1.01)


def test_what_is_beyond_the_range_is_black_or_white():
    found = grey(tiff(np.array([[-5, 0, 5, 10, 15]], np.float32)), Decoding(range=(0, 10)))
    assert found.tolist() == [[0, 0, 127, 255, 255]]
    deep = tiff(np.array([[0, 2048, 4095, 60000]], np.uint16))
    assert grey(deep, Decoding(range=(0, 4095))).tolist() == [[0, 127, 255, 255]]


BANDS = RANDOM.randint(0, 256, (8, 8, 13)).astype(np.uint8)
FLAT = {"photometric": "minisblack", "planarconfig": "contig"}
PLANES = tiff(np.moveaxis(BANDS[..., :3], 2, 0).astype("u2") * 257, photometric="rgb",
              planarconfig="separate")  # fmt: skip
# What a file holds -> what the message names, and whether headstart 0.1 read it as something else.
REFUSED = {
    "two bands": (tiff(BANDS[..., :2], **FLAT), "2 bands of 8-bit unsigned integers", True),
    "four bands": (tiff(BANDS[..., :4], **FLAT), "4 bands of 8-bit unsigned integers", False),
    "13 bands": (tiff(BANDS.astype("u2"), **FLAT), "13 bands of 16-bit unsigned integers", False),
    "13 planes": (tiff(np.moveaxis(BANDS, 2, 0), photometric="minisblack", planarconfig="separate"),
                  "13 bands of 8-bit unsigned integers", False),
    "13 bands, BigTIFF": (tiff(BANDS, bigtiff=True, **FLAT), "13 bands of 8-bit unsigned", False),
    "float64": (tiff(UNIT), "1 band of 64-bit floating point", False),
    "float16": (tiff(of_type("f2")), "1 band of 16-bit floating point", False),
    "float colour": (tiff(BANDS[..., :3].astype("f4"), photometric="rgb"),
                     "3 bands of 32-bit floating point", False),
    "32-bit colour": (tiff(BANDS[..., :3].astype("u4"), photometric="rgb"),
                      "3 bands of 32-bit unsigned integers", False),
    "int8": (tiff(of_type("i1", 100)), "1 band of 8-bit signed integers", True),
    "uint32, big endian": (tiff(of_type("u4", 9), byteorder=">"),
                           "1 band of 32-bit unsigned integers", False),
    # Pillow 13 takes each byte for a sample.
    "16-bit colour in planes": (PLANES, "3 bands of 16-bit unsigned integers stored band by band",
                                True),
    "16-bit colour in tiled planes": (
        tiff(np.zeros((3, 32, 32), "u2"), photometric="rgb", planarconfig="separate",
             tile=(16, 16), byteorder=">"), "stored band by band", True),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_samples_that_are_not_read_are_named(name, caplog):
    content, what, misread = REFUSED[name]
    with pytest.raises(BrokenImageError) as error:
        decode(io.BytesIO(content), "x", VIEWER)
    assert what in error.value.reason
    seen = inspect_image(content)
    assert (seen.problem, seen.misread) == (error.value.reason, misread)
    assert not caplog.records  # Pillow's own log goes to the screen


@pytest.mark.parametrize("options", [
    {"planarconfig": "contig"}, {"planarconfig": "separate", "compression": "deflate"},
    {"byteorder": ">"},
])  # fmt: skip
def test_16_bit_colour_keeps_its_high_byte_and_takes_no_range(options):
    values = RANDOM.randint(0, 65536, (8, 8, 3)).astype(np.uint16)
    stored = np.moveaxis(values, 2, 0) if "compression" in options else values
    content = tiff(stored, photometric="rgb", **options)
    found = np.asarray(decode(io.BytesIO(content), "x", VIEWER))
    np.testing.assert_array_equal(found, values >> 8)
    with refused("image.broken"):
        decode(io.BytesIO(content), "x", Decoding(range=(0, 4095)))


def test_infinite_values_are_cut_by_a_range_and_nan_is_refused():
    content = tiff(np.array([[0, 1, np.inf, -np.inf]], np.float32))
    assert grey(content, Decoding(range=(0, 1))).tolist() == [[0, 255, 255, 0]]
    values = of_type("f4")
    values[3, 3] = np.nan
    nan = tiff(values)
    for refused_content, decoding in ((content, VIEWER), (nan, VIEWER),
                                      (nan, Decoding(range=(0, 1)))):  # fmt: skip
        with refused("image.broken"):
            grey(refused_content, decoding)


def test_bands_beside_the_colours_are_counted():
    infrared = tiff(BANDS[..., :4], photometric="rgb", extrasamples=["unspecified"])
    found = np.asarray(decode(io.BytesIO(infrared), "x", VIEWER))
    np.testing.assert_array_equal(found, BANDS[..., :3])
    opaque = tiff(BANDS[..., :4], photometric="rgb", extrasamples=["unassalpha"])
    assert [inspect_image(content).extra for content in (infrared, opaque)] == [True, False]


def test_lab_is_colour_and_not_transparent():
    content = awkward.encoded(Image.new("LAB", (8, 8), (128, 128, 128)), "TIFF")
    found = np.asarray(decode(io.BytesIO(content), "x", VIEWER)).astype(int)
    # L* = 50.2 is sRGB 119 to 120.
    assert np.abs(found - 119.5).max() < 2
    assert not inspect_image(content).transparent


def test_numbers_of_a_cache_are_not_read_where_they_were_wrong(tmp_path):
    """The digest of images that were right stays what it was: the SHA-256 of their SHA-256."""
    right = [tiff(of_type("u2", 65535)), tiff(of_type("f4", 255)), SCALED["PGM up to 1000"][0]]
    wrong = [SCALED["float 0..1"][0], SCALED["12 bits"][0], SCALED["16 bits, white is zero"][0],
             tiff(of_type("f4", 65535)), REFUSED["two bands"][0]]  # fmt: skip
    for number, content in enumerate([*right, *wrong]):
        (tmp_path / f"{number}.tif").write_bytes(content)
        images = FileImages([tmp_path / f"{number}.tif"])
        plain = images.decoded(Decoding(like="torchvision")).digest(FileIndex(None))
        assert (images.digest(FileIndex(None)) == plain) == (number < len(right)), number
    assert PreparedForm("r").content["decoding"] == {"like": "viewer", "max_pixels": 100_000_000}


def parts_of(folder, *contents) -> dict[str, Split]:
    files = {f"{number}.tif": content for number, content in enumerate(contents)}
    return {"train": write_split(folder, files)}


def test_images_of_one_dataset_are_scaled_alike(tmp_path):
    """One that is nearly black fits 0..1, where the others are 0..255."""
    bright, dim, black = (tiff(of_type("f4", top)) for top in (255, 0.5, 0))
    parts = parts_of(tmp_path, bright, bright, dim, black)
    for skip_broken in (False, True):
        with refused("dataset.ranges_differ", ranges=[(0, 255), (0, 1)]):
            check_audit(audit_images(parts, FileIndex(None), VIEWER), "photos", skip_broken)
    asked = Decoding(range=(0, 255))
    found = audit_images(parts, FileIndex(tmp_path / "files.db"), asked)
    check_audit(found, "photos", skip_broken=False)
    assert found.spans == {(0, 255): 4}
    assert audit_images(parts, FileIndex(tmp_path / "files.db"), asked) == found
    check_audit(
        audit_images(parts, FileIndex(None), Decoding(like="torchvision")),
        "photos",
        skip_broken=False,
    )


def test_a_range_that_is_unknown_is_a_problem_of_the_image(tmp_path):
    parts = parts_of(tmp_path, tiff(of_type("i2", 4000)), tiff(of_type("u2", 4000)))
    found = audit_images(parts, FileIndex(None), VIEWER)
    assert [problem.row for problem in found.problems] == [0]
    assert (found.dark, found.deep) == (1, 2)
    assert not audit_images(parts, FileIndex(None), Decoding(range=(0, 4000))).problems


@pytest.mark.parametrize("value", ["5", "1..1", "2..1", "a..b", "..5", "0..inf", "nan..1", ""])
def test_a_range_is_two_numbers(value):
    with refused("dataset.range"):
        DatasetName.parse(f"photos?range={value}")


def test_a_range_is_for_viewers_and_part_of_what_images_are():
    assert DatasetName.parse("photos?range=-1024..3071").decoding.range == (-1024, 3071)
    assert DatasetName.parse("photos?range=0.0..1e3").decoding.range == (0, 1000)
    with pytest.raises(StudyError):
        DatasetName.parse("photos?range=0..1&decoding=torchvision")


def test_a_folder_of_float_images_gives_the_numbers_of_its_pngs(tmp_path, own_cache):
    for label, kind in enumerate(("dark", "bright")):
        for number in range(5):
            values = (RANDOM.rand(8, 8) * 0.4 + label * 0.5).astype(np.float32)
            for folder in ("tif", "png"):
                (tmp_path / folder / kind).mkdir(parents=True, exist_ok=True)
            (tmp_path / "tif" / kind / f"{number}.tif").write_bytes(tiff(values))
            image = Image.fromarray((values * 255).astype(np.uint8))
            image.save(tmp_path / "png" / kind / f"{number}.png")
    images = []
    for folder in ("tif", "png"):
        dataset = datasets.find(str(tmp_path / folder), cache=own_cache)
        check_images(dataset, own_cache, ProgressReporter())
        whole = datasets.all_images(dataset, own_cache)
        images.append([np.asarray(whole.decode(row)).tolist() for row in range(len(whole))])
    assert images[0] == images[1]


class Pictures:
    """A dataset of PIL images, as torchvision's classes are."""

    def __init__(self, *values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, number):
        return Image.fromarray(self.values[number]), 0


def test_images_that_an_object_gives_are_scaled_too():
    pictures = Pictures(of_type("f4"), of_type("u2", 65535), of_type("i4", 9e5))
    images = IndexedImages(pictures, "pictures", Fingerprint("x", 0, 0, 0))
    for row in range(2):
        np.testing.assert_allclose(np.asarray(images.decode(row)), UNIT * 255, atol=1.01)
    with refused("image.broken"):
        images.decode(2)
