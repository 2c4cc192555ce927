"""Which networks `headstart rank` may try: those at hand, why others are not, and their priors.

A prior says what public tables let expect of a network, before any image is seen: the accuracy of a
linear probe on an average dataset of the twelve of Kornblith et al. (2019), the mean log odds over
them as a proportion. It orders candidates and is shown beside what is measured; it never enters a
measured accuracy. It is the first of these that is known:

1. a published linear probe of these weights (`public_weights.toml`): Radford et al. (2021), Table
   10, or MIEB (Xiao et al., 2025), whose probes see fewer images: its mean log odds are raised by
   the mean difference of the networks that both tables have;
2. the line ``logit p = a + b logit t`` through the published probes, t the top-1 accuracy on
   ImageNet-1k of the weights, or of those that were fine-tuned on ImageNet-1k from them.

Accuracies on shifted test sets (Sketch, R) were tried beside t and predicted no better
(leave-one-out error over the same weights), and are left out.
"""

import csv
import gzip
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, logit

from headstart import models
from headstart.context import default_cache
from headstart.errors import HeadstartError, StudyError, WeightsMissingError
from headstart.files import split_names, storage_errors
from headstart.models.model_source import SOURCES
from headstart.models.sources.hf_repository import WEIGHT_FILES, cached_weights
from headstart.ranking.answer import NotTried
from headstart.spec import Model

__all__ = [
    "Candidates",
    "RankCandidate",
    "default_models",
    "expected_accuracy",
    "find_candidates",
    "prior_line",
]

PATTERN = frozenset("*[")
LISTS = (".txt", ".list")
TIMM = "timm"
MILLION = 1e6
ABSENT = "weights not on this machine"

# Read as files: reading them so takes neither pandas nor the package of analyses.
TABLES = ("analysis", "published")
# MIEB's names of the twelve.
TWELVE = frozenset({
    "Food101Classification", "CIFAR10", "CIFAR100", "Birdsnap", "SUN397", "StanfordCars",
    "FGVCAircraft", "VOC2007", "DTD", "OxfordPets", "Caltech101", "OxfordFlowersClassification",
})  # fmt: skip
# Networks of both tables of linear probes.
COMMON = {
    "openai/clip-vit-base-patch32": "CLIP-ViT-B/32",
    "openai/clip-vit-base-patch16": "CLIP-ViT-B/16",
    "openai/clip-vit-large-patch14": "CLIP-ViT-L/14",
}
# What timm appends to the name of weights where they were fine-tuned on ImageNet-1k.
FINE_TUNED = ("_ft_in1k", "_in1k")
IMAGENET = "ImageNet-1k validation"


@dataclass(frozen=True)
class RankCandidate:
    """A network that can be measured here.

    `prior` is the accuracy that public tables let expect of it (see above), a proportion; `licence`
    is as the publisher of the weights names it; each is None where unknown. `why` says in a phrase
    why it is a candidate.
    """

    model: Model
    prior: float | None
    licence: str | None
    why: str


class Candidates(NamedTuple):
    """The networks to choose from, most promising first, and those that are left out."""

    available: tuple[RankCandidate, ...]
    unavailable: tuple[NotTried, ...]


@cache
def default_models() -> dict[str, dict[str, Any]]:
    """Return the curated weights of timm: name -> parameters, licence, pretraining and why."""
    text = files("headstart.ranking").joinpath("default_models.toml").read_text(encoding="utf-8")
    return dict(tomllib.loads(text))


def find_candidates(listed: str | Sequence[str], *, max_params: float | None = None) -> Candidates:
    """Find the networks that a list names; nothing asks the network.

    Parameters
    ----------
    listed
        Names and groups, as a list or separated by commas: ``default`` (the embedded networks,
        those that were pretrained here, and the curated weights of timm), ``paper`` (the 16
        networks of the study), a pattern (``vit_small_*``, ``timm:*dino*``), a file of names, one
        per line (``#`` starts a comment), or any name of a model.
    max_params
        Largest number of parameters without the classifier.

    Raises
    ------
    UnknownNameError
        A name of no model; the nearest are suggested.
    StudyError
        A list that names nothing, a pattern that fits nothing, or a file that is not there.
    """
    cache = default_cache()
    parts = split_names(listed) if isinstance(listed, str) else listed
    names = list(dict.fromkeys(name for part in parts for name in _expand(part, cache)))
    if not names:
        raise StudyError(
            "--models names no model: expected default, paper, names, patterns or a file",
            code="study.missing", name="models",
        )  # fmt: skip
    found: dict[Any, RankCandidate] = {}
    left_out: list[NotTried] = []
    for name in names:
        one = _look(name, max_params, cache)
        if isinstance(one, NotTried):
            left_out.append(one)
        else:
            found.setdefault(str(one.model.identity), one)
    ordered = sorted(found.values(), key=lambda one: (-(one.prior or 0.0), one.model.name))
    return Candidates(tuple(ordered), tuple(left_out))


