"""Published tables of results, as data."""

import csv
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from headstart.spec import plain_name

__all__ = ["NAMES", "Sizes", "csv_bytes", "facts", "published_classes", "published_sizes"]

_FOLDER = files(__name__)


@cache
def _catalogue() -> dict[str, Any]:
    return tomllib.loads((_FOLDER / "catalogue.toml").read_text(encoding="utf-8"))


NAMES: tuple[str, ...] = tuple(_catalogue())


def facts(name: str) -> dict[str, Any]:
    """Say what a published table is and how its columns are called."""
    own = _catalogue()[name]
    return {**_catalogue().get(own.get("rows_of"), {}), **own}


def csv_bytes(name: str) -> bytes:
    """Give the CSV of a published table: of upstream accuracies alone where it has `rows_of`."""
    return (_FOLDER / f"{name}.csv").read_bytes()


class Sizes(NamedTuple):
    """Numbers of images; train includes validation."""

    n_train: int
    n_test: int


def published_sizes(dataset: str) -> Sizes | None:
    """Give the sizes of one of the study's twelve datasets by any of its names, None if unknown.

    Source: Kornblith et al. (2019), Table 1; the test size of Oxford-IIIT Pets, a misprint there,
    from Grill et al. (2020), Table 10.

    Examples
    --------
    >>> published_sizes("stanford_cars")
    Sizes(n_train=8144, n_test=8041)
    """
    # So are a user's own folders called that have the name of a dataset.
    return None if dataset.startswith("./") else _sizes().get(plain_name(dataset))


def published_classes(dataset: str) -> int | None:
    """Return how many classes one of the study's twelve datasets has, None if unknown."""
    return None if dataset.startswith("./") else _classes().get(plain_name(dataset))


@cache
def _classes() -> dict[str, int]:
    text = files("headstart").joinpath("datasets", "catalogue.toml").read_text(encoding="utf-8")
    return {
        plain_name(name): int(facts["n_classes"])
        for key, facts in tomllib.loads(text).items()
        if "n_classes" in facts
        for name in (key, facts["title"], *facts.get("aliases", ()))
    }


@cache
def _sizes() -> dict[str, Sizes]:
    found = {}
    text = (_FOLDER / "datasets.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        for name in _names_of(row["dataset"]):
            found[name] = Sizes(int(row["n_train"]), int(row["n_test"]))
    return found


def _names_of(dataset: str) -> set[str]:
    """Give all names of a dataset, by one of them, as the catalogue of datasets has them."""
    # Read as a file: to import that package takes seconds and needs torch.
    text = files("headstart").joinpath("datasets", "catalogue.toml").read_text(encoding="utf-8")
    for key, facts in tomllib.loads(text).items():
        names = {plain_name(n) for n in (key, facts["title"], *facts.get("aliases", ()))}
        if plain_name(dataset) in names:
            return names
    raise KeyError(dataset)
