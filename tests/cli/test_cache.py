"""`headstart cache`: shown, measured, pruned, verified; here, and what machines share."""

import json
import os
import time

import pytest

from headstart.artifacts import ArtifactFolder
from headstart.cache import KINDS
from headstart.files import locked
from refusals import ended

RUN = ("run", "--models", "small:vgg6_w8?weights=random", "--datasets", "digits", "--limit", "50")


def fill(cache):
    """Write a cache with two kinds that can be computed again, and one that cannot."""
    for name, size in (("features/a.npy", 100), ("features/a.json", 20), ("features/b.npy", 50),
                       ("prepared/d/pixels", 300), ("pretrained/m/model", 1000)):  # fmt: skip
        file = cache / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(size))


def sizes(cli):
    shown = json.loads(cli("cache", "--json").out)
    return {kind: found["bytes"] for kind, found in shown["kinds"].items() if found["bytes"]}


def test_the_cache_is_shown_and_pruned(cli, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("HEADSTART_CACHE", str(cache))
    assert sizes(cli) == {}
    fill(cache)
    everything = {"features": 170, "prepared": 300, "pretrained": 1000}
    assert sizes(cli) == everything
    assert str(cache) in cli("cache").out
    assert cli("cache", "prune", "--dry-run").code == 0
    assert cli("cache", "prune", "--unused-days", "1").code == 0
    assert sizes(cli) == everything
    with locked(cache / "features" / "a.lock", lambda: None):
        cli("cache", "prune")
    assert sizes(cli) == {"features": 120, "pretrained": 1000}
    cli("cache", "prune", "--kind", "features")
    assert sizes(cli) == {"pretrained": 1000}


def test_only_what_was_not_used_for_long_is_removed(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    fill(tmp_path)
    old = time.time() - 10 * 24 * 3600
    os.utime(tmp_path / "features" / "b.npy", (old, old))
    cli("cache", "prune", "--unused-days", "5")
    assert sizes(cli)["features"] == 120


def test_kinds_of_the_cache_are_the_folders_that_a_run_makes(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    assert cli(*RUN, "--store", tmp_path / "r.db").code == 0
    made = {path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()}
    assert "features" in made
    assert made <= set(KINDS)


def test_sizes_for_scripts(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    fill(tmp_path)
    assert cli("cache", "size").out == "1470\n"
    assert cli("cache", "size", "--kind", "features,prepared").out == "470\n"
    ended(cli("cache", "size", "--kind", "fetures"), "name.unknown", name="fetures")


@pytest.fixture
def measured(cli, remote_url, tmp_path, monkeypatch):
    """A cache with a URL, and its local folder, after a run."""
    monkeypatch.setenv("HEADSTART_CACHE", remote_url)
    monkeypatch.setenv("HEADSTART_LOCAL_CACHE", str(tmp_path / "local"))
    assert cli(*RUN, "--store", tmp_path / "r.db").code == 0
    return ArtifactFolder(remote_url), tmp_path / "local"


def test_what_machines_share_is_shown_and_pruned(cli, measured):
    remote, local = measured
    shown = json.loads(cli("cache", "--json").out)
    sizes = remote.sizes()
    assert shown["folder"] == str(local)
    assert shown["remote"]["url"] == str(remote)
    assert shown["remote"]["kinds"]["features"] == {"files": 2, "bytes": sum(sizes.values())}
    assert str(remote) in cli("cache").out.replace("\n", "")
    assert cli("cache", "size", "--remote").out == f"{sum(sizes.values())}\n"
    ended(cli("cache", "prune", "--remote", "--unused-days", "1"), "command.order")
    cli("cache", "prune", "--remote", "--dry-run")
    cli("cache", "prune", "--remote", "--kind", "prepared,training")
    assert remote.sizes() == sizes
    cli("cache", "prune", "--remote")
    assert remote.names() == []
    assert list((local / "features").glob("*.npy"))


def test_what_is_shared_needs_a_url(cli, own_cache):
    ended(cli("cache", "verify", "--remote"), "command.order")


@pytest.mark.parametrize("kind", ["features/*.npy", "features/*.json", "copies/*"])
def test_what_is_damaged_here_is_listed_and_removed(cli, measured, kind):
    remote, local = measured
    for name in remote.names():
        remote.get(name)
    files = list(local.glob(kind))
    if not files:
        assert remote.local
        return
    outcome = cli("cache", "verify")
    assert (outcome.code, outcome.out.splitlines()[-1].rpartition(": ")[2]) == (0, "0 damaged")
    content = bytearray(files[0].read_bytes())
    content[len(content) // 2] ^= 1
    files[0].write_bytes(content)
    outcome = cli("cache", "verify")
    ended(outcome, "cache.damaged", n=1)
    assert f"damaged: {files[0].parent.name}/{files[0].stem}" in outcome.out
    assert files[0].exists()
    outcome = cli("cache", "verify", "--repair")
    assert (outcome.code, "damaged, removed:" in outcome.out) == (0, True)
    assert not files[0].exists()
    assert cli("cache", "verify").code == 0


def test_prepared_images_that_are_damaged(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    assert cli("datasets", "prepare", "digits").code == 0
    assert cli("cache", "verify").code == 0
    (file,) = tmp_path.glob("prepared/*/pixels.bin")
    state = file.stat()
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    # The run would trust a file of this size and time.
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    ended(cli("cache", "verify"), "cache.damaged", n=1)
    assert cli("cache", "verify", "--repair").code == 0
    assert not file.exists()


@pytest.mark.parametrize("suffix", [".npy", ".json"])
def test_what_is_damaged_there_is_listed_and_removed(cli, measured, tmp_path, suffix):
    remote, _ = measured
    assert cli("cache", "verify", "--remote").code == 0
    (name,) = [name for name in remote.names() if name.endswith(suffix)]
    (tmp_path / "file").write_bytes(b"x" + remote.get(name).read_bytes()[1:])
    remote.put(name, tmp_path / "file")
    outcome = cli("cache", "verify", "--remote")
    ended(outcome, "cache.damaged", n=1)
    assert f"damaged: {name}" in outcome.out
    assert cli("cache", "verify", "--remote", "--repair").code == 0
    assert len(remote.names()) == 1
