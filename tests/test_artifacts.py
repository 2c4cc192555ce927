"""Files under a path, `file://` and a real S3 server: one behaviour."""

import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from headstart import artifacts
from headstart.artifacts import ArtifactFolder
from headstart.cli.options import refuse_password
from headstart.context import RunContext
from headstart.local_cache import LocalCopies, default_cache
from headstart.shown_text import url_without_credentials, without_credentials
from refusals import refused

SHA256_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
PLACES = ["path", "file", "s3"]


@pytest.fixture(params=PLACES)
def folder(request, tmp_path) -> ArtifactFolder:
    place = tmp_path / "place"
    if request.param == "s3":
        return ArtifactFolder(
            f"{request.getfixturevalue('bucket')}/some/where", tmp_path / "copies"
        )
    return ArtifactFolder(place if request.param == "path" else place.as_uri())


@pytest.fixture
def remote(bucket, tmp_path) -> ArtifactFolder:
    return ArtifactFolder(f"{bucket}/inside", tmp_path / "copies")


@pytest.fixture
def abc(tmp_path) -> Path:
    file = tmp_path / "abc.txt"
    file.write_bytes(b"abc")
    return file


def raw(folder: ArtifactFolder, name: str, content: bytes) -> None:
    """Write an object behind the folder's back, as damage or another program does."""
    if folder.local:
        (folder.local / name).write_bytes(content)
    else:
        folder._filesystem().pipe_file(folder._path(name), content)


def test_what_was_put_is_got(folder, abc, tmp_path):
    assert not folder.exists("a/b.txt")
    assert folder.names() == []
    assert folder.put("a/b.txt", abc) == SHA256_OF_ABC
    assert folder.exists("a/b.txt")
    assert not folder.exists("a")
    assert folder.size("a/b.txt") == 3
    assert folder.size("a/c.txt") is None
    for expected in (None, SHA256_OF_ABC):
        assert folder.get("a/b.txt", expected).read_bytes() == b"abc"
        target = tmp_path / "fetched"
        assert folder.fetch("a/b.txt", target, expected) == SHA256_OF_ABC
        assert target.read_bytes() == b"abc"
    abc.write_bytes(b"other")
    folder.put("a/b.txt", abc)
    assert folder.get("a/b.txt").read_bytes() == b"other"
    folder.delete("a/b.txt")
    folder.delete("a/b.txt")
    assert folder.names() == []
    with refused("storage.absent", name="a/b.txt"):
        folder.get("a/b.txt")
    with refused("storage.absent", name="a/b.txt"):
        folder.fetch("a/b.txt", tmp_path / "none", SHA256_OF_ABC)
    assert not (tmp_path / "none").exists()


def test_a_file_gets_another_name(folder, abc):
    folder.put("a/b.txt", abc)
    folder.put("old", abc)
    folder.move("a/b.txt", "c/d.txt")
    assert folder.names() == ["c/d.txt", "old"]
    assert folder.get("c/d.txt", SHA256_OF_ABC).read_bytes() == b"abc"
    abc.write_bytes(b"other")
    folder.put("e", abc)
    folder.move("e", "old")
    assert folder.get("old").read_bytes() == b"other"
    with refused("storage.absent", name="e"):
        folder.move("e", "f")


def test_what_is_written_appears_when_it_is_whole(folder):
    def interrupted():
        with folder.writing("a/b") as file:
            file.write_bytes(b"ab")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert folder.names() == []
    with folder.writing("a/b") as file:
        file.write_bytes(b"abc")
        assert folder.names() == []
    assert folder.get("a/b", SHA256_OF_ABC).read_bytes() == b"abc"


def test_names_are_listed_by_prefix(folder, abc, tmp_path):
    for name in ("b", "a/1.txt", "a/2.txt", "a/2/3", "ab/x", "a b%?#[é].txt"):
        folder.put(name, abc)
    assert folder.names() == ["a b%?#[é].txt", "a/1.txt", "a/2.txt", "a/2/3", "ab/x", "b"]
    assert folder.names("a/") == ["a/1.txt", "a/2.txt", "a/2/3"]
    assert folder.names("a/2") == ["a/2.txt", "a/2/3"]
    assert folder.names("c") == []
    assert folder.sizes("b") == {"b": 3}
    assert folder.get("a b%?#[é].txt").read_bytes() == b"abc"
    inner = folder.within("a/2")
    assert inner.names() == ["3"]
    assert inner.get("3").read_bytes() == b"abc"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../a", "a/../b", "/a", "a//b", "a/", "a\nb", "a\x1b[31m", "a\\b", "\udce9",
     "a" * 1025],
)  # fmt: skip
def test_a_name_stays_in_its_folder(folder, abc, name):
    for use in (folder.get, folder.exists, folder.delete, lambda name: folder.put(name, abc)):
        with refused("storage.name_invalid", name=name):
            use(name)


