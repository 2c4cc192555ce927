"""Images of many kinds, classified; what does not decode is listed."""

import io
import json
from pathlib import Path, PurePath

import numpy as np
import pytest
from PIL import Image

from headstart.deploy.classifier import Classifier, find_images
from headstart.spec import Decoding
from refusals import ended, refused

CLASSES = ("dark", "light")


def by_brightness(images) -> np.ndarray:
    """Stand for a network: how bright an image is on average."""
    light = [np.asarray(image.convert("L")).mean() / 255 for image in images]
    return np.array([[1 - one, one] for one in light], dtype=np.float32)


def classifier(**options) -> Classifier:
    settings = {"several": False, "decoding": Decoding(), "title": "brightness", **options}
    return Classifier(by_brightness, CLASSES, **settings)


GREY = np.full((4, 6), 204, np.uint8)


@pytest.mark.parametrize(("given", "light"), [
    (GREY, [0.8]), (GREY[..., None], [0.8]), (np.stack([GREY] * 3, axis=2), [0.8]),
    (np.stack([GREY, GREY])[..., None], [0.8, 0.8]), (np.zeros((2, 5, 5, 3), np.uint8), [0, 0]),
    ((one for one in [GREY, GREY]), [0.8, 0.8]),
    # Transparent: shown on white.
    (np.zeros((5, 5, 4), np.uint8), [1]),
    (Image.fromarray(GREY), [0.8]),
    ([Image.new("RGB", (3, 3)), GREY, Image.new("1", (8, 8), 1)], [0, 0.8, 1]),
    (Image.fromarray(np.array([[0, 65535]], np.uint16)), [0.5]),
])  # fmt: skip
def test_arrays_and_images_of_pillow(given, light):
    found = classifier()(given)
    np.testing.assert_allclose(found.probabilities[:, 1], light, atol=0.01)
    assert found.names == tuple(f"number {i}" for i in range(len(light)))


