"""The Hugging Face hub as a source: its library replaced, and once its server."""

import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest

from headstart import datasets
from headstart.context import ProgressReporter
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.parquet_dataset import ParquetImages
from headstart.datasets.sources.hf import HubSource
from hub_files import COMMITS, write_images
from refusals import refused

SOURCE = HubSource()
NAMES = ("cat", "dog")


def add(hub, revision, name, labels, seed=0):
    write_images(hub.tree(hub.commits[revision]) / name, labels, NAMES, seed=seed)


@pytest.fixture
def pets(hub):
    add(hub, "main", "data/train-00000-of-00002.parquet", [0, 1, 1])
    add(hub, "main", "data/train-00001-of-00002.parquet", [1], seed=1)
    add(hub, "main", "data/test-00000-of-00001.parquet", [0, 1], seed=2)
    (hub.tree(hub.commits["main"]) / "README.md").write_text("pets")
    return hub


def ask(name="hf:user/pets", **options):
    return DatasetName(name, name, options)


def fetch(cache, **options):
    SOURCE.fetch(ask(**options), cache, ProgressReporter())


def test_a_repository_is_fetched_once_and_read_without_a_network(pets, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    before = SOURCE.presence(ask(), cache)
    assert not before.present
    assert before.place.startswith("downloaded from http://127.0.0.1:9 on first use, or put its")
    assert SOURCE.source_revision(ask(), cache) == ""
    with refused("dataset.missing"):
        SOURCE.read(ask(), cache)
    fetch(cache)
    assert len(pets.downloaded) == 3
    fetch(cache)
    assert pets.asked == [("user/pets", None)]
    assert len(pets.downloaded) == 3

    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("network"))
    presence = SOURCE.presence(ask(), cache)
    assert presence.present
    assert presence.place == str(pets.cache / "datasets--user--pets" / "snapshots" / ("a" * 40))
    assert SOURCE.source_revision(ask(), cache) == "a" * 40
    raw = SOURCE.read(ask(), cache)
    assert raw.classes == NAMES
    assert raw.parts["train"].labels.tolist() == [0, 1, 1, 1]
    assert raw.parts["test"].labels.tolist() == [0, 1]
    assert isinstance(raw.parts["train"].images, ParquetImages)
    assert np.asarray(raw.parts["train"].images.decode(3)).shape == (12, 16, 3)


def test_a_branch_that_moves_stays_where_the_first_fetch_found_it(pets, tmp_path):
    cache = tmp_path / "cache"
    fetch(cache)
    pets.commits["main"] = "d" * 40
    add(pets, "main", "data/train-00000-of-00001.parquet", [0])
    fetch(cache)
    assert SOURCE.source_revision(ask(), cache) == "a" * 40
    # The note is a file that a person can read, and remove.
    (note,) = (cache / "hub").iterdir()
    assert json.loads(note.read_text())["commit"] == "a" * 40
    for content in (b"{}", b"{", b"[]", b"\xff\xfe\x00"):
        note.write_bytes(content)
        with refused("cache.note_damaged"):
            SOURCE.presence(ask(), cache)
    note.unlink()
    fetch(cache)
    assert SOURCE.source_revision(ask(), cache) == "d" * 40


def test_a_revision_that_is_asked_for_is_another_dataset(pets, tmp_path):
    cache = tmp_path / "cache"
    add(pets, "v2", "data/train-00000-of-00001.parquet", [1, 0])
    fetch(cache, revision="v2")
    assert not SOURCE.presence(ask(), cache).present
    assert SOURCE.source_revision(ask(revision="v2"), cache) == "b" * 40
    assert SOURCE.read(ask(revision="v2"), cache).parts["all"].labels.tolist() == [1, 0]
    fetch(cache, revision="a" * 40)
    assert SOURCE.source_revision(ask(revision="a" * 40), cache) == "a" * 40
    with refused("dataset.missing"):
        fetch(cache, revision="v3")


def test_what_is_not_whole_is_not_there_and_goes_on_where_it_stopped(pets, tmp_path):
    cache = tmp_path / "cache"
    pets.fails["data/train-00001-of-00002.parquet"] = ConnectionError("connection reset")
    with refused("dataset.missing"):
        fetch(cache)
    assert not SOURCE.presence(ask(), cache).present
    pets.fails.clear()
    fetch(cache)
    assert sorted(pets.downloaded) == sorted(set(pets.downloaded))
    assert SOURCE.presence(ask(), cache).present


