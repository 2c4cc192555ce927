"""The Hugging Face hub in small: Parquet files as its library writes them, and a hub of such."""

import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from headstart.datasets import FileImages, Split
from headstart.datasets.archives import Facts, RawDataset

COMMITS = {"main": "a" * 40, "v2": "b" * 40, "refs/convert/parquet": "c" * 40}
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def encoded(level: int, seed: int = 0) -> bytes:
    """Encode a small image that no other (level, seed) gives."""
    pixels = np.random.RandomState(seed).randint(0, 40, (12, 16, 3)) + level
    content = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(content, "PNG")
    return content.getvalue()


def named(split: Split, folder: Path) -> list[tuple[str, int]]:
    """List the path, seen from a folder, and the label of each image that is a file."""
    paths = [Path(split.images.where(row)).relative_to(folder) for row in range(len(split))]
    return [(path.as_posix(), int(k)) for path, k in zip(paths, split.labels, strict=True)]


def class_label(*names: str) -> dict:
    return {"names": list(names), "_type": "ClassLabel"}


def write_table(path: Path, columns: dict, features: dict | None = None, group: int = 100) -> Path:
    """Write columns of Arrow arrays, with what the library notes of them in the schema."""
    table = pa.table(columns)
    if features is not None:
        noted = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": noted})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)
    return path


def write_images(
    path: Path,
    labels,
    names=None,
    *,
    image: str = "image",
    label: str = "label",
    group: int = 100,
    seed: int = 0,
    **more,
) -> Path:
    """Write images with labels: classes have brightnesses of their own; `more` are columns."""
    first = [0 if isinstance(value, str | list) or value is None else value for value in labels]
    images = [
        {"bytes": encoded(40 + 20 * (k % 8), 1000 * seed + row), "path": f"{seed}_{row}.png"}
        for row, k in enumerate(first)
    ]
    columns = {image: pa.array(images, IMAGE), label: pa.array(labels), **more}
    features = {image: {"_type": "Image"}}
    features[label] = class_label(*names) if names else {"dtype": "int64", "_type": "Value"}
    return write_table(path, columns, features, group)


def write_copy(folder: Path, facts: Facts, raw: RawDataset) -> Path:
    """Write a creators' archive as its copy on the hub: the copy's columns, its splits, its names.

    What the copy joins is joined; what it divides otherwise is divided by turns.
    """
    copy = facts.hub
    for part, wanted in copy.parts.items():
        pairs = [pair for name in part.split("+") for pair in _pairs(raw.parts[name])]
        splits = wanted.split("+")
        for place, split in enumerate(splits):
            inside = pairs[place :: len(splits)]
            columns = {
                copy.image: pa.array([image for image, _ in inside], IMAGE),
                copy.label: pa.array([label for _, label in inside]),
            }
            features = {copy.image: {"_type": "Image"}, copy.label: class_label(*raw.classes)}
            if copy.label == "fine_label":
                columns["coarse_label"] = pa.array([0] * len(inside))
                features["coarse_label"] = class_label("things")
            file = folder / "data" / f"{split}-00000-of-00001.parquet"
            write_table(file, columns, features, group=4)
    return folder


def _pairs(split: Split) -> list[tuple[dict, int]]:
    """Give each image as the hub keeps it, a file where it was one, and its label."""
    pairs = []
    for row, label in enumerate(split.labels.tolist()):
        if isinstance(split.images, FileImages):
            path = split.images.paths[row]
            content, name = path.read_bytes(), path.name
        else:
            file = io.BytesIO()
            split.images.decode(row).save(file, "PNG")
            content, name = file.getvalue(), None
        pairs.append(({"bytes": content, "path": name}, label))
    return pairs


class FakeHub:
    """Stands for huggingface_hub: a folder per commit, downloads into its own cache."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder, self.cache = folder, cache
        self.commits = dict(COMMITS)
        self.asked, self.downloaded = [], []
        # Of files whose download fails, with what.
        self.fails: dict[str, BaseException] = {}

    def tree(self, commit: str) -> Path:
        return self.folder / commit

    def dataset_info(self, repository, *, revision, files_metadata, timeout):
        assert (files_metadata, timeout) == (True, 10)
        self.asked.append((repository, revision))
        commit = self.commits.get(revision or "main", revision)
        tree = self.tree(commit)
        if not tree.is_dir():
            raise OSError(f"404 Client Error. (Request ID: x)\n\nNo {revision}")
        files = [file for file in sorted(tree.rglob("*")) if file.is_file()]
        siblings = [
            SimpleNamespace(rfilename=file.relative_to(tree).as_posix(), size=file.stat().st_size)
            for file in files
        ]
        return SimpleNamespace(sha=commit, siblings=siblings)

    def download(
        self, repository, name, *, repo_type, revision, endpoint, etag_timeout, force_download
    ):
        assert (repo_type, etag_timeout) == ("dataset", 10)
        if name in self.fails:
            raise self.fails[name]
        folder = self.cache / f"datasets--{repository.replace('/', '--')}" / "snapshots" / revision
        if force_download or not (folder / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.tree(revision) / name, folder / name)
            self.downloaded.append(name)
        return str(folder / name)
