"""Files in a folder that may be remote: a path, ``file://``, ``s3://`` or ``gs://``.

A file appears whole or not at all, and is proven by its SHA-256 when it is read. What object
storage holds is read from local copies, which lie in a folder of bounded size, named by their
SHA-256: no copy is ever out of date. `fsspec` and the package of a protocol are imported when a URL
asks for them.

Environment variables
---------------------
HEADSTART_RETRY_SECONDS
    How long an object storage that fails is tried again; 60 unless given.
"""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from headstart.errors import StorageError
from headstart.files import (
    FULL,
    replaced,
    sha256_file,
    storage_error,
    storage_errors,
    writable_folder,
)
from headstart.local_cache import LocalCopies, default_cache, is_url
from headstart.shown_text import url_without_credentials, without_credentials

__all__ = ["ArtifactFolder", "remote_cache"]

T = TypeVar("T")
# Protocol -> what installs its package.
PACKAGES = {"s3": "headstart[s3]", "gs": "headstart[gs]"}
# Key of an object's metadata.
DIGEST = "sha256"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\\]")
# Of object storage: bytes of a whole name.
LONGEST = 1024
LONGEST_SUFFIX = 16
RETRY_SECONDS, FIRST_PAUSE, LONGEST_PAUSE = 60.0, 0.1, 8.0
# Errors of botocore that no second try mends, by name: it is not imported for them.
NO_CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "ProfileNotFound",
}
INVALID = "ParamValidationError"


def remote_cache() -> "ArtifactFolder | None":
    """Return the folder of $HEADSTART_CACHE if that is a URL; None if it is a path."""
    given = os.environ.get("HEADSTART_CACHE", "")
    return ArtifactFolder(given) if is_url(given) else None


