"""Networks pretrained by headstart: ``pretrained:NAME``.

Each is a folder of the cache, ``pretrained/NAME``:

* ``model.safetensors``  the weights under the library's names, the classifier's too; none of
                         auxiliary classifiers;
* ``recipe.json``        the recipe, and what training and testing gave;
* ``model.json``         what the network is, with the digest of its weights. It is written last:
                         a folder without it holds no network.

A cache that machines share by a URL has ``model.json`` there, and the other two files under the
SHA-256 of the weights; a machine copies them into its own folder when it needs the network.
"""

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from headstart.artifacts import ArtifactFolder, remote_cache
from headstart.context import default_cache
from headstart.errors import StorageError, StudyError, UnknownNameError, WeightsError
from headstart.files import replaced, sha256_file, storage_errors, writable_folder
from headstart.models.weight_files import WEIGHTS, write_weights
from headstart.spec import Model, Weights

if TYPE_CHECKING:
    from headstart.models.network import Network

__all__ = [
    "SCHEME",
    "check_name",
    "folder_of",
    "names",
    "outputs_of",
    "read",
    "read_facts",
    "register",
    "share",
    "verify",
]

SCHEME = "pretrained"
MODEL, FACTS = "model.json", "recipe.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_name(name: str) -> str:
    """Return the name; StudyError unless it can name a folder and stand in a list."""
    if not NAME.fullmatch(name):
        raise StudyError(
            f"invalid name '{name}' of a pretrained network: expected letters, digits, '.', '_' "
            "and '-', the first a letter or a digit",
            code="model.name_invalid",
            name=name,
        )
    return name


def folder_of(name: str, cache: Path) -> Path:
    """Return the folder of a network of this name, whether it is there or not."""
    return cache / SCHEME / check_name(name)


def names(cache: Path | None = None) -> list[str]:
    """Return the names of all networks that were pretrained here, sorted: ``pretrained:NAME``."""
    folder = (cache or default_cache()) / SCHEME
    return sorted(f"{SCHEME}:{place.parent.name}" for place in folder.glob(f"*/{MODEL}"))


def read(name: str, cache: Path) -> Model:
    """Return a pretrained network's model.

    Raises
    ------
    UnknownNameError
        There is none of this name; the nearest are suggested.
    StorageError
        What is written of it is damaged.
    """
    place = cache / SCHEME / name / MODEL
    if not is_here(name, cache):
        raise UnknownNameError("model", f"{SCHEME}:{name}", names(cache))
    model = _read_model(place)
    # The cache may have been moved since.
    weights = Weights(locator=f"file:{place.parent / WEIGHTS}", sha256=model.weights.sha256)
    return model.model_copy(update={"weights": weights})


def _read_model(place: Path) -> Model:
    try:
        with storage_errors(place, reading=True):
            return Model.model_validate_json(place.read_bytes())
    except ValidationError as error:
        raise StorageError(
            f"{place} is damaged: expected what headstart pretrain wrote; remove {place.parent} "
            "and pretrain again",
            code="model.pretrained_damaged",
            file=str(place),
        ) from error


def is_here(name: str, cache: Path) -> bool:
    """Return whether there is a network of this name; one that another machine shares is copied.

    Raises
    ------
    StorageError
        What machines share cannot be read, or is damaged.
    """
    if not NAME.fullmatch(name):
        return False
    if (cache / SCHEME / name / MODEL).is_file():
        return True
    shared = _shared(name, cache)
    if shared is None or not shared.exists(MODEL):
        return False
    folder = writable_folder(cache / SCHEME / name)
    described = shared.get(MODEL)
    sha256 = _read_model(described).weights.sha256
    shared.fetch(f"{sha256}.safetensors", folder / WEIGHTS, sha256)
    shared.fetch(f"{sha256}.json", folder / FACTS)
    with replaced(folder / MODEL) as temporary:
        shutil.copyfile(described, temporary)
    return True


def share(name: str, cache: Path) -> None:
    """Copy a network that was trained here to where other machines reach it, if there is such.

    Raises
    ------
    StorageError
        It cannot be written.
    """
    folder, shared = folder_of(name, cache), _shared(name, cache)
    if shared is None or not (folder / MODEL).is_file():
        return
    sha256 = _read_model(folder / MODEL).weights.sha256
    if shared.exists(f"{sha256}.json") and shared.exists(MODEL):
        return
    shared.put(f"{sha256}.safetensors", folder / WEIGHTS)
    shared.put(f"{sha256}.json", folder / FACTS)
    shared.put(MODEL, folder / MODEL)


