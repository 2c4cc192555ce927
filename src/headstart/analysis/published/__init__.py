"""Published tables of results, as data."""

import csv
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from headstart.analysis.tables.canonical_names import canonical

__all__ = ["NAMES", "PublishedSizes", "csv_bytes", "facts", "published_classes", "published_sizes"]

_FOLDER = files(__name__)


@cache
def _catalogue() -> dict[str, Any]:
    return tomllib.loads((_FOLDER / "catalogue.toml").read_text(encoding="utf-8"))


NAMES: tuple[str, ...] = tuple(_catalogue())


def facts(name: str) -> dict[str, Any]:
    """Return what a published table is and how its columns are called."""
    own = _catalogue()[name]
    return {**_catalogue().get(own.get("rows_of"), {}), **own}


def csv_bytes(name: str) -> bytes:
    """Return the CSV of a published table, which may be compressed by gzip.

    It holds upstream accuracies alone where the table has `rows_of`.
    """
    plain = _FOLDER / f"{name}.csv"
    return plain.read_bytes() if plain.is_file() else (_FOLDER / f"{name}.csv.gz").read_bytes()


class PublishedSizes(NamedTuple):
    """Numbers of images; train includes validation."""

    n_train: int
    n_test: int


def published_sizes(dataset: str) -> PublishedSizes | None:
    """Return the sizes of one of the study's twelve datasets by any of its names, None if unknown.

    Source: Kornblith et al. (2019), Table 1; the test size of Oxford-IIIT Pets, a misprint there,
    from Grill et al. (2020), Table 10.

    Examples
    --------
    >>> published_sizes("stanford_cars")
    PublishedSizes(n_train=8144, n_test=8041)
    """
    facts = _datasets().get(canonical("dataset", dataset), {})
    # So are a user's own folders called that have the name of a dataset.
    if dataset.startswith("./") or "n_train" not in facts:
        return None
    return PublishedSizes(facts["n_train"], facts["n_test"])


def published_classes(dataset: str) -> int | None:
    """Return how many classes one of the study's twelve datasets has, None if unknown."""
    own = dataset.startswith("./")
    return None if own else _datasets().get(canonical("dataset", dataset), {}).get("n_classes")


@cache
def _datasets() -> dict[str, dict[str, int]]:
    """Numbers of images and classes by the canonical names of datasets."""
    text = files("headstart").joinpath("datasets", "catalogue.toml").read_text(encoding="utf-8")
    known = {canonical("dataset", key): {"n_classes": int(facts["n_classes"])}
             for key, facts in tomllib.loads(text).items() if "n_classes" in facts}  # fmt: skip
    text = (_FOLDER / "datasets.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        sizes = {name: int(row[name]) for name in ("n_train", "n_test")}
        known.setdefault(canonical("dataset", row["dataset"]), {}).update(sizes)
    return known
