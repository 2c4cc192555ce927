"""The columns of a table of results, and how a table that calls them otherwise is read."""

from collections.abc import Mapping
from difflib import get_close_matches

import pandas as pd

from headstart.errors import TableError

__all__ = ["COUNTS", "NUMBERS", "OPTIONAL", "REQUIRED", "SWEEPS", "parse_mapping", "rename"]

REQUIRED = ("model", "dataset", "setting")
# One of the two gives the score.
SCORES = ("accuracy", "log_odds")
# Each is a further factor: a cell is a model, a dataset, a setting, and these where they are given.
SWEEPS = ("configuration", "steps", "examples_per_class")
OPTIONAL = ("upstream_accuracy", "upstream_name", "metric", "n_test", "n_train", "seed", "se",
            "family", "protocol", "precision", "content", "limit", "key", "batch_size",
            *SWEEPS)  # fmt: skip
NUMBERS = ("accuracy", "log_odds", "upstream_accuracy", "n_test", "n_train", "seed", "se", "steps",
           "examples_per_class", "limit", "batch_size")  # fmt: skip
COUNTS = ("n_test", "n_train", "seed", "steps", "examples_per_class", "limit", "batch_size")
KNOWN = (*REQUIRED, *SCORES, *OPTIONAL)


def parse_mapping(text: str) -> dict[str, str]:
    """Read ``model=Model,accuracy=acc,setting:=linear``: ours = theirs, or ours := one value.

    Raises
    ------
    TableError
        Not of that form, or a name on the left that is none of ours.

    Examples
    --------
    >>> parse_mapping("model=Model, setting:=linear")
    {'model': 'Model', 'setting': ':linear'}
    """
    mapping = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, theirs = part.partition("=")
        constant = name.endswith(":")
        name, theirs = name.rstrip(":").strip(), theirs.strip()
        if not equals or not theirs:
            raise TableError(
                f"--columns: expected ours=theirs or ours:=value, separated by commas, "
                f"found '{part}'"
            )
        mapping[name] = ":" + theirs if constant else theirs
    _check_names(mapping)
    return mapping


def rename(frame: pd.DataFrame, mapping: Mapping[str, str], where: str) -> pd.DataFrame:
    """Give `frame` our column names; those that are none of ours are left out.

    Parameters
    ----------
    mapping
        Our name -> theirs, or ":" and a value that all rows have.

    Raises
    ------
    TableError
        A column that is needed, or named in `mapping`, is not there.
    """
    _check_names(mapping)
    frame = frame.rename(columns=lambda name: str(name).strip())
    found = list(frame.columns)
    taken = {}
    for ours, theirs in mapping.items():
        if theirs.startswith(":"):
            taken[ours] = pd.Series(theirs[1:], index=frame.index, dtype=object)
        elif theirs in found:
            taken[ours] = _column(frame, theirs, where)
        else:
            raise TableError(f"{where}: no column '{theirs}'{_near(theirs, found)}")
    for ours in KNOWN:
        if ours not in taken and ours in found:
            taken[ours] = _column(frame, ours, where)
    _check_needed(taken, found, where)
    return pd.DataFrame({name: taken[name] for name in KNOWN if name in taken}, index=frame.index)


def _check_names(mapping: Mapping[str, str]) -> None:
    for name in mapping:
        if name not in KNOWN:
            raise TableError(
                f"--columns: '{name}' is none of ours: left of = stands one of {', '.join(KNOWN)}"
            )


def _check_needed(taken: Mapping[str, pd.Series], found: list[str], where: str) -> None:
    missing = [name for name in REQUIRED if name not in taken]
    if not any(name in taken for name in SCORES):
        missing.append("accuracy")
    if missing:
        raise TableError(
            f"{where}: no column {', '.join(repr(name) for name in missing)}; "
            f"found: {', '.join(found) or 'none'}; say which is which with --columns "
            f"{missing[0]}=COLUMN (or {missing[0]}:=VALUE for all rows)"
        )


def _column(frame: pd.DataFrame, name: str, where: str) -> pd.Series:
    column = frame[name]
    if isinstance(column, pd.DataFrame):
        raise TableError(
            f"{where}: {column.shape[1]} columns are called '{name}': rename all but one"
        )
    return column


def _near(name: str, found: list[str]) -> str:
    near = get_close_matches(name, found, n=1, cutoff=0.5)
    return f": did you mean '{near[0]}'?" if near else f"; found: {', '.join(found) or 'none'}"
