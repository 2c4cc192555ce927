"""Which networks there are, and how a name becomes one with its weights."""

import re
import tomllib
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from headstart.context import default_cache
from headstart.errors import ModelError, StudyError, UnknownNameError, WeightsMissingError
from headstart.files import storage_errors
from headstart.functions import is_function
from headstart.models import facts, ledger, places, pretrained
from headstart.models.card import backbone_remark, presence
from headstart.models.heads import Head
from headstart.models.measured import with_measured
from headstart.models.names import ASKED, GROUPING, ModelName
from headstart.models.shards import digest_of
from headstart.models.sources import SOURCES, source_of
from headstart.models.weight_files import (
    AVERAGE,
    ENDS,
    check_kind,
    files_inside,
    holds_average,
)
from headstart.spec import Model, Weights
from headstart.spec.invalid import first_invalid

if TYPE_CHECKING:
    from torch import nn

    from headstart.models.network import Network

__all__ = [
    "EMBEDDED",
    "auxiliary_weight",
    "catalogue",
    "fetch",
    "find",
    "load",
    "require",
    "runs_code",
    "search",
]

RANDOM = "random"
# A page of the Hugging Face hub, as a browser shows its address.
HUB_ADDRESS = re.compile(
    r"(?:hf:)?https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)(?:/.*)?"
)
# What tags say of how the catalogue's weights were trained, and where that is written.
RECIPE_TAGS = (
    "batch_norm_scale",
    "label_smoothing",
    "dropout",
    "auxiliary_head",
    "recipe_source",
)
# What programs call every file of weights: its folder tells one from another.
USUAL_STEMS = {"best", "checkpoint", "last", "model", "pytorch_model", "weights"}
INDEX = ".index.json"
# Their weights come as packages: they are measured without any download.
EMBEDDED = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
# What was said of files of weights in this process.
_said: set[tuple[str, str]] = set()


@cache
def catalogue() -> dict[str, Model]:
    """Read all networks by name: those of the study, and those whose weights are packages."""
    text = files("headstart.models").joinpath("catalogue.toml").read_text(encoding="utf-8")
    return {name: Model(name=name, **fields) for name, fields in tomllib.loads(text).items()}


def find(name: str, cache: Path | None = None) -> Model:
    """Find a network by its name, with its facts; its library is imported only if it must be.

    Parameters
    ----------
    name
        A name of the catalogue, or ``SOURCE:NAME`` (``timm:vit_small_patch16_224``,
        ``torchvision:resnet50/IMAGENET1K_V2``, ``pytorchcv:bninception``,
        ``hf:user/name``, ``checkpoint:FILE?arch=timm:resnet50``, ``pretrained:NAME`` of what
        headstart trained), or ``path/to/file.py:function``, which runs that file; then
        ``?option=value&...`` (`names.OPTIONS`).
    cache
        Where facts are kept; the usual folder unless given.

    Raises
    ------
    UnknownNameError
        No such name, source or option; the nearest are suggested.
    StudyError
        An option with a value that it cannot have.
    ModelError
        The library that builds it is not installed.
    """
    return _find(ModelName.parse(name), cache)


def _find(asked: ModelName, cache: Path | None) -> Model:
    source, colon, path = asked.stem.partition(":")
    if source == "checkpoint":
        return _checkpoint(asked, path, cache)
    if source == pretrained.SCHEME and path:
        return _pretrained(asked, path, cache)
    if asked.stem in catalogue():
        model = catalogue()[asked.stem]
    elif is_function(asked.stem):
        model = facts.describe(source_of("function"), asked.stem, cache or default_cache())
    elif address := HUB_ADDRESS.fullmatch(asked.stem):
        use = f"hf:{address[1]}"
        raise UnknownNameError("model", asked.full, catalogue(), near=[use])
    elif colon and path:
        model = facts.describe(source_of(source), path, cache or default_cache())
    else:
        raise _unknown(asked.full)
    return _with_options(model, asked, cache)


