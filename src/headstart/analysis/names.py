"""One name for what tables call differently: datasets, settings and models, by canonical ids.

Every comparison of names from two tables goes through `canonical`; the aliases stand here, in the
catalogue of datasets, and (for settings) in `headstart.spec.labels`.
"""

import re
import tomllib
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Literal

from headstart.spec import plain_name
from headstart.spec.labels import role

__all__ = ["IMAGENET", "Kind", "canonical", "is_known_dataset", "match_names", "nearest"]

Kind = Literal["dataset", "setting", "model"]
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
LIBRARY = re.compile(r"^(?:timm|torchvision|pytorchcv|hf|hf_hub|hf-hub|timm/)[:/]|^timm/")


def canonical(kind: Kind, name: str) -> str:
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


def match_names(kind: Kind, theirs: Iterable[str], ours: Iterable[str]) -> dict[str, str]:
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


def nearest(kind: Kind, name: str, ours: Collection[str]) -> str | None:
    """Return that of `ours` which is spelt most alike; None where none is."""
    by_plain = {plain_name(one): one for one in ours}
    near = get_close_matches(plain_name(canonical(kind, name)), by_plain, n=1, cutoff=0.75)
    near = near or get_close_matches(plain_name(name), by_plain, n=1, cutoff=0.75)
    return by_plain[near[0]] if near else None


def _by_id(kind: Kind, names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        found.setdefault(canonical(kind, name), []).append(name)
    return found


def _model_id(name: str) -> str:
    text = LIBRARY.sub("", name.strip().lower())
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
