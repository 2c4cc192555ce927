import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import awkward
from conftest import require
from headstart.datasets import ArrayImages, FileImages, Split
from headstart.datasets.audit import Duplicate, Problem, audit_images, check_audit
from headstart.datasets.file_index import FileIndex
from headstart.spec import Decoding
from refusals import refused


def split_of(images, labels=None) -> Split:
    labels = np.zeros(len(images), np.int64) if labels is None else np.array(labels)
    return Split(images, labels, np.arange(len(images)))


def written(folder: Path, files: dict[str, bytes], labels=None) -> Split:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return split_of(FileImages([folder / name for name in files]), labels)


def flat(level: int) -> bytes:
    return awkward.encoded(Image.new("L", (4, 4), level))


def test_every_problem_in_order_and_what_a_decoding_touches(tmp_path):
    whole, broken = awkward.whole_files(), awkward.broken_files()
    parts = {
        "train": written(tmp_path / "train", whole),
        "test": written(tmp_path / "test", {name: one for name, (one, _) in broken.items()}),
    }
    steps = []
    found = audit_images(parts, FileIndex(tmp_path / "files.db"), Decoding(), steps.append)
    assert found.n_images == sum(steps) == len(whole) + len(broken)
    assert [(p.split, p.row, p.where) for p in found.problems] == [
        ("test", row, str(tmp_path / "test" / name)) for row, name in enumerate(broken)
    ]
    reasons = [problem.reason for problem in found.problems]
    expected = [words for _, words in broken.values()]
    assert all(words in reason for words, reason in zip(expected, reasons, strict=True))
    assert (found.turned, found.transparent, found.deep, found.animated) == (16, 6, 2, 3)
    assert (found.largest, found.too_large) == (768, 0)
    for problem in found.problems:
        with refused("image.broken", reason=problem.reason):
            parts[problem.split].images.decode(problem.row)


def test_images_over_the_limit(tmp_path):
    huge = awkward.huge_png(12960, 12960)
    parts = {"train": written(tmp_path / "x", {"a.png": flat(1), "b.png": huge})}
    found = audit_images(parts, FileIndex(None), Decoding())
    reason = (
        "12960 x 12960 = 167,961,600 pixels, over the limit of 100,000,000: raise it with "
        "?max_pixels=167961600"
    )
    assert found.problems == (Problem("train", 1, str(tmp_path / "x" / "b.png"), reason),)
    assert (found.largest, found.too_large) == (167961600, 1)
    with refused("dataset.images_broken", found=1):
        check_audit(found, "photos", skip_broken=False)
    assert not audit_images(parts, FileIndex(None), Decoding(max_pixels=167961600)).problems


def test_the_list_ends_somewhere(tmp_path):
    files = {f"{i:02}.png": bytes(i) for i in range(23)}
    found = audit_images({"train": written(tmp_path / "x", files)}, FileIndex(None), Decoding())
    named = [str(tmp_path / "x" / f"{i:02}.png") for i in range(10)]
    with refused("dataset.images_broken", found=23, images=named) as error:
        check_audit(found, "photos", skip_broken=False)
    said = str(error.value)
    assert [said.count(problem.where) for problem in found.problems] == [1] * 10 + [0] * 13
    assert all(f"{problem.where}: {problem.reason}" in said for problem in found.problems[:10])
    assert re.findall(r"\b(?:23|13|photos)\b", said) == ["23", "23", "photos", "13"]
    check_audit(found, "photos", skip_broken=True)


def test_nothing_wrong_is_nothing_said(tmp_path):
    parts = {"train": written(tmp_path / "x", {"a.png": flat(1)})}
    check_audit(audit_images(parts, FileIndex(None), Decoding()), "photos", skip_broken=False)
    empty = audit_images({"train": split_of(FileImages([]))}, FileIndex(None), Decoding())
    assert (empty.n_images, empty.largest) == (0, 0)


