"""Folders of class folders, as they come."""

import re
from pathlib import Path

import pytest
from PIL import Image

from conftest import require, write_folder
from headstart.context import ProgressReporter
from headstart.datasets.audit import data_warnings, verify
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.sources import resolve_name
from headstart.datasets.sources.folder import FolderSource
from headstart.datasets.sources.own_files import class_folders
from refusals import refused

STAMPS = Path("/usr/share/tuxpaint/stamps")


def read(folder):
    return FolderSource().read(DatasetName.parse(str(folder)), Path())


def write(root, *names):
    """Write small images (or, of other names, text) at these places."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".png", ".jpg", ".bmp"):
            Image.new("RGB", (4, 3)).save(path)
        else:
            path.write_text("no image")
    return root


def inside(split, root):
    return [str(path.relative_to(root)) for path in split.images.paths]


def tree(tmp_path, *folders):
    """Write three images into each of these folders; a name that ends in / has none."""
    for folder in folders:
        if folder.endswith("/"):
            (tmp_path / "photos" / folder).mkdir(parents=True)
        else:
            write(tmp_path / "photos", *(f"{folder}/{n}.png" for n in range(3)))
    return tmp_path / "photos"


ANIMALS = ("cat", "dog", "fox")


def each(splits, classes=ANIMALS, form="{split}/{name}"):
    return [form.format(split=split, name=name) for split in splits for name in classes]


INSIDE = "{name}/{split}"


@pytest.mark.parametrize(("folders", "parts_note"), [
    # The words, in any case, with what says nothing beside them.
    (each(["training_set", "test_set"]), "training_set (as train), test_set (as test)"),
    (each(["train", "validation", "test"]), "train, validation, test"),
    (each(["Test", "Train", "val"]), "Train, val (as validation), Test"),
    (each(["training", "testing"]), "training (as train), testing (as test)"),
    (each(["train", "eval"]), "train, eval (as test)"),
    (each(["trainval", "test"]), "trainval (as train), test"),
    (each(["train+val", "test"]), "train+val (as train), test"),
    (each(["train", "holdout"]), "train, holdout (as test)"),
    (each(["Training", "Hold-out"]), "Training (as train), Hold-out (as test)"),
    (each(["train", "dev", "test"]), "train, dev (as validation), test"),
    (each(["TRAIN", "TEST"]), "TRAIN, TEST"),
    (each(["TrainImages", "TestImages"]), "TrainImages (as train), TestImages (as test)"),
    (each(["1_train", "2_valid"]), "1_train (as train), 2_valid (as validation)"),
    (each(["train2017", "val2017"]), "train2017 (as train), val2017 (as validation)"),
    (each(["train_224x224", "test_224x224"]), "train_224x224 (as train), test_224x224 (as test)"),
    # A data set's name before them.
    (each(["cub_train", "cub_test"]), "cub_train (as train), cub_test (as test)"),
    (each(["ILSVRC2012_img_train", "ILSVRC2012_img_val"]),
     "ILSVRC2012_img_train (as train), ILSVRC2012_img_val (as validation)"),
    (each(["data_train", "data_test"]), "data_train (as train), data_test (as test)"),
    # Inside class folders; deeper; wrapped.
    (each(["train", "test"], form=INSIDE), "CLASS/train (as train), CLASS/test (as test)"),
    (each(["Training set", "Eval"], form=f"images/{INSIDE}"),
     "CLASS/Training set (as train), CLASS/Eval (as test)"),
    (each(["images/train", "images/test"]), "train, test"),
    (each(["birds/train2017", "birds/val2017"]), "train2017 (as train), val2017 (as validation)"),
    (each(["seg_train/seg_train", "seg_test/seg_test"]),
     "seg_train (as train), seg_test (as test)"),
    (each(["real_vs_fake/real-vs-fake/train", "real_vs_fake/real-vs-fake/test"]), "train, test"),
    (each(["train", "test"], form="{split}/images/{name}"), "train, test"),
])  # fmt: skip
def test_folders_that_are_splits(tmp_path, folders, parts_note):
    raw = read(tree(tmp_path, *folders))
    assert raw.classes == ANIMALS
    assert raw.parts_note == f"folders {parts_note}"
    assert len(raw.parts) == parts_note.count(",") + 1
    places = set()
    for name, part in raw.parts.items():
        assert part.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
        assert part.rows.tolist() == list(range(9))
        for path, label in zip(part.images.paths, part.labels, strict=True):
            places.add(path)
            words = {"train": "train", "validation": "val|dev", "test": "test|eval|hold"}[name]
            assert re.search(rf"{words}", str(path.relative_to(tmp_path)).lower())
            assert raw.classes[label] in path.parts
    assert len(places) == 3 * len(folders)


@pytest.mark.parametrize("classes", [
    ("bus", "car", "train"), ("bus", "eval", "tram"), ("test tube", "train station"),
    ("development", "kitchen"), ("test", "flask", "beaker"), ("train_interior", "train_railway"),
    ("val d'isere", "chamonix"), ("1", "2", "10"),
])  # fmt: skip
@pytest.mark.parametrize("views", [(), ("front", "back")])
def test_classes_that_are_called_like_splits_stay_classes(tmp_path, classes, views):
    """So do more classes than each has folders of its own."""
    if views and len(classes) == 2:
        return
    raw = read(tree(tmp_path, *(each(views, classes, INSIDE) or classes)))
    assert raw.classes == tuple(sorted(classes))
    assert list(raw.parts) == ["all"]
    assert raw.parts_note == ""


@pytest.mark.parametrize(("folders", "code", "found"), [
    (each(["train", "test_id", "test_ood"]), "split_unknown", ("test_id", "test_ood")),
    (each(["train", "train_noisy", "test"]), "split_unknown", ("train_noisy",)),
    (each(["train", "eval", "test"]), "split_unknown", ("eval", "test")),
    (each(["train_1", "train_2", "test"]), "split_unknown", ("train_1", "train_2")),
    (each(["train", "test", "unlabeled"]), "split_unknown", ("unlabeled",)),
    (each(["known_train", "test"]), "split_unknown", ("known_train",)),
    ([*each(["train", "test"], form=INSIDE), "wolf/train", "wolf/masks"], "split_unknown",
     ["masks"]),
    ([*each(["train", "test"], form=INSIDE), "wolf"], "split_unknown", ["wolf"]),
    (each(["train", "test_id", "test"], form=INSIDE), "split_unknown", ["test_id"]),
    ([*each(["Training", "Test"]), "test-multiple_fruits"], "split_unknown",
     ("test-multiple_fruits",)),
    (each(["train", "val", "valid"]), "split_unknown", ("val", "valid")),
    (each(["fold1", "fold2"]), "layout_unclear", ("fold1", "fold2")),
    (each(["photo", "sketch", "art"]), "layout_unclear", ("art", "photo", "sketch")),
    (each(["a/images", "b/images"]), "layout_unclear", ("a", "b")),
    (each(["fold1", "fold2", "fold3"], ("cat", "dog")), "layout_unclear",
     ("fold1", "fold2", "fold3")),
    (each(["Session 1", "Session 2", "Session 3"], ("cat", "dog")), "layout_unclear",
     ("Session 1", "Session 2", "Session 3")),
    (each(["web/train", "web/test", "slr/train", "slr/test"]), "layout_unclear", ("slr", "web")),
    (each(["train"]), "split_missing", ["train"]),
    (each(["val", "test"]), "split_missing", ["validation", "test"]),
    ([*each(["train"], form=INSIDE), "cat/test", "owl/test"], "class_empty", "owl"),
    (["Train/cat", "test/owl/x"], "class_unknown", "owl"),
    # A copy of the dataset in itself, as a backup or an archive unpacked twice leaves it.
    ([*each(["."]), *each(["backup"])], "layout_unclear", ("backup",)),
    # One class is not taken apart.
    (["cat/front", "cat/back"], "one_class", "cat"),
])  # fmt: skip
def test_folders_that_look_like_splits_and_cannot_be_told(tmp_path, folders, code, found):
    with refused(f"dataset.{code}", found=found):
        read(tree(tmp_path, *folders))


@pytest.mark.parametrize(("options", "code"), [
    ("train=a", "split_missing"), ("train=a&test=none", "split_unknown"),
    ("train=a&test=a", "split_twice"), ("all=a&test=b", "split_twice"),
    ("train=*/x&test=*/y", "split_unknown"), ("train=a&test=", "split_unknown"),
])  # fmt: skip
def test_named_folders_that_are_not_there(tmp_path, options, code):
    with refused(f"dataset.{code}"):
        read(f"{tree(tmp_path, *each(['a', 'b']))}?{options}")


@pytest.mark.parametrize(("folders", "options", "parts"), [
    (each(["a", "b"]), "train=a&test=b", {"train": "a", "test": "b"}),
    (each(["a", "b", "c"]), "train=a+b&test=c", {"train": "a b", "test": "c"}),
    (each(["a+b", "c"]), "train=a+b&validation=c", {"train": "a+b", "validation": "c"}),
    (each(["x/a", "x/b"]), "train=x/a&test=x/b", {"train": "a", "test": "b"}),
    (each(["train", "test", "extra"]), "train=train&test=test", {"train": "train", "test": "test"}),
    (each(["train", "test_id", "test_ood"]), "all=train", {"all": "train"}),
    (each(["a", "b"], form=INSIDE), "train=*/a&test=*/b", {"train": "a", "test": "b"}),
    (each(["a", "b"], form=INSIDE), "all=.", {"all": "a b"}),
    (each(["train", "test"], form=INSIDE), "all=.", {"all": "train test"}),
])  # fmt: skip
def test_folders_that_are_named(tmp_path, folders, options, parts):
    raw = read(f"{tree(tmp_path, *folders)}?{options}")
    assert raw.classes == ANIMALS
    assert list(raw.parts) == list(parts)
    for part, names in parts.items():
        assert len(raw.parts[part]) == 9 * len(names.split())
        found = {folder for path in raw.parts[part].images.paths for folder in path.parts}
        assert set(names.split()) <= found


@pytest.mark.parametrize("wrapper", [
    "images", "data/224", "CUB_200_2011/images", "birds/birds", "Waste sorting/waste sorting",
    "a/b/images",
])  # fmt: skip
def test_class_folders_in_a_folder_of_their_own(tmp_path, wrapper):
    raw = read(tree(tmp_path, *each([wrapper])))
    assert raw.classes == ANIMALS
    assert raw.parts_note == f"class folders in {wrapper}"


@pytest.mark.parametrize("name", [
    "$RECYCLE.BIN", "$Recycle.Bin", "System Volume Information", "lost+found", "@eaDir", "__MACOSX",
    "#recycle", "__pycache__", ".Trash-1000",
])  # fmt: skip
def test_folders_of_systems_are_no_classes(tmp_path, name):
    photos = tree(tmp_path, *ANIMALS, f"{name}/S-1", f"cat/{name}")
    raw = read(photos)
    assert raw.classes == ANIMALS
    assert raw.parts["all"].labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert raw.notes == ()


def test_a_class_folder_that_is_a_broken_symlink(tmp_path):
    photos = tree(tmp_path, *ANIMALS)
    (photos / "owl").symlink_to("nowhere")
    (photos / "README.md").symlink_to("nowhere")
    with refused("dataset.broken_link", found=str(photos / "owl")):
        read(photos)
    (photos / "owl").unlink()
    assert read(photos).classes == ANIMALS


@pytest.mark.parametrize(("wrapper", "files", "said"), [
    ("Images/", ["TrainImages.txt", "TestImages.txt"], ["TestImages.txt", "TrainImages.txt"]),
    ("images/", ["train_test_split.txt", "classes.txt", "images.txt"], ["train_test_split.txt"]),
    ("images/", ["meta/train.json", "meta/test.json", "meta/labels.txt"],
     ["test.json", "train.json"]),
    ("", ["val.csv", "labels.csv", "README.txt"], ["val.csv"]),
    ("", ["classes.txt", "train.py", "license.txt", ".train.txt", "data.csv"], []),
])  # fmt: skip
def test_lists_of_splits_beside_class_folders_are_noted(tmp_path, wrapper, files, said):
    """Somebody has divided the images; the splits are drawn all the same."""
    photos = tree(tmp_path, *(f"{wrapper}{name}" for name in ANIMALS))
    for name in files:
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).touch()
    raw = read(photos)
    assert raw.classes == ANIMALS
    assert len(raw.notes) == bool(said)
    assert all(", ".join(f"'{name}'" for name in said) in note for note in raw.notes)


@pytest.mark.parametrize(("folders", "table", "told"), [
    (["img"], "labels.csv", "img"), (["img"], "lists/metadata.jsonl", "img"),
    (["images/all"], "t.parquet", "all"),
    # Folders inside are likelier to be the classes.
    (["pets/cat", "pets/dog"], "labels.csv", ""), (["img"], "notes.txt", ""),
])  # fmt: skip
def test_one_folder_of_images_beside_a_table_is_no_class(tmp_path, folders, table, told):
    photos = tree(tmp_path, *folders)
    (photos / table).parent.mkdir(exist_ok=True)
    (photos / table).touch()
    if not told and table == "notes.txt":
        assert read(photos).classes == ("img",)
        return
    with refused("dataset.one_class", found=told or "pets") as error:
        read(photos)
    assert (str(photos / table) in str(error.value)) == bool(told)


def test_what_a_run_in_the_folder_leaves_there_is_no_class(tmp_path):
    """`headstart rank .`, with its store, and `headstart export`; then the same again."""
    photos = tree(tmp_path, *ANIMALS)
    write(photos, "headstart.db", "headstart.db.models/0a/model.md", "top.models/1.png",
          "headstart.db.predictions/0a.parquet", "export-0a-onnx/headstart.json")  # fmt: skip
    assert read(photos).classes == (*ANIMALS, "top.models")


def test_images_that_icloud_has_are_counted(tmp_path):
    photos = tree(tmp_path, *ANIMALS)
    for name in ("cat/.a.jpg.icloud", "cat/.b.jpg.icloud", "dog/.c.HEIC.icloud", "dog/.DS_Store"):
        (photos / name).touch()
    assert read(photos).left_out == {".icloud": 3}


@pytest.mark.parametrize(("folders", "pooled"), [
    (each(["left", "right"], form=INSIDE), "left, right"),
    (["pet/cat", "pet/dog", "car"], "cat, dog"),
    (["pet/cat", "pet/dog", "toy/car"], "cat, dog, car"),
    (["web/images/mug", "web/images/pen", "slr/images/mug", "slr/images/pen", "cam/images/mug",
      "cam/images/pen"], "mug, pen"),
    (each(["images"], form=INSIDE), ""), (["cat/2020", "dog/2021"], ""),
])  # fmt: skip
def test_folders_inside_class_folders_are_pooled_and_that_is_said(tmp_path, folders, pooled):
    names = ", ".join(f"'{name}'" for name in pooled.split(", "))
    note = f"classes are the outer folders; folders in them ({names}) are pooled"
    assert read(tree(tmp_path, *folders)).notes == ((note,) if pooled else ())


def test_two_spellings_of_a_name_are_one_class(tmp_path):
    """A Mac writes the accent as a character of its own."""
    composed, apart = "caf\u00e9", "cafe\u0301"
    together = read(tree(tmp_path / "together", composed, apart, "bar"))
    assert together.parts["all"].labels.tolist() == [0] * 3 + [1] * 6
    splits = read(tree(tmp_path / "splits", f"train/{apart}", "train/bar", f"test/{composed}"))
    assert splits.parts["test"].labels.tolist() == [1] * 3
    assert together.classes == splits.classes == ("bar", composed)
    # One spelling alone stays as it is: it is part of what stored results are found by.
    assert read(tree(tmp_path / "one", apart, "bar")).classes == ("bar", apart)


def test_class_folders_alone(tmp_path):
    write(tmp_path, "b/2.png", "b/10.png", "a/1.JPG", "B/1.bmp", "a/z.png", "a/deep/er/2.png")
    raw = read(tmp_path)
    assert raw.classes == ("B", "a", "b")
    assert list(raw.parts) == ["all"]
    expected = ["B/1.bmp", "a/1.JPG", "a/deep/er/2.png", "a/z.png", "b/10.png", "b/2.png"]
    assert inside(raw.parts["all"], tmp_path) == expected
    assert raw.parts["all"].labels.tolist() == [0, 1, 1, 1, 2, 2]


def test_what_is_no_image_is_left_out(tmp_path):
    write(tmp_path, "a/1.png", "b/1.png", "readme.txt", "loose.png")
    write(tmp_path, "a/1.txt", "a/sound.ogg", "a/Thumbs.db", "a/no_suffix", "a/x.svg", "a/x.h5")
    write(tmp_path, "a/.hidden.png", "a/.cache/1.png", ".git/1.png")
    write(tmp_path, "__MACOSX/a/1.png", "a/@eaDir/1.png")
    raw = read(tmp_path)
    assert raw.classes == ("a", "b")
    assert inside(raw.parts["all"], tmp_path) == ["a/1.png", "b/1.png"]
    # Hidden ones are nobody's images; the others may be, in a format that is not decoded.
    assert raw.left_out == {
        ".txt": 1, ".ogg": 1, ".db": 1, "without an ending": 1, ".svg": 1, ".h5": 1,
        "images in no class folder": 1,
    }  # fmt: skip


def test_a_hidden_folder_of_images_is_no_class_and_is_named(tmp_path):
    write(tmp_path / "flat", "a/1.png", "b/1.png", "..c/1.png", ".git/x.txt", ".empty.png")
    raw = read(tmp_path / "flat")
    assert raw.classes == ("a", "b")
    assert [note for note in raw.notes if "hidden" in note and "'..c'" in note] == list(raw.notes)
    write(
        tmp_path / "split", *(f"{part}/{name}/1.png" for part in ("train", "test") for name in "ab")
    )
    assert not read(tmp_path / "split").notes
    write(tmp_path / "split", "train/.c/1.png", "test/.c/1.png")
    (note,) = read(tmp_path / "split").notes
    assert note.count("'.c'") == 1


def test_an_unknown_name_may_have_meant_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos", ".photo", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "photo.txt").touch()
    with refused("name.unknown", kind="dataset", near=["./photos"]):
        resolve_name("photo")
    with refused("name.unknown", kind="dataset", near=["digits"]):
        resolve_name("digit")


def test_files_that_are_left_out_are_told(tmp_path):
    """A telephone's photographs may be in a format that Pillow does not decode."""
    shots = [f"{name}/{n}" for name in "ab" for n in ("0.png", "1.png", "2.png", "3.png", "x.HEIC")]
    write(tmp_path, *shots, "a/y.txt", "a/z", "b/x.svg")
    warning = data_warnings(verify(str(tmp_path), tmp_path / "cache", ProgressReporter()))[0]
    assert warning.code == "skipped-files"
    assert "2 .heic, 1 .svg, 1 .txt and 1 more (convert .heic, .svg to" in warning.text


