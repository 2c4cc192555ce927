"""Mangled image files: nothing but a BrokenImageError comes out, soon, and in bounded memory."""

import io
import struct
import subprocess
import sys
import zlib
from contextlib import suppress

import numpy as np
import pytest
import tifffile
from PIL import Image

import awkward
from headstart.datasets.decode import decode, inspect_image
from headstart.datasets.samples import UnsupportedSamplesError
from headstart.errors import BrokenImageError
from headstart.spec import Decoding

DECODINGS = (Decoding(), Decoding(like="torchvision"), Decoding(range=(0, 1)))
FORMATS = (
    "AVIF", "DDS", "DIB", "GBR", "ICNS", "ICO", "JPEG2000", "MPO", "PCX", "PPM", "QOI",
    "SGI", "SPIDER", "TGA", "XBM", "EPS", "PDF",
)  # fmt: skip


@pytest.fixture(scope="module")
def seeds() -> dict[str, bytes]:
    """Whole files of every format that Pillow writes, and of TIFF those of science."""
    files = awkward.whole_files()
    colour, grey = Image.fromarray(awkward.noise()), Image.fromarray(awkward.noise(channels=1))
    images = (colour, grey, grey.convert("1"), colour.convert("RGBA"), grey.convert("F"))
    for kind in FORMATS:
        for image in images:
            try:
                files[f"{kind} {image.mode}"] = awkward.encoded(image, kind)
            except (OSError, ValueError, KeyError):  # not every format has every mode
                continue
    for name, values in (
        ("float", awkward.noise(channels=1).astype("f4")),
        ("signed", awkward.noise(channels=1).astype("i2")),
        ("bands", awkward.noise(channels=5)),
    ):
        file = io.BytesIO()
        tifffile.imwrite(file, values, photometric="minisblack")
        files[f"TIFF {name}"] = file.getvalue()
    return files


def mangled(random: np.random.RandomState, content: bytes, other: bytes) -> bytes:
    """Cut a file off, flip bits, spoil its header, put two together, or put bytes in between."""
    damaged = bytearray(content)
    kind = random.randint(5)
    if kind == 0:
        return content[: random.randint(len(content) + 1)]
    if kind == 1:
        for _ in range(random.randint(1, 6)):
            damaged[random.randint(len(damaged))] ^= 1 << random.randint(8)
    elif kind == 2:
        for _ in range(random.randint(1, 8)):
            place = random.randint(min(64, len(damaged)))
            damaged[place] = random.choice([0, 1, 127, 128, 255, random.randint(256)])
    elif kind == 3:
        cut = random.randint(min(len(damaged), 200))
        return content[:cut] + other[cut:]
    else:
        place = random.randint(len(damaged))
        damaged[place:place] = random.bytes(random.randint(1, 40))
    return bytes(damaged)


@pytest.mark.parametrize("seed", range(8))
def test_a_mangled_file_is_an_image_or_broken(seeds, seed):
    random, names = np.random.RandomState(seed), sorted(seeds)
    decoded = 0
    for _ in range(150):
        one, other = (seeds[names[random.randint(len(names))]] for _ in range(2))
        content = mangled(random, one, other)
        seen = inspect_image(content)
        with suppress(UnsupportedSamplesError):
            seen.span(None)
        for decoding in DECODINGS:
            try:
                image = decode(io.BytesIO(content), "x", decoding)
            except BrokenImageError as error:
                assert "\n" not in str(error)  # noqa: PT017
                continue
            assert image.mode in ("L", "RGB")
            assert image.width * image.height <= decoding.max_pixels
            decoded += 1
    assert decoded > 50