def _shared(name: str, cache: Path) -> ArtifactFolder | None:
    """Return the folder of a network of this name that machines share."""
    remote = remote_cache() if cache == default_cache() else None
    return remote.within(f"{SCHEME}/{name}") if remote else None


def weights_of(path: Path, cache: Path) -> Path | None:
    """Return the weights of a network that was trained under this path, here or elsewhere."""
    if path.is_file():
        return path
    name, scheme = path.parent.name, path.parent.parent.name
    if scheme != SCHEME or path.name != WEIGHTS or not is_here(name, cache):
        return None
    file = cache / SCHEME / name / WEIGHTS
    return file if file.is_file() else None


def read_facts(name: str, cache: Path) -> dict[str, Any] | None:
    """Return what a finished pretraining wrote beside the model; None where there is none."""
    folder = folder_of(name, cache)
    if not is_here(name, cache):
        return None
    place = folder / FACTS
    try:
        with storage_errors(place, reading=True):
            return dict(json.loads(place.read_bytes()))
    except ValueError as error:
        raise StorageError(
            f"{place} is damaged ({error}): remove {folder} and pretrain again",
            code="model.pretrained_damaged",
            file=str(place),
        ) from error


def outputs_of(model: Model) -> tuple[str, ...] | None:
    """Return the classes of a network that was trained here, in the order of its outputs.

    None for any other network.
    """
    folder = Path(model.weights.locator.removeprefix("file:")).parent
    if not model.weights.locator.startswith("file:") or not (folder / MODEL).is_file():
        return None
    facts = read_facts(folder.name, folder.parent.parent) or {}
    classes = facts.get("recipe", {}).get("dataset", {}).get("classes")
    return tuple(classes) if classes else None


def register(
    name: str, network: "Network", model: Model, facts: dict[str, Any], cache: Path
) -> Model:
    """Write a network that was trained; each file whole or not at all, `MODEL` last.

    Its auxiliary classifiers are left out. The weights of `model` are filled in; `facts` is what is
    kept of how it was made, as JSON.

    Raises
    ------
    StorageError
        It cannot be written.
    """
    folder = writable_folder(folder_of(name, cache))
    write_weights(network.state_as_built(auxiliary=False), folder / WEIGHTS)
    with replaced(folder / FACTS) as temporary:
        temporary.write_text(json.dumps(facts, indent=1))
    weights = Weights(locator=f"file:{WEIGHTS}", sha256=sha256_file(folder / WEIGHTS))
    return _write(folder, model.model_copy(update={"weights": weights, "part": None}), name, cache)


def rename(name: str, changes: dict[str, Any], cache: Path) -> Model:
    """Change what a network is called, `name` and `tags` of its model: the weights stay."""
    model = read(name, cache)
    weights = model.weights.model_copy(update={"locator": f"file:{WEIGHTS}"})
    changed = model.model_copy(update={**changes, "weights": weights})
    return _write(folder_of(name, cache), changed, name, cache)


def verify(name: str, cache: Path) -> Model:
    """Return a network's model, its weights proven to be those that were registered.

    Raises
    ------
    WeightsError
        The file is gone, or is another one.
    """
    model, folder = read(name, cache), folder_of(name, cache)
    file, expected = folder / WEIGHTS, str(model.weights.sha256)
    if not file.is_file():
        raise WeightsError(
            f"weights {file} of '{SCHEME}:{name}' are gone: remove {folder} to pretrain it again",
            code="weights.gone",
            file=str(file),
        )
    with storage_errors(file, reading=True):
        found = sha256_file(file)
    if found != expected:
        raise WeightsError(
            f"weights {file} of '{SCHEME}:{name}' have changed since they were registered: "
            f"expected SHA-256 {expected[:12]}..., found {found[:12]}...; remove {folder} to "
            "pretrain it again",
            code="weights.changed",
            file=str(file),
        )
    return model


def _write(folder: Path, model: Model, name: str, cache: Path) -> Model:
    with replaced(folder / MODEL) as temporary:
        temporary.write_text(model.model_dump_json(indent=1), encoding="utf-8")
    return read(name, cache)
