"""Whether a report page is still the one that would be drawn: the page itself says of what it is.

Drawing takes seconds, and the demo is run again and again.
"""

import hashlib
import re
from importlib.metadata import version
from pathlib import Path

from headstart.files import replaced, storage_errors
from headstart.store import ResultStore

__all__ = ["is_stamped", "put_stamp"]

STAMP = re.compile(rb'<meta name="headstart-stamp" content="([0-9a-f]{64})">\n')
PLACE = b"<head>\n"
PACKAGE = Path(__file__).parents[1]


def is_stamped(page: Path, store: ResultStore) -> bool:
    """Whether `page` is whole, and drawn of just these results by just this program.

    A page that was drawn by `headstart report`, of a selection or with options, has no stamp.
    """
    if not page.is_file():
        return False
    with storage_errors(page, reading=True):
        content = page.read_bytes()
    found = STAMP.search(content)
    return found is not None and found[1].decode() == _stamp(STAMP.sub(b"", content, 1), store)


def put_stamp(page: Path, store: ResultStore) -> None:
    """Write into a page that was just drawn what it was drawn of.

    Raises
    ------
    StorageError
        It cannot be read or written.
    """
    with storage_errors(page, reading=True):
        content = page.read_bytes()
    tag = f'<meta name="headstart-stamp" content="{_stamp(content, store)}">\n'
    with replaced(page) as temporary:
        temporary.write_bytes(content.replace(PLACE, PLACE + tag.encode(), 1))


def _stamp(content: bytes, store: ResultStore) -> str:
    """Digest of a page without its stamp, of the results, of where they are, and of the program."""
    whole = hashlib.sha256(content)
    # The page names its source.
    for part in (str(store.path), store.revision(), _program()):
        whole.update(hashlib.sha256(part.encode()).digest())
    return whole.hexdigest()


def _program() -> str:
    """Digest of headstart's own files: a version is the same while a working copy changes."""
    files = sorted(path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc")
    whole = hashlib.sha256(version("headstart").encode())
    for path in files:
        whole.update(f"{path.relative_to(PACKAGE)}\0".encode())
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()