def test_a_damaged_file_is_refused(folder, abc, tmp_path):
    folder.put("a", abc)
    raw(folder, "a", b"abd")
    for use in (folder.get, lambda name, sha: folder.fetch(name, tmp_path / "target", sha)):
        with refused("storage.damaged", name="a"):
            use("a", SHA256_OF_ABC)
    assert not (tmp_path / "target").exists()
    # What another program wrote has no digest with it.
    assert folder.get("a").read_bytes() == b"abd"


def test_a_stored_digest_is_held_against_the_content(remote, abc):
    folder = remote
    folder._filesystem().pipe_file(
        folder._path("a"), b"abd", Metadata={"sha256": "../../../etc/passwd"}
    )
    with refused("storage.damaged", name="a"):
        folder.get("a")


def test_a_damaged_copy_is_fetched_again(remote, abc):
    remote.put("a.txt", abc)
    copy = remote.get("a.txt", SHA256_OF_ABC)
    copy.write_bytes(b"abd")
    assert remote.get("a.txt", SHA256_OF_ABC).read_bytes() == b"abc"


def test_a_copy_is_read_without_the_server(remote, abc, storage_server):
    remote.put("a.txt", abc)
    remote.get("a.txt", SHA256_OF_ABC)
    before = len(storage_server.requests)
    assert remote.get("a.txt", SHA256_OF_ABC).read_bytes() == b"abc"
    assert len(storage_server.requests) == before


