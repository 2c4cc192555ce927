"""Families of models: what one member shows, its relatives repeat.

A family is an architecture line: all sizes and versions of ResNet, of ViT, of EfficientNet,
whatever they were pretrained on. A column ``family`` says otherwise (DINOv2 apart from AugReg).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

__all__ = ["families_of", "family_of", "merge_spellings"]

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
