"""`headstart datasets splits NAME --export`: two people get the same splits."""

import csv
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from headstart import datasets
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.loading import read_dataset
from refusals import ended


def exported(cli, tmp_path, name):
    outcome = cli("datasets", "splits", name, "--export", tmp_path / "x.csv")
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == f"rows, images and labels: {tmp_path / 'x.csv'}"
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["split", "row", "image", "labels"]
    return rows, outcome.out


def test_rows_lead_back_to_the_images(cli, tmp_path, own_cache):
    rows, out = exported(cli, tmp_path, "digits")
    # In bytes that another machine writes, too.
    again = tmp_path / "again.csv"
    assert cli("datasets", "splits", "digits", "--export", again).code == 0
    assert again.read_bytes() == (tmp_path / "x.csv").read_bytes()

    found = datasets.find("digits")
    assert f"content {found.revision}" in out
    counts = Counter(row["split"] for row in rows)
    assert counts == {"train": 1079, "validation": 359, "test": 359} == dict(found.sizes)
    assert len({(row["split"], row["row"]) for row in rows}) == len(rows)
    loaded = read_dataset("embedded", DatasetName.parse("digits"), own_cache)
    for split, part in loaded.parts.items():
        own = {int(row["row"]): row for row in rows if row["split"] == split}
        assert sorted(own) == sorted(part.rows.tolist())
        for place, row in enumerate(part.rows.tolist()):
            assert own[row]["labels"] == loaded.classes[part.labels[place]]
            assert own[row]["image"] == part.images.where(place)


def test_no_name_is_a_formula(cli, tmp_path, own_cache):
    for name in ("=1+1", "+2"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(6):
            pixels = np.full((8, 8, 3), 40 * number + len(name), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"@{number}.png")
    rows, _ = exported(cli, tmp_path, str(tmp_path / "images"))
    assert {row["labels"] for row in rows} == {"'=1+1", "'+2"}
    assert all(row["image"].startswith(("'=1+1/@", "'+2/@")) for row in rows)


def test_images_of_a_folder_are_named_from_its_root(cli, photos, tmp_path, own_cache):
    rows, _ = exported(cli, tmp_path, str(photos))
    assert len(rows) == 18
    loaded = read_dataset("folder", DatasetName.parse(str(photos)), own_cache)
    for row in rows:
        file = photos / row["image"]
        assert (row["split"], row["labels"]) == (file.parts[-3], file.parts[-2])
        part = loaded.parts[row["split"]]
        place = part.rows.tolist().index(int(row["row"]))
        with Image.open(file) as image:
            np.testing.assert_array_equal(part.images.decode(place), image.convert("RGB"))


def test_splits_that_are_drawn_are_the_seeds(cli, photos, tmp_path, own_cache):
    for split in ("validation", "test"):
        for label in ("dark", "light"):
            for file in (photos / split / label).iterdir():
                file.rename(photos / "train" / label / f"{split}-{file.name}")
    plain = photos / "train"
    for split in ("validation", "test"):
        for label in ("dark", "light"):
            (photos / split / label).rmdir()
        (photos / split).rmdir()
    names = [f"{plain}{option}" for option in ("", "?split_seed=0", "?split_seed=1")]
    first, same, other = ([(r["split"], r["image"]) for r in exported(cli, tmp_path, name)[0]]
                          for name in names)  # fmt: skip
    assert first == same
    assert set(first) != set(other)
    assert sorted(image for _, image in first) == sorted(image for _, image in other)


def test_several_labels_stand_in_one_cell(cli, tmp_path, own_cache):
    lines = ["path,label"]
    for i in range(30):
        Image.new("L", (4, 4), i * 8).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{('a|b', 'a', 'b|c', 'c|a')[i % 4]}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    rows, _ = exported(cli, tmp_path, f"{tmp_path}/t.csv?sep=|")
    given = dict(line.split(",") for line in lines[1:])
    assert {row["image"] for row in rows} == set(given)
    for row in rows:
        assert set(row["labels"].split("|")) == set(given[row["image"]].split("|"))


def test_a_file_that_cannot_be_written(cli, tmp_path):
    outcome = cli("datasets", "splits", "digits", "--export", tmp_path)
    ended(outcome, "storage.no_file_name", path=str(tmp_path))


@pytest.mark.parametrize("command", [("splits", "--export"), ("show", "--out")])
def test_where_a_file_goes_is_looked_at_before_the_images(cli, tmp_path, own_cache, command):
    place = tmp_path / "a folder" / "file"
    outcome = cli("datasets", command[0], "digits", command[1], place)
    assert outcome.code == 0, outcome.err
    assert place.exists()
    outcome = cli("datasets", command[0], "no dataset", command[1], place / "below a file")
    named = place / "below a file" if command[0] == "splits" else place
    ended(outcome, "storage.not_folder", path=str(named))
