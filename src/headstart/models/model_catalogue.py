"""The catalogue of networks: from a name to a model.

A model's name is ``[SOURCE:]PATH[?OPTION=VALUE&...]``.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unicodedata import category
from urllib.parse import parse_qsl

from pydantic import ValidationError

from headstart.context import default_cache
from headstart.errors import ModelError, StudyError, UnknownNameError, WeightsMissingError
from headstart.files import name_in_text, storage_errors
from headstart.functions import is_function
from headstart.models import facts, pretrained
from headstart.models.facts import catalogue
from headstart.models.model_source import SOURCES, source_of
from headstart.models.weight_formats import (
    AVERAGE,
    ENDS,
    check_kind,
    digest_of,
    files_inside,
    holds_average,
)
from headstart.spec import Model, Weights
from headstart.spec.noun import first_invalid

__all__ = [
    "EMBEDDED",
    "FULL_NAME",
    "GROUPING",
    "MOST_PIXELS",
    "OPTIONS",
    "ModelName",
    "find",
    "runs_code",
    "search",
]

# The tag that keeps the name that a user typed, where results call the model by another one.
FULL_NAME = "asked"

# Options that say with which models results go together: results do not name them.
GROUPING: tuple[str, ...] = ("configuration", "family")

OPTIONS: Mapping[str, str] = {
    "weights": "random, or a file of weights",
    "seed": "of random weights, 0 unless given",
    "head": "path of the classifier among the submodules",
    "pool": "token or mean: how a transformer's tokens become one feature",
    "size": "of the input, in pixels",
    "interpolation": "bicubic, bilinear, lanczos, box, hamming or nearest",
    "mean": "per channel, three numbers separated by commas",
    "std": "per channel, three numbers separated by commas",
    "upstream": "top-1 accuracy on the upstream task, a proportion",
    "configuration": "how the upstream model was trained, in words: a factor in analyses",
    "arch": "of a checkpoint: the model whose weights it holds",
    "name": "what results call the model",
    "family": "models whose results go together in analyses",
    "part": "of a file of several networks: the one to take, by the prefix of its names",
}

CHANNELS = 3

# Largest side in pixels: larger ones are mistakes, and would take all memory.
MOST_PIXELS = 4096

SEEDS = 2**63


@dataclass(frozen=True)
class ModelName:
    """A model's name in parts.

    Parameters
    ----------
    full
        As it was given.
    stem
        Without options.
    options
        By name; all are in `OPTIONS`.
    """

    full: str
    stem: str
    options: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> "ModelName":
        """Take a name apart; an option that there is not is an UnknownNameError.

        Examples
        --------
        >>> ModelName.parse("timm:resnet18?weights=random&seed=3").options
        {'weights': 'random', 'seed': '3'}
        """
        if any("\udc80" <= character <= "\udcff" for character in text):
            # It could be written into no record of a result.
            printable = name_in_text(text)
            raise StudyError(
                f"model '{printable}': its name or path is not UTF-8, or the locale is not: rename "
                "the file or folder, or set PYTHONUTF8=1",
                code="model.name_not_utf8",
                name=printable,
            )
        if _has_controls(text):
            raise StudyError(
                f"model {text!r}: its name holds a line break or another control character: "
                "remove it",
                code="model.name_invalid",
                name=text,
            )
        stem, mark, query = text.partition("?")
        pairs = parse_qsl(query, keep_blank_values=True)
        options = dict(pairs)
        if mark and not options:
            raise StudyError(
                f"model '{text}': expected ?option=value, found '?{query}'",
                code="model.name_invalid",
                name=text,
            )
        for option, value in pairs:
            if option not in OPTIONS:
                raise UnknownNameError(f"option of model '{stem}'", option, OPTIONS)
            if options[option] != value:
                raise StudyError(
                    f"model '{text}': option {option} has two values, {value} and "
                    f"{options[option]}: pass one",
                    code="model.option_twice",
                    option=option,
                )
        _check_values(text, options)
        return cls(text, stem, options)

    @property
    def label(self) -> str:
        """What results call the model: its ``name=``, else what was given less what groups it.

        All training configurations of a network have one name.
        """
        if "name" in self.options:
            return self.options["name"]
        if "configuration" in self.options:
            return self.stem
        if "family" not in self.options:
            return self.full
        stem, _, query = self.full.partition("?")
        kept = [part for part in query.split("&") if part.partition("=")[0] not in GROUPING]
        return "?".join(filter(None, (stem, "&".join(kept))))


def _check_values(text: str, options: Mapping[str, str]) -> None:
    """Raise StudyError for an option whose value is not what it has to be, whatever the network."""
    expected = ""
    for option, value in options.items():
        if option in ("name", "family", "configuration"):
            good, expected = bool(value.strip()) and not _has_controls(value), "text"
        elif option in ("mean", "std"):
            positive = " positive" if option == "std" else ""
            good, expected = (
                _are_channels(value, positive=option == "std"),
                (f"three{positive} numbers separated by commas"),
            )
        elif option == "size":
            good = not value.isdigit() or int(value) <= MOST_PIXELS
            expected = f"at most {MOST_PIXELS:,} pixels"
        elif option == "seed":
            good = not value.isdigit() or int(value) < SEEDS
            expected = f"less than {SEEDS:,}"
        else:
            continue
        if not good:
            raise StudyError(
                f"model '{text}': invalid {option}={name_in_text(repr(value)[1:-1])}: expected "
                f"{expected}",
                code="model.option_invalid",
                option=option,
                found=value,
            )


def _has_controls(text: str) -> bool:
    """Whether a text holds what breaks a line or moves the cursor; other spaces may be in paths."""
    return any(category(character) in ("Cc", "Zl", "Zp") for character in text)


def _are_channels(value: str, *, positive: bool) -> bool:
    """Whether a text is three finite numbers."""
    try:
        numbers = [float(one) for one in value.split(",")]
    except ValueError:
        return False
    return len(numbers) == CHANNELS and all(
        math.isfinite(one) and (one > 0 or not positive) for one in numbers
    )


RANDOM = "random"

# A page of the Hugging Face hub, as a browser shows its address.
HUB_ADDRESS = re.compile(
    r"(?:hf:)?https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)(?:/.*)?"
)

# What tags say of how the catalogue's weights were trained, and where that is written.
RECIPE_TAGS = ("batch_norm_scale", "label_smoothing", "dropout", "auxiliary_head", "recipe_source")

# What programs call every file of weights: its folder tells one from another.
USUAL_STEMS = {"best", "checkpoint", "last", "model", "pytorch_model", "weights"}

INDEX = ".index.json"

# Their weights come as packages: they are measured without any download.
EMBEDDED = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


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


def _find(model_name: ModelName, cache: Path | None) -> Model:
    source, colon, path = model_name.stem.partition(":")
    if source == "checkpoint":
        return _checkpoint(model_name, path, cache)
    if source == pretrained.SCHEME and path:
        model = pretrained.read(path, cache or default_cache())
        # Without options it keeps the name that it got when it was trained.
        full = model_name.full if model_name.options else model.name
        model_name = ModelName(full, model_name.stem, model_name.options)
    elif model_name.stem in catalogue():
        model = catalogue()[model_name.stem]
    elif is_function(model_name.stem):
        model = facts.describe(source_of("function"), model_name.stem, cache or default_cache())
    elif address := HUB_ADDRESS.fullmatch(model_name.stem):
        use = f"hf:{address[1]}"
        raise UnknownNameError("model", model_name.full, catalogue(), near=[use])
    elif colon and path:
        model = facts.describe(source_of(source), path, cache or default_cache())
    else:
        raise _unknown(model_name.full)
    return _with_options(model, model_name, cache)


def _unknown(name: str) -> UnknownNameError:
    """Return the error that suggests the nearest names, also with a library's prefix."""
    libraries = [source for source in SOURCES if source not in ("embedded", "function")]
    named = [f"{source}:NAME" for source in (*libraries, pretrained.SCHEME)]
    path = name.partition("?")[0]
    stem = path.lower().replace("-", "_")
    # A file, a function's file, or a repository of the hub.
    if path.lower().endswith(ENDS):
        own = [f"checkpoint:{path}?arch=NAME"]
    elif path.endswith(".py"):
        own = [f"{path}:FUNCTION"]
    else:
        own = [f"hf:{path}"] if re.fullmatch(r"[\w.-]+/[\w.-]+", path) else []
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


