"""Rows that say something of the same thing have to say the same."""

import numpy as np
import pandas as pd

from headstart.analysis.columns import REQUIRED, SWEEPS
from headstart.errors import TableError

__all__ = ["EVERYTHING", "count_duplicates", "merge_agreeing"]

# Stands for all datasets together where a table has one row for them.
EVERYTHING = "all"
CELL = (*REQUIRED, *SWEEPS)
# What tells results of one name apart before `tell_apart` has put it into the name.
QUALIFIERS = ("protocol", "precision", "content", "limit")
# Two spellings of one number differ by less.
SAME = 1e-9


def count_duplicates(frame: pd.DataFrame) -> int:
    """Count rows that say again what another row says of a cell and seed."""
    key = [name for name in (*CELL, *QUALIFIERS, "seed", "accuracy") if name in frame]
    return int(frame.duplicated(key).sum())


def merge_agreeing(frame: pd.DataFrame, where: str, *, average: bool = False) -> pd.DataFrame:
    """Keep one row of those that say the same of one cell and seed; fill in what others know.

    A model's upstream accuracy and a dataset's number of training images are carried to the rows
    that lack them. With `average`, rows of one cell are repeated runs, each with a seed of its own.

    Raises
    ------
    TableError
        Rows that say otherwise of one cell, or of one model's upstream accuracy in a setting.
    """
    if (frame["dataset"] == EVERYTHING).any():
        raise TableError(
            f"{where}: a dataset is called '{EVERYTHING}', which stands for all datasets together: "
            "rename it",
            code="table.dataset_all",
        )
    cell = [name for name in CELL if name in frame]
    if average:
        frame = frame.assign(seed=frame.groupby(cell, dropna=False).cumcount().astype("float64"))
    _check_seeds(frame, cell, where)
    key = [*cell, "seed"] if "seed" in frame else cell
    for name in ("metric", "accuracy", "n_test"):
        if name in frame:
            _check_same(frame, key, name, where)
    for name in ("n_test", "metric", "se", "key"):
        if name in frame:
            frame[name] = frame.groupby(key, dropna=False)[name].transform("first")
    frame = _with_upstream(frame.drop_duplicates(key), where)
    if "n_train" in frame:
        of = [name for name in ("dataset", "examples_per_class") if name in frame]
        frame["n_train"] = frame.groupby(of, dropna=False)["n_train"].transform("first")
    return frame.reset_index(drop=True)


def _check_same(frame: pd.DataFrame, key: list[str], name: str, where: str) -> None:
    known = frame[frame[name].notna()]
    groups = known.groupby(key, sort=False, dropna=False)[name]
    differs = groups.transform("nunique") > 1
    if name == "accuracy":
        differs &= groups.transform("max") - groups.transform("min") > SAME
    if not differs.any():
        return
    first = known[differs].iloc[0]
    same = np.logical_and.reduce(
        [(known[k] == first[k]) | (known[k].isna() & pd.isna(first[k])) for k in key]
    )
    rows = known[same]
    what = ", ".join(f"{k} {first[k]}" for k in key if not pd.isna(first[k]))
    values = 100 * rows[name] if name == "accuracy" else rows[name]
    unit = " %" if name == "accuracy" else ""
    raise TableError(
        f"{where}: {len(rows)} rows disagree on {what}: {name} {_list(values)}{unit}, "
        f"rows {_list(rows.index)}; keep one, tell them apart by a column seed, or average them "
        "with --duplicates average",
        code="table.rows_disagree", column=name, rows=list(rows.index),
        values=rows[name].tolist(), cell={k: first[k] for k in key if not pd.isna(first[k])},
    )  # fmt: skip


def _check_seeds(frame: pd.DataFrame, cell: list[str], where: str) -> None:
    """Refuse a cell that has a seed in one row and none in another, unless they agree."""
    if "seed" not in frame:
        return
    groups = frame.groupby(cell, sort=False, dropna=False)
    some = groups["seed"].transform("count")
    spread = groups["accuracy"].transform("max") - groups["accuracy"].transform("min")
    mixed = (some > 0) & (some < groups["seed"].transform("size")) & (spread > SAME)
    if mixed.any():
        first = frame[mixed].iloc[0]
        what = ", ".join(f"{k} {first[k]}" for k in cell if not pd.isna(first[k]))
        raise TableError(
            f"{where}: rows disagree on {what}, and only some have a seed: give each a seed, "
            "or keep one",
            code="table.seed_missing", cell={k: first[k] for k in cell if not pd.isna(first[k])},
        )  # fmt: skip


def _with_upstream(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """Check that a model has one upstream accuracy in a setting; carry it to its other rows."""
    if "upstream_accuracy" not in frame:
        return frame
    name = "upstream_accuracy"
    of = ["model", "configuration"] if "configuration" in frame else ["model"]
    groups = frame.groupby([*of, "setting"], sort=False, dropna=False)[name]
    apart = groups.transform("max") - groups.transform("min") > SAME
    if apart.any():
        first = frame[apart].iloc[0]
        rows = frame[(frame["model"] == first["model"]) & (frame["setting"] == first["setting"])]
        found = rows[name].dropna().unique()
        raise TableError(
            f"{where}: model {first['model']} has several upstream accuracies in setting "
            f"{first['setting']}: {_list(100 * found)} %; give it one, or each its own name",
            code="table.upstream_differs", model=first["model"], setting=first["setting"],
            found=[float(value) for value in found],
        )  # fmt: skip
    within = frame.groupby([*of, "setting"], dropna=False)[name].transform("first")
    # From another setting only where there is no doubt which.
    by_model = frame.groupby(of, dropna=False)[name]
    anywhere = by_model.transform("first").where(
        by_model.transform("max") - by_model.transform("min") <= SAME
    )
    return frame.assign(**{name: within.fillna(anywhere)})


def _list(values: object) -> str:
    shown = [f"{v:g}" if isinstance(v, float) else str(v) for v in list(values)[:4]]  # type: ignore[call-overload]
    return " and ".join(shown)
