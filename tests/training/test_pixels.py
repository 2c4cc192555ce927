import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from headstart import devices
from headstart.context import ProgressReporter
from headstart.datasets import ArrayImages
from headstart.datasets.image_cache import PreparedForm, prepare_images
from headstart.errors import BrokenImageError
from headstart.training import pixels as module
from headstart.training.pixels import (
    AHEAD,
    DevicePixels,
    MappedPixels,
    ResidentPixels,
    fits,
    load_pixels,
)  # fmt: skip
from refusals import refused

CPU = torch.device("cpu")
TASKS = Path("/proc/self/task")
KINDS = pytest.mark.parametrize("kind", [ResidentPixels, MappedPixels])


class Images:
    """Images of different sizes, grey and coloured, that note what is read and by whom."""

    def __init__(self, n=12, broken=(), grey=lambda row: row % 3 == 0):
        random = np.random.RandomState(0)
        self.images = [
            random.randint(1, 256, (3 + row % 4, 2 + row % 5, 1 if grey(row) else 3)).astype(
                np.uint8
            )
            for row in range(n)
        ]
        self.broken, self.read, self.threads = broken, [], set()

    def __len__(self):
        return len(self.images)

    def pixels(self, row):
        self.read.append(row)
        self.threads.add(threading.current_thread().name)
        if row in self.broken:
            raise BrokenImageError(f"image {row}", "truncated")
        return self.images[row]


def rows(*numbers):
    return np.array(numbers, np.int64)


def threads():
    return [t.name for t in threading.enumerate() if t.name.startswith("headstart-images")]


@KINDS
def test_a_batch_holds_the_images_with_zeros_beside_them(kind):
    images = Images()
    asked = rows(7, 0, 11, 7)
    batch = kind(images, CPU).batch(asked)
    assert batch.pixels.dtype == torch.uint8
    assert batch.sizes.dtype == np.int64
    assert batch.pixels.is_contiguous(memory_format=torch.channels_last)
    for image, size, row in zip(batch.pixels, batch.sizes, asked, strict=True):
        expected = images.images[row]
        h, w = expected.shape[:2]
        assert size.tolist() == [h, w]
        found = image.permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(found[:h, :w], np.broadcast_to(expected, (h, w, 3)))
        assert not found[h:].any()
        assert not found[:, w:].any()


@KINDS
def test_grey_images_alone_have_one_channel(kind):
    pixels = kind(Images(grey=lambda row: True), CPU)
    assert len(pixels) == 12
    assert pixels.batch(rows(1, 2)).pixels.shape[1] == 1


def test_resident_images_are_read_in_parts(monkeypatch):
    monkeypatch.setattr(module, "PART", 5)
    images = Images()
    asked = np.arange(12)
    expected = MappedPixels(images, CPU).batch(asked)
    found = ResidentPixels(images, CPU).batch(asked)
    torch.testing.assert_close(found.pixels, expected.pixels, rtol=0, atol=0)
    np.testing.assert_array_equal(found.sizes, expected.sizes)


@KINDS
def test_batches_are_those_of_the_plan_in_its_order(kind):
    pixels = kind(Images(), CPU)
    plan = [rows(3, 1), rows(0), rows(11, 11, 2), rows(5, 4), rows(9)]
    given = list(pixels.batches(iter(plan)))
    assert len(given) == len(plan)
    for asked, found in zip(plan, given, strict=True):
        expected = pixels.batch(asked)
        torch.testing.assert_close(found.pixels, expected.pixels, rtol=0, atol=0)
        np.testing.assert_array_equal(found.sizes, expected.sizes)
    assert list(pixels.batches([])) == []


def test_a_thread_reads_ahead_no_more_than_so_much_and_ends():
    images = Images(n=40)
    planned = []

    def plan():
        for row in range(40):
            planned.append(row)
            yield rows(row)

    batches = MappedPixels(images, CPU).batches(plan())
    for input_spec in range(1, 6):
        next(batches)
        assert len(planned) == input_spec + AHEAD
    wait_for(lambda: len(images.read) == 5 + AHEAD)
    assert images.threads == set(threads())
    assert len(images.threads) == 1
    batches.close()
    assert not threads()
    assert images.read == list(range(5 + AHEAD))


@pytest.mark.skipif(not TASKS.exists(), reason="the system does not list a process's threads")
def test_the_thread_that_reads_ahead_has_no_threads_of_torch_beside_it():
    # Small enough loops are not shared out: these images are not small.
    images = Images(n=2)
    images.images = [np.ones((200, 300, 3), np.uint8)] * 2
    before, found = torch.get_num_threads(), []

    def read():
        running = set(TASKS.iterdir())
        MappedPixels(images, CPU).batch(rows(0, 1))
        found.extend(set(TASKS.iterdir()) - running)

    torch.set_num_threads(2)
    try:
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    finally:
        torch.set_num_threads(before)
    assert not found


def wait_for(condition):
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("never came")


def test_a_broken_image_raises_at_its_batch_and_the_thread_ends():
    batches = MappedPixels(Images(broken={2}), CPU).batches([rows(0), rows(1), rows(2), rows(3)])
    next(batches)
    next(batches)
    with refused("image.broken", where="image 2"):
        next(batches)
    assert not threads()


