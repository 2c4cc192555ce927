"""The Hugging Face hub: its cache on this machine, else one try to fetch, told within seconds.

Models and datasets share this. The hub's own library tries again and again where there is no
network, so a look with a timeout comes first; and it raises errors of whichever HTTP library it
uses, so all of them are told as OSError.
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
    """What a repository holds at one commit.

    Parameters
    ----------
    commit
        40 hexadecimal digits.
    files
        Bytes by path inside the repository.
    """

    commit: str
    files: dict[str, int]


def address() -> str:
    """Give the address of the hub: the user's mirror ($HF_ENDPOINT) where there is one."""
    return os.environ.get("HF_ENDPOINT") or HUB


def cached(
    repository: str, name: str, *, kind: Kind = "model", commit: str | None = None
) -> Path | None:
    """Find a file of a repository among what the hub's own library has downloaded.

    The library links a file into its cache when the last byte is there.
    """
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, name, revision=commit, repo_type=kind)
    return Path(found) if isinstance(found, str) else None


def check_reachable(repository: str, *, kind: Kind = "model") -> None:
    """Look once whether the hub answers; OSError where it does not."""
    page = f"{address()}/{PAGES[kind]}{repository}"
    request = urllib.request.Request(page, method="HEAD")  # noqa: S310
    # If it answers, its library says better what it thinks of this repository.
    with suppress(urllib.error.HTTPError):
        urllib.request.urlopen(request, timeout=SECONDS).close()  # noqa: S310


def list_dataset(repository: str, revision: str | None) -> Listing:
    """List a dataset's files at a branch, a tag or a commit, None for the main branch.

    Raises
    ------
    OSError
        No such repository or revision for this user, or no answer.
    """
    from huggingface_hub import HfApi

    with _told_as_oserror():
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
    """Fetch a file into the hub's cache, or `again` though it is there; OSError where it fails."""
    from huggingface_hub import hf_hub_download

    with _told_as_oserror():
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
    """Say in one line why the hub gave nothing."""
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
    said = str(getattr(error, "reason", error)) or type(error).__name__
    return said.strip().splitlines()[0]


@contextmanager
def _told_as_oserror() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    # Which types these are depends on the library's release.
    except Exception as error:
        raise OSError(str(error) or type(error).__name__) from error
