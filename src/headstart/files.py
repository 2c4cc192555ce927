"""Atomic writes, file names as text, and system errors as readable messages."""

import codecs
import errno
import hashlib
import os
import re
import shutil
import stat
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from filelock import SoftFileLease, Timeout

from headstart.errors import DiskFullError, HeadstartError, NotWritableError, StorageError

__all__ = [
    "Appender", "Lock", "check_folder", "check_free_space", "disk_full", "free_bytes", "locked",
    "md5_file", "name_from_text", "name_in_text", "path_of", "read_toml", "refuse_folder",
    "replaced", "sha256_file", "sha256_start", "split_names", "storage_errors", "text_encoding",
    "unusable", "utf8_name", "writable_folder",
]  # fmt: skip

OPTION = re.compile(r"\?(?=[a-z_]+=)")
QUOTED = re.compile(r"""\A(["'])(.*)\1\Z""", re.DOTALL)
SYNC_SECONDS = 5.0
# All processes that share a folder have to agree on it.
LEASE_SECONDS = 60.0
# The mark of UTF-32 begins as that of UTF-16.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Of a text, in bytes, to find out how it is encoded.
SAMPLE = 1 << 12
# Not every system has all of them.
FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
# A byte that `name_in_text` wrote, or what looks like one.
ESCAPED = re.compile(rb"\\x([89a-f][0-9a-f]|5c)")
# To open one of these may wait for ever, or start what nobody asked for.
SPECIAL = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def name_in_text(name: str) -> str:
    r"""Return a file's name as text that any file format, database or encoding of UTF-8 can hold.

    A file's name is bytes. Those that are not UTF-8 are written ``\xHH``, and the rest is the same
    in every locale, so that digests of names depend on the bytes alone. In a name with such bytes,
    or with what looks like them, a backslash is written ``\x5c``: no two names give the same text,
    and `name_from_text` reverses it. Any other name stays as it is.

    Examples
    --------
    >>> name_in_text("caf\udce9/1.jpg")
    'caf\\xe9/1.jpg'
    """
    if os.sep == "\\":
        return name
    encoded = _encoded(name)
    try:
        text = encoded.decode()
    except UnicodeDecodeError:
        return encoded.replace(b"\\", rb"\x5c").decode(errors="backslashreplace")
    return text.replace("\\", r"\x5c") if ESCAPED.search(encoded) else text


def name_from_text(text: str) -> str:
    """Return the name of a file, as the system takes it, of which this is the text.

    Reverses `name_in_text`.
    """
    if os.sep == "\\":
        return text
    encoded = text.encode(errors="surrogateescape")
    return os.fsdecode(ESCAPED.sub(lambda byte: bytes.fromhex(byte[1].decode()), encoded))


def _encoded(name: str) -> bytes:
    """Return the bytes of a name of the system, or of a text that the locale cannot encode."""
    try:
        return os.fsencode(name)
    except UnicodeEncodeError:
        return name.encode(errors="surrogateescape")


def path_of(text: str) -> Path:
    """Return the absolute path that a person, or a stored record, names: ``~`` is the home.

    A record holds it as `name_in_text` writes it.
    """
    # Of a home that nobody has, the name stays as it is.
    path = Path(os.path.expanduser(text))
    return Path(os.path.abspath(path if os.path.exists(path) else name_from_text(str(path))))


def unusable(path: Path) -> str:
    """Return why a path must not be opened, ``a named pipe`` say; "" where it may be.

    Returns ``a broken symlink``, too; nothing of a path that is not there.

    Raises
    ------
    OSError
        No permission to look.
    """
    try:
        mode = os.stat(path).st_mode
    except ValueError:  # no name of any file
        return ""
    except OSError as error:
        if error.errno == errno.ELOOP or (error.errno in ABSENT and os.path.islink(path)):
            return "a broken symlink"
        if error.errno in ABSENT:
            return ""
        raise
    return next((words for is_kind, words in SPECIAL if is_kind(mode)), "")


@contextmanager
def storage_errors(path: Path, *, reading: bool = False) -> Iterator[None]:
    """Turn the system's OSError about `path` into one line that says what to do.

    Parameters
    ----------
    path
        The file or folder.
    reading
        Whether it is only read: who may not read it needs other words than who may not write, and
        what is no file (a named pipe, a socket, a device) is refused before it is opened.

    Raises
    ------
    DiskFullError, NotWritableError, StorageError
        By the cause; an OSError that is about something else goes through as StorageError too.
    """
    try:
        if reading and (kind := unusable(path)):
            raise _no_file(path, kind)
        yield
    except OSError as error:
        raise storage_error(path, error, reading=reading) from error