def test_a_file_of_another_size_is_fetched_again(pets, tmp_path):
    cache = tmp_path / "cache"
    fetch(cache)
    place = pets.cache / f"datasets--user--pets/snapshots/{'a' * 40}/data"
    whole = (place / "test-00000-of-00001.parquet").read_bytes()
    (place / "test-00000-of-00001.parquet").write_bytes(whole[:-9])
    assert not SOURCE.presence(ask(), cache).present
    fetch(cache)
    assert (place / "test-00000-of-00001.parquet").read_bytes() == whole
    # A hub that sends other files than it lists.
    (place / "test-00000-of-00001.parquet").write_bytes(whole[:-9])
    (pets.tree("a" * 40) / "data/test-00000-of-00001.parquet").write_bytes(whole[:-9])
    with refused("dataset.missing"):
        fetch(cache)


def test_only_what_is_chosen_is_fetched(hub, tmp_path):
    cache = tmp_path / "cache"
    for config in ("large", "small"):
        for split in ("train", "test", "extra"):
            add(hub, "main", f"{config}/{split}-00000-of-00001.parquet", [0, 1])
    with refused("dataset.config_unknown", found=("large", "small")):
        fetch(cache)
    chosen = {"config": "small", "train": "train+extra", "test": "test", "label": "label"}
    fetch(cache, **chosen)
    assert {name.partition("/")[0] for name in hub.downloaded} == {"small"}
    assert len(SOURCE.read(ask(**chosen), cache).parts["train"]) == 4
    assert not SOURCE.presence(ask(config="large", train="train", test="test"), cache).present


def test_a_readme_is_fetched_that_may_say_more_than_names(hub, tmp_path):
    """Names without a split would be one dataset, split anew."""
    cache = tmp_path / "cache"
    for seed, name in enumerate(("old", "new")):
        add(hub, "main", f"{name}.parquet", [0, 1], seed=seed)
    declared = "---\nconfigs:\n- config_name: default\n  data_files:\n" + "".join(
        f"  - split: {split}\n    path: {name}.parquet\n"
        for split, name in (("train", "old"), ("test", "new"))
    )
    (hub.tree(hub.commits["main"]) / "README.md").write_text(f"{declared}---\n")
    fetch(cache)
    raw = SOURCE.read(ask(), cache)
    assert {part: len(split) for part, split in raw.parts.items()} == {"train": 2, "test": 2}
    assert raw.parts["test"].images.where(0).startswith("new.parquet")


def test_the_hubs_own_conversion_is_taken_where_there_is_no_parquet(hub, tmp_path):
    cache = tmp_path / "cache"
    (hub.tree("a" * 40)).mkdir(parents=True)
    (hub.tree("a" * 40) / "pets.zip").write_text("zip")
    with refused("dataset.missing"):
        fetch(cache)
    for split in ("train", "test"):
        add(hub, "refs/convert/parquet", f"default/{split}/0000.parquet", [0, 1])
    with refused("dataset.missing"):
        fetch(cache, revision="a" * 40)
    fetch(cache)
    assert SOURCE.source_revision(ask(), cache) == "c" * 40
    assert (
        SOURCE.read(ask(), cache).parts["test"].images.where(1)
        == "test/0000.parquet, row 1 (0_1.png)"
    )


def test_a_hub_that_keeps_silent_is_asked_once_for_10_seconds(no_hub, tmp_path, monkeypatch):
    # It refuses, and then it says nothing.
    with refused("dataset.missing"):
        fetch(tmp_path / "cache")
    tries = []

    def silent(request, timeout):
        tries.append((request.full_url, timeout))
        raise TimeoutError("timed out")

    monkeypatch.setattr("urllib.request.urlopen", silent)
    with refused("dataset.missing"):
        fetch(tmp_path / "cache")
    assert tries == [("http://127.0.0.1:9/datasets/user/pets", 10)]
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def serve(no_hub, monkeypatch):
    """Serve answers as the hub does: path -> (status, headers, content), by a function."""
    servers = []

    def start(answer):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                status, headers, content = answer(self.path.partition("?")[0])
                self.send_response(status)
                for name, value in {"Content-Length": len(content), **headers}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)

            def do_HEAD(self):
                self.do_GET()

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        servers.append(server)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("status", "code"), [
    (401, "RepoNotFound"), (404, "RevisionNotFound"), (403, "GatedRepo"), (500, ""),
])  # fmt: skip
def test_what_the_hub_says_no_to(status, code, serve, tmp_path):
    serve(lambda path: (status, {"X-Error-Code": code} if code else {}, b""))
    with refused("dataset.missing"):
        fetch(tmp_path / "cache", revision="v2")


