"""Groups of datasets that are analysed apart."""

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from headstart.analysis.agree import EVERYTHING
from headstart.analysis.delimited import read_delimited
from headstart.analysis.published import published_sizes
from headstart.errors import TableError
from headstart.files import read_toml, storage_errors

__all__ = ["LARGE", "SMALL", "check_groups", "groups_by_size", "read_groups"]

SPLIT = 10_000
SMALL, LARGE = "under 10,000 training images", "10,000 training images and over"


# Settings that train on another number of images than the dataset's own training set.
OTHER_SIZE = re.compile(
    r"zero.?shot|few.?shot|low.?shot|one.?shot|(?<![a-z0-9])k.?shot|\d+.?shot|vtab"
    r"|(?<![a-z0-9.])\d+(\.\d+)?\s*[-_ ]?(k|%|pct|percent|labels?|examples?|images?|samples?)"
    r"(?![a-z0-9])|per.?class|semi.?supervised|subset|low.?data|prompt",
    re.IGNORECASE,
)


def groups_by_size(frame: pd.DataFrame) -> dict[str, str]:
    """Report datasets under and over 10,000 training images (validation counted) apart.

    Sizes come from a column ``n_train``, else from Table 1 of Kornblith et al. (2019) by the
    dataset's name; a dataset of unknown size is in neither group. The published size is not used
    where a setting says that it trains on another number of images (zero-shot, 5-shot, VTAB-1k,
    10 %) or a column says that subsets were drawn. With all datasets in one group there is nothing
    to tell apart, and no group.

    Parameters
    ----------
    frame
        Rows of one setting, or of several that are analysed together.
    """
    groups = {}
    for dataset, rows in frame.groupby("dataset", sort=False):
        known = rows["n_train"].dropna() if "n_train" in rows else pd.Series(dtype="float64")
        published = published_sizes(str(dataset)) if _whole_training_set(rows) else None
        # The largest, where subsets were drawn.
        size = known.max() if len(known) else published.n_train if published else None
        if size is not None:
            groups[str(dataset)] = SMALL if size < SPLIT else LARGE
    if len(set(groups.values())) < 2:
        return {}
    return dict(sorted(groups.items(), key=lambda item: item[1] != SMALL))


def _whole_training_set(rows: pd.DataFrame) -> bool:
    """Report whether nothing says that a dataset's rows were trained on a part of it."""
    if any(name in rows and rows[name].notna().any() for name in ("examples_per_class", "limit")):
        return False
    settings = rows["setting"].unique() if "setting" in rows else []
    return not any(OTHER_SIZE.search(str(setting)) for setting in settings)


def read_groups(path: Path, datasets: list[str]) -> dict[str, str]:
    """Read which dataset is in which group.

    A TOML file (``fine-grained = ["Birdsnap", "Stanford Cars"]``) or a CSV with columns ``dataset``
    and ``group``.

    Parameters
    ----------
    datasets
        The names in the table of results.

    Raises
    ------
    TableError
        Neither form, a dataset that is not in the table, or one in two groups.
    """
    with storage_errors(path, reading=True):
        content = path.read_bytes()
    pairs = _from_toml(content, path) if path.suffix == ".toml" else _from_csv(content, path)
    groups: dict[str, str] = {}
    check_groups(pairs, datasets, str(path))
    for dataset, group in pairs:
        if groups.setdefault(dataset, group) != group:
            raise TableError(f"{path}: dataset '{dataset}' is in two groups")
    return groups


def check_groups(pairs: Iterable[tuple[str, str]], datasets: list[str], where: str) -> None:
    """Raise TableError for a dataset that is not there, or a name that no group can have."""
    for dataset, group in pairs:
        if dataset not in datasets:
            raise TableError(
                f"{where}: dataset '{dataset}' is not in the table; it has: {', '.join(datasets)}"
            )
        if not group.strip() or group == EVERYTHING or group in datasets:
            raise TableError(
                f"{where}: a group cannot be called '{group}': expected a name that is not empty, "
                f"not '{EVERYTHING}' and no dataset's"
            )


def _from_toml(content: bytes, path: Path) -> list[tuple[str, str]]:
    pairs = []
    for group, members in read_toml(content, f"groups {path}", TableError).items():
        if not isinstance(members, list):
            raise TableError(f"{path}: expected '{group}' to be a list of datasets")
        pairs += [(str(member), group) for member in members]
    return pairs


def _from_csv(content: bytes, path: Path) -> list[tuple[str, str]]:
    frame = read_delimited(content, str(path))
    if not {"dataset", "group"} <= set(frame.columns) or not frame.columns.is_unique:
        raise TableError(
            f"{path}: expected columns dataset and group, found {', '.join(frame.columns)}"
        )
    return list(zip(frame["dataset"], frame["group"], strict=True))