def test_the_content_decides_and_not_the_ending(tmp_path):
    """What is no image that Pillow decodes is named by what it is."""
    files = {
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0",
        "JPEG XL": b"\xff\x0a\x00",
        "video": b"\0\0\0\x18ftypisom\0\0\0\0",
        "a video": b"\x1aE\xdf\xa3\x9fB\x86\x81\x01",
        "AVIF image": b"\0\0\0\x1cftypavif\0\0\0\0",
        "OpenEXR": b"v/1\x01\x02\0\0\0",
        "a raw image": b"FUJIFILMCCD-RAW 0201",
        "base64": b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB",
        "RAR": b"Rar!\x1a\x07\x01\0",
        "MATLAB": b"MATLAB 5.0 MAT-file, Platform: GLNXA64",
        "PDF": b"%PDF-1.4\n",
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "SVG": b'<?xml version="1.0"?>\n<!-- made by -->\n<svg xmlns="http://www.w3.org/2000/svg">',
        "HTML": b"<!DOCTYPE html><html>",
        "JSON": b'{"error": "not found"}',
        "XML": b"<?xml version='1.0'?><Error/>",
        "ZIP": b"PK\x03\x04\x14\0",
        "gzip": b"\x1f\x8b\x08\0",
        "NumPy": b"\x93NUMPY\x01\0",
        "DICOM": bytes(128) + b"DICM",
        "zero bytes": bytes(4096),
        "empty": b"",
    }
    for name, content in files.items():
        with pytest.raises(BrokenImageError) as error:
            decode(io.BytesIO(content), "photo.jpg", Decoding())
        assert name in error.value.reason
        assert inspect_image(content).problem == error.value.reason


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + awkward.chunk(b"IHDR", header) + b"".join(chunks)


def icon(picture: bytes) -> bytes:
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(picture), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + picture


def tiff_header(width: int, height: int, n_values: int) -> bytes:
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1),
        (262, 3, 1, 1), (273, 4, n_values, 8), (277, 3, 1, 1),
        (278, 4, 1, height), (279, 4, 1, 1 << 31),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4)


def bombs() -> dict[str, bytes]:
    zeros, huge = zlib.compress(bytes(1 << 28), 1), awkward.huge_png(30000, 30000)
    return {
        "PNG of 900 million pixels": huge,
        "PNG header": png(1 << 30, 1 << 30),
        "PNG text": png(8, 8, awkward.chunk(b"zTXt", b"a\0\0" + zeros)),
        "PNG profile": png(8, 8, awkward.chunk(b"iCCP", b"a\0\0" + zeros)),
        "icon": icon(huge),
        "JPEG header": b"\xff\xd8\xff\xc0\0\x11\x08\xff\xdc\xff\xdc\x03\x01\x11\0\x02\x11\0\x03"
                       b"\x11\0",
        "GIF header": b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x08\0;",
        "BMP header": b"BM" + struct.pack("<IHHIIIIHHIIIIII", 99, 0, 0, 54, 40, 65000, 65000, 1, 24,
                                          0, 0, 0, 0, 0, 0),
        "PPM header": b"P6 99999 99999 255\n",
        "plain PPM header": b"P3 99999 99999 255\n1 2 3",
        "PFM header": b"Pf 99999 99999 -1\n",
        "QOI header": b"qoif" + struct.pack(">IIBB", 99999, 99999, 3, 0) + b"\xfd" * 64,
        "TIFF header": tiff_header(99999, 99999, 1),
        "TIFF tag of 4 GB": tiff_header(9, 9, (1 << 32) - 1),
        "WebP header": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0\xff\x3f\0\xff\x3f\0ALPH"
                       + bytes(4),
        "SGI header": struct.pack(">HBBHHHH", 474, 0, 1, 3, 65535, 65535, 3) + bytes(500),
        "JPEG 2000 header": b"\xff\x4f\xff\x51\0\x2f\0\0\0\x01\0\0\0\x01\0\0" + bytes(60),
    }  # fmt: skip


PROGRAM = """
import io, resource, sys
from headstart.datasets.decode import decode
from headstart.datasets.decode import inspect_image
from headstart.errors import BrokenImageError
from headstart.spec import Decoding
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    content, before = open(path, "rb").read(), peak()
    seen = inspect_image(content)
    try:
        decode(io.BytesIO(content), "x", Decoding())
        print("decoded", 0)
    except BrokenImageError:
        print("broken", (peak() - before) // 1024)
"""


def test_a_bomb_is_refused_in_little_memory(tmp_path):
    paths = []
    for number, content in enumerate((files := bombs()).values()):
        paths.append(tmp_path / f"{number}.png")
        paths[-1].write_bytes(content)
    command = [sys.executable, "-c", PROGRAM, *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    for name, line in zip(files, done.stdout.splitlines(), strict=True):
        outcome, megabytes = line.split()
        assert outcome == "broken", name
        assert int(megabytes) < 300, (name, megabytes)