def _expand(part: str, cache: Path) -> list[str]:
    """Return the names that a part of the list stands for."""
    default = [*models.EMBEDDED, *models.pretrained_names(cache), *default_models()]
    if part == "default":
        return default
    if part == "paper":
        return [name for name in models.catalogue() if name not in models.EMBEDDED]
    if part in models.catalogue():
        return [part]
    if _is_list(part):
        return list(_read_list(Path(part), cache))
    # An option of a name may hold what else would be a pattern.
    if not PATTERN & set(part.partition("?")[0]) or Path(part.partition(":")[0]).suffix == ".py":
        return [part]
    fitting = [
        name for name in dict.fromkeys([*default, *models.search("")])
        if fnmatchcase(name, part) or fnmatchcase(name.partition(":")[2], part)
    ]  # fmt: skip
    if not fitting:
        raise StudyError(
            f"no model has a name like '{part}': run headstart models --search TEXT",
            code="model.none_found", text=part,
        )  # fmt: skip
    return fitting


def _is_list(part: str) -> bool:
    # A file of Python is one whose function is missing.
    file = Path(part)
    return file.suffix in LISTS or (":" not in part and file.suffix != ".py" and file.is_file())


def _read_list(file: Path, cache: Path) -> Iterator[str]:
    if not file.is_file():
        raise StudyError(
            f"list of models {file} not found: expected a text file with one name per line",
            code="model.list_missing", file=str(file),
        )  # fmt: skip
    with storage_errors(file, reading=True):
        content = file.read_bytes()
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise StudyError(
            f"list of models {file} is no text in UTF-8: expected one name per line",
            code="model.list_text", file=str(file),
        ) from error  # fmt: skip
    for line in lines:
        for name in split_names(line.partition("#")[0]):
            if _is_list(name):
                raise StudyError(
                    f"list of models {file} names a file, {name}: expected names of models",
                    code="model.list_nested", file=str(file), name=name,
                )  # fmt: skip
            yield from _expand(name, cache)


def _look(name: str, most: float | None, cache: Path) -> RankCandidate | NotTried:
    """Return a network with its facts, or why it cannot be measured here."""
    facts = default_models().get(name, {})
    try:
        # timm describes a network by building it: not for each of many that are not here.
        if (repository := _timm_repository(name)) is not None:
            if large := _too_large(name, facts.get("parameters"), most):
                return large
            if cached_weights(repository) is None:
                return NotTried(name, ABSENT, f"hf download {repository} {WEIGHT_FILES[0]}")
        model = models.find(name, cache)
        if large := _too_large(name, model.parameters, most):
            return large
        present, remedy = models.presence(model, cache)
        if not present:
            # Nothing is downloaded here.
            return NotTried(name, ABSENT, remedy.removeprefix("downloaded on first use, or "))
    except StudyError:
        raise
    except HeadstartError as error:
        reason, _, remedy = str(error).partition(": ")
        return NotTried(name, ABSENT if isinstance(error, WeightsMissingError) else reason, remedy)
    # Of an embedded network it takes timm, which imports torch: the answer has it.
    licence = facts.get("licence") or (models.licence_of(model) if model.source == TIMM else None)
    return RankCandidate(model, expected_accuracy(model), licence, facts.get("why") or _why(name))


def _too_large(name: str, parameters: int | None, most: float | None) -> NotTried | None:
    if most is None or parameters is None or parameters <= most:
        return None
    size = f"{parameters / MILLION:.1f} M parameters, over {most / MILLION:g} M"
    return NotTried(name, size, "raise --max-params")