@pytest.mark.parametrize("part", ["", "train/", "test/"])
def test_images_without_a_class_are_told(part, tmp_path):
    """Of split folders and without them; beside those that have a class."""
    folders = ("train/a", "train/b", "test/a", "test/b") if part else ("a", "b")
    photos = write(tmp_path / "photos", *(f"{name}/{n}.bmp" for name in folders for n in range(5)))
    write(photos, f"{part}x.png", f"{part}y.jpg", f"{part}z.txt", ".h.png")
    if part:
        write(photos, "cover.png")
    found = data_warnings(verify(str(photos), tmp_path / "cache", ProgressReporter()))
    (loose,) = [warning.text for warning in found if "class folder" in warning.text]
    assert loose.startswith(f"{3 if part else 2} images are skipped")


def test_a_question_mark_may_be_in_the_name_of_a_folder(tmp_path, monkeypatch):
    write(tmp_path / "what?", *(f"{name}/{n}.bmp" for name in "ab" for n in range(5)))
    monkeypatch.chdir(tmp_path)
    for name in ("what?", f"{tmp_path}/what?", "./what?"):
        checked = verify(name, tmp_path / "cache", ProgressReporter())
        assert (checked.name, checked.place) == ("what?", f"{tmp_path}/what?")
    checked = verify(
        "what??split_seed=3&metric=mean-per-class", tmp_path / "cache", ProgressReporter()
    )
    assert checked.name == "what??split_seed=3&metric=mean-per-class"
    assert checked.loaded.metric == "mean-per-class"


