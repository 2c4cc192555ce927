"""Images inside Parquet files."""

import hashlib
import io
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from headstart.datasets import parquet_dataset
from headstart.datasets.decode import inspect_image
from headstart.datasets.file_index import FileIndex
from headstart.datasets.parquet_dataset import ParquetImages
from headstart.errors import StorageError
from headstart.spec import Decoding
from hub_files import IMAGE, encoded, write_images, write_table
from refusals import refused


@pytest.fixture
def files(tmp_path):
    """Two files of 7 and 5 images, in row groups of 3."""
    return [
        write_images(tmp_path / f"train-0000{k}-of-00002.parquet", [0] * n, group=3, seed=k)
        for k, n in enumerate((7, 5))
    ]


@pytest.fixture
def reads(monkeypatch):
    """Count the row groups that are read."""
    read, seen = pq.ParquetFile.read_row_group, []

    def counted(self, group, columns):
        seen.append((group, columns))
        return read(self, group, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    return seen


def stored(files) -> list[bytes]:
    """Read all the bytes by pandas: another way in."""
    import pandas as pd

    return [value["bytes"] for file in files for value in pd.read_parquet(file)["image"]]


def test_rows_are_those_of_the_files_in_order(files):
    images = ParquetImages(files, "image")
    assert len(images) == 12
    assert [images.content(row) for row in range(12)] == stored(files)
    expected = Image.open(io.BytesIO(stored(files)[8]))
    np.testing.assert_array_equal(images.decode(8), expected)
    assert images.where(0) == "train-00000-of-00002.parquet, row 0 (0_0.png)"
    assert images.where(8) == "train-00001-of-00002.parquet, row 1 (1_1.png)"


def test_subsets_keep_their_order(files):
    images = ParquetImages(files, "image")
    taken = images.take(np.array([11, 0, 7])).take(np.array([2, 0]))
    assert [taken.content(row) for row in range(2)] == [stored(files)[row] for row in (7, 11)]
    assert taken.where(1) == "train-00001-of-00002.parquet, row 4 (1_4.png)"
    assert len(images.take(np.array([], np.int64))) == 0


def test_a_walk_reads_each_row_group_once_and_nothing_but_the_bytes(files, reads):
    images = ParquetImages(files, "image")
    # Names cost no image.
    assert images.where(11).endswith("(1_4.png)")
    assert reads == []
    for row in range(12):
        images.decode(row)
    assert reads == [(group, ["image.bytes"]) for group in (0, 1, 2, 0, 1)]


def test_only_a_few_row_groups_are_held(files, reads, monkeypatch):
    monkeypatch.setattr(parquet_dataset, "KEPT", 2)
    images = ParquetImages(files, "image")
    for row in (0, 3, 0, 6, 0, 3):
        images.content(row)
        assert len(images._kept) <= 2
    # The group of row 0 was asked for again and again, and stayed; that of row 3 had to go.
    assert [group for group, _ in reads] == [0, 1, 2, 1]
    # A subset and the whole share what is held.
    images.take(np.array([0])).content(0)
    assert len(reads) == 4


def test_threads_read_what_is_there_and_no_group_twice(files, reads):
    images = ParquetImages(files, "image")
    start = threading.Barrier(8)

    def walk(_):
        start.wait()
        return [images.content(row) for row in range(9)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(walk, range(8)))
    assert all(contents == stored(files)[:9] for contents in found)
    taken = images.take(np.arange(3))
    reads.clear()
    images._kept.clear()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(taken.content, [0, 1, 2] * 8))
    assert len(reads) == 1


def test_the_digest_is_of_files_and_rows_in_order(files):
    images, file_index = ParquetImages(files, "image"), FileIndex(None)
    rows = [8, 1]
    content = hashlib.sha256()
    for file, row in ((1, 1), (0, 1)):
        content.update(hashlib.sha256(files[file].read_bytes()).digest())
        content.update(row.to_bytes(8, "little"))
    assert images.take(np.array(rows)).digest(file_index) == content.hexdigest()
    assert images.take(np.array(rows[::-1])).digest(file_index) != content.hexdigest()
    files[0].unlink()
    images.take(np.array([9, 10])).digest(FileIndex(None))


def test_headers_are_those_of_the_bytes_in_order(files, reads):
    rows, told = [8, 1, 0], []
    images = ParquetImages(files, "image").take(np.array(rows))
    file_index = FileIndex(None)
    seen = images.info(file_index, told.append)
    assert seen == [inspect_image(stored(files)[row]) for row in rows]
    assert (seen[0].width, seen[0].height, seen[0].format) == (16, 12, "PNG")
    assert sum(told) == 3


def test_plain_bytes_have_no_name(tmp_path):
    for kind in (pa.binary(), pa.large_binary()):
        contents = [encoded(60), encoded(90)]
        file = write_table(tmp_path / "a.parquet", {"image": pa.array(contents, kind)})
        images = ParquetImages([file], "image")
        assert images.content(1) == contents[1]
        assert images.where(1) == "a.parquet, row 1"


def test_a_numbered_file_is_shown_with_its_folder(tmp_path):
    file = write_images(tmp_path / "default" / "test" / "0000.parquet", [0])
    assert ParquetImages([file], "image").where(0) == "test/0000.parquet, row 0 (0_0.png)"


def test_another_decoding_is_another_view(tmp_path):
    content = io.BytesIO()
    Image.new("RGBA", (2, 2), (10, 20, 30, 0)).save(content, "PNG")
    file = write_table(tmp_path / "a.parquet", {"image": pa.array([content.getvalue()])})
    images = ParquetImages([file], "image")
    theirs = images.decoded(Decoding(like="torchvision"))
    assert images.decode(0).getpixel((0, 0)) == (255, 255, 255)
    assert theirs.decode(0).getpixel((0, 0)) == (10, 20, 30)


def test_images_that_are_not_there_or_broken_are_named(tmp_path):
    values = [{"bytes": None, "path": "x.jpg"}, None, {"bytes": b"no image", "path": None}]
    file = write_table(tmp_path / "val.parquet", {"image": pa.array(values, IMAGE)})
    images = ParquetImages([file], "image")
    with refused("image.broken", where="val.parquet, row 0 (x.jpg)", reason="empty file"):
        images.decode(0)
    with refused("image.broken", where="val.parquet, row 1", reason="empty file"):
        images.decode(1)
    with refused("image.broken", where="val.parquet, row 2"):
        images.decode(2)


def test_a_file_that_is_cut_off_is_named(files):
    whole = files[1].read_bytes()
    images = ParquetImages(files, "image")
    files[1].write_bytes(whole[:-20])
    with refused("storage.damaged"):
        images.content(7)
    with refused("dataset.unreadable"):
        ParquetImages(files, "image")
    # The index at the end is whole, what it leads to is not.
    files[1].write_bytes(whole[:4] + bytes(len(whole) - 900) + whole[-896:])
    with refused("storage.damaged"):
        images.content(7)
    files[1].unlink()
    with pytest.raises(StorageError):
        images.content(8)
