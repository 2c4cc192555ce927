import json
import multiprocessing
import os
import pickle
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

from headstart import datasets, files
from headstart.context import ProgressReporter
from headstart.contrib.miniature.synthetic import read_anew
from headstart.datasets import ArrayImages, FileImages, JoinedImages
from headstart.datasets.image_cache import (
    PreparedForm,
    bytes_needed,
    is_whole_form,
    open_prepared,
    prepare_images,
)
from headstart.datasets.sources.embedded import read_digits, read_fashion_mnist
from headstart.errors import BrokenImageError
from headstart.spec import Decoding
from processes import Forked
from refusals import refused
from watched import Listener, StopError, Watched

RECIPE = PreparedForm("r")


def prepare(images, folder, reporter=None, form=RECIPE, **options):
    return prepare_images(images, form, folder, reporter or ProgressReporter(), **options)


def opened(images, folder, reporter=None):
    return open_prepared(images, RECIPE, folder, reporter or ProgressReporter())


def grey_images(n=200, seed=0) -> ArrayImages:
    return ArrayImages(np.random.RandomState(seed).randint(0, 256, (n, 12, 9)).astype(np.uint8))


def photo(width, height, mode="RGB", seed=0) -> Image.Image:
    """Smooth colours with noise over them."""
    random = np.random.RandomState(seed)
    few = Image.fromarray(random.randint(0, 256, (5, 7, 3)).astype(np.uint8))
    smooth = np.asarray(few.resize((width, height), Image.Resampling.BICUBIC), dtype=int)
    noisy = np.clip(smooth + random.randint(-20, 20, smooth.shape), 0, 255)
    return Image.fromarray(noisy.astype(np.uint8)).convert(mode)


def write_files(folder, n=60) -> FileImages:
    """PNG files of several shapes; number 23 is broken."""
    folder.mkdir()
    for i in range(n):
        photo(20 + i % 7, 17, "L" if i % 5 == 0 else "RGB", i).save(folder / f"{i:03}.png")
    (folder / "023.png").write_bytes(b"no image")
    return FileImages(sorted(folder.iterdir()))


def form_of(folder, name) -> Path:
    (file,) = folder.glob(f"*/{name}")
    return file


def assert_same(prepared, images):
    assert len(prepared) == len(images)
    for row in range(len(images)):
        expected = np.asarray(images.decode(row))
        np.testing.assert_array_equal(np.asarray(prepared.decode(row)), expected)
        found = prepared.pixels(row)
        assert found.shape == (*expected.shape[:2], expected.ndim if expected.ndim == 3 else 1)
        np.testing.assert_array_equal(found.squeeze(), expected.squeeze())
        assert prepared.where(row) == images.where(row)


@pytest.mark.parametrize("name", ["digits", "glyphs"])
def test_small_images_are_kept_exactly(tmp_path, name):
    splits = read_digits() if name == "digits" else read_anew(name)[1]
    images = JoinedImages([split.images for split in splits.values()])
    prepared = prepare(images, tmp_path)
    assert_same(prepared, images)
    assert prepared.decode(0).mode == "L"


def test_fashion_mnist_is_kept_exactly(tmp_path, real_fashion_mnist, own_cache):
    images = read_fashion_mnist(own_cache)["test"].images.take(np.arange(0, 10_000, 5))
    assert_same(prepare(images, tmp_path), images)


@pytest.mark.parametrize(("size", "mode", "fitted"), [
    ((500, 375), "RGB", (341, 256)), ((375, 500), "RGB", (256, 341)), ((700, 300), "L", (597, 256)),
    ((900, 256), "RGB", (900, 256)), ((100, 1200), "RGB", (100, 1200)),
    ((257, 257), "L", (256, 256)), ((333, 500), "RGB", (256, 384)), ((641, 427), "RGB", (384, 256)),
    ((1999, 301), "RGB", (1700, 256)),
])  # fmt: skip
def test_large_images_are_those_of_pillow(tmp_path, size, mode, fitted):
    photo(*size, mode).save(tmp_path / "x.jpg", quality=90)
    images = FileImages([tmp_path / "x.jpg"])
    image = images.decode(0)
    if size != fitted:
        # The longer side is rounded as torchvision does.
        assert v2.Resize(256)(image).size == fitted
        image = image.resize(fitted, Image.Resampling.LANCZOS)
    prepared = prepare(images, tmp_path / "forms")
    np.testing.assert_array_equal(np.asarray(prepared.decode(0)), np.asarray(image))
    assert prepared.decode(0).size == fitted