def test_the_oldest_copies_go_first(remote, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_COPIES_GB", "0.000000035")
    copies = {}
    for number in range(4):
        file = tmp_path / "ten"
        file.write_bytes(b"%010d" % number)
        remote.put(f"{number}", file)
        copies[number] = remote.get(f"{number}")
    # All were asked for just now, and may not have been opened yet.
    assert all(copy.exists() for copy in copies.values())
    opened = copies[1].open("rb")
    hour_ago = time.time() - 3600
    for age, number in enumerate((0, 2, 1, 3)):
        os.utime(copies[number], (hour_ago - age, hour_ago - age))
    remote.get("2")
    left = tmp_path / "copies" / ".left.tmp"
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    LocalCopies(tmp_path / "copies").make_room()
    assert {number for number, copy in copies.items() if copy.exists()} == {0, 1, 2}
    assert not left.exists()
    monkeypatch.setenv("HEADSTART_COPIES_GB", "0")
    LocalCopies(tmp_path / "copies").make_room()
    assert {number for number, copy in copies.items() if copy.exists()} == {2}
    with opened:
        assert opened.read() == b"0000000001"
    monkeypatch.setenv("HEADSTART_COPIES_GB", "many")
    with refused("cache.copies_invalid", found="many"):
        remote.get("1")


def test_short_outages_are_survived(remote, abc, storage_server, monkeypatch):
    pauses = []
    monkeypatch.setattr(artifacts.time, "sleep", pauses.append)
    storage_server.fail_times(3)
    remote.put("a", abc)
    storage_server.fail_times(2)
    assert remote.exists("a")
    storage_server.fail_times(2)
    assert remote.names() == ["a"]
    storage_server.fail_times(1)
    assert remote.get("a").read_bytes() == b"abc"
    storage_server.fail_times(1)
    remote.delete("a")
    assert pauses == [0.1, 0.2, 0.4, 0.1, 0.2, 0.1, 0.2, 0.1, 0.1]
    assert remote.names() == []


@pytest.mark.slow
def test_ten_seconds_of_errors_are_survived(remote, abc, storage_server, monkeypatch, outcome):
    monkeypatch.delenv("HEADSTART_RETRY_SECONDS")
    began = time.monotonic()
    storage_server.fails = lambda *_: time.monotonic() - began < 10
    remote.put("a", abc)
    assert 10 < time.monotonic() - began < 40
    assert remote.names() == ["a"]
    outcome(
        "object storage: the server answers with errors for ten seconds",
        "it is asked again until it answers; objects are whole or not there",
    )


def test_a_put_that_fails_leaves_nothing(remote, abc, storage_server, monkeypatch):
    monkeypatch.setenv("HEADSTART_RETRY_SECONDS", "0")
    storage_server.fails = lambda method, _: method == "PUT"
    with refused("storage.unreachable", url=str(remote)):
        remote.put("a", abc)
    assert remote.names() == []


def test_a_put_that_ends_half_way_leaves_nothing(folder, tmp_path, monkeypatch, request):
    """Of an object of several parts, of which not all arrive."""
    file = tmp_path / "large"
    file.write_bytes(bytes(11 << 20))
    if folder.local:
        monkeypatch.setattr(artifacts, "sha256_file", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            folder.put("large", file)
        assert list(folder.local.rglob("*")) == []
        return
    import s3fs.core

    monkeypatch.setattr(s3fs.core, "calculate_chunksize", lambda *_, **__: 5 << 20)
    monkeypatch.setenv("HEADSTART_RETRY_SECONDS", "0")
    server = request.getfixturevalue("storage_server")
    server.fails = lambda _, path: "partNumber=2" in path
    with refused("storage.unreachable"):
        folder.put("large", file)
    assert folder.names() == []
    server.fails = lambda *_: False
    folder.put("large", file)
    assert folder.get("large").stat().st_size == 11 << 20


def test_a_process_that_is_killed_while_it_puts_leaves_nothing(remote, tmp_path, storage_server):
    file, began, killed = tmp_path / "large", threading.Event(), threading.Event()
    file.write_bytes(bytes(30 << 20))

    def holds(method: str, _: str) -> bool:
        if method == "PUT":
            began.set()
            killed.wait(60)
        return False

    storage_server.fails = holds
    code = (
        "import sys; from pathlib import Path; from headstart.artifacts import ArtifactFolder;"
        "ArtifactFolder(sys.argv[1]).put('a', Path(sys.argv[2]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(remote), file])
    try:
        assert began.wait(60)
    finally:
        process.kill()
        process.wait()
        killed.set()
    assert remote.names() == []
    remote.put("a", file)
    assert remote.sizes() == {"a": 30 << 20}


@pytest.mark.parametrize(
    "url",
    ["ftp://host/a", "memory://a", "s3://", "s3:///a", "file://host/a", "file://", "s3://b/a?x=1",
     "gs://key:hidden@b/a", "s3://user@b/a", "s3://[a/b",
     # A part of it would be taken for the bucket, the path, or a query.
     "s3://key:hidden/x@b/a", "s3://key:x@hidden/y@b/a", "s3://key:hidden#y@b/a",
     "s3://key:x?hidden=y@b", "s3://key:a hidden/x@b"],
)  # fmt: skip
def test_other_urls_are_refused(url):
    with refused("storage.url_invalid", url=url_without_credentials(url)) as error:
        ArtifactFolder(url)
    assert "hidden" not in str(error.value)


def test_a_bucket_that_is_not_there(bucket, abc, tmp_path):
    folder = ArtifactFolder("s3://no-such-bucket/a", tmp_path)
    with refused("storage.no_bucket", url="s3://no-such-bucket/a"):
        folder.put("a", abc)
    with refused("storage.no_bucket"):
        folder.check_writable()
    assert not folder.exists("a")
    assert folder.names() == []


def test_wrong_credentials_and_none(bucket, tmp_path, storage_server, monkeypatch):
    import s3fs

    monkeypatch.setattr(storage_server, "error", "403 Forbidden")
    storage_server.fails = lambda *_: True
    with refused("storage.forbidden", url=bucket):
        ArtifactFolder(bucket, tmp_path).exists("a")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    s3fs.S3FileSystem.clear_instance_cache()
    with refused("storage.no_credentials", url=bucket):
        ArtifactFolder(bucket, tmp_path).exists("a")
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_folder_is_proven_writable(folder):
    folder.check_writable()
    assert folder.names() == []


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with refused("storage.package_missing", package="headstart[gs]"):
        ArtifactFolder("gs://bucket/a", tmp_path).exists("a")


def test_credentials_are_used_and_never_shown(bucket, abc, tmp_path, monkeypatch, storage_server):
    import s3fs

    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    url = bucket.replace("s3://", "s3://mykey:se%2Fcret@")
    folder = ArtifactFolder(url, tmp_path)
    folder.put("a", abc)
    assert folder.get("a").read_bytes() == b"abc"
    again = pickle.loads(pickle.dumps(folder))
    assert again == folder
    assert again.get("a").read_bytes() == b"abc"
    monkeypatch.setenv("HEADSTART_RETRY_SECONDS", "0")
    storage_server.fails = lambda *_: True
    with refused("storage.unreachable") as error:
        folder.exists("b")
    shown = [
        str(folder),
        repr(folder),
        str(error.value),
        repr(error.value),
        str(folder.within("a")),
    ]
    assert all("se/cret" not in text and "se%2Fcret" not in text for text in shown)
    # A connection of an earlier test, of the same process, has its credentials.
    s3fs.S3FileSystem.clear_instance_cache()
    with refused("storage.no_credentials"):
        ArtifactFolder(bucket, tmp_path).exists("b")
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://key:secret@bucket/a", "s3://key:***@bucket/a"),
        ("postgresql+psycopg://u:p@ss/w@host/db", "postgresql+psycopg://u:***@host/db"),
        ("postgresql://u:p%40@h:5432/db?sslpassword=x&a=b", "postgresql://u:***@h:5432/db?sslpassword=***&a=b"),
        ("postgresql://u@host/db", "postgresql://u@host/db"),
        ("https://h/a?X-Amz-Signature=1&X-Amz-Credential=2;x=3", "https://h/a?X-Amz-Signature=***&X-Amz-Credential=***"),
        ("one s3://a:b@c and two s3://d:e@f", "one s3://a:***@c and two s3://d:***@f"),
        ("http://127.0.0.1:5000/bucket/key", "http://127.0.0.1:5000/bucket/key"),
        ("s3://bucket/a:b@c", "s3://bucket/a:b@c"),
        ("postgresql://:only@host/db", "postgresql://:***@host/db"),
        ("C:\\a@b", "C:\\a@b"),
        ("postgresql://u:%é@:c/d@h:1/db", "postgresql://u:***@h:1/db"),
        # A user of a managed database, and a host with a port.
        ("postgresql://u@server:p/w@h/db", "postgresql://u@server:***@h/db"),
        ("postgresql://u@host:5432/db?a=x@y", "postgresql://u@host:5432/db?a=x@y"),
        ("'a://h/d?password=a;b#c': expected", "'a://h/d?password=***': expected"),
    ],
)  # fmt: skip
def test_credentials_in_text(text, shown):
    assert without_credentials(text) == shown
    assert without_credentials(shown) == shown
    # Those that are a URL.
    if " " not in text:
        assert url_without_credentials(text) == shown


def test_secrets_of_the_environment_in_text(monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "a b@c:%/é")
    monkeypatch.setenv("OTHER_TOKEN", "short")
    text = "no entry for a b@c:%/é of short"
    assert without_credentials(text) == "no entry for *** of short"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:a b\tc@d e@host/db", "postgresql://u:***@host/db"),
        ("postgresql://host/db?user=u&password=a b;c'd&e=f",
         "postgresql://host/db?user=u&password=***&e=f"),
        ("postgresql://u@server:a b@h/db", "postgresql://u@server:***@h/db"),
    ],
)  # fmt: skip
def test_spaces_in_the_credentials_of_a_url(url, shown):
    assert url_without_credentials(url) == shown
    assert url_without_credentials(shown) == shown
    with refused("command.password", url=shown):
        refuse_password(url)