def test_the_hubs_own_library_brings_the_files(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    names = [f"data/{split}-00000-of-00001.parquet" for split in ("train", "test")]
    for seed, name in enumerate(names):
        write_images(tmp_path / "hub" / name, [0, 1], NAMES, seed=seed)
    commit = "0123456789" * 4

    def answer(path):
        name = path.partition(f"/resolve/{commit}/")[2]
        if name:
            content = (tmp_path / "hub" / name).read_bytes()
            etag = hashlib.sha256(content).hexdigest()
            return 200, {"ETag": f'"{etag}"', "X-Repo-Commit": commit}, content
        sizes = {name: (tmp_path / "hub" / name).stat().st_size for name in names}
        siblings = [{"rfilename": name, "size": size} for name, size in sizes.items()]
        said = {"id": "user/pets", "sha": commit, "siblings": siblings}
        return 200, {"Content-Type": "application/json"}, json.dumps(said).encode()

    serve(answer)
    cache = tmp_path / "cache"
    fetch(cache)
    assert SOURCE.source_revision(ask(), cache) == commit
    images = SOURCE.read(ask(), cache).parts["test"].images
    assert images.content(1) == ParquetImages([tmp_path / "hub" / names[1]], "image").content(1)


def test_a_folder_is_a_repository(tmp_path, monkeypatch):
    for split, labels in (("train", [0, 1]), ("test", [1])):
        write_images(tmp_path / f"pets/{split}.parquet", labels, NAMES)
    asked = ask(f"hf:{tmp_path / 'pets'}")
    assert SOURCE.presence(asked, tmp_path / "cache") == (True, str(tmp_path / "pets"))
    SOURCE.fetch(asked, tmp_path / "cache", ProgressReporter())
    assert SOURCE.read(asked, tmp_path / "cache").parts["train"].labels.tolist() == [0, 1]
    assert SOURCE.source_revision(asked, tmp_path / "cache") == ""
    assert (SOURCE.describe(asked).title, SOURCE.describe(asked).metric) == ("./pets", "top-1")
    # Found again from any folder.
    monkeypatch.chdir(tmp_path)
    assert SOURCE.location("hf:./pets") == SOURCE.location("hf:pets") == asked.stem
    assert SOURCE.location("hf:user/pets") == "hf:user/pets"
    with refused("dataset.option_unused", option="revision"):
        SOURCE.read(ask(asked.stem, revision="main"), tmp_path)


def test_several_labels_of_a_repository_show_when_it_is_fetched(hub, own_cache):
    labels = [[0], [1], [0, 1], [1]] * 5
    for split in ("train", "test"):
        write_images(hub.tree(COMMITS["main"]) / f"{split}.parquet", labels, NAMES)
    assert datasets.describe("hf:user/pets").metric == "top-1"
    found = datasets.find("hf:user/pets", cache=own_cache)
    assert found.metric == "voc-map-11point"
    assert datasets.load(found, 0, own_cache).train.labels.shape[1] == 2
    assert datasets.find("hf:user/pets", cache=own_cache) == found
    checked = datasets.verify("hf:user/pets", own_cache, ProgressReporter())
    assert checked.loaded.metric == "voc-map-11point"


def test_names_that_lead_nowhere(tmp_path):
    assert SOURCE.recognises("hf:user/pets")
    assert not SOURCE.recognises("pets")
    missing = ask(f"hf:{tmp_path / 'none'}")
    words = f"expected Parquet files in {tmp_path / 'none'}"
    assert SOURCE.presence(missing, tmp_path) == (False, words)
    for act in (SOURCE.read, lambda asked, cache: SOURCE.fetch(asked, cache, ProgressReporter())):
        with refused("dataset.missing"):
            act(missing, tmp_path)
    with refused("dataset.repository_name", found="a b"):
        SOURCE.presence(ask("hf:a b"), tmp_path)