def storage_error(path: Path, error: OSError, *, reading: bool = False) -> StorageError:
    """Name the StorageError that says what `error` means for `path`."""
    shown = name_in_text(str(path))
    if error.errno in FULL:
        return disk_full(path)
    if error.errno in FORBIDDEN and reading:
        return StorageError(
            f"cannot read {shown} ({error.strerror}): ask its owner for permission to read it, or "
            "give a copy",
            code="storage.not_readable",
            path=shown,
        )
    if error.errno in FORBIDDEN:
        return NotWritableError(f"cannot write {shown} ({error.strerror}): choose a folder that "
                                "you may write to", path=shown)  # fmt: skip
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return StorageError(
            f"cannot use {shown}: it, or a folder above it, is not a folder but something else of "
            "that name: choose another folder",
            code="storage.not_folder",
            path=shown,
        )
    return StorageError(
        f"cannot use {shown}: {error.strerror or error}", code="storage.unusable", path=shown
    )


def disk_full(path: Path) -> DiskFullError:
    """Return the error for a file or folder that there is no space for."""
    shown = name_in_text(str(path))
    return DiskFullError(
        f"no space left to write {shown} ({free_bytes(path) / 1e6:,.1f} MB free): free some space, "
        "or choose another folder, and run the same command again to resume",
        path=shown,
    )


def free_bytes(path: Path) -> int:
    """Return the bytes that are free to us on the disk where a path is or will be."""
    existing = path.absolute()
    while not os.path.exists(existing):
        existing = existing.parent
    return shutil.disk_usage(existing).free


def _no_file(path: Path, kind: str) -> StorageError:
    shown = name_in_text(str(path))
    return StorageError(
        f"{shown} is {kind}: expected a regular file", code="storage.no_file", path=shown, kind=kind
    )


def writable_folder(folder: Path, file: Path | None = None) -> Path:
    """Make `folder` (with parents) and prove that a file can be written there, `file` if named.

    Raises
    ------
    NotWritableError, DiskFullError, StorageError
    """
    with storage_errors(file or folder):
        folder.mkdir(parents=True, exist_ok=True)
        _prove_writable(folder)
    return folder


def check_folder(folder: Path, file: Path) -> None:
    """Prove that `file` can be written in a folder that is there or can be made; make nothing.

    Raises
    ------
    NotWritableError, DiskFullError, StorageError
    """
    folder = folder.absolute()
    with storage_errors(file):
        _prove_writable(next(one for one in (folder, *folder.parents) if os.path.lexists(one)))


def _prove_writable(folder: Path) -> None:
    # Processes of several machines may have one number.
    probe = folder / f".headstart-write-{uuid4().hex}"
    try:
        probe.write_bytes(b"x")
    finally:
        # On a full disk it is there, and empty.
        probe.unlink(missing_ok=True)


def check_free_space(
    folder: Path,
    needed: int,
    what: str = "features",
    remedy: str = "set HEADSTART_CACHE to a folder on another disk",
) -> None:
    """Raise DiskFullError when fewer than `needed` bytes are free where `folder` is or will be.

    `what` says what they are needed for, `remedy` what to do if no space can be freed.
    """
    free = free_bytes(folder)
    if free < needed:
        raise DiskFullError(
            f"{folder} needs {needed / 1e6:,.0f} MB for {what}, {free / 1e6:,.0f} MB are free: "
            f"free some space, or {remedy}",
            path=name_in_text(str(folder)),
        )