def test_files_folders_and_patterns(photos, monkeypatch):
    folder = photos / "test"
    (folder / "notes.txt").write_text("no image")
    # What systems put there.
    for name in ("__MACOSX/._0.png", ".hidden.png", "dark/.thumbnails/0.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("no image")
    (folder / "dark" / "again").symlink_to(folder)
    found = classifier()([folder, str(photos / "train" / "light" / "*.png")])
    assert found.predicted == ["dark"] * 3 + ["light"] * 6
    assert Path(found.names[0]).parent.name == "dark"
    monkeypatch.chdir(photos)
    (name, *_) = find_images(["test", "train/*/*.png"])[::9]
    assert (name.name, name.content) == ("test/dark/0.png", folder / "dark" / "0.png")
    assert find_images("train/*/0.png")[0].name == "train/dark/0.png"
    table = found.table(k=1)
    assert table.columns.tolist() == ["image", "rank", "class", "probability"]
    assert len(table) == 9


def test_a_turned_image_is_seen_upright():
    image = Image.new("RGB", (4, 2))
    exif = image.getexif()
    exif[274] = 6
    seen = []
    run = Classifier(
        lambda images: seen.extend(images) or by_brightness(images),
        CLASSES, several=False, decoding=Decoding(), title="x",
    )  # fmt: skip
    image.info["exif"] = exif.tobytes()
    run(image)
    assert seen[0].size == (2, 4)


def test_broken_and_missing_images_are_listed_beside_the_others(photos, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    names = [tmp_path / "broken.png", photos / "test/light/0.png", tmp_path / "missing.jpg"]
    done = []
    found = classifier()(names, on_progress=done.append)
    assert found.names == (str(names[1]),)
    assert found.broken.keys() == {str(names[0]), str(names[2])}
    assert found.broken[str(names[2])] == "no such file"
    assert sum(done) == 3
    (tmp_path / "link.png").symlink_to("nowhere.png")
    # Named once: its path stands before the reason.
    assert classifier()(tmp_path / "link.png").broken == {
        str(tmp_path / "link.png"): "a broken symlink"
    }
    alone = classifier()(names[0])
    assert (len(alone), alone.probabilities.shape) == (0, (0, 2))


def test_a_path_of_any_kind_names_a_file(photos):
    place = PurePath(photos, "test", "light", "0.png")
    assert classifier()(place).names == classifier()(str(place)).names == (str(place),)


def test_a_broken_image_of_pillow_is_listed_like_a_file(tmp_path):
    """Pillow reads pixels when they are asked for: by then the file may be cut off, or closed."""
    file = tmp_path / "cut.jpg"
    Image.effect_noise((64, 64), 90).save(file)
    file.write_bytes(file.read_bytes()[:-900])
    closed = Image.new("RGB", (4, 4))
    closed.close()
    with Image.open(file) as cut:
        found = classifier()([cut, GREY, closed, Image.new("RGB", (0, 5))])
    assert found.names == ("number 1",)
    assert list(found.broken) == ["number 0", "number 2", "number 3"]
    assert "truncated" in found.broken["number 0"]


def test_images_to_classify_are_told_no_option_of_a_dataset(tmp_path):
    values, large = tmp_path / "values.tif", tmp_path / "large.png"
    Image.fromarray(np.array([[0, 1000]], np.int32)).save(values)
    Image.new("L", (9, 9)).save(large)
    with Image.open(values) as first, Image.open(large) as second:
        for given in ([values, large], [first, second]):
            found = classifier(decoding=Decoding(max_pixels=80))(given)
            assert len(found.broken) == 2
            assert not any("?" in why for why in found.broken.values())


def test_several_classes_per_image():
    run = classifier(several=True)
    run.run = lambda images: np.array([[0.9, 0.8], [0.2, 0.6], [0.1, 0.2]], np.float32)
    found = run([GREY] * 3)
    assert found.predicted == [("dark", "light"), ("light",), ()]
    assert found.top(1)[1] == [("light", pytest.approx(0.6))]


@pytest.mark.parametrize(("given", "code"), [
    ([], "image.none"), (iter([]), "image.none"),
    *((given, "image.kind") for given in (
        3, [GREY, None], GREY.astype(float), np.zeros((2, 2, 2, 2, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8), np.zeros((8, 8, 5), np.uint8),
        np.zeros((8, 8, 2), np.uint8), np.zeros((2, 8, 8), np.uint8), b"a.jpg",
        # Iterable, and no images: the current folder, pixels without values, lines, names.
        "", [GREY, " "], np.ma.masked_less(GREY, 3), io.BytesIO(b"a\nb"), {"photo": GREY},
    )),
])  # fmt: skip
def test_what_is_no_image_is_refused(given, code):
    with refused(code):
        classifier()(given)


@pytest.mark.parametrize("k", [0, -1])
def test_no_class_at_all_is_refused(k):
    with refused("command.value", name="k", value=k):
        classifier()(GREY).table(k=k)


def test_a_folder_without_images_and_a_pattern_without_match_are_refused(tmp_path):
    names = [str(tmp_path), str(tmp_path / "*.jpg")]
    with refused("image.none", names=names):
        find_images(names)
    found = classifier()([*names, GREY])
    assert (found.names, found.broken.keys()) == (("number 2",), set(names))


def test_the_command_prints_each_form(cli, photos, monkeypatch, tmp_path):
    monkeypatch.setattr("headstart.deploy.classifier.load", lambda *_, **__: classifier())
    good, broken = photos / "test/light/0.png", tmp_path / "broken.png"
    broken.write_text("no")
    outcome = cli("predict", "KEY", good, "-q")
    assert outcome.code == 0
    assert "light" in outcome.out
    outcome = cli("predict", "KEY", good, broken, "--json", "-q")
    assert outcome.code == 2
    first, second = json.loads(outcome.out)
    assert first["predictions"][0]["class"] == "light"
    assert second.keys() == {"image", "error"}
    outcome = cli("predict", "KEY", good, "--csv", "--top", "1", "-q")
    assert outcome.out.splitlines()[0] == "image,rank,class,probability"
    assert len(outcome.out.splitlines()) == 2
    ended(cli("predict", "KEY", "-q"), "command.missing", name="IMAGE")
    ended(cli("predict", "KEY", good, "--csv", "--json", "-q"), "command.conflict")