def test_links_are_followed_but_not_in_circles(tmp_path):
    photos = write(tmp_path / "photos", "a/1.png", "b/1.png")
    write(tmp_path / "elsewhere", "file.png", "folder/2.png")
    (photos / "a" / "link.png").symlink_to(tmp_path / "elsewhere" / "file.png")
    (photos / "a" / "more").symlink_to(tmp_path / "elsewhere" / "folder")
    (photos / "c").symlink_to(tmp_path / "elsewhere")
    for number, circle in enumerate([photos, photos / "a", tmp_path]):
        (photos / "a" / f"circle{number}").symlink_to(circle)
    # From where it really is, this leads up too.
    (tmp_path / "elsewhere" / "up").symlink_to(tmp_path)
    raw = read(photos)
    assert raw.classes == ("a", "b", "c")
    assert inside(raw.parts["all"], photos) == [
        "a/1.png", "a/link.png", "a/more/2.png", "b/1.png", "c/file.png", "c/folder/2.png",
    ]  # fmt: skip


def test_a_link_to_a_file_that_is_gone_is_not_passed_over(tmp_path):
    write(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a" / "2.png").symlink_to("nowhere.png")
    images = read(tmp_path).parts["all"].images
    assert len(images) == 3
    with refused("image.broken", reason="a broken symlink"):
        images.decode(1)


def test_a_split_may_lack_a_class_and_hold_an_empty_one(tmp_path):
    write_folder(tmp_path, {"train": {"a": 1, "b": 1}, "test": {"b": 2}})
    (tmp_path / "test" / "new").mkdir()
    write(tmp_path, "docs/readme.txt")
    raw = read(tmp_path)
    assert raw.classes == ("a", "b")
    assert raw.parts["test"].labels.tolist() == [1, 1]


@pytest.mark.parametrize(("names", "found"), [
    (["1.png", "2.jpg"], 2), (["readme.txt"], 0), (["images.zip"], 0), ([".DS_Store"], 0),
    (["train-0.tar", "train-1.tar"], 0), (["train/a/1.png", "test/1.png", "test/2.png"], 2),
    # A table beside the images.
    (["1.png", "2.png", "metadata.csv"], 2),
])  # fmt: skip
def test_folders_without_classes(tmp_path, names, found):
    with refused("dataset.no_classes", found=found):
        read(write(tmp_path / "photos", *names))


@pytest.mark.parametrize(("names", "others"), [
    (["a/1.png", "b/1.heic"], {".heic": 1}), (["a/1.png", "b/c/1.zip"], {".zip": 1}),
    (["a/1.png", "b/1.nii.gz", "b/2.nii.gz"], {".nii.gz": 2}),
    (["a/1.png", "b/IMG_1"], {"without an ending": 1}), (["a/1.png", "b/._1.jpg"], {}),
    (["a/1.png", "b/.1.jpg.icloud"], {".icloud": 1}),
    (["train/a/1.png", "train/b/no.txt", "test/a/1.png"], {".txt": 1}),
])  # fmt: skip
def test_classes_without_images(tmp_path, names, others):
    with refused("dataset.class_empty", found="b", others=others):
        read(write(tmp_path / "photos", *names))


def test_a_folder_that_is_not_there(tmp_path):
    for name in ("none", "above/none"):
        asked = DatasetName.parse(f"{tmp_path}/{name}")
        with refused("dataset.missing"):
            FolderSource().read(asked, tmp_path)
        place = f"there is no folder {tmp_path}/{name}"
        assert FolderSource().presence(asked, tmp_path) == (False, place)


def test_what_is_known_before_it_is_read(tmp_path, monkeypatch):
    write(tmp_path / "photos", "a/1.png")
    monkeypatch.chdir(tmp_path / "photos")
    for name in (".", "../photos", "../photos/"):
        assert FolderSource().describe(DatasetName.parse(name)).title == "photos"
        presence = FolderSource().presence(DatasetName.parse(name), tmp_path)
        assert (presence.present, presence.place) == (True, str(tmp_path / "photos"))


def test_names_of_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "odd.csv").mkdir()
    recognised = ["./none", "/data/photos", "~/photos", "here", "odd.csv", "a/b"]
    assert [name for name in recognised if not FolderSource().recognises(name)] == []
    others = ["cifar10", "hf:user/name", "./photos.csv", "a/photos.Parquet", "./data.py:load"]
    assert [name for name in others if FolderSource().recognises(name)] == []


def test_stamps_of_tuxpaint():
    """Real images: categories with folders in them, beside sounds, texts, vector drawings."""
    require(STAMPS.is_dir(), "Debian package tuxpaint-stamps-default")
    raw = read(STAMPS)
    assert raw.classes == class_folders(STAMPS)
    assert {"animals", "food", "vehicles"} <= set(raw.classes)
    images = raw.parts["all"].images
    assert set(images.paths) == set(STAMPS.rglob("*.png"))
    assert len(images) > 700
    for label, path in zip(raw.parts["all"].labels, images.paths, strict=True):
        assert path.relative_to(STAMPS).parts[0] == raw.classes[label]