def _unknown(name: str) -> UnknownNameError:
    """Name the nearest models: the catalogue's, and those of libraries that lack their prefix."""
    libraries = [source for source in SOURCES if source not in ("embedded", "function")]
    named = [f"{source}:NAME" for source in (*libraries, pretrained.SCHEME)]
    stem = name.partition("?")[0].lower().replace("-", "_")
    own = _of_place(name.partition("?")[0])
    own += [full for full in catalogue() if full.replace("_", "") == stem.replace("_", "")]
    for source in ("timm", "torchvision", "pytorchcv"):
        try:
            SOURCES[source].require()
        except ModelError:
            continue
        bare = stem.partition(".")[0].partition("/")[0]
        own += [f"{source}:{bare}"] * any(
            known.partition(".")[0] == bare for known in SOURCES[source].names()
        )
    return UnknownNameError("model", name, [*catalogue(), *named, "FILE.py:FUNCTION"], near=own)


def _of_place(name: str) -> list[str]:
    """Return what to type for a file, a repository of the hub, or its address."""
    if name.lower().endswith(ENDS):
        return [f"checkpoint:{name}?arch=NAME"]
    if name.endswith(".py"):
        return [f"{name}:FUNCTION"]
    return [f"hf:{name}"] if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else []


def runs_code(name: str) -> bool:
    """Whether the mere name of a model runs code that its author wrote: a function in a file."""
    asked = ModelName.parse(name)
    architecture = asked.options.get("arch")
    if asked.stem in pretrained.names():
        path = asked.stem.removeprefix(f"{pretrained.SCHEME}:")
        return pretrained.read(path, default_cache()).source == "function"
    return is_function(asked.stem) or (architecture is not None and runs_code(architecture))


def search(text: str) -> list[str]:
    """Names of the catalogue, of what was pretrained here and of all libraries that hold `text`."""
    found = [name for name in (*catalogue(), *pretrained.names()) if text in name]
    for source in SOURCES.values():
        try:
            source.require()
        except ModelError:
            continue
        found += [full for name in source.names() if text in (full := f"{source.name}:{name}")]
    return found


def fetch(model: Model, cache: Path | None = None) -> None:
    """Bring the weights onto this machine; WeightsMissingError if they are not to be had.

    The library that builds the network has to be there too; ModelError says how to install it.
    """
    source_of(model.source)
    if model.weights.random_seed is None:
        places.fetch(model, cache or default_cache())


def require(model: Model, cache: Path | None = None) -> None:
    """Raise ModelError unless the library is installed and the weights are on this machine."""
    source_of(model.source)
    present, remedy = presence(model, cache)
    if not present:
        raise WeightsMissingError(f"weights of '{model.name}' are not on this machine: {remedy}")


def auxiliary_weight(model: Model) -> float:
    """Weight of the loss of each auxiliary classifier that it keeps, as its library trains it."""
    if not model.keeps_auxiliary:
        return 0.0
    return source_of(model.source).auxiliary_weight(model.architecture)


def load(
    model: Model,
    cache: Path | None = None,
    *,
    trust: bool = False,
    note: Callable[[str], None] = lambda _: None,
) -> "Network":
    """Build the network with its weights, in evaluation mode on the CPU, in float32.

    Parameters
    ----------
    model
        Random weights are drawn from the seed that its weights name, the classifier's too. What it
        says of batch norms' scales, dropout and auxiliary classifiers is done.
    cache
        Where downloads and the ledger are; the usual folder unless given.
    trust
        Whether a pickle that holds more than tensors may be executed.
    note
        Told, in one line each, what of a file of weights was taken and what was ignored.

    Raises
    ------
    WeightsMissingError, WeightsError
        The weights are absent, are not those that the catalogue or the ledger names, or do not fit.
    ModelError
        The library is not installed, the classifier cannot be found, the network has no place for
        a switch, it is random in evaluation, or it fails on images of its input size.
    """
    import torch

    from headstart.models.deterministic import check_deterministic
    from headstart.models.linear_map import WithClassifier
    from headstart.models.network import proven
    from headstart.models.switches import switch

    source = source_of(model.source)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(model.weights.random_seed or 0)
        module = source.build(model)
    trained = source.carries_weights(model)
    if model.weights.random_seed is None and not trained:
        trained = _fill(module, model, cache or default_cache(), trust, note)
    # Shares of its parts may be among the weights.
    head = _head(model, module)
    network = proven(module, head, source.finish(module, model), model)
    _check_width(network, model, cache or default_cache())
    if isinstance(module, WithClassifier):
        _once(Path(model.name), backbone_remark(model, network.feature_dim), note)
    network.trained_classifier = trained and network.exact
    switch(network, model)
    network.eval()
    check_deterministic(network, model)
    return network