def test_identical_files_in_two_splits(tmp_path):
    a, b, c = flat(1), flat(2), flat(3)
    parts = {
        "train": written(tmp_path / "train", {"1.png": a, "2.png": b, "3.png": a}),
        "validation": written(tmp_path / "validation", {"4.png": c, "5.png": b, "6.png": b""}),
        # Two empty files are two broken ones.
        "test": written(tmp_path / "test", {"7.png": b, "8.png": c, "9.png": b""}),
    }
    found = audit_images(parts, FileIndex(None), Decoding())
    one, two, four, five, seven, eight = (
        str(tmp_path / name)
        for name in (
            "train/1.png", "train/2.png", "validation/4.png", "validation/5.png", "test/7.png",
            "test/8.png",
        )
    )  # fmt: skip
    assert found.duplicates == (
        Duplicate("validation", five, "train", two),
        Duplicate("test", seven, "train", two),
        Duplicate("test", eight, "validation", four),
    )
    assert one not in str(found.duplicates)  # twice in one split
    assert found.conflicts == 0


@pytest.mark.parametrize(("labels", "conflicts"), [
    ([0, 0, 1, 1], 0),
    ([0, 1, 1, 1], 1),
    ([0, 1, 1, 0], 2),
    ([[1, -1], [1, -1], [0, 1], [0, 1]], 0),
    ([[1, -1], [1, 0], [0, 1], [0, 1]], 1),
])  # fmt: skip
def test_identical_files_with_different_labels(tmp_path, labels, conflicts):
    files = {"1.png": flat(1), "2.png": flat(1), "3.png": flat(2), "4.png": flat(2)}
    # Two empty files are no two of one content.
    files |= {"5.png": b"", "6.png": b""}
    parts = {"train": written(tmp_path / "x", files, [*labels, labels[0], labels[-1]])}
    found = audit_images(parts, FileIndex(None), Decoding())
    assert (found.conflicts, found.duplicates) == (conflicts, ())


@pytest.mark.parametrize(("label", "conflicts"), [(0, 0), (1, 1)])
def test_labels_of_one_file_in_two_splits_conflict_too(tmp_path, label, conflicts):
    parts = {
        "train": written(tmp_path / "train", {"1.png": flat(1), "2.png": flat(2)}, [0, 1]),
        "validation": written(tmp_path / "validation", {"3.png": flat(1)}, [label]),
    }
    found = audit_images(parts, FileIndex(None), Decoding())
    assert (found.conflicts, len(found.duplicates)) == (conflicts, 1)


def test_arrays_have_duplicates_and_nothing_else():
    pixels = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((4, 5, 6), np.uint8)
    parts = {
        "train": split_of(ArrayImages(pixels[[0, 1, 1]]), [0, 1, 2]),
        "test": split_of(ArrayImages(pixels[[2, 1]])),
    }
    found = audit_images(parts, FileIndex(None), Decoding(max_pixels=29))
    assert found.duplicates == (Duplicate("test", "number 1", "train", "number 1"),)
    assert found.conflicts == 1
    assert (found.turned, found.transparent, found.deep, found.animated) == (0, 0, 0, 0)
    assert found.problems == ()  # the limit is on what is decoded


@pytest.fixture
def stamps() -> list[Path]:
    """The labelled pictures of a package of Debian's: a folder for each category."""
    folder = Path("/usr/share/tuxpaint/stamps")
    require(folder.is_dir(), "Debian package tuxpaint-stamps-default")
    return sorted(folder.rglob("*.png"))


def test_real_pictures(stamps, tmp_path):
    parts = {
        "train": split_of(FileImages(stamps[::2])),
        "test": split_of(FileImages(stamps[1::2])),
    }
    found = audit_images(parts, FileIndex(tmp_path / "files.db"), Decoding())
    assert found.n_images == len(stamps) > 700
    assert found.problems == ()
    transparent, largest = 0, 0
    for stamp in stamps:
        with Image.open(stamp) as image:
            transparent += image.has_transparency_data
            largest = max(largest, image.width * image.height)
    assert (found.transparent, found.largest) == (transparent, largest)
    train = {path.read_bytes() for path in stamps[::2]}
    twice = [str(path) for path in stamps[1::2] if path.read_bytes() in train]
    assert [duplicate.where for duplicate in found.duplicates] == twice
    for one in found.duplicates:
        assert Path(one.where).read_bytes() == Path(one.other_where).read_bytes()
    again = audit_images(parts, FileIndex(tmp_path / "files.db"), Decoding())
    assert again == found