def refuse_folder(path: Path) -> None:
    """Raise StorageError if a file cannot be written under this name, as a folder has it."""
    if not path.name or path.is_dir():
        raise StorageError(f"cannot write '{path}': expected the name of a file",
                           code="storage.no_file_name", path=str(path))  # fmt: skip


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Return a temporary path; when the block ends well, it becomes `path`, whole and synced.

    After a crash at any moment `path` is either what it was or complete.
    """
    refuse_folder(path)
    # A device or a pipe would be replaced, too.
    if path.exists() and (kind := unusable(path)):
        raise _no_file(path, kind)
    # Processes of several machines may have one number.
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:12]}.tmp")
    try:
        with storage_errors(path):
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def text_encoding(start: bytes) -> str:
    """Return the encoding of a text by how it starts.

    UTF-16 and UTF-32 by their byte-order marks, UTF-16 without one by its zeros, else UTF-8, whose
    mark is skipped.

    Examples
    --------
    >>> [text_encoding("a,b".encode(name)) for name in ("utf-8", "utf-16", "utf-16-be")]
    ['utf-8-sig', 'utf-16', 'utf-16-be']
    """
    for mark, encoding in BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return encoding
    sample = start[:SAMPLE]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    # One of the two bytes of most characters: half of all bytes are zeros, or some fewer.
    if max(even, odd) > len(sample) // 8:
        return "utf-16-be" if even > odd else "utf-16-le"
    return "utf-8-sig"


def read_toml(content: bytes, what: str, wrong: type[HeadstartError]) -> dict[str, Any]:
    """Read TOML: UTF-8 with or without a byte-order mark, or UTF-16 as some editors save it.

    Parameters
    ----------
    content
        The bytes of the file.
    what
        What it is, with its name, for the message: ``"study file a.toml"``.
    wrong
        Raised with the code ``toml.encoding`` or ``toml.syntax``; the line and column are named.
    """
    encoding = text_encoding(content)
    try:
        return tomllib.loads(content.decode(encoding))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise wrong(
            f"{what}: byte {content[error.start]:#04x} in line {line} is not UTF-8: save the file "
            "as UTF-8",
            code="toml.encoding",
            line=line,
        ) from error
    except tomllib.TOMLDecodeError as error:
        n_lines = content.decode(encoding).count("\n") + 1
        reason = " ".join(str(error).split())
        reason = reason.replace("at end of document", f"at end of document, line {n_lines}")
        raise wrong(f"{what}: not valid TOML: {reason}", code="toml.syntax", why=reason) from error
    except RecursionError as error:
        reason = "lists or tables are nested too deeply"
        raise wrong(f"{what}: not valid TOML: {reason}", code="toml.syntax", why=reason) from error


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in constant memory."""
    with storage_errors(path, reading=True), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5_file(path: Path) -> str:
    """Hexadecimal MD5 of a file's bytes: not proof against fraud, but what others publish."""
    with storage_errors(path, reading=True), path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def sha256_start(path: Path, size: int) -> "hashlib._Hash | None":
    """SHA-256 of the first `size` bytes of a file, to go on with; None if there are fewer."""
    content = hashlib.sha256()
    with path.open("rb") as opened:
        while size and (block := opened.read(min(size, 1 << 20))):
            content.update(block)
            size -= len(block)
    return None if size else content


