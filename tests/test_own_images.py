"""The user's own images, in every form in which they come, through the command line."""

import csv
import itertools
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import awkward
import headstart as hs
from conftest import MODEL, require, write_folder
from headstart.datasets import file_index
from headstart.datasets import images as reading
from own_datasets import write_dataset
from processes import headstart_process
from refusals import ended

STAMPS = Path("/usr/share/tuxpaint/stamps")
DRAWN = "drawn: 60 % train, 20 % validation, 20 % test, stratified, seed 0"


@pytest.fixture
def run(cli, tmp_path):
    """Measure the embedded model on a dataset; give the outcome, and the one result if any."""

    def measured(name, *options):
        store = tmp_path / "results.db"
        arguments = ("run", "--models", MODEL, "--datasets", name, "--store", store)
        outcome = cli(*arguments, *options)
        results = hs.ResultStore(store).results() if outcome.code == 0 else [None]
        return outcome, results[-1]

    return measured


def without_a_warning(name, store: Path, *options) -> str:
    """Measure in a process in which a warning is an error; give what it printed."""
    process = headstart_process(
        "run", "--models", MODEL, "--datasets", name, "--store", store, *options,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )  # fmt: skip
    out, err = process.communicate()
    assert (err, process.returncode) == ("", 0)
    return out


def words(text: str) -> str:
    return " ".join(text.split())


def test_a_folder_without_splits(run, tmp_path):
    folder = write_folder(tmp_path / "photos", {".": {"dark": 8, "light": 8, "single": 1}})
    outcome, result = run(folder)
    assert outcome.code == 0, outcome.err
    said = words(outcome.out)
    assert f"photos: splits: {DRAWN}" in said
    # A class of one image is trained on, and nothing is said of it that was not measured.
    (warning,) = result.provenance["data_warnings"]
    assert warning["code"] == "untested-classes"
    assert words(warning["text"]) in said
    assert "1 of 3 classes" in said
    assert dict(result.trial.dataset.sizes) == {"train": 9, "validation": 4, "test": 4}
    outcome, other = run(f"{folder}?split_seed=1")
    assert outcome.code == 0, outcome.err
    assert other.trial.dataset.name == "photos?split_seed=1"
    assert other.trial.dataset.revision != result.trial.dataset.revision