class ArtifactFolder:
    """A folder of files under a path or a URL. It can be pickled, and used by several processes.

    Names are relative paths with ``/`` between their parts.

    Parameters
    ----------
    place
        A path, or a URL of protocol ``file``, ``s3`` or ``gs``. A user and a password in it are the
        key and the secret of object storage; they are never shown.
    copies
        Folder for local copies of what object storage holds; of the cache unless given.

    Raises
    ------
    StorageError
        No such URL.
    """

    def __init__(self, place: str | Path, copies: Path | None = None) -> None:
        self._copies = copies
        self._options: dict[str, Any] = {}
        self._root = ""
        self.local: Path | None = None
        if not is_url(place):
            self.local = Path(place).expanduser()
            self.shown, self.protocol = str(self.local), "file"
            return
        self.shown = url_without_credentials(str(place))
        try:
            parts = urlsplit(str(place))
            host, user, password = parts.hostname, parts.username, parts.password
        except ValueError:
            raise self._invalid("expected PROTOCOL://PLACE") from None
        self.protocol = parts.scheme.lower()
        if self.protocol == "file":
            if host not in (None, "localhost") or not parts.path or parts.query:
                raise self._invalid("expected file:///PATH")
            self.local = Path(unquote(parts.path))
            return
        if self.protocol not in PACKAGES:
            raise self._invalid("expected a path or a URL that begins with file://, s3:// or gs://")
        # Else a part of the secret would be taken for the bucket, and shown.
        if self.shown != str(place) and "@" in f"{parts.path}{parts.query}{parts.fragment}":
            raise self._invalid("expected %2F, %3F, %23, %40 for / ? # @ in its secret and path")
        if not host or parts.query or parts.fragment:
            raise self._invalid(f"expected {self.protocol}://BUCKET/FOLDER")
        if user:
            if self.protocol != "s3" or not password:
                raise self._invalid("expected no credentials in it: give them by the environment")
            self._options = {"key": unquote(user), "secret": unquote(password)}
        # As it was written: `hostname` is in lower case.
        bucket = parts.netloc.rpartition("@")[2]
        self._root = f"{bucket}{parts.path}".rstrip("/")

    def __repr__(self) -> str:
        return f"ArtifactFolder({self.shown!r})"

    def __str__(self) -> str:
        return self.shown

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ArtifactFolder):
            return NotImplemented
        return (self.shown, self._copies) == (other.shown, other._copies)

    def __hash__(self) -> int:
        return hash(self.shown)

    def within(self, name: str) -> "ArtifactFolder":
        """Return the folder of this name in this one."""
        check_name(name)
        inner = object.__new__(ArtifactFolder)
        inner.__dict__.update(self.__dict__)
        inner.shown = f"{self.shown.rstrip('/')}/{name}"
        inner._root = f"{self._root}/{name}"
        inner.local = self.local / name if self.local else None
        return inner

    def put(self, name: str, file: Path) -> str:
        """Copy a local file to this name, whole or not at all; return its SHA-256.

        What was there of this name is replaced.

        Raises
        ------
        NotWritableError, DiskFullError, StorageError
        """
        check_name(name)
        if self.local:
            with self.writing(name) as temporary:
                shutil.copyfile(file, temporary)
                return sha256_file(temporary)
        sha256 = sha256_file(file)
        # An object of several parts appears when the last has arrived, too.
        facts = {("Metadata" if self.protocol == "s3" else "metadata"): {DIGEST: sha256}}
        self._write(lambda files: files.put_file(str(file), self._path(name), **facts))
        return sha256

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a local path; when the block ends well, its file gets this name, as by `put`."""
        check_name(name)
        if self.local:
            target = self.local / name
            with storage_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
            with replaced(target) as temporary:
                yield temporary
            return
        temporary = self._local_copies().temporary()
        try:
            with storage_errors(temporary):
                yield temporary
            self.put(name, temporary)
        finally:
            temporary.unlink(missing_ok=True)

    def move(self, name: str, to: str) -> None:
        """Rename a file; what was there of that name is replaced.

        Of object storage, which has no such operation, it is copied first: both may be there if the
        process ends in between.
        """
        check_name(to)
        if self.local:
            file, target = self._local_file(name), self.local / to
            with storage_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)
            return
        check_name(name)
        try:
            self._retried(lambda files: files.cp_file(self._path(name), self._path(to)))
        except FileNotFoundError:
            raise self._absent(name) from None
        self.delete(name)

    def get(self, name: str, sha256: str | None = None) -> Path:
        """Return a local file with the content of this name, proven by its SHA-256.

        Of object storage it is a copy. Open it within a minute: later it may be removed to keep the
        copies within their limit. A process that has it open goes on reading.

        Parameters
        ----------
        name
            Name of the file.
        sha256
            What it has to be; unless given, what object storage holds with it. Of a local folder it
            is not checked then.

        Raises
        ------
        StorageError
            It is not there, is damaged, or cannot be read.
        """
        check_name(name)
        if self.local:
            file = self._local_file(name)
            if sha256:
                self._prove(name, file, sha256)
            return file
        copies = self._local_copies()
        expected = sha256 or self._digest(name)
        suffix = Path(name).suffix[:LONGEST_SUFFIX]
        if expected and (found := copies.find(expected, suffix)):
            return found
        temporary = copies.temporary()
        try:
            found = copies.add(temporary, self._download(name, temporary, expected), suffix)
        finally:
            temporary.unlink(missing_ok=True)
        return found

    def fetch(self, name: str, target: Path, sha256: str | None = None) -> str:
        """Copy the file of this name to a local path, whole or not at all; return its SHA-256.

        `sha256` and errors are those of `get`.
        """
        check_name(name)
        with replaced(target) as temporary:
            if self.local:
                shutil.copyfile(self._local_file(name), temporary)
                return self._prove(name, temporary, sha256)
            return self._download(name, temporary, sha256 or self._digest(name))

    def digest(self, name: str) -> str:
        """Return the SHA-256 of the file of this name: of an object, what it was put with.

        Errors are those of `get`.
        """
        check_name(name)
        if self.local:
            return sha256_file(self._local_file(name))
        return self._digest(name) or sha256_file(self.get(name))

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return self.size(name) is not None

    def size(self, name: str) -> int | None:
        """Return the number of bytes of the file of this name; None if there is none."""
        check_name(name)
        if self.local:
            path = self.local / name
            with storage_errors(path, reading=True):
                return path.stat().st_size if path.is_file() else None
        try:
            found = self._retried(lambda files: files.info(self._path(name)))
        except FileNotFoundError:
            return None
        return int(found["size"]) if found["type"] == "file" else None

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the bytes of every file whose name begins with `prefix`, by name, sorted.

        What other programs put there under names that could not be put here is left out.
        """
        if prefix:
            check_name(prefix.rstrip("/"))
        if self.local:
            return self._local_sizes(self.local, prefix)
        inside = f"{self._root}/{prefix}".rpartition("/")[0]
        try:
            found = self._retried(lambda files: files.find(inside, detail=True))
        except FileNotFoundError:
            return {}
        names = {path.removeprefix(f"{self._root}/"): one for path, one in found.items()}
        return {
            name: int(names[name]["size"])
            for name in sorted(names)
            if name.startswith(prefix) and _is_name(name)
        }

    def names(self, prefix: str = "") -> list[str]:
        """Return the names that begin with `prefix`, sorted."""
        return list(self.sizes(prefix))

    def delete(self, name: str) -> None:
        """Remove the file of this name, if it is there."""
        check_name(name)
        if self.local:
            with storage_errors(self.local / name):
                (self.local / name).unlink(missing_ok=True)
            return
        with suppress(FileNotFoundError):
            self._retried(lambda files: files.rm_file(self._path(name)))

    def check_writable(self) -> None:
        """Prove that a file can be written here.

        Raises
        ------
        NotWritableError, DiskFullError, StorageError
        """
        if self.local:
            writable_folder(self.local)
            return
        path = self._path(f".headstart-write-{uuid4().hex}")
        self._write(lambda files: files.pipe_file(path, b"x"))
        self._write(lambda files: files.rm_file(path))

    def _local_copies(self) -> "LocalCopies":
        return LocalCopies(self._copies or default_cache() / LocalCopies.NAME)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _local_file(self, name: str) -> Path:
        file = (self.local or Path()) / name
        with storage_errors(file, reading=True):
            if not file.is_file():
                raise self._absent(name)
        return file

    def _prove(self, name: str, file: Path, sha256: str | None) -> str:
        """Return the SHA-256 of a local file, which has to be `sha256` if that is given."""
        found = sha256_file(file)
        # A second look: what comes over a network may be damaged on its way.
        if sha256 not in (None, found) and (found := sha256_file(file)) != sha256:
            raise self._damaged(name, str(sha256), found)
        return found

    def _local_sizes(self, folder: Path, prefix: str) -> dict[str, int]:
        sizes = {}
        with storage_errors(folder, reading=True):
            for file in (folder / prefix.rpartition("/")[0]).rglob("*"):
                name = file.relative_to(folder).as_posix()
                # What is being written has such a name.
                hidden = file.name.startswith(".") and file.name.endswith(".tmp")
                if name.startswith(prefix) and _is_name(name) and not hidden and file.is_file():
                    sizes[name] = file.stat().st_size
        return dict(sorted(sizes.items()))

    def _digest(self, name: str) -> str | None:
        """Return the SHA-256 that an object was put with; None if another program wrote it."""

        def look(files: Any) -> Any:
            if self.protocol == "s3":
                return files.metadata(self._path(name), refresh=True)
            return files.info(self._path(name)).get("metadata")

        try:
            found = (self._retried(look) or {}).get(DIGEST)
        except FileNotFoundError:
            raise self._absent(name) from None
        return str(found) if found else None

    def _download(self, name: str, target: Path, sha256: str | None) -> str:
        """Write the object to a path; return its SHA-256, which is `sha256` if that is given."""
        found = ""
        for _ in range(2):
            try:
                self._retried(lambda files: files.get_file(self._path(name), str(target)))
            except FileNotFoundError:
                raise self._absent(name) from None
            except OSError as error:
                raise storage_error(target, error) from error
            # Of an object without bytes some filesystems write no file.
            target.touch()
            found = sha256_file(target)
            if sha256 in (None, found):
                return found
        raise self._damaged(name, str(sha256), found)

    def _filesystem(self) -> Any:
        """Return fsspec's object for the protocol, which it keeps for each process."""
        import fsspec

        options: dict[str, Any] = {"use_listings_cache": False, **self._options}
        if self.protocol == "s3":
            # One attempt each: `_retried` is what tries again.
            options["config_kwargs"] = {"retries": {"total_max_attempts": 1}, "connect_timeout": 10}
        try:
            return fsspec.filesystem(self.protocol, **options)
        except ImportError as error:
            package = PACKAGES[self.protocol]
            raise StorageError(
                f"{self.shown} needs a package that is not installed: pip install '{package}'",
                code="storage.package_missing",
                package=package,
            ) from error

    def _retried(self, action: Callable[[Any], T]) -> T:
        """Call `action` with the filesystem; again where it fails, with longer and longer pauses.

        Raises
        ------
        FileNotFoundError
            There is no such object, or no such bucket.
        OSError
            The local disk is full.
        StorageError
        """
        files = self._filesystem()
        ends = time.monotonic() + _seconds_to_retry()
        pause = FIRST_PAUSE
        while True:
            try:
                return action(files)
            except FileNotFoundError:
                raise
            except PermissionError as error:
                raise StorageError(
                    f"no permission for {self.shown} ({self._text(error)}): check the credentials",
                    code="storage.forbidden",
                    url=self.shown,
                ) from error
            except Exception as error:
                if isinstance(error, OSError) and error.errno in FULL:
                    raise
                kind = type(error).__name__
                if kind in NO_CREDENTIALS:
                    raise StorageError(
                        f"no credentials for {self.shown} ({self._text(error)}): set "
                        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write them to "
                        "~/.aws/credentials",
                        code="storage.no_credentials",
                        url=self.shown,
                    ) from error
                lasting = kind == INVALID or isinstance(error, TypeError)
                if lasting or time.monotonic() + pause > ends:
                    raise StorageError(
                        f"cannot use {self.shown}: {self._text(error)}",
                        code="storage.unreachable",
                        url=self.shown,
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _write(self, action: Callable[[Any], object]) -> None:
        try:
            self._retried(action)
        except FileNotFoundError as error:
            raise StorageError(
                f"cannot write to {self.shown}: there is no such bucket: create it",
                code="storage.no_bucket",
                url=self.shown,
            ) from error

    def _text(self, error: BaseException) -> str:
        """Return what an error says, in one line, without our credentials."""
        text = " ".join(f"{type(error).__name__}: {error}".split())
        for secret in self._options.values():
            text = text.replace(secret, "***")
        return without_credentials(text)

    def _invalid(self, expected: str) -> StorageError:
        return StorageError(
            f"invalid URL '{self.shown}': {expected}", code="storage.url_invalid", url=self.shown
        )

    def _absent(self, name: str) -> StorageError:
        return StorageError(
            f"no file '{name}' in {self.shown}: restore it from a copy",
            code="storage.absent",
            url=self.shown,
            name=name,
        )

    def _damaged(self, name: str, expected: str, found: str) -> StorageError:
        return StorageError(
            f"'{name}' in {self.shown} is damaged: expected SHA-256 {expected[:12]}..., found "
            f"{found[:12]}...; restore it from a copy",
            code="storage.damaged",
            url=self.shown,
            name=name,
        )


def check_name(name: str) -> str:
    """Return the name; StorageError unless it is a relative path within a folder."""
    if not _is_name(name):
        raise StorageError(
            f"invalid name of a file {name[:LONGEST]!r}: expected a relative path without '..' and "
            "control characters",
            code="storage.name_invalid",
            name=name,
        )
    return name


def _is_name(name: str) -> bool:
    inside = all(part not in ("", ".", "..") for part in name.split("/"))
    return inside and not CONTROL.search(name) and len(name.encode()) <= LONGEST


def _seconds_to_retry() -> float:
    given = os.environ.get("HEADSTART_RETRY_SECONDS")
    try:
        return float(given or RETRY_SECONDS)
    except ValueError:
        raise StorageError(
            f"invalid HEADSTART_RETRY_SECONDS '{given}': expected a number of seconds",
            code="storage.retry_invalid",
            found=given,
        ) from None
