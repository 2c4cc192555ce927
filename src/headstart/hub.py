"""Access to the Hugging Face hub: the local cache, else one download attempt.

Models and datasets share this module. Without a network, the hub's library retries for a long
time, so a request with a timeout comes first. It raises errors of the HTTP library that it uses;
all of them become OSError here.
"""

import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = [
    "REPOSITORY",
    "SECONDS",
    "Kind",
    "Listing",
    "address",
    "cached",
    "check_reachable",
    "download",
    "list_dataset",
    "reason",
]

Kind = Literal["model", "dataset"]

SECONDS = 10
HUB = "https://huggingface.co"
REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?")
PAGES = {"model": "", "dataset": "datasets/"}


@dataclass(frozen=True)
class Listing:
    """Files of a repository at one commit: their size in bytes, by path."""

    commit: str
    files: dict[str, int]


def address() -> str:
    """Return the URL of the hub: $HF_ENDPOINT if set."""
    return os.environ.get("HF_ENDPOINT") or HUB


def cached(
    repository: str, name: str, *, kind: Kind = "model", commit: str | None = None
) -> Path | None:
    """Return the path of a file in the hub's local cache, or None.

    The cache holds only complete files.
    """
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, name, revision=commit, repo_type=kind)
    return Path(found) if isinstance(found, str) else None


def check_reachable(repository: str, *, kind: Kind = "model") -> None:
    """Check once whether the hub responds; raise OSError if it does not."""
    page = f"{address()}/{PAGES[kind]}{repository}"
    request = urllib.request.Request(page, method="HEAD")  # noqa: S310
    # An HTTP error is a response; the hub's library has a better message for it.
    with suppress(urllib.error.HTTPError):
        urllib.request.urlopen(request, timeout=SECONDS).close()  # noqa: S310


def list_dataset(repository: str, revision: str | None) -> Listing:
    """Return a dataset's files at a branch, tag or commit; None is the main branch.

    Raise OSError if they are missing or not accessible, or the hub does not respond.
    """
    from huggingface_hub import HfApi

    with _as_oserror():
        found = HfApi(endpoint=address()).dataset_info(
            repository, revision=revision, files_metadata=True, timeout=SECONDS
        )
    files = {file.rfilename: file.size or 0 for file in found.siblings or []}
    return Listing(str(found.sha), files)


def download(
    repository: str,
    name: str,
    *,
    kind: Kind = "model",
    commit: str | None = None,
    again: bool = False,
) -> Path:
    """Download a file into the hub's cache; return its path. Raise OSError on failure.

    With `again`, download it even if it is cached.
    """
    from huggingface_hub import hf_hub_download

    with _as_oserror():
        place = hf_hub_download(
            repository,
            name,
            repo_type=kind,
            revision=commit,
            endpoint=address(),
            etag_timeout=SECONDS,
            force_download=again,
        )
    return Path(place)


def reason(error: OSError) -> str:
    """Return the reason of a hub error, in one line."""
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return "its terms have to be accepted on the hub, and this machine logged in"
    if isinstance(error, RepositoryNotFoundError):
        return "there is no such repository, or not for this user"
    if isinstance(error, RevisionNotFoundError):
        return "the repository has no such revision"
    text = str(getattr(error, "reason", error)) or type(error).__name__
    return text.strip().splitlines()[0]


@contextmanager
def _as_oserror() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    # Exception types depend on the release of the library.
    except Exception as error:
        raise OSError(str(error) or type(error).__name__) from error