@pytest.mark.parametrize(("kind", "source", "name", "said"), [
    ("parquet table", "table", "photos.parquet", DRAWN),
    ("hub", "hf", "./pets", "test as given; 20 % of train drawn for validation"),
    # Where the images are says nothing of what they are.
    ("torchvision", "torchvision", "EuroSAT", DRAWN),
    ("table", "table", "photos.csv?group=group", f"{DRAWN}, groups kept together"),
])  # fmt: skip
def test_a_dataset_of_each_source(kind, source, name, said, run, cli, tmp_path):
    location = write_dataset(kind, tmp_path)
    outcome, result = run(location)
    assert outcome.code == 0, outcome.err
    dataset = result.trial.dataset
    assert (dataset.source, dataset.name, dataset.classes) == (source, name, ("a", "b"))
    assert said in words(outcome.out)
    if kind == "table":
        exported = tmp_path / "splits.csv"
        assert cli("datasets", "splits", location, "--export", exported).code == 0
        with exported.open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 40
        sides: dict[int, set[str]] = {}
        for row in rows:
            sides.setdefault(int(Path(row["image"]).stem) // 2, set()).add(row["split"])
        assert {len(splits) for splits in sides.values()} == {1}


def test_a_function_and_a_study_file_that_names_one(run, cli, tmp_path):
    name = write_dataset("function", tmp_path)
    outcome, result = run(name)
    assert outcome.code == 0, outcome.err
    assert result.trial.dataset.classes == ("0", "1")
    study = tmp_path / "study.toml"
    study.write_text(f"models = ['{MODEL}']\ndatasets = ['{name}']\n")
    refused = cli("run", study, "--store", tmp_path / "results.db")
    ended(refused, "study.untrusted")
    assert "--trust" in refused.err
    trusted = cli("run", study, "--store", tmp_path / "results.db", "--trust")
    assert trusted.code == 0, trusted.err
    assert "0 measured, 1 already stored" in trusted.out


@pytest.fixture
def awkward_folder(tmp_path):
    """Files of every awkward kind by turns in two classes, a class of one, and broken ones."""
    folder = tmp_path / "photos"
    files = sorted(awkward.whole_files().items())
    for turn, (name, content) in zip(itertools.cycle("ab"), files, strict=False):
        (folder / turn).mkdir(parents=True, exist_ok=True)
        (folder / turn / name).write_bytes(content)
    (folder / "alone").mkdir()
    (folder / "alone" / "0.png").write_bytes(awkward.encoded(Image.new("RGB", (9, 7), "red")))
    broken = awkward.broken_files()
    for name, (content, _) in broken.items():
        (folder / "b" / name).write_bytes(content)
    return folder, broken


def test_every_awkward_file(awkward_folder, run, cli, tmp_path):
    folder, broken = awkward_folder
    outcome, _ = run(folder)
    assert outcome.code == 2
    (first,) = outcome.err.splitlines()
    n = len(list(folder.rglob("*.*")))
    assert first.startswith(f"error: {len(broken)} of {n} images of dataset 'photos' cannot be ")
    assert "--skip-broken" in first
    for name, (_, reason) in broken.items():
        (said,) = [one for one in first.split("; ") if f"/b/{name}: " in one]
        assert reason in said
    verified = cli("datasets", "verify", folder, "--json")
    assert verified.code == 2
    problems = json.loads(verified.out)["problems"]
    assert {Path(problem["where"]).name for problem in problems} == set(broken)
    store = tmp_path / "skipped.db"
    said = words(without_a_warning(folder, store, "--skip-broken"))
    assert f"{len(broken)} of {n} images cannot be used" in said
    assert f"broken images left out: {len(broken)}" in said
    (result,) = hs.ResultStore(store).results()
    kept = [warning["text"] for warning in result.provenance["data_warnings"]]
    assert any("16 rotated by EXIF orientation" in text for text in kept)
    assert any(text.startswith("images with several frames") and text.endswith(": 3")
               for text in kept)  # fmt: skip
    assert all(words(text) in said for text in kept)
    assert len(result.provenance["skipped_images"]) == len(broken)
    assert sum(dict(result.trial.dataset.sizes).values()) == n
    assert result.trial.dataset.skip_broken


def test_identical_files_in_train_and_test_are_told_with_their_paths(photos, run):
    same = photos / "train" / "dark" / "0.png"
    copies = [photos / "test" / "dark" / f"copy {i}.png" for i in range(4)]
    for copy in copies:
        shutil.copy(same, copy)
    outcome, result = run(photos)
    assert outcome.code == 0, outcome.err
    (warning,) = result.provenance["data_warnings"]
    assert warning["code"] == "leakage"
    # Paths are broken over lines by the width of the screen.
    said = "".join(outcome.out.split())
    pairs = [f"train {same} = test {copy}" for copy in copies]
    assert ";".join(pairs[:3]).replace(" ", "") + "and1more" in said


def test_a_second_run_measures_nothing_and_reads_no_file(photos, run, monkeypatch):
    settled = 1_600_000_000
    for path in photos.rglob("*.png"):
        os.utime(path, (settled, settled))
    reads = []
    look, hashed = file_index.inspect_image, file_index.sha256_file
    monkeypatch.setattr(
        file_index, "inspect_image", lambda content: reads.append(1) or look(content)
    )
    monkeypatch.setattr(file_index, "sha256_file", lambda path: reads.append(1) or hashed(path))
    decode = reading.decode
    monkeypatch.setattr(reading, "decode", lambda *a: reads.append(1) or decode(*a))
    outcome, _ = run(photos)
    assert "1 measured, 0 already stored" in outcome.out
    # Each of the 18 is looked at once and decoded once.
    assert len(reads) == 36
    outcome, _ = run(photos)
    assert "0 measured, 1 already stored" in outcome.out
    assert len(reads) == 36
    os.utime(photos / "test" / "dark" / "0.png", (settled + 9, settled + 9))
    outcome, _ = run(photos)
    assert "0 measured, 1 already stored" in outcome.out
    assert len(reads) == 37


@pytest.mark.slow
def test_the_stamps_of_tuxpaint(tmp_path):
    require(STAMPS.is_dir(), "Debian package tuxpaint-stamps-default")
    # Other packages of stamps may add categories: what is expected is read from the disk.
    stamps = list(STAMPS.rglob("*.png"))
    classes = {stamp.relative_to(STAMPS).parts[0] for stamp in stamps}
    said = words(without_a_warning(STAMPS, tmp_path / "r.db"))
    assert f"stamps: splits: {DRAWN}" in said
    assert "1 measured, 0 already stored, 0 failed" in said
    (result,) = hs.ResultStore(tmp_path / "r.db").results()
    kept = [warning["text"] for warning in result.provenance["data_warnings"]]
    assert any("transparent and composited on white" in text for text in kept)
    assert set(result.trial.dataset.classes) == classes
    assert sum(dict(result.trial.dataset.sizes).values()) == len(stamps) > 700
    # The largest class is a third of the images.
    labels = hs.ResultStore(tmp_path / "r.db").predictions(result.trial.key).label
    assert result.accuracy > 0.15 + np.bincount(labels).max() / len(labels)