def test_a_url_is_the_cache_behind_a_local_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", "s3://key:secret@bucket/cache")
    monkeypatch.setenv("HEADSTART_LOCAL_CACHE", str(tmp_path / "one"))
    context = RunContext()
    assert context.cache == default_cache() == tmp_path / "one"
    assert str(context.remote) == "s3://key:***@bucket/cache"
    assert "secret" not in repr(context)
    # On another machine the local folder is that machine's own, unless another one was asked for.
    asked = RunContext(cache=tmp_path / "asked")
    sent = [pickle.dumps(each) for each in (context, asked)]
    monkeypatch.setenv("HEADSTART_LOCAL_CACHE", str(tmp_path / "two"))
    here, there = (pickle.loads(each) for each in sent)
    assert (here.cache, there.cache) == (tmp_path / "two", tmp_path / "asked")
    assert here.remote == there.remote == context.remote
    monkeypatch.delenv("HEADSTART_LOCAL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache() == tmp_path / "xdg" / "headstart"
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "path"))
    assert (RunContext().cache, RunContext().remote) == (tmp_path / "path", None)


def test_nothing_is_imported_before_a_url_asks_for_it():
    code = (
        "import sys; from headstart.artifacts import ArtifactFolder as A;"
        "A('x').names(); A('s3://b/c'); print({'fsspec', 's3fs', 'asyncio'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