def runs_code(name: str) -> bool:
    """Whether the mere name of a model runs code that its author wrote: a function in a file."""
    model_name = ModelName.parse(name)
    architecture = model_name.options.get("arch")
    scheme, _, path = model_name.stem.partition(":")
    if scheme == pretrained.SCHEME and pretrained.is_here(path, default_cache()):
        return pretrained.read(path, default_cache()).source == "function"
    return is_function(model_name.stem) or (architecture is not None and runs_code(architecture))


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


def _checkpoint(model_name: ModelName, path: str, cache: Path | None) -> Model:
    """Find the network of ``checkpoint:FILE?arch=...``: its architecture, the file's weights."""
    if not path:
        raise StudyError(
            f"model '{model_name.full}': no file is named: checkpoint:FILE?arch=timm:resnet50",
            code="model.no_file",
        )
    if "weights" in model_name.options:
        raise StudyError(
            f"model '{model_name.full}': a checkpoint is its own file: leave weights= out",
            code="model.option_conflict",
            option="weights",
        )
    if not model_name.options.get("arch"):
        raise StudyError(
            f"model '{model_name.full}': a checkpoint holds weights alone: say whose they are, "
            f"{model_name.stem}?arch=timm:resnet50",
            code="model.arch_missing",
            name=model_name.full,
        )
    options = {name: value for name, value in model_name.options.items() if name != "arch"}
    architecture = ModelName.parse(model_name.options["arch"])
    if "size" in options:
        # Whether it can be built depends on the size, which is never that of another network.
        architecture.options["size"] = options["size"]
    model = _find(architecture, cache)
    # What is published of the architecture's own weights is not true of these.
    tags = {**_untrained(model.tags), "weights_tag": ""}
    tags.pop("current_name", None)
    bare = model.model_copy(update={"upstream": (), "tags": tags})
    label = {"name": _name_of_file(path, options)} if "configuration" not in options else {}
    merged = {**label, **options, "weights": path}
    return _with_options(bare, ModelName(model_name.full, model_name.stem, merged), cache)