class Lock:
    """A lock that one process at a time holds, of all machines that share the folder.

    It does not rely on locks of the file system, which many network drives lack: the file is there
    while a process holds the lock, which touches it again and again. The lock is free once that
    process has ended on this machine, or has not touched the file for `LEASE_SECONDS`: a process
    that was stopped for longer may find its lock lost.

    Parameters
    ----------
    path
        What older versions locked with `flock`, and left there; ``.lease`` is put into its name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path = path.with_name(f"{path.stem}.lease{path.suffix}")
        self._lease = SoftFileLease(path, lease_duration=LEASE_SECONDS)
        # That process may be stopped, and learn only after it wrote that its lock is lost.
        self.was_held = self.is_held

    @property
    def is_held(self) -> bool:
        """Whether a process has the lock, as far as its file tells."""
        return os.path.lexists(self._path)

    def acquire(self, *, wait: bool = True) -> bool:
        """Take the lock; without `wait`, return False if another process has it."""
        with storage_errors(self._path):
            while True:
                empty = self._empty()
                with suppress(Timeout):
                    self._lease.acquire(timeout=2 * LEASE_SECONDS if wait else 0)
                    return True
                self.was_held = True
                if not wait:
                    return False
                # A power cut may leave an empty file, which filelock takes for held for ever.
                if empty and self._empty() == empty:
                    self._path.unlink(missing_ok=True)

    def _empty(self) -> tuple[int, int] | None:
        """Return what tells an empty lock file from the next; None if it is not empty."""
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return None if found.st_size else (found.st_ino, found.st_mtime_ns)

    def release(self) -> None:
        """Let others have the lock."""
        self._lease.release()

    def check(self) -> None:
        """Raise StorageError if another process has taken the lock."""
        token = self._lease.token
        with suppress(OSError):
            if token and token.encode() in self._path.read_bytes():
                return
        raise StorageError(
            f"lost the lock {self._path}: this process was stopped for over {LEASE_SECONDS:.0f} s, "
            "and another one took over: run the same command again",
            code="cache.lock_lost",
            path=str(self._path),
        )


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[Lock]:
    """Hold the lock `path`; `waiting` is called if another process has it."""
    writable_folder(path.parent)
    lock = Lock(path)
    if not lock.acquire(wait=False):
        waiting()
        lock.acquire()
    try:
        yield lock
    finally:
        lock.release()


class Appender:
    """Appends to a file that something else, written after each `sync`, tells the good part of.

    Parameters
    ----------
    path
        The file. Behind its first `size` bytes it is cut off; with `size` 0 it is made anew, so
        that who has mapped an older one keeps that.
    content
        SHA-256 of these bytes, as `sha256_start` gives it.
    lock
        What protects the file. If another process had it before, the file is copied first: that
        process may not know yet that its lock is lost, and go on writing to the old one.
    """

    def __init__(
        self,
        path: Path,
        size: int = 0,
        content: "hashlib._Hash | None" = None,
        lock: Lock | None = None,
    ) -> None:
        if not size:
            path.unlink(missing_ok=True)
        elif lock and lock.was_held:
            with replaced(path) as temporary:
                shutil.copyfile(path, temporary)
        self._lock = lock
        self._file = path.open("r+b" if size else "w+b")
        self._file.truncate(size)
        self._file.seek(size)
        self._content = content or hashlib.sha256()
        self._synced = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, block: bytes) -> None:
        """Append; it is safe after the next `sync`."""
        self._file.write(block)
        self._content.update(block)

    @property
    def due(self) -> bool:
        """Whether the last `sync` is so long ago that an interruption would hurt."""
        return time.monotonic() - self._synced > SYNC_SECONDS

    def sync(self) -> str:
        """Make safe on disk what was written; give the SHA-256 of the whole file.

        Raises
        ------
        StorageError
            The lock is lost: what was written must not be used.
        """
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._lock:
            self._lock.check()
        self._synced = time.monotonic()
        return self._content.hexdigest()


def split_names(text: str) -> list[str]:
    """Return the names in a list that commas separate.

    A comma belongs to a name inside quotes (``"a,b"``), in a path that exists (``./a,b``), and in
    the value of an option: between numbers (``?mean=0,0,0.5``), or where nothing else is the value
    (``?sep=,``).

    Examples
    --------
    >>> split_names("resnet50, net.py:small?mean=0,0,0.5&size=32")
    ['resnet50', 'net.py:small?mean=0,0,0.5&size=32']
    >>> split_names('t.csv?sep=,&label=tags,digits,"a,b"')
    ['t.csv?sep=,&label=tags', 'digits', 'a,b']
    """
    pieces, names = _outside_quotes(text), list[str]()
    place = 0
    while place < len(pieces):
        end = next(
            (end for end in range(len(pieces), place + 1, -1) if _is_path(pieces[place:end])),
            place + 1,
        )
        name = ",".join(pieces[place:end]).strip()
        if names and end == place + 1 and _goes_on(names[-1], name):
            names[-1] += f",{name}"
        elif name:
            names.append(name)
        place = end
    return [QUOTED.sub(r"\2", name) for name in names]


def _outside_quotes(text: str) -> list[str]:
    """Split at commas, but not between two quotes that begin and end a name."""
    pieces, quote = [""], ""
    for number, character in enumerate(text):
        if quote:
            quote = (
                "" if character == quote and text[number + 1 :].lstrip()[:1] in ("", ",") else quote
            )
        elif character in "\"'" and not pieces[-1].strip():
            rest = text[number + 1 :]
            quote = character if re.search(rf"{character}\s*(,|$)", rest) else ""
        elif character == ",":
            pieces.append("")
            continue
        pieces[-1] += character
    return pieces


def _is_path(pieces: Sequence[str]) -> bool:
    """Whether pieces, up to options in the last, are one path that exists.

    It may have its kind before it (``hf:``, ``checkpoint:``), or a function's name behind.
    """
    if any(OPTION.search(piece) for piece in pieces[:-1]):
        return False
    stem = OPTION.split(",".join(pieces).strip(), maxsplit=1)[0]
    file, _, function = stem.rpartition(":")
    forms = (stem, stem.partition(":")[2], file if function.isidentifier() else "")
    return any(form and os.path.exists(os.path.expanduser(form)) for form in forms)


def _goes_on(before: str, name: str) -> bool:
    """Whether what follows a comma goes on with the option that stands before it."""
    if "?" not in before:
        return False
    if before.endswith("=") and (not name or name.startswith("&")):
        return True
    # An option after a value that is a comma; the next of several numbers.
    if name.startswith("&"):
        return True
    try:
        float(name.partition("&")[0])
    except ValueError:
        return False
    return True


@contextmanager
def utf8_name(path: Path) -> Iterator[Path]:
    """Yield a name of a file that is UTF-8, for libraries that take no other."""
    if str(path).isascii() or str(path).encode(errors="replace").decode() == str(path):
        yield path
        return
    with path.open("rb") as file:
        yield Path(f"/dev/fd/{file.fileno()}")