@pytest.mark.parametrize("room", [0, 10**9])
def test_a_broken_image_is_told_when_images_are_loaded(monkeypatch, room):
    monkeypatch.setattr(module, "memory_of", lambda device: room)
    with refused("image.broken", where="image 2"):
        load_pixels(Images(broken={2}), CPU)


def test_images_are_resident_where_they_fit_with_their_padding(monkeypatch):
    images = Images()
    n_bytes = 12 * 6 * 6 * 3
    for spare, kind in [(0, ResidentPixels), (-1, MappedPixels)]:
        monkeypatch.setattr(module, "memory_of", lambda device, spare=spare: 8 * (n_bytes + spare))
        assert isinstance(load_pixels(images, CPU), kind)


def test_an_eighth_of_the_memory_of_a_container_is_for_images(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(devices, "CONTAINER_LIMIT", limit)
    for text, most, too_many in ((None, 10**6, 10**15), ("8000\n", 1000, 1001),
                                 ("max\n", 10**6, 10**15)):  # fmt: skip
        if text:
            limit.write_text(text)
        assert [fits(n_bytes, CPU) for n_bytes in (most, too_many)] == [True, False]


def test_images_prepared_on_disk_are_given_as_they_are(tmp_path):
    random = np.random.RandomState(0)
    images = ArrayImages(random.randint(0, 256, (5, 9, 7, 3)).astype(np.uint8))
    prepared = prepare_images(images, PreparedForm("r"), tmp_path, ProgressReporter())
    assert prepared.take(rows(4, 2)).shapes.tolist() == [[9, 7, 3]] * 2
    batch = MappedPixels(prepared.take(rows(4, 2, 0)), CPU).batch(rows(0, 2))
    expected = [np.asarray(images.decode(row)) for row in (4, 0)]
    np.testing.assert_array_equal(batch.pixels.permute(0, 2, 3, 1).numpy(), expected)


class Stored(Images):
    """Images that know their shapes."""

    @property
    def shapes(self):
        return np.array([image.shape for image in self.images], np.int64)

    def take(self, some):
        taken = Stored(0)
        taken.images = [self.images[row] for row in some.tolist()]
        return taken


@pytest.mark.parametrize("grey", [lambda row: row % 3 == 0, lambda row: row < 6])
def test_a_subset_is_padded_as_if_there_were_no_others(grey):
    images = Stored(grey=grey)
    whole = ResidentPixels(images, CPU)
    for some in (rows(0, 1, 5, 3), rows(8, 11), np.arange(12)):
        alone, taken = ResidentPixels(images.take(some), CPU), whole.take(some)
        assert len(taken) == len(some)
        asked = rows(1, 0, 1)
        expected, found = alone.batch(asked), taken.batch(asked)
        assert torch.equal(found.pixels, expected.pixels)
        assert found.pixels.stride() == expected.pixels.stride()
        np.testing.assert_array_equal(found.sizes, expected.sizes)
    again = whole.take(rows(2, 4, 6, 8)).take(rows(3, 1)).batch(rows(0, 1))
    assert torch.equal(
        again.pixels, ResidentPixels(images.take(rows(8, 4)), CPU).batch(rows(0, 1)).pixels
    )


@pytest.fixture
def loaded(monkeypatch):
    """How many images each tensor on the device got."""
    sizes, load = [], ResidentPixels.__init__

    def init(self, images, *rest):
        sizes.append(len(images))
        load(self, images, *rest)

    monkeypatch.setattr(ResidentPixels, "__init__", init)
    return sizes


TRAIN, VALIDATION, TEST = np.arange(5), np.arange(5, 9), np.arange(9, 12)


def ask(pixels):
    """Two candidates on two crops, the final training, the test."""
    fit = np.concatenate([TRAIN, VALIDATION])
    for some in (TRAIN, VALIDATION, VALIDATION, TRAIN, VALIDATION, VALIDATION, fit, TEST):
        found, places = pixels.of(some, CPU), np.arange(len(some))
        # Padding is that of the subset, or of the batch.
        expected = MappedPixels(Stored().take(some), CPU).batch(places)
        assert torch.equal(found.batch(places).pixels, expected.pixels)
        yield type(found)


def test_subsets_are_loaded_once_together(loaded):
    assert set(ask(DevicePixels(Stored(), np.arange(9)))) == {ResidentPixels}
    assert loaded == [9, 3]


def test_what_does_not_fit_together_is_loaded_in_turn(loaded, monkeypatch):
    images = Stored()
    room = 8 * 5 * int(images.shapes.max(axis=0).prod())
    monkeypatch.setattr(module, "memory_of", lambda device: room)
    kinds = list(ask(DevicePixels(images, np.arange(9))))
    assert kinds == [ResidentPixels] * 6 + [MappedPixels, ResidentPixels]
    # The second crop finds the images of the first.
    assert loaded == [5, 4, 5, 4, 3]


def test_what_does_not_fit_stays_where_it_is(loaded, monkeypatch):
    monkeypatch.setattr(module, "memory_of", lambda device: 0)
    assert set(ask(DevicePixels(Stored(), np.arange(9)))) == {MappedPixels}
    assert loaded == []