def _name_of_file(path: str, options: dict[str, str]) -> str:
    """Name a checkpoint by its file's stem, and by its folder where programs call all files so."""
    file = Path(path)
    stem = file.name.partition(".")[0] if file.name.endswith(INDEX) else file.stem
    name = f"{file.resolve().parent.name}/{stem}" if stem.lower() in USUAL_STEMS else stem
    query = [f"{option}={value}" for option, value in options.items() if option not in GROUPING]
    return "?".join(filter(None, (name, "&".join(query))))


def _with_options(model: Model, model_name: ModelName, cache: Path | None) -> Model:
    """Change a network as the options of its name say."""
    options, changes = model_name.options, dict[str, Any](name=model_name.label)
    if "arch" in options or ("seed" in options and options.get("weights") != RANDOM):
        wrong = "arch" if "arch" in options else "seed"
        meant = "checkpoint:FILE" if wrong == "arch" else "?weights=random"
        raise StudyError(
            f"model '{model_name.full}': {wrong}= goes with {meant} alone",
            code="model.option_conflict",
            option=wrong,
        )
    if "pool" in options and not SOURCES[model.source].pools:
        raise StudyError(
            f"model '{model_name.full}': pool= goes with networks of timm and hf alone",
            code="model.option_conflict",
            option="pool",
        )
    if "weights" in options:
        changes |= _chosen_weights(model_name, model, options["weights"])
    changes |= {
        name: options[name] for name in ("head", "pool", "interpolation", "part") if name in options
    }
    if "size" in options:
        changes |= _resized(model, options)
    tags = {name: options[name] for name in GROUPING if name in options}
    if model_name.label != model_name.full:
        tags[FULL_NAME] = model_name.full
    if tags:
        changes["tags"] = {**changes.get("tags", model.tags), **tags}
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
            f"model '{model_name.full}': invalid {option}={options.get(option)}: expected "
            f"{first.expected}",
            code="model.option_invalid",
            option=option,
            found=options.get(option),
        ) from error
    # The catalogue's are convolutional: their parameters are the same on images of any size.
    resized = "size" in options and model_name.stem not in catalogue()
    if changed.head or resized or SOURCES[changed.source].counts_later:
        source = source_of(changed.source)
        size = model.input_size if resized else changed.input_size
        changed = facts.recounted(source, changed, size, cache or default_cache())
    # What the user says counts most.
    return (
        changed if "upstream" in options else facts.with_measured(changed, cache or default_cache())
    )


def _resized(model: Model, options: dict[str, str]) -> dict[str, Any]:
    """Return the fields that change with the input size; the weights' accuracy is one."""
    changes: dict[str, Any] = {"input_size": options["size"]}
    if "weights" not in options and options["size"].isdigit():
        at_size = source_of(model.source).upstream_at(model, int(options["size"]))
        changes["upstream"] = [one.model_dump() for one in at_size]
    return changes


def _untrained(tags: dict[str, str]) -> dict[str, str]:
    """Leave out how the published weights were trained."""
    return {name: value for name, value in tags.items() if name not in RECIPE_TAGS}


def _chosen_weights(model_name: ModelName, model: Model, chosen: str) -> dict[str, Any]:
    if chosen == RANDOM:
        seed = model_name.options.get("seed", "0")
        if not seed.isdigit():
            raise StudyError(
                f"model '{model_name.full}': seed={seed} is no whole number from 0",
                code="model.option_invalid",
                option="seed",
                found=seed,
            )
        tags = {**_untrained(model.tags), "weights": RANDOM}
        return {"weights": Weights(locator=f"random:{seed}"), "upstream": (), "tags": tags}
    if not chosen:
        raise StudyError(
            f"model '{model_name.full}': weights= is empty: expected a file, or {RANDOM}",
            code="model.no_file",
        )
    file = Path(chosen).expanduser().resolve()
    if not file.is_file():
        raise WeightsMissingError(
            f"model '{model_name.full}': there is no file of weights at {file}"
            + files_inside(file),
            file=str(file),
        )
    check_kind(file)
    with storage_errors(file, reading=True):
        weights = Weights(locator=f"file:{file}", sha256=digest_of(file))
    return {"weights": weights, "part": AVERAGE if holds_average(file) else None}
