"""Canonical names of datasets, settings, models and model families across tables.

Every comparison of names from two tables goes through `canonical`; the aliases stand here, in the
catalogue of datasets, and (for settings) in `headstart.spec.formatting`. A family is an
architecture line: all sizes and versions of ResNet, of ViT, of EfficientNet, whatever they were
pretrained on; a column ``family`` overrides it (DINOv2 apart from AugReg).
"""

import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Literal

from headstart.spec import plain_name
from headstart.spec.formatting import role

__all__ = [
    "IMAGENET",
    "NameKind",
    "canonical",
    "families_of",
    "family_of",
    "is_known_dataset",
    "match_names",
    "merge_spellings",
    "nearest",
    "spelt_differently",
]

NameKind = Literal["dataset", "setting", "model"]
IMAGENET = "imagenet"
# Canonical id -> what else tables call it; beside the aliases in the catalogue of datasets.
DATASETS = {
    "food101": ("food101classification",),
    "cifar10": ("cifar10classification",),
    "cifar100": ("cifar100classification",),
    "birdsnap": ("birdsnapclassification",),
    "sun397": ("sun397classification",),
    "stanford_cars": ("stanfordcarsclassification", "carsstanford"),
    "fgvc_aircraft": ("aircraftclassification", "fgvcaircraftclassification", "aircrafts"),
    "voc2007": ("pascalvoc2007classification", "voc2007classification", "pascalvoc07", "voc07"),
    "dtd": ("dtdclassification",),
    "oxford_pets": ("oxfordpetsclassification", "oxfordiiitpets"),
    "caltech101": ("caltech101classification",),
    "flowers102": ("oxfordflowersclassification", "vggflower", "vggflower102", "flower102"),
    IMAGENET: ("imagenet1k", "imagenet2012", "ilsvrc2012", "ilsvrc12", "in1k", "in1kval"),
    "imagenet_real": ("imagenetreal", "real", "inreal"),
    "imagenet_v2": ("imagenetv2", "imagenetv2mf", "imagenetv2matchedfrequency", "inv2"),
    "imagenet_sketch": ("imagenetsketch", "insketch"),
    "imagenet_a": ("imageneta", "ina"),
    "imagenet_r": ("imagenetr", "inr"),
    "imagenet21k": ("imagenet22k", "in21k", "in22k"),
    "patch_camelyon": ("patchcamelyon", "pcam"),
    "resisc45": ("nwpuresisc45", "resisc"),
    "eurosat": ("eurosatrgb",),
    "gtsrb": ("germantrafficsigns",),
    "stl10": (), "mnist": (), "ucf101": (), "svhn": ("svhncropped",), "fer2013": ("fer",),
    "country211": (), "inaturalist": ("inat",), "inaturalist2018": ("inat18", "inat2018"),
    "inaturalist2021": ("inat21", "inat2021"), "places365": ("places",), "cub200": (
        "cub", "cub2002011", "cubbirds", "caltechucsdbirds"), "clevr_count": ("clevrcounts",),
    "clevr_distance": ("clevrdist",), "dmlab": (), "kitti": ("kittidist", "kittidistance"),
    "dsprites_location": ("dspriteslocation", "dspritesloc", "dsprloc"),
    "dsprites_orientation": ("dspritesori", "dsprori"), "smallnorb_azimuth": ("snorbazim",),
    "smallnorb_elevation": ("snorbelev",), "diabetic_retinopathy": ("retinopathy",),
    "fashion_mnist": (), "kinetics700": ("kinetics",), "hateful_memes": ("hatefulmemes",),
    "rendered_sst2": ("sst2", "renderedsst"), "imagenette": (), "domainnet": (), "office_home": (),
}  # fmt: skip
# Of one library's weights in two tables, one often lacks the library.
WEIGHTS_LIBRARY = re.compile(r"^(?:timm|torchvision|pytorchcv|hf|hf_hub|hf-hub|timm/)[:/]|^timm/")