def _timm_repository(name: str) -> str | None:
    """Return the repository of the hub that holds weights of timm; None for any other model."""
    source, _, path = name.partition("?")[0].partition(":")
    if source != TIMM or "weights=" in name:
        return None
    if name in default_models():
        return f"{TIMM}/{path}"
    SOURCES[TIMM].require()
    import timm

    config = timm.get_pretrained_cfg(path) if timm.is_model(path) else None
    return str(config.hf_hub_id) if config is not None and config.hf_hub_id else None


def _why(name: str) -> str:
    if name in models.EMBEDDED:
        return "its weights come as a package: nothing to download"
    if name.startswith("pretrained:"):
        return "pretrained here"
    return "one of the 16 networks of the study" if name in models.catalogue() else "named"


def expected_accuracy(model: Model) -> float | None:
    """Return the prior of a network, a proportion; None where public tables say nothing of it.

    Weights that were never trained, and networks trained here, have none. The input size does not
    count: `?size=` leaves the prior as it is.
    """
    if model.weights.random_seed is not None:
        return None
    weights = _timm_name(model)
    if place := _public()["measured"].get(weights):
        table, _, name = place.partition(":")
        return float(expit(_probes()[table, name]))
    names = [weights, *(weights + end for end in FINE_TUNED)] if weights else []
    known = [u.value for u in model.upstream if u.weights is None and u.dataset == IMAGENET]
    known += [_imagenet()[name] for name in names if name in _imagenet()]
    if not known:
        return None
    intercept, slope = prior_line()
    return float(expit(intercept + slope * logit(known[0])))


@cache
def prior_line() -> tuple[float, float]:
    """Return a and b of the line ``logit p = a + b logit t``, fitted by least squares."""
    places = _public()["measured"] | _public()["fitted"]
    pairs = [
        (logit(_imagenet()[weights]), _probes()[table, name])
        for weights, place in places.items()
        for table, _, name in (place.partition(":"),)
        if weights in _imagenet() and table == "clip2021"
    ]
    x, y = np.array(pairs).T
    slope, intercept = np.polyfit(x, y, 1)
    return float(intercept), float(slope)


def _timm_name(model: Model) -> str:
    """Return timm's name of the weights, also where another source builds the network."""
    scheme, _, repository = model.weights.locator.partition(":")
    owner, _, name = repository.partition("/")
    if scheme == "hf" and owner == "timm":
        return name
    tag = model.tags.get("weights_tag")
    return f"{model.architecture}.{tag}" if model.source == "timm" and tag else ""


@cache
def _public() -> dict[str, dict[str, str]]:
    text = files("headstart.ranking").joinpath("public_weights.toml").read_text(encoding="utf-8")
    return dict(tomllib.loads(text))


@cache
def _probes() -> dict[tuple[str, str], float]:
    """(table, model) -> mean log odds of linear probes over the twelve, as of clip2021."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in _rows("clip2021.csv"):
        found.setdefault(("clip2021", row["model"]), []).append(float(row["accuracy"]) / 100)
    for row in _rows("mieb2026.csv.gz"):
        if row["dataset"] in TWELVE:
            found.setdefault(("mieb2026", row["model"]), []).append(float(row["accuracy"]))
    means = {key: float(np.mean(logit(values))) for key, values in found.items()}
    differences = [
        means["clip2021", own] - means["mieb2026", theirs] for theirs, own in COMMON.items()
    ]
    shift = {"clip2021": 0.0, "mieb2026": float(np.mean(differences))}
    return {(table, name): mean + shift[table] for (table, name), mean in means.items()}


@cache
def _imagenet() -> dict[str, float]:
    """Weights by timm's name -> ImageNet top-1 accuracy, at the smallest size that was measured."""
    rows = {row["model"]: float(row["imagenet_top1"]) / 100 for row in _rows("timm2026.csv.gz")}
    return {name: accuracy for name, accuracy in rows.items() if "@" not in name}


def _rows(name: str) -> Iterator[dict[str, str]]:
    content = files("headstart").joinpath(*TABLES, name).read_bytes()
    text = gzip.decompress(content) if name.endswith(".gz") else content
    lines = (line for line in text.decode().splitlines() if not line.startswith("#"))
    yield from csv.DictReader(lines)