def test_colour_and_grey_and_every_shape_in_one_form(tmp_path):
    images, forms = write_files(tmp_path / "files").take(np.arange(23)), tmp_path / "forms"
    prepared = prepare(images, forms, form=PreparedForm("r", Decoding(), 256))
    assert_same(prepared, images)
    assert {prepared.pixels(row).shape[2] for row in range(23)} == {1, 3}
    small = prepare(images, forms, form=PreparedForm("r", Decoding(), 8))
    assert all(min(small.pixels(row).shape[:2]) == 8 for row in range(23))
    assert len(list(forms.glob("*/card.json"))) == 2


def test_what_decides_the_pixels_is_in_the_key():
    recipes = [
        RECIPE,
        PreparedForm("other"),
        PreparedForm("r", Decoding(like="torchvision")),
        PreparedForm("r", side=224),
    ]
    assert len({recipe.key for recipe in recipes}) == 4
    dataset = datasets.find("digits")
    assert PreparedForm.of(dataset) == PreparedForm(dataset.revision, dataset.decoding)


def test_views_are_not_copies_and_read_only(tmp_path):
    prepared = prepare(grey_images(), tmp_path)
    assert prepared.pixels(3).base is not None
    assert np.shares_memory(prepared.pixels(3), prepared.take(np.array([7, 3])).pixels(1))
    with pytest.raises(ValueError, match="read-only"):
        prepared.pixels(0)[0, 0, 0] = 1


def test_a_second_call_does_nothing(tmp_path):
    images, reporter = grey_images(), Listener()
    prepare(images, tmp_path, reporter)
    assert reporter.stages == [("preparing images", 200, "images")]
    assert reporter.done == 200
    before = {f: f.stat().st_mtime_ns for f in tmp_path.glob("*/*")}
    watched, reporter = Watched(images), Listener()
    prepare(watched, tmp_path, reporter)
    assert (watched.decoded, reporter.stages, reporter.notes) == ([], [], [])
    assert {f: f.stat().st_mtime_ns for f in tmp_path.glob("*/*")} == before


@pytest.mark.parametrize("stop", [17, 100, 199])
def test_an_interrupted_preparation_carries_on(tmp_path, monkeypatch, stop):
    monkeypatch.setattr(files, "SYNC_SECONDS", 0.0)
    # A look at a few images beforehand estimates the space: not at this one.
    monkeypatch.setattr("headstart.datasets.image_cache._estimate_bytes", lambda *_: 0)
    images, forms = grey_images(), tmp_path / "forms"
    with pytest.raises(StopError):
        prepare(Watched(images, stop), forms)
    assert opened(images, forms) is None
    done = json.loads(form_of(forms, "card.json").read_text())["n_done"]
    # All parts of 16 before the one that stopped.
    assert done == stop // 16 * 16
    # What was under way when the power went.
    with form_of(forms, "pixels.bin").open("ab") as file:
        file.write(b"half of an im" * 5000)
    index = form_of(forms, "index.npy")
    np.save(index, np.concatenate([np.load(index), [[12, 9, 1]]]).astype(np.int32))
    rest, reporter = Watched(images), Listener()
    assert_same(prepare(rest, forms, reporter), images)
    assert sorted(rest.decoded) == list(range(done, 200))
    assert (reporter.done, reporter.notes) == (200, [])
    prepare(images, tmp_path / "undisturbed")
    expected = form_of(tmp_path / "undisturbed", "pixels.bin").read_bytes()
    assert form_of(forms, "pixels.bin").read_bytes() == expected


# A process that prepares slowly, keeps at once what it did, notes what it decodes, and does not
# come to an end before it may.
SLOW = """
import os, sys, threading, time
from pathlib import Path
from headstart import files
from headstart.datasets import FileImages
from headstart.datasets.image_cache import prepare_images
from headstart.datasets.image_cache import PreparedForm
from headstart.context import ProgressReporter

folder = Path(sys.argv[1])
files.SYNC_SECONDS = 0.0
class Slow(FileImages):
    def decode(self, row):
        with (folder / "log").open("a") as log:
            log.write(f"{os.getpid()}\\n")
        time.sleep(0.01)
        looks_ahead = threading.current_thread() is threading.main_thread()
        while row >= 90 and not looks_ahead and not (folder / "go").exists():
            time.sleep(0.01)
        return super().decode(row)
class Says(ProgressReporter):
    def stage(self, name, total=None, unit=""):
        print(name, flush=True)
images = Slow(sorted((folder / "files").iterdir()))
prepare_images(images, PreparedForm("r"), folder / "forms", Says(), skip_broken=True)
"""


