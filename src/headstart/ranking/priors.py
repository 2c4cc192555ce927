"""What public tables let expect of a network, before any image is seen.

A prior is the accuracy of a linear probe on an average dataset of the twelve of Kornblith et al.
(2019): the mean log odds over them, as a proportion. It orders candidates and is shown beside what
is measured; it never enters a measured accuracy. It is the first of these that is known:

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
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

from headstart.spec import Model

__all__ = ["Prior", "PriorLine", "expected_accuracy", "prior_line"]

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


class Prior(NamedTuple):
    """The accuracy to expect of a linear probe on an average dataset, and why.

    Parameters
    ----------
    accuracy
        A proportion.
    source
        Where it comes from, as a phrase.
    """

    accuracy: float
    source: str


class PriorLine(NamedTuple):
    """``logit p = intercept + slope * logit t``, and how far it is off.

    `left_out` is the root mean squared error in log odds of each weights predicted by the line
    through the others, `n` the number of weights.
    """

    intercept: float
    slope: float
    left_out: float
    n: int


def expected_accuracy(model: Model) -> Prior | None:
    """Return what public tables let expect of a network; None where they say nothing.

    Weights that were never trained, and networks trained here, have none. The input size does not
    count: `?size=` leaves the prior as it is.
    """
    if model.weights.random_seed is not None:
        return None
    weights = _timm_name(model)
    if weights in _public()["measured"]:
        table, _, name = _public()["measured"][weights].partition(":")
        return Prior(float(expit(_probes()[table, name])), f"linear probes of {table}, {name}")
    known = next((u for u in model.upstream if u.weights is None and u.dataset == IMAGENET), None)
    if known is not None:
        return _by_line(known.value, f"ImageNet top-1 {100 * known.value:.1f} %")
    for name in (weights, *(weights + end for end in FINE_TUNED)) if weights else ():
        if name in _imagenet():
            top1 = _imagenet()[name]
            return _by_line(top1, f"ImageNet top-1 {100 * top1:.1f} % of {name}")
    return None


def prior_line() -> PriorLine:
    """Return the line that predicts linear probes from ImageNet accuracy."""
    return _line()


def _by_line(top1: float, source: str) -> Prior:
    line = _line()
    return Prior(float(expit(line.intercept + line.slope * logit(top1))), source)


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
def _line() -> PriorLine:
    """Fit by least squares, and once without each of the weights."""
    places = _public()["measured"] | _public()["fitted"]
    pairs = [
        (logit(_imagenet()[weights]), _probes()[table, name])
        for weights, place in places.items()
        for table, _, name in (place.partition(":"),)
        if weights in _imagenet() and table == "clip2021"
    ]
    x, y = np.array(pairs).T
    X = np.column_stack([np.ones(len(x)), x])
    (intercept, slope), *_ = np.linalg.lstsq(X, y, rcond=None)
    leverage = np.einsum("ij,ji->i", X, np.linalg.pinv(X))
    left_out = (y - X @ (intercept, slope)) / (1 - leverage)
    error = float(np.sqrt(np.mean(left_out**2)))
    return PriorLine(float(intercept), float(slope), error, len(x))


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