def canonical(kind: NameKind, name: str) -> str:
    """Return what tells a name from others: equal for two names of one thing.

    Parameters
    ----------
    kind
        A dataset, a setting (a way to transfer), or a model.
    name
        As a table has it. What stands in brackets after a setting tells protocols apart and stays.

    Examples
    --------
    >>> canonical("dataset", "Food-101"), canonical("dataset", "food101")
    ('food101', 'food101')
    >>> canonical("setting", "linear probe"), canonical("setting", "logistic_regression")
    ('linear', 'linear')
    >>> canonical("model", "timm:resnet50.a1_in1k"), canonical("model", "ResNet-50")
    ('resnet50.a1in1k', 'resnet50')
    """
    if kind == "dataset":
        # So are a user's own folders called that have the name of a dataset.
        plain = name if name.startswith("./") else plain_name(name)
        return _dataset_ids().get(plain, plain)
    if kind == "setting":
        head, bracket, rest = name.partition(" (")
        return (role(head) or plain_name(head)) + bracket + rest.lower()
    return _model_id(name)


def is_known_dataset(name: str) -> bool:
    """Return whether a name is one of a dataset that the tables of the field have."""
    return not name.startswith("./") and plain_name(name) in _dataset_ids()


def match_names(kind: NameKind, theirs: Iterable[str], ours: Iterable[str]) -> dict[str, str]:
    """Return their name -> ours, of names that mean one thing and are spelt differently.

    A name that means the same as two others of its own table is left as it is: which of them is
    meant cannot be known.
    """
    first, second = _by_id(kind, ours), _by_id(kind, theirs)
    return {
        names[0]: first[key][0]
        for key, names in second.items()
        if len(names) == 1 and len(first.get(key, ())) == 1 and names[0] != first[key][0]
    }


def spelt_differently(kind: NameKind, names: Iterable[str]) -> list[list[str]]:
    """Return the names of one table that mean the same, where there are several of one thing."""
    return [same for same in _by_id(kind, names).values() if len(same) > 1]


def nearest(kind: NameKind, name: str, ours: Collection[str]) -> str | None:
    """Return that of `ours` which is spelt most alike; None where none is."""
    by_plain = {plain_name(one): one for one in ours}
    near = get_close_matches(plain_name(canonical(kind, name)), by_plain, n=1, cutoff=0.75)
    near = near or get_close_matches(plain_name(name), by_plain, n=1, cutoff=0.75)
    return by_plain[near[0]] if near else None