def _check_width(network: "Network", model: Model, cache: Path) -> None:
    """Raise ModelError unless a network gives as many features as when it was described."""
    if network.feature_dim != model.feature_dim:
        raise ModelError(
            f"model '{model.name}' gives {network.feature_dim} features, and gave "
            f"{model.feature_dim} when it was described: a file that builds it has changed since; "
            f"remove {cache / 'models' / 'facts'} and run again",
            code="model.changed",
            model=model.name,
            found=network.feature_dim,
            expected=model.feature_dim,
        )


def _fill(
    module: "nn.Module", model: Model, cache: Path, trust: bool, note: Callable[[str], None]
) -> bool:
    """Load the weights of a model into its module; whether the classifier came with them."""
    from headstart.models.checkpoint import Purpose
    from headstart.models.state import load_state
    from headstart.models.weight_files import read_weights

    require(model, cache)
    source = source_of(model.source)
    file = places.fetch(model, cache)
    ledger.check_digest(model, file, cache)
    purpose = Purpose(
        _head(model, module),
        str(file),
        auxiliary=source.auxiliary,
        translate=source.translate,
        part=model.part,
        size=model.input_size,
        architecture=f"{model.source}:{model.architecture.partition('@')[0]}",
        resample="resampled" in model.tags,
    )
    content = read_weights(file, trust=trust)
    return load_state(module, content, purpose, lambda line: _once(file, line, note))


def _once(file: Path, line: str, note: Callable[[str], None]) -> None:
    """State something of a file once per process: fine-tuning loads it for each candidate."""
    if (str(file), line) not in _said:
        _said.add((str(file), line))
        note(line)


def _head(model: Model, module: "nn.Module") -> Head:
    if model.head:
        return Head.at(model.head)
    return source_of(model.source).head(module, model.input_size)


def _checkpoint(asked: ModelName, path: str, cache: Path | None) -> Model:
    """Find the network of ``checkpoint:FILE?arch=...``: its architecture, the file's weights."""
    if not path:
        raise StudyError(
            f"model '{asked.full}': no file is named: checkpoint:FILE?arch=timm:resnet50",
            code="model.no_file",
        )
    if "weights" in asked.options:
        raise StudyError(
            f"model '{asked.full}': weights= goes with other names: a checkpoint is its own file",
            code="model.option_invalid",
            option="weights",
        )
    if not asked.options.get("arch"):
        raise StudyError(
            f"model '{asked.full}': a checkpoint holds weights alone: say whose they are, "
            f"{asked.stem}?arch=timm:resnet50"
        )
    options = {name: value for name, value in asked.options.items() if name != "arch"}
    architecture = ModelName.parse(asked.options["arch"])
    if "size" in options:
        # Whether it can be built depends on the size, which is never that of another network.
        architecture.options["size"] = options["size"]
    model = _find(architecture, cache)
    # What is published of the architecture's own weights is not true of these.
    tags = {**_untrained(model.tags), "weights_tag": ""}
    tags.pop("current_name", None)
    bare = model.model_copy(update={"upstream": (), "tags": tags})
    label = {"name": _name_of_file(path, options)} if "configuration" not in options else {}
    said = {**label, **options, "weights": path}
    return _with_options(bare, ModelName(asked.full, asked.stem, said), cache)


def _name_of_file(path: str, options: dict[str, str]) -> str:
    """Name a checkpoint by its file's stem, and by its folder where programs call all files so."""
    file = Path(path)
    stem = file.name.partition(".")[0] if file.name.endswith(INDEX) else file.stem
    name = f"{file.resolve().parent.name}/{stem}" if stem.lower() in USUAL_STEMS else stem
    said = [f"{option}={value}" for option, value in options.items() if option not in GROUPING]
    return "?".join(filter(None, (name, "&".join(said))))