def wait_for(process, reached) -> None:
    """Wait until something is reached while the process runs."""
    for _ in range(3000):
        if reached():
            return
        assert process.poll() is None, "the process ended before it got there"
        time.sleep(0.005)
    raise AssertionError("it never got there")


def test_killed_at_any_moment_it_carries_on(tmp_path):
    images, forms = write_files(tmp_path / "files", 100), tmp_path / "forms"

    def done():
        cards = list(forms.glob("*/card.json"))
        return json.loads(cards[0].read_text())["n_done"] if cards else 0

    moments = [
        lambda: any(forms.glob("*/pixels.bin")),
        lambda: done() >= 32,
        lambda: done() >= 64,
    ]
    kept = 0
    for moment in moments:
        process = Forked(SLOW, tmp_path)
        wait_for(process, moment)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert kept <= done() < 100
        kept = done()
    rest = Watched(images)
    found = prepare(rest, forms, skip_broken=True)
    assert set(range(kept, 100)) == set(rest.decoded)
    rows = np.delete(np.arange(100), 23)
    assert_same(found.take(rows), images.take(rows))


def test_two_processes_share_one_form(tmp_path):
    images = write_files(tmp_path / "files", 100)
    first = Forked(SLOW, tmp_path)
    wait_for(first, lambda: any((tmp_path / "forms").glob("*/card.json")))
    second = Forked(SLOW, tmp_path)
    waiting = "waiting for another process's prepared images\n"
    wait_for(second, lambda: second.said == waiting)
    (tmp_path / "go").touch()
    outputs = [process.communicate() for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outputs
    assert outputs[1][0] == waiting
    assert set((tmp_path / "log").read_text().split()) == {str(first.pid)}
    rows = np.arange(23)
    found = opened(images, tmp_path / "forms")
    assert_same(found.take(rows), images.take(rows))


def spoil(file: Path, *, quietly: bool = False) -> None:
    """Change one byte; quietly, as a bad disk does, with the time of the file as it was."""
    status, content = file.stat(), bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    after = status.st_mtime_ns if quietly else status.st_mtime_ns + 1
    os.utime(file, ns=(status.st_atime_ns, after))


@pytest.mark.parametrize("file", ["pixels.bin", "index.npy", "card.json", "truncated", "gone"])
def test_a_damaged_form_is_found_told_and_made_again(tmp_path, file):
    images = grey_images()
    prepare(images, tmp_path)
    if file == "gone":
        form_of(tmp_path, "pixels.bin").unlink()
    elif file == "truncated":
        os.truncate(form_of(tmp_path, "pixels.bin"), 50)
    elif file == "card.json":
        card = form_of(tmp_path, file)
        card.write_text(card.read_text()[:-20])
    else:
        spoil(form_of(tmp_path, file))
    reporter = Listener()
    assert opened(images, tmp_path, reporter) is None
    (note,) = reporter.notes
    assert str(tmp_path / RECIPE.key) in note
    assert_same(prepare(images, tmp_path, reporter), images)
    assert len(reporter.notes) == 1


def test_who_has_mapped_a_form_keeps_it_when_it_is_made_again(tmp_path):
    images = grey_images()
    before = prepare(images, tmp_path)
    form_of(tmp_path, "card.json").unlink()
    assert_same(prepare(grey_images(seed=1), tmp_path), grey_images(seed=1))
    assert_same(before, images)


def test_damage_that_left_no_trace_is_found_by_reading_through(tmp_path):
    images = grey_images()
    prepare(images, tmp_path)
    spoil(form_of(tmp_path, "pixels.bin"), quietly=True)
    reporter = Listener()
    assert opened(images, tmp_path, reporter) is not None
    assert not is_whole_form(form_of(tmp_path, "card.json").parent)


def test_damage_in_the_part_that_is_done_is_found_before_going_on(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SYNC_SECONDS", 0.0)
    monkeypatch.setattr("headstart.datasets.image_cache._estimate_bytes", lambda *_: 0)
    images = grey_images()
    with pytest.raises(StopError):
        prepare(Watched(images, 100), tmp_path)
    spoil(form_of(tmp_path, "pixels.bin"))
    reporter, again = Listener(), Watched(images)
    assert_same(prepare(again, tmp_path, reporter), images)
    assert str(tmp_path / RECIPE.key) in reporter.notes[0]
    assert sorted(again.decoded) == list(range(200))


def test_a_copied_form_is_read_through_once(tmp_path, monkeypatch):
    images = grey_images()
    prepare(images, tmp_path / "forms")
    shutil.copytree(tmp_path / "forms", tmp_path / "copy")
    os.utime(form_of(tmp_path / "copy", "pixels.bin"), ns=(1, 1))
    assert_same(opened(images, tmp_path / "copy"), images)

    def read_again(*_):
        raise AssertionError("read through a second time")

    monkeypatch.setattr("headstart.datasets.image_cache.sha256_start", read_again)
    assert_same(opened(images, tmp_path / "copy"), images)


def test_other_images_than_those_of_the_form(tmp_path):
    prepare(grey_images(), tmp_path)
    with pytest.raises(ValueError, match=r"\b200\b.*\b10\b"):
        opened(grey_images(10), tmp_path)


def test_no_space_is_found_before_anything_is_written(tmp_path, monkeypatch):
    free = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with refused("storage.full"):
        prepare(grey_images(), tmp_path)
    assert not list(tmp_path.glob("*/*"))


def test_a_disk_that_fills_up_loses_nothing_that_was_kept(tmp_path):
    images = write_files(tmp_path / "files", 100)
    (tmp_path / "go").touch()
    # A part of 16 images is 22 kB at most.
    process = Forked(f"import processes\nprocesses.limit_file_size(50_000)\n{SLOW}", tmp_path)
    _, err = process.communicate()
    assert "DiskFullError: " in err
    done = json.loads(form_of(tmp_path / "forms", "card.json").read_text())["n_done"]
    assert 32 <= done < 100
    process = Forked(SLOW, tmp_path)
    assert process.communicate()[1] == ""
    rows = np.arange(30, 100)
    found = opened(images, tmp_path / "forms")
    assert_same(found.take(rows), images.take(rows))


def test_a_broken_image_stops_unless_it_is_left_out(tmp_path):
    images, forms = write_files(tmp_path / "files"), tmp_path / "forms"
    with refused("image.broken") as stopped:
        prepare(images, forms)
    found = prepare(images, forms, skip_broken=True)
    assert list(found.broken) == [23]
    assert list(found.take(np.array([40, 23, 22])).broken) == [1]
    # The message is the one that the file itself would give.
    for read in (images.decode, found.pixels, found.decode):
        with pytest.raises(BrokenImageError) as told:
            read(23)
        assert str(told.value) == str(stopped.value)
    rows = np.delete(np.arange(60), 23)
    assert_same(found.take(rows), images.take(rows))
    assert list(pickle.loads(pickle.dumps(found.take(np.array([23, 23])))).broken) == [0, 1]
    # What was made with holes does not serve who wants none.
    with refused("image.broken"):
        prepare(images, forms)
    assert opened(images, forms) is not None
    # Stands for a newer Pillow that knows the format.
    photo(30, 20).save(tmp_path / "files" / "023.png")
    found = prepare(images, forms)
    assert not found.broken
    assert_same(found, images)


def test_pickled_it_is_mapped_anew(tmp_path):
    images = grey_images()
    prepared = prepare(images, tmp_path)
    rows = np.array([5, 199, 0])
    pickled = pickle.dumps(prepared.take(rows))
    assert_same(pickle.loads(pickled), images.take(rows))
    shutil.rmtree(tmp_path)
    with refused("cache.images_damaged"):
        pickle.loads(pickled)


def test_threads_and_forked_processes_read_it(tmp_path):
    images = grey_images()
    prepared = prepare(images, tmp_path)
    expected = [int(np.asarray(images.decode(row), dtype=int).sum()) for row in range(200)]

    def total(row):
        return int(prepared.pixels(row).sum(dtype=int))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(total, range(200))) == expected
    ours, theirs = multiprocessing.get_context("fork").Pipe()
    if not (child := os.fork()):
        theirs.send([total(row) for row in range(200)])
        os._exit(0)
    assert ours.recv() == expected
    os.waitpid(child, 0)


def test_a_side_that_is_none():
    with refused("image.side", found=0):
        PreparedForm("r", side=0)


def test_the_space_for_photographs_is_known_beforehand(tmp_path):
    photo(640, 480).save(tmp_path / "x.jpg")
    images = FileImages([tmp_path / "x.jpg"] * 3)
    prepare(images, tmp_path / "forms")
    size = form_of(tmp_path / "forms", "pixels.bin").stat().st_size
    assert size == bytes_needed(3) == 3 * 341 * 256 * 3