def _by_id(kind: NameKind, names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        found.setdefault(canonical(kind, name), []).append(name)
    return found


def _model_id(name: str) -> str:
    text = WEIGHTS_LIBRARY.sub("", name.strip().lower())
    parts = [part for part in re.split(r"(\.)|[^0-9a-z.]+", text) if part]
    out = ""
    for part in parts:
        parted = out[-1:].isdigit() and part[0].isdigit()
        out += ("_" if parted else "") + part
    return out.strip(".")


@cache
def _dataset_ids() -> dict[str, str]:
    """Plain name -> canonical id. The catalogue is read as a file: its package needs torch."""
    text = files("headstart").joinpath("datasets", "catalogue.toml").read_text(encoding="utf-8")
    known = {
        plain_name(name): key
        for key, facts in tomllib.loads(text).items()
        for name in (key, facts["title"], *facts.get("aliases", ()))
    }
    ours = {plain_name(n): key for key, names in DATASETS.items() for n in (key, *names)}
    return ours | known


# Members of a family differ by these.
SIZES = frozenset({
    "zepto", "atto", "femto", "pico", "nano", "tiny", "mini", "small", "medium", "mediumd", "base",
    "large", "huge", "giant", "gigantic", "big", "little", "wee", "pwee", "betwixt", "mobile",
    "plus", "full", "short", "tall", "wide", "xsmall", "xlarge", "xxlarge", "xtiny", "xxtiny",
    "xs", "xxs", "xx", "sm", "md", "lg", "xl", "xxl", "xxxl", "ti", "tn", "el", "em", "es", "sa",
    "ma", "so", "bigg", "bige", "edge", "kobe", "patch", "window", "in", "bn", "gn", "ln", "rw",
    "rmlp", "conv", "reg", "gap", "px", "gf", "mf", "ii", "iii", "iv", "relpos", "srelpos", "evos",
})  # fmt: skip
# Words before an architecture's name that say where the weights come from.
PREFIXES = frozenset({"tf", "dm", "gluon", "legacy", "ssl", "swsl", "supervised", "pretrained"})
# "timm:", "hf-hub:": the library that has the model.
LIBRARY = re.compile(r"^[a-z][a-z_\-]*:")
# "facebook/dinov2-base", not "ViT-B/16" or "ViT/B-16".
ORGANISATION = re.compile(r"^[\w.\-]+/(?=[A-Za-z][^/]*$)(?![A-Za-z](?:[\-_]|\d*$))")
# timm's tag of how weights were trained: resnet50.a1_in1k.
TAG = re.compile(r"(?<=\w)\.(?=[A-Za-z]).*$")
WORD = re.compile(r"[^\s_\-()\[\]/.,:;+@\u2010-\u2015\u2212]+")
# A digit inside a name (res2net, vlm2vec): alone, and followed by a word.
INNER_DIGIT = re.compile(r"(?<=[A-Za-z])\d(?=[A-Za-z]{2,})")
# How "e5-omni", "I-JEPA" and "T2T-ViT" begin.
INITIAL = re.compile(r"[A-Za-z](\d+[A-Za-z]?)?")


def family_of(model: str) -> str:
    """Return a model's family: the part of its name before sizes and versions.

    A rule of thumb for tables that have no column `family`. Words are taken up to the first that is
    a size (``base``, ``xlarge``, ``pico``, ``S``), begins with one letter and a number (``B0``,
    ``R50``) or is a number; of a word that ends in a number (``resnet50``, ``beitv2``), what stands
    before the number. The library, the organisation and words such as ``tf`` in front are left out.
    The spelling is kept: `families_of` merges those that differ only in case and separators.

    Examples
    --------
    >>> family_of("ResNet-50"), family_of("timm:convnext_xlarge.fb_in22k"), family_of("ViT-L/14")
    ('ResNet', 'convnext', 'ViT')
    """
    name = TAG.sub("", ORGANISATION.sub("", LIBRARY.sub("", model.strip())))
    words = list(WORD.finditer(name))
    while len(words) > 1 and words[0][0].lower() in PREFIXES:
        del words[0]
    end = 0
    for place, word in enumerate(words):
        length = _own_letters(word[0], first=place == 0)
        if place == 0 and not length and INITIAL.fullmatch(word[0]) and len(words) > 1:
            length = len(word[0]) if _own_letters(words[1][0], first=False) else 0
        if length:
            end = word.start() + length
        if length < len(word[0]):
            break
    family = name[words[0].start() : end] if end else ""
    return (family if ")" in family else family.replace("(", "")) or model.strip()


def _own_letters(word: str, *, first: bool) -> int:
    """Count the letters of a word that belong to the family's name; all of them if it goes on."""
    number = _number_at(word)
    head = word[:number]
    # In front it may be part of the name: tiny_vit, BN-Inception, wide_resnet.
    if len(head) < 2 or (head.lower() in SIZES and not (first and number == len(word))):
        return 0
    if number < len(word) and len(head) > 2 and head[-1] in "vV":
        # mobilenetv2 is a mobilenet.
        return number - 1
    return number


def _number_at(word: str) -> int:
    """Find where the first number stands that is not inside a name; the length if nowhere."""
    inside = {
        found.start()
        for found in INNER_DIGIT.finditer(word)
        if word[found.end() :].lower() not in SIZES
    }
    places = (i for i, letter in enumerate(word) if letter.isdigit() and i not in inside)
    return next(places, len(word))


def families_of(models: Iterable[str]) -> dict[str, str]:
    """Return each model's family, guessed from its name.

    Families whose names differ only in case and separators are one, so that ``ResNet-50`` and
    ``resnet101`` are relatives.
    """
    guessed = {model: family_of(model) for model in models}
    merged = merge_spellings(guessed.values())
    return {model: merged[family] for model, family in guessed.items()}


def merge_spellings(families: Iterable[str]) -> dict[str, str]:
    """Map each family's name to the spelling that stands for it.

    The most frequent spelling; of equals the first in the order of characters, which has capitals
    first: no order of rows decides.
    """
    counts = Counter(families)
    spellings: dict[str, list[str]] = defaultdict(list)
    for family in counts:
        spellings[plain_family(family)].append(family)
    return {
        family: min(same, key=lambda name: (-counts[name], name))
        for same in spellings.values()
        for family in same
    }


def plain_family(family: str) -> str:
    """Return what spellings of one family share."""
    return re.sub(r"[\W_]+", "", family).casefold() or family.strip()