def _pretrained(asked: ModelName, path: str, cache: Path | None) -> Model:
    """Find a network that was trained here; without options it keeps the name that it was given."""
    model = pretrained.read(path, cache or default_cache())
    full = asked.full if asked.options else model.name
    return _with_options(model, ModelName(full, asked.stem, asked.options), cache)


def _with_options(model: Model, asked: ModelName, cache: Path | None) -> Model:
    """Change a network as the options of its name say."""
    options, changes = asked.options, dict[str, Any](name=asked.label)
    if "arch" in options or ("seed" in options and options.get("weights") != RANDOM):
        wrong = "arch" if "arch" in options else "seed"
        meant = "checkpoint:FILE" if wrong == "arch" else "?weights=random"
        raise StudyError(f"model '{asked.full}': {wrong}= goes with {meant} alone")
    if "pool" in options and not SOURCES[model.source].pools:
        raise StudyError(f"model '{asked.full}': pool= goes with networks of timm and hf alone")
    if "weights" in options:
        changes |= _chosen_weights(asked, model, options["weights"])
    changes |= {
        name: options[name] for name in ("head", "pool", "interpolation", "part") if name in options
    }
    if "size" in options:
        changes |= _resized(model, options)
    said = {name: options[name] for name in GROUPING if name in options}
    if asked.label != asked.full:
        said[ASKED] = asked.full
    if said:
        changes["tags"] = {**changes.get("tags", model.tags), **said}
    changes |= {name: options[name].split(",") for name in ("mean", "std") if name in options}
    if "upstream" in options:
        changes["upstream"] = [{"value": options["upstream"], "source": "given by the user"}]
    try:
        changed = Model.model_validate({**dict(model), **changes})
    except ValidationError as error:
        first = first_invalid(error)
        field = str(first.place[0])
        option = {"input_size": "size"}.get(field, field)
        raise StudyError(
            f"model '{asked.full}': invalid {option}={options.get(option)}: expected "
            f"{first.expected}",
            code="model.option_invalid",
            option=option,
            found=options.get(option),
        ) from error
    # The catalogue's are convolutional: their parameters are the same on images of any size.
    resized = "size" in options and asked.stem not in catalogue()
    if changed.head or resized or SOURCES[changed.source].counts_later:
        source = source_of(changed.source)
        size = model.input_size if resized else changed.input_size
        changed = facts.recounted(source, changed, size, cache or default_cache())
    # What the user says counts most.
    return changed if "upstream" in options else with_measured(changed, cache or default_cache())


def _resized(model: Model, options: dict[str, str]) -> dict[str, Any]:
    """Return what changes with the size of the input: its own weights' accuracy, too."""
    changes: dict[str, Any] = {"input_size": options["size"]}
    if "weights" not in options and options["size"].isdigit():
        at_size = source_of(model.source).upstream_at(model, int(options["size"]))
        changes["upstream"] = [one.model_dump() for one in at_size]
    return changes


def _untrained(tags: dict[str, str]) -> dict[str, str]:
    """Leave out how the published weights were trained."""
    return {name: value for name, value in tags.items() if name not in RECIPE_TAGS}


def _chosen_weights(asked: ModelName, model: Model, chosen: str) -> dict[str, Any]:
    if chosen == RANDOM:
        seed = asked.options.get("seed", "0")
        if not seed.isdigit():
            raise StudyError(f"model '{asked.full}': seed={seed} is no whole number from 0")
        tags = {**_untrained(model.tags), "weights": RANDOM}
        return {"weights": Weights(locator=f"random:{seed}"), "upstream": (), "tags": tags}
    if not chosen:
        raise StudyError(
            f"model '{asked.full}': weights= is empty: expected a file, or {RANDOM}",
            code="model.no_file",
        )
    file = Path(chosen).expanduser().resolve()
    if not file.is_file():
        raise WeightsMissingError(
            f"model '{asked.full}': there is no file of weights at {file}" + files_inside(file),
            file=str(file),
        )
    check_kind(file)
    with storage_errors(file, reading=True):
        weights = Weights(locator=f"file:{file}", sha256=digest_of(file))
    return {"weights": weights, "part": AVERAGE if holds_average(file) else None}
